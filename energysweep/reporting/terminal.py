"""The sweep's result on a terminal; plain text where there is none (rich decides)."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.reporting.answers import sentence
from energysweep.reporting.groups import ConfigurationSummary, StageSummary
from energysweep.reporting.model import Summary
from energysweep.reporting.not_measured import not_measured
from energysweep.reporting.ranking import compared_mean, some_open
from energysweep.reporting.startup import untold_note
from energysweep.reporting.text import emissions_text, energy_text, number_text
from energysweep.reporting.ties import note
from energysweep.reporting.values import mean_of


def terminal_table(summary: Summary) -> RenderableType:
    """The headline, and the configurations by energy to the target (without a target: by energy)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold", min_width=20)
    estimated = " (est.)" if summary.estimated else ""
    columns = [f"energy{estimated}", f"CO2e{estimated}"]
    if summary.objective is not None:
        columns.insert(0, summary.objective.metric)
    if summary.has_target:
        columns = [f"to target{estimated}", "reached", *columns]
    elif some_open(summary.configurations):
        columns.insert(0, "trials")
    if any(each.tied_with_cheapest for each in summary.configurations):
        columns.append("tie")
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    for each in sorted(summary.configurations, key=lambda each: (_rank(each, summary), each.title)):
        table.add_row(*(Text(cell) for cell in _cells(each, summary)))
    # Text, not str: rich would read a user's [brackets] as its own markup.
    stages = [_stage_note(stage) for stage in summary.stages]
    startup = [_startup_note(summary), untold_note(summary)]
    notes = [*stages, *startup, note(summary.configurations, summary.objective), *not_measured(summary)]
    below = [Text(f"Note: {each}", style="dim") for each in notes if each]
    return Group(Text(sentence(summary), style="bold"), Text(), table, *([Text(), *below] if below else []))


def _stage_note(stage: StageSummary) -> str:
    energy = energy_text(stage.total_energy_joules, estimated=stage.estimated)
    trials = "1 trial" if len(stage.trials) == 1 else f"{len(stage.trials)} trials"
    return f"stage {stage.stage} took {energy} in {trials} before these."


def _startup_note(summary: Summary) -> str | None:
    if not summary.totals.startup_joules:
        return None
    energy = energy_text(summary.totals.startup_joules, estimated=summary.estimated)
    return f"start-up of the trials (imports, first loading) took {energy}; it is measured apart and in none of these."


def _cells(each: ConfigurationSummary, summary: Summary) -> list[str]:
    cells = [each.title]
    if summary.has_target:
        joules = compared_mean(each, summary.objective)
        cells.append(each.to_target_text or energy_text(joules, estimated=each.estimated, brief=True))
        cells.append(each.arrival_text)
    elif some_open(summary.configurations):
        cells.append(each.arrival_text)
    if summary.objective is not None:
        cells.append(number_text(mean_of(each.objective)))
    return [
        *cells,
        energy_text(mean_of(each.energy_joules), estimated=each.estimated, brief=True),
        emissions_text(mean_of(each.emissions_grams), estimated=each.estimated, brief=True),
        *(["with cheapest"] if each.tied_with_cheapest else []),
    ]


def _rank(each: ConfigurationSummary, summary: Summary) -> float:
    mean = compared_mean(each, summary.objective)
    return float("inf") if mean is None else mean
