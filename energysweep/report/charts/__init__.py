"""The report's charts: each a small function from a Summary to a Figure, or to None where it would say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.core.records import DecisionRow, SampleRow, TrialRow
from energysweep.ledger.model import Summary
from energysweep.report.charts.base import Figure
from energysweep.report.charts.configurations import energy_against_objective, energy_to_target, parameters_at_work
from energysweep.report.charts.decisions import decisions
from energysweep.report.charts.effects import interaction, main_effects
from energysweep.report.charts.energy import energy_by_purpose, power_by_trial
from energysweep.report.charts.grid import heatmaps
from energysweep.report.charts.regimes import break_evens, hardware, shared_models
from energysweep.report.charts.search import history, parallel
from energysweep.report.charts.slices import importances, slices


def figures(
    summary: Summary,
    samples: Sequence[SampleRow],
    decided: Sequence[DecisionRow] = (),
    rows: Sequence[TrialRow] = (),
) -> list[Figure]:
    """All charts that this sweep gives rise to, in reading order."""
    return _drawn(
        energy_against_objective(summary),
        energy_to_target(summary),
        parallel(summary),
        *heatmaps(summary),
        main_effects(summary),
        importances(summary),
        interaction(summary),
        *slices(summary),
        *parameters_at_work(summary),
        history(summary, rows),
        decisions(summary, decided),
        *break_evens(summary),
        shared_models(summary),
        hardware(summary),
        energy_by_purpose(summary),
        power_by_trial(summary, samples),
    )


def figures_of_a_part(summary: Summary) -> list[Figure]:
    """The charts of one run among several: what it compares, without where and when its energy went."""
    return _drawn(
        energy_to_target(summary),
        *heatmaps(summary),
        main_effects(summary),
        interaction(summary),
        *break_evens(summary),
        shared_models(summary),
        hardware(summary),
    )


def _drawn(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]
