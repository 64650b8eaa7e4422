"""Charts of the parameters: energy over two of them, and what each of them does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from energysweep.analysis.trials import value_order
from energysweep.reporting.charts import (
    GREY,
    GRID,
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
from energysweep.reporting.model import ConfigurationSummary, Summary, TrialSummary
from energysweep.reporting.text import value_text
from energysweep.reporting.values import mean_of

MOST_CELLS: Final = 15  # along one side of a heatmap
MOST_PARAMETERS: Final = 4

_Point = tuple[TrialSummary, float, int]  # a trial, joules per iteration, iterations


def energy_heatmap(summary: Summary) -> Figure | None:
    """Energy over the first two varying parameters; None unless they form a grid that a page can hold."""
    if len(summary.varying) < 2:
        return None
    x_name, y_name = summary.varying[:2]
    x_values, y_values = _values(summary, x_name), _values(summary, y_name)
    cells = _cells(summary, x_name, y_name)
    means = {key: [mean for each in members if (mean := _mean_energy(each, summary))] for key, members in cells.items()}
    known = [min(values) for values in means.values() if values]
    # A random search fills a few cells of a huge grid: a table of holes says nothing.
    if not known or max(len(x_values), len(y_values)) > MOST_CELLS or 2 * len(cells) < len(x_values) * len(y_values):
        return None
    unit = EnergyUnit.for_values(known, estimated=summary.estimated)
    grid = [[min(means.get((x, y), []), default=None) for x in x_values] for y in y_values]
    plot = _heatmap(grid, unit)
    absent = "not<br>reached" if summary.has_target else "n/a"
    for row, y in enumerate(y_values):
        for column, x in enumerate(x_values):
            text = absent if grid[row][column] is None and (x, y) in cells else None
            _add_cell_text(plot, column, row, grid[row][column], text, unit, (min(known) + max(known)) / 2)
    plot.update_xaxes(**_categories(x_name, x_values))
    plot.update_yaxes(**_categories(y_name, y_values))
    reached = " that reached the target" if summary.has_target else ""
    rest = " Where more varied, the cheapest is shown." if any(len(members) > 1 for members in cells.values()) else ""
    return Figure(
        "heatmap",
        f"{'Energy to target' if summary.has_target else 'Energy of a trial'} over {x_name} and {y_name}",
        f"{unit.title('Energy')}; dark costs most. Mean over the repeats{reached}.{rest}",
        plot,
    )


def _cells(summary: Summary, x_name: str, y_name: str) -> dict[tuple[str, str], list[ConfigurationSummary]]:
    cells: dict[tuple[str, str], list[ConfigurationSummary]] = {}
    for each in summary.configurations:
        if x_name in each.parameters and y_name in each.parameters:
            key = (value_text(each.parameters[x_name]), value_text(each.parameters[y_name]))
            cells.setdefault(key, []).append(each)
    return cells


def _mean_energy(configuration: ConfigurationSummary, summary: Summary) -> float | None:
    return mean_of(configuration.energy_to_target_joules if summary.has_target else configuration.energy_joules)


def _heatmap(grid: Sequence[Sequence[float | None]], unit: EnergyUnit) -> go.Figure:
    plot = empty_plot(height=80 + 72 * len(grid))
    plot.update_layout(plot_bgcolor=GRID)
    plot.add_heatmap(
        x=list(range(len(grid[0]))),
        y=list(range(len(grid))),
        z=[unit.all_scaled(row) for row in grid],
        colorscale="Cividis",
        reversescale=True,
        xgap=2,
        ygap=2,
        showscale=False,  # every cell carries its number
        hoverinfo="skip",
    )
    return plot


def _add_cell_text(
    plot: go.Figure, column: int, row: int, joules: float | None, absent: str | None, unit: EnergyUnit, middle: float
) -> None:
    if joules is None and absent is None:
        return  # nobody tried this combination
    text, color = (absent, GREY) if joules is None else (unit.text(joules), "white" if joules > middle else INK)
    plot.add_annotation(x=column, y=row, text=text, showarrow=False, font={"size": 12, "color": color})


def _categories(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {
        "title": lines(name),
        "tickvals": list(range(len(values))),
        "ticktext": [lines(value) for value in values],
        "showgrid": False,
    }


def _values(summary: Summary, name: str) -> list[str]:
    """The texts of all values of a parameter, in order of the values."""
    values = [each.parameters[name] for each in summary.configurations if name in each.parameters]
    return list(dict.fromkeys(value_text(value) for value in sorted(values, key=value_order)))


def parameters_at_work(summary: Summary) -> list[Figure]:
    """For each varying parameter: what an iteration costs against how many are needed; their product is the energy."""
    iterations = _iterations_to_target if summary.has_target else _iterations
    points = [
        (trial, trial.joules_per_iteration, count)
        for trial in summary.trials
        if not trial.stage and trial.ended_as_planned and trial.joules_per_iteration and (count := iterations(trial))
    ]
    if not points:
        return []
    goal = "to the target" if summary.has_target else "run"
    return [
        Figure(
            f"parameter-{index}",
            f"How {name} acts",
            f"A dot is a trial: to the left its iterations are cheap, further down it needs few of them ({goal}). "
            "Both together are its energy; thin lines join equal energy.",
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


def _iterations_to_target(trial: TrialSummary) -> int | None:
    return trial.iterations_to_target


def _iterations(trial: TrialSummary) -> int | None:
    return trial.iterations


def _equal_energies(x_range: tuple[float, float], y_range: tuple[float, float]) -> list[float]:
    lowest, highest = x_range[0] * y_range[0], x_range[1] * y_range[1]
    return [lowest * (highest / lowest) ** (index / 6) for index in range(1, 6)]
