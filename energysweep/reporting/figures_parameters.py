"""Charts of the trials by each parameter: how many iterations they needed, and what an iteration cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from energysweep.analysis.trials import value_order
from energysweep.reporting.charts import (
    INK,
    MOST_CLASSES,
    PALE_GREY,
    EnergyUnit,
    Figure,
    empty_plot,
    escaped,
    in_order,
    lines,
    log_range,
    log_ticks,
)
from energysweep.reporting.model import Summary
from energysweep.reporting.text import value_text
from energysweep.reporting.trials import TrialSummary

MOST_PARAMETERS: Final = 4

_Point = tuple[TrialSummary, float, int]  # a trial, joules per iteration, iterations


def parameters_at_work(summary: Summary) -> list[Figure]:
    """For each varying parameter: what an iteration costs against how many are needed; their product is the energy.

    With a target both are those of the way there, also of a trial that goes on after it.
    """
    factors = _factors_to_target if summary.has_target else _factors_of_all
    points = [(trial, *both) for trial in summary.trials if not trial.stage and (both := factors(trial)) is not None]
    if not points:
        return []
    goal = "to the target" if summary.has_target else "run"
    energy = "energy to the target" if summary.has_target else "energy"
    return [
        Figure(
            f"parameter-{index}",
            f"How {name} acts",
            f"A dot is a trial: to the left its iterations are cheap, further down it needs few of them ({goal}). "
            f"Both together are its {energy}; thin lines join equal energy.",
            _parameter_at_work(summary, name, points, f"Iterations {goal}"),
        )
        for index, name in enumerate(summary.varying[:MOST_PARAMETERS])
    ]


def _parameter_at_work(summary: Summary, name: str, points: Sequence[_Point], y_title: str) -> go.Figure:
    unit = EnergyUnit.for_values([joules for _, joules, _ in points], estimated=summary.estimated)
    plot = empty_plot(height=360)
    x_range = log_range([joules for _, joules, _ in points])
    y_range = log_range([count for _, _, count in points])
    for energy in _equal_energies(x_range, y_range):
        plot.add_scatter(
            x=[unit.scaled(joules) for joules in x_range],
            y=[energy / joules for joules in x_range],
            mode="lines",
            line={"color": PALE_GREY, "width": 0.8},
            hoverinfo="skip",
            showlegend=False,
        )
    for (value, members), color in in_order(_by_value(points, name)):
        plot.add_scatter(
            name=f"{escaped(name)} {escaped(value)}",
            mode="markers",
            x=[unit.scaled(joules) for _, joules, _ in members],
            y=[count for _, _, count in members],
            marker={"color": color, "size": 10, "line": {"color": INK, "width": 0.5}},
            text=[lines(trial.config) for trial, _, _ in members],
            hovertemplate="<b>%{text}</b><br>%{y} iterations at %{x:.3s} " + unit.name + "<extra></extra>",
        )
    x_ends = (x_range[0] / unit.joules, x_range[1] / unit.joules)
    plot.update_xaxes(title=unit.title("Energy of an iteration"), type="log", tickvals=log_ticks(x_ends))
    plot.update_yaxes(title=y_title, type="log", tickvals=log_ticks(y_range))
    plot.update_xaxes(range=[math.log10(end) for end in x_ends])
    plot.update_yaxes(range=[math.log10(count) for count in y_range])
    return plot


def _by_value(points: Sequence[_Point], name: str) -> list[tuple[str, list[_Point]]]:
    """The points by value of a parameter; more values than colours are cut into that many classes of neighbours."""
    ordered = sorted(points, key=lambda point: value_order(point[0].parameters.get(name)))
    groups: dict[str, list[_Point]] = {}
    for point in ordered:
        groups.setdefault(value_text(point[0].parameters.get(name)), []).append(point)
    if len(groups) <= MOST_CLASSES:
        return list(groups.items())
    values = list(groups)
    size = -(-len(values) // MOST_CLASSES)
    classes = [values[start : start + size] for start in range(0, len(values), size)]
    return [(f"{part[0]} … {part[-1]}", [point for value in part for point in groups[value]]) for part in classes]


def _factors_to_target(trial: TrialSummary) -> tuple[float, int] | None:
    """Joules per iteration and iterations, up to the target; None if it was not reached, or with no energy."""
    joules, count = trial.energy_to_target_joules, trial.iterations_to_target
    return (joules / count, count) if joules and count else None


def _factors_of_all(trial: TrialSummary) -> tuple[float, int] | None:
    """The same over the whole trial; None of one that did not end as planned."""
    joules, count = trial.joules_per_iteration, trial.iterations
    if not trial.ended_as_planned:
        return None
    return (joules, count) if joules and count else None


def _equal_energies(x_range: tuple[float, float], y_range: tuple[float, float]) -> list[float]:
    lowest, highest = x_range[0] * y_range[0], x_range[1] * y_range[1]
    return [lowest * (highest / lowest) ** (index / 6) for index in range(1, 6)]
