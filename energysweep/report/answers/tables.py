"""The combined report's tables, in Markdown: each a function from runs to a table, empty if it has no row.

An estimated energy carries its sign in every cell. What a user has named is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energysweep.analysis import (
    Effect,
    Estimate,
    Ratio,
    acts_by,
    multitask,
    pretraining,
    side_by_side,
    study_energy,
    to_target,
)
from energysweep.core.naming import settings_text, value_text
from energysweep.core.text import (
    NOT_AVAILABLE,
    emissions_text,
    energy_text,
    escape,
    number_text,
    percent_text,
    power_text,
    ratio_text,
    table,
    uncertainty_text,
)
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.report.answers import purposes, sentence, study_answers
from energysweep.report.answers.regimes import reuses_text, use_text
from energysweep.report.not_measured import charged_text


def answers_list(summaries: Sequence[Summary]) -> str:
    """The answers of the first screen, as lists under their questions."""
    blocks = []
    for answer in study_answers(summaries):
        items = [
            f"- **{escape(line.short)}**{f' ({escape(line.run)})' if line.run else ''}: {escape(line.brief)}"
            for line in answer.lines
        ]
        blocks.append("\n".join([f"**{answer.question}**", "", *items]))
    return "\n\n".join(blocks)


def runs_table(summaries: Sequence[Summary]) -> str:
    """What ran, on what, and what it says."""
    head = ("run", "workload", "trials", "reached the target", "all energy", "CO2e", "in a sentence")
    return table(
        head,
        (
            [
                run.name,
                run.workload or NOT_AVAILABLE,
                str(len(run.trials)),
                _reached(run),
                energy_text(run.totals.energy_joules, estimated=run.estimated, brief=True),
                emissions_text(run.totals.emissions_grams, estimated=run.estimated, brief=True),
                sentence(run),
            ]
            for run in summaries
        ),
    )


def settings_table(summaries: Sequence[Summary]) -> str:
    """Energy to target of every setting, and its two factors; censored trials counted, with the bound they give."""
    head = ("run", "setting", "reached", "energy to target", "epochs", "joules per epoch")
    return table(
        head,
        (
            [run.name, each.title, each.arrival_text, *_three(each, run)]
            for run in summaries
            if run.has_target
            for each in run.configurations
        ),
    )


def _three(each: ConfigurationSummary, run: Summary) -> list[str]:
    found = to_target(each.trials)
    joules = _interval(found.energy_joules, run.estimated)
    if found.censored:
        bound = f"at least {energy_text(found.at_least_joules, estimated=run.estimated, brief=True)}"
        joules = bound if found.energy_joules is None else f"{joules} where reached; {bound} on average"
    return [joules, _interval(found.epochs, False, unit=""), _interval(found.joules_per_epoch, run.estimated)]


def effects_table(summaries: Sequence[Summary]) -> str:
    """The range of each parameter's effect on energy, epochs and joules per epoch."""
    head = ("run", "parameter", "energy to target", "epochs", "joules per epoch", "acts on", "cells", "left out")
    rows = []
    for run in summaries:
        whole = run.effects.get("energy")
        for each in whole.main if whole else ():
            parts = [found.of(each.parameter) for found in run.effects.values()]
            acts = acts_by(run.effects, each.parameter)
            rows.append(
                [
                    run.name,
                    each.parameter,
                    *(_range(part, run.estimated and part is not parts[1]) for part in parts),
                    (acts or NOT_AVAILABLE).replace("_", " "),
                    str(whole.cells if whole else 0),
                    f"{len(whole.censored) if whole else 0} censored",
                ]
            )
    return table(head, rows)


def pretraining_table(summaries: Sequence[Summary]) -> str:
    """Every use of a pretraining."""
    head = (
        "run", "use", "hardware", "pretraining", "from scratch", "with it", "break-even, reuses (95 %)", "verdict",
        "final score from scratch", "with it", "repeats", "censored",
    )  # fmt: skip
    return table(
        head,
        (
            [
                run.name,
                f"{use_text(each)} {_own_settings(each.settings, run)}".strip(),
                each.hardware or NOT_AVAILABLE,
                *(
                    f"{energy_text(joules, estimated=run.estimated, brief=True)} in {count}"
                    for joules, count in zip(each.sums_joules, each.trained, strict=True)
                ),
                reuses_text(each),
                each.verdict,
                number_text(each.scratch_objective),
                number_text(each.finetuned_objective),
                str(each.repeats),
                str(each.censored),
            ]
            for run in summaries
            for each in pretraining(run.trials)
        ),
    )


def multitask_table(summaries: Sequence[Summary]) -> str:
    """Every shared model against separate ones."""
    head = (
        "run", "tasks", "hardware", "separate models", "one model", "energy (95 %)", "epochs", "joules per epoch",
        "score of the worst task, separate", "one model", "censored",
    )  # fmt: skip
    return table(
        head,
        (
            [
                run.name,
                " + ".join(each.tasks),
                each.hardware or NOT_AVAILABLE,
                energy_text(each.separate_joules, estimated=run.estimated, brief=True),
                energy_text(each.shared_joules, estimated=run.estimated, brief=True),
                *_ratio(each.ratio, run.estimated),
                number_text(each.separate_objective),
                number_text(each.shared_objective),
                str(each.censored),
            ]
            for run in summaries
            for each in multitask(run.trials)
        ),
    )


def hardware_table(summaries: Sequence[Summary]) -> str:
    """Every two hardware profiles, and each of their common settings."""
    head = ("run", "first over second", "setting", "energy (95 %)", "epochs", "joules per epoch")
    rows = []
    for run in summaries:
        for pair in side_by_side(run.trials):
            names = f"{pair.first} over {pair.second}"
            rows.append([run.name, names, f"all {len(pair.configurations)}", *_ratio(pair.ratio, run.estimated)])
            for parameters, ratio in pair.configurations:
                own = _own_settings(parameters, run) or "default"
                rows.append([run.name, names, own, *_ratio(ratio, run.estimated)])
    return table(head, rows)


def cost_table(summaries: Sequence[Summary]) -> str:
    """The energy of all runs together, by purpose."""
    cost = study_energy([run.totals for run in summaries])
    estimated = any(run.estimated for run in summaries)
    rows = [
        [name, energy_text(joules, estimated=estimated, brief=True), percent_text(joules / cost.energy_joules)]
        for name, joules in purposes(cost)
        if joules is not None and cost.energy_joules
    ]
    rows.append(["all", energy_text(cost.energy_joules, estimated=estimated, brief=True), ""])
    grams = emissions_text(cost.emissions_grams, estimated=estimated, brief=True)
    rows.append([f"CO2e of {charged_text(summaries)}", grams, ""])
    return table(("purpose", "energy", "part"), rows)


def meters_table(summaries: Sequence[Summary]) -> str:
    """The boundary: which devices counted, by which meters, from which idle floor on, and the grid."""
    head = ("run", "component", "source", "uncertainty", "coverage", "idle power", "from", "PUE", "g CO2e/kWh")
    return table(
        head,
        (
            [
                run.name,
                meter.component,
                meter.source,
                uncertainty_text(meter.uncertainty.relative),
                percent_text(meter.coverage),
                power_text(meter.idle_floor_watts, estimated=meter.estimated, brief=True),
                meter.idle_floor_from,
                NOT_AVAILABLE if run.carbon is None else f"{run.carbon.pue:g}",
                NOT_AVAILABLE
                if run.carbon is None
                else f"{number_text(run.carbon.grams_per_kwh)} ({run.carbon.where})",
            ]
            for run in summaries
            for meter in run.meters
        ),
    )


def _interval(value: Estimate | None, estimated: bool, unit: str = " J") -> str:
    if value is None:
        return NOT_AVAILABLE
    text = f"{'≈ ' if estimated else ''}{number_text(value.value)}{unit}"
    if value.low is None or value.high is None:
        return text
    return f"{text} ({number_text(value.low)} to {number_text(value.high)})"


def _range(effect: Effect | None, estimated: bool) -> str:
    if effect is None:
        return NOT_AVAILABLE
    between = f"{value_text(effect.worst)} over {value_text(effect.best)}"
    return f"{ratio_text(effect.range, estimated=estimated)}, {between}"


def _ratio(ratio: Ratio | None, estimated: bool) -> list[str]:
    if ratio is None:
        return [NOT_AVAILABLE] * 3
    return [
        ratio_text(ratio.energy, estimated=estimated) + (", a tie" if ratio.tied else ""),
        ratio_text(ratio.epochs),
        ratio_text(ratio.joules_per_epoch, estimated=estimated),
    ]


def _own_settings(settings: Mapping[str, Any], run: Summary) -> str:
    return settings_text(settings, run.varying)


def _reached(run: Summary) -> str:
    known = [trial.reached_target for trial in run.trials if not trial.stage and trial.reached_target is not None]
    return f"{sum(known)} of {len(known)}" if known else NOT_AVAILABLE
