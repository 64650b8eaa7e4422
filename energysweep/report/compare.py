"""Several runs side by side: the same configurations on other hardware, with other software, under another paradigm.

What they have in common is a table; all that they answer together is the combined report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.analysis.extremes import stands_out
from energysweep.analysis.target import always_arrives
from energysweep.core.naming import configuration_text, value_text
from energysweep.core.text import NOT_AVAILABLE, TIMES, energy_text, escape, or_more_text
from energysweep.ledger.balance import joules_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.report.answers import MEANS_NOTE, Answer, answers, sentence, study_answers
from energysweep.report.answers.regimes import whole_host_list
from energysweep.report.answers.settings import bare_ratio, extremes, surely_text
from energysweep.report.answers.tables import (
    answers_list,
    cost_table,
    effects_table,
    hardware_table,
    meters_table,
    multitask_table,
    pretraining_table,
    runs_table,
    settings_table,
)
from energysweep.report.charts import figures_of_a_part
from energysweep.report.charts.base import Figure
from energysweep.report.html import render
from energysweep.report.not_measured import damage_lines, untold_warning

# Side by side --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One run on one of its hardware profiles.

    Attributes:
        title: the run's id, with the hardware where the run has several.
        differs: its constant parameters that are not the same in all columns, by name.
    """

    title: str
    summary: Summary
    differs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration in one column.

    Attributes:
        joules: its energy, to the target or of a whole trial: the geometric mean.
        energy_ratio: its energy over that of the first column that shares configurations; None if either is missing,
            or, at a target, is a mean of the lucky ones among its trials.
    """

    configuration: ConfigurationSummary
    joules: float | None
    energy_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "energy_joules": self.joules,
            "energy_ratio": self.energy_ratio,
            "reached_target": self.configuration.reached_target,
            "trials": len(self.configuration.trials),
            "estimated": self.configuration.estimated,
        }


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One configuration in all columns; None where a run lacks it."""

    config: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        at_target: whether energies and ratios are those to the target, the same in all runs.
        rows: the configurations that at least two columns have.
        warnings: why numbers of these runs should not be set against each other without thought.
        shared: the places of the columns that have a configuration in common with another one.
    """

    columns: tuple[Column, ...]
    rows: tuple[ComparedRow, ...]
    at_target: bool
    warnings: tuple[str, ...]
    shared: tuple[int, ...] = ()


def compare(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> Comparison:
    """Match the runs' configurations by the parameters that vary in any of them.

    Parameters that are constant within each run but not the same in all (``pretrained: true``) tell the runs apart,
    so they do not enter the match; they are shown with the run. Runs of other workloads have nothing in common.
    """
    varying = tuple(dict.fromkeys(name for summary in summaries for name in summary.varying))
    members = [part for summary in summaries for part in _by_hardware(summary)]
    tables = [
        {(summary.workload, configuration_text(each.parameters, varying)): each for each in configurations}
        for _, summary, configurations in members
    ]
    # Each run is in order already; what only a later run has comes below.
    keys = list(dict.fromkeys(key for table in tables for key in table))
    common = [key for key in keys if sum(key in table for table in tables) > 1]
    shared = tuple(place for place, table in enumerate(tables) if any(key in table for key in common))
    compared = [members[place][1] for place in shared] or list(summaries)
    objectives = {(s.objective.metric, s.objective.mode, s.objective.target) if s.objective else None for s in compared}
    at_target = len(objectives) == 1 and all(summary.has_target for summary in compared)
    return Comparison(
        columns=tuple(
            Column(
                title, summary, _differing(configurations, [each for _, _, all_ in members for each in all_], varying)
            )
            for title, summary, configurations in members
        ),
        rows=tuple(
            ComparedRow(
                config=config,
                cells=_cells([table.get((workload, config)) for table in tables], shared, at_target=at_target),
            )
            for workload, config in common
        ),
        at_target=at_target,
        warnings=(*notes, *_warnings(summaries, compared if shared else [], same_objective=len(objectives) == 1)),
        shared=shared,
    )


def comparison_table(comparison: Comparison) -> RenderableType:
    """The comparison for a terminal: energy and its ratio to the first run."""
    notes = [Text(f"Note: {warning}", style="yellow") for warning in comparison.warnings]
    if len(comparison.columns) < 2:  # nothing to have in common with
        return Group(*notes)
    if not comparison.shared:
        return Group(Text("The runs have no configuration in common.", style="bold"), *notes)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold")
    for place in comparison.shared:
        table.add_column(Text(comparison.columns[place].title), justify="right", overflow="fold")
    for row in comparison.rows:
        table.add_row(Text(row.config), *(Text(cell_text(row.cells[place], comparison)) for place in comparison.shared))
    what = "Energy to target" if comparison.at_target else "Energy of a trial"
    title = Text(f"{what} (geometric mean), and its ratio to the first run", style="bold")
    return Group(title, Text(), table, *notes)


def cell_text(cell: Cell | None, comparison: Comparison) -> str:
    """A cell as text: the energy and its ratio, ``not reached``, or ``n/a`` where the run lacks the configuration."""
    if cell is None:
        return NOT_AVAILABLE
    each = cell.configuration
    if comparison.at_target and each.to_target_text:
        return each.to_target_text
    text = energy_text(cell.joules, estimated=each.estimated)
    if comparison.at_target and (not each.arrives or each.open or each.failed):
        text += f", {each.arrival_text}"
    return text if cell.energy_ratio is None else f"{text} ({TIMES}{cell.energy_ratio:.2f})"


def _by_hardware(summary: Summary) -> list[tuple[str, Summary, list[ConfigurationSummary]]]:
    hardware = list(dict.fromkeys(each.hardware for each in summary.configurations))
    return [
        (
            f"{summary.sweep} on {profile}" if len(hardware) > 1 else summary.sweep,
            summary,
            [each for each in summary.configurations if each.hardware == profile],
        )
        for profile in hardware
    ]


def _cells(
    found: Sequence[ConfigurationSummary | None], shared: Sequence[int], *, at_target: bool
) -> tuple[Cell | None, ...]:
    def joules(configuration: ConfigurationSummary | None) -> float | None:
        if configuration is None:
            return None
        return joules_of(configuration.energy_to_target_joules if at_target else configuration.energy_joules)

    def compared(configuration: ConfigurationSummary | None) -> float | None:
        lucky = configuration is not None and at_target and not always_arrives(configuration.trials)
        return None if lucky else joules(configuration)

    first = compared(found[shared[0]])

    def cell(configuration: ConfigurationSummary | None) -> Cell | None:
        if configuration is None:
            return None
        own = compared(configuration)
        return Cell(configuration, joules(configuration), own / first if own is not None and first else None)

    return tuple(cell(configuration) for configuration in found)


def _differing(
    configurations: Sequence[ConfigurationSummary], everything: Sequence[ConfigurationSummary], varying: Sequence[str]
) -> dict[str, Any]:
    constants = {name: value for name, value in configurations[0].parameters.items() if name not in varying}
    return {
        name: value
        for name, value in constants.items()
        if any(value_text(other.parameters.get(name)) != value_text(value) for other in everything)
    }


def _warnings(summaries: Sequence[Summary], compared: Sequence[Summary], *, same_objective: bool) -> list[str]:
    warnings = [f"{summary.sweep}: {line}" for summary in summaries for line in damage_lines(summary)]
    if len({summary.sources for summary in compared}) > 1:
        sources = {summary.sweep: "+".join(summary.sources) or "none" for summary in compared}
        named = "; ".join(f"{run}: {kinds}" for run, kinds in sources.items())
        warnings.append(f"The runs were measured by different meters ({named}). A ratio between them mixes two scales.")
    if len({summary.estimated for summary in summaries}) > 1:
        warnings.append("One run is an estimate and another was read from a counter: that is not a fair comparison.")
    if (untold := untold_warning(summaries)) is not None:
        warnings.append(untold)
    if compared and not same_objective:
        warnings.append(
            "The runs have different objectives or targets, so whole trials are compared, not equal results."
        )
    if len({summary.carbon for summary in summaries}) > 1:
        warnings.append("Emissions are counted for different grids; compare energy, or write the reports for one grid.")
    if len(boundaries := {run.carbon.boundary for run in summaries if run.carbon and run.carbon.boundary}) > 1:
        warnings.append(
            f"The grids' figures have different boundaries ({', '.join(sorted(boundaries))}): do not compare grams."
        )
    return warnings


# What the runs are called side by side -------------------------------------------------------------------------------


def told_apart(summaries: Sequence[Summary]) -> list[Summary]:
    """The same runs, in order, under names of which each is one run's: where a name repeats, the run id.

    Two machines may have given the same id, as ``make study`` does: such runs are numbered.
    """
    names = Counter(summary.name for summary in summaries)
    runs = Counter(summary.sweep for summary in summaries)
    seen: Counter[str] = Counter()
    found = []
    for summary in summaries:
        seen[summary.sweep] += 1
        run = f"{summary.sweep} ({seen[summary.sweep]})" if runs[summary.sweep] > 1 else summary.sweep
        found.append(replace(summary, sweep=run, name=run if names[summary.name] > 1 else summary.name))
    return found


# The combined report: what the runs answer together, then each run, then what they have in common --------------------


def combined_html(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> str:
    """The page: its first screen holds the answers, notes stand below the runs. The same runs give the same bytes."""
    summaries = told_apart(summaries)
    parts = [_figures(summary, index) for index, summary in enumerate(summaries)]
    return render(
        "compare.html.j2",
        [figure for figures in parts for figure in figures],
        title=headline(summaries),
        answers=study_answers(summaries),
        means_note=MEANS_NOTE,
        comparison=compare(summaries, notes),
        cell_text=cell_text,
        sentence=sentence,
        estimated=any(summary.estimated for summary in summaries),
        runs=[(summary, answers(summary), own) for summary, own in zip(summaries, parts, strict=True)],
    )


def combined_table(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> RenderableType:
    """The same for a terminal: the answers, and what the runs have in common."""
    summaries = told_apart(summaries)
    lines = [line for answer in study_answers(summaries) for line in _answer(answer)]
    note = Text(f"Note: {MEANS_NOTE}", style="dim")
    table = comparison_table(compare(summaries, notes))
    return Group(Text(headline(summaries), style="bold"), Text(), *lines, Text(), table, Text(), note)


def combined_dict(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The same for other programs."""
    summaries = told_apart(summaries)
    comparison = compare(summaries, notes)
    return {
        "headline": headline(summaries),
        "estimated": any(summary.estimated for summary in summaries),
        "questions": [
            {"question": each.question, "lines": [asdict(line) for line in each.lines]}
            for each in study_answers(summaries)
        ],
        "at_target": comparison.at_target,
        "columns": [
            {
                "title": column.title,
                "run_id": column.summary.sweep,
                "shared": place in comparison.shared,
                "differs": column.differs,
            }
            for place, column in enumerate(comparison.columns)
        ],
        "rows": [
            {"config": row.config, "cells": [None if cell is None else cell.to_dict() for cell in row.cells]}
            for row in comparison.rows
        ],
        "warnings": list(comparison.warnings),
        "runs": [summary.to_dict() for summary in summaries],
    }


def combined_markdown(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> str:
    """The whole report as a Markdown document."""
    summaries = told_apart(summaries)
    tables = [
        ("The runs", runs_table(summaries)),
        ("Settings", settings_table(summaries)),
        ("What each parameter does", effects_table(summaries)),
        ("Pretraining", pretraining_table(summaries)),
        ("Multitask", multitask_table(summaries)),
        ("Hardware", "\n\n".join(filter(None, (hardware_table(summaries), whole_host_list(summaries))))),
        ("What it has cost", cost_table(summaries)),
        ("What measured it", meters_table(summaries)),
    ]
    sections = [f"## {title}\n\n{text}" for title, text in tables if text]
    warnings = [escape(each) for each in compare(summaries, notes).warnings]
    top = [f"# {escape(headline(summaries))}", *warnings, answers_list(summaries), MEANS_NOTE]
    return "\n\n".join([*top, *sections]) + "\n"


def headline(summaries: Sequence[Summary]) -> str:
    """The largest difference at equal accuracy that any of the runs has seen, with where a bound's interval begins."""
    found = [(each, most) for each in summaries if (most := extremes(each)) is not None]
    told = [
        (each, most.at_least if most.at_least and stands_out(most.at_least) else most.ratio.energy, most.at_least)
        for each, most in found
        if stands_out(most.at_least) or not most.dearest.tied_with_cheapest
    ]
    if not told:
        return sentence(summaries[0]) if len(summaries) == 1 else f"{len(summaries)} runs side by side"
    summary, largest, bound = max(told, key=lambda each: each[1].value)
    times = f"up to {bare_ratio(largest, summary)}"
    remarks = [summary.name, *(["estimated"] if summary.estimated else [])]
    if largest is bound:
        times = or_more_text(largest, estimated=summary.estimated)
        remarks.append(surely_text(largest, summary))
    return f"At equal accuracy the dearest setting takes {times} the energy of the cheapest ({', '.join(remarks)})"


def _answer(answer: Answer) -> list[Text]:
    heads = (f"{line.run}: " if line.run else "" for line in answer.lines)
    lines = [Text(f"  {head}{line.short}: {line.brief}") for head, line in zip(heads, answer.lines, strict=True)]
    return [Text(answer.question, style="bold"), *lines]


def _figures(summary: Summary, index: int) -> list[Figure]:
    return [replace(figure, key=f"run-{index}-{figure.key}") for figure in figures_of_a_part(summary)]
