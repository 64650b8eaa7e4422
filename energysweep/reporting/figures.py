"""The report's charts: each a small function from a Summary to a Figure, or to None where it would say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.records import SampleRow
from energysweep.reporting.charts import Figure
from energysweep.reporting.figures_configurations import energy_against_objective, energy_to_target
from energysweep.reporting.figures_energy import energy_by_purpose, power_by_trial
from energysweep.reporting.figures_parameters import energy_heatmap, parameters_at_work
from energysweep.reporting.model import Summary


def figures(summary: Summary, samples: Sequence[SampleRow]) -> list[Figure]:
    """All charts that this sweep gives rise to, in reading order."""
    drawn = [
        energy_against_objective(summary),
        energy_to_target(summary),
        energy_heatmap(summary),
        *parameters_at_work(summary),
        energy_by_purpose(summary),
        power_by_trial(summary, samples),
    ]
    return [figure for figure in drawn if figure is not None]
