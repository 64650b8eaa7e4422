"""Heatmaps over two parameters: energy to target, and the two numbers that it is the product of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import plotly.graph_objects as go

from energysweep.analysis import Estimate, to_target
from energysweep.analysis.trials import value_order
from energysweep.core.naming import value_text
from energysweep.core.text import number_text
from energysweep.ledger.balance import joules_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.report.charts.base import GREY, GRID, EnergyUnit, Figure, empty_plot, lines

MOST_CELLS: Final = 15  # along one side of a heatmap

_WHOLE: Final = "whole trial"
_ON_DARK, _ON_BRIGHT = "#fff", "#111"  # text in a cell, whose colour no scheme changes
_Cells = dict[tuple[str, str], ConfigurationSummary]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Two parameters, their values in order, and the configuration that each cell shows.

    Attributes:
        several: whether a cell stands for more than one configuration, of which it shows the cheapest.
    """

    x_name: str
    y_name: str
    x_values: list[str]
    y_values: list[str]
    cells: _Cells
    several: bool


def heatmaps(summary: Summary) -> list[Figure]:
    """Energy, iterations and joules per iteration over the first two varying parameters.

    They are geometric means of the same configurations, so that the second times the third is the first.
    None unless they form a grid that a page can hold: a random search fills a few cells of a huge grid, and a table of
    holes says nothing. Without a target only the energy of a trial.
    """
    grid = _grid(summary)
    if grid is None:
        return []
    if not summary.has_target:
        return _known([_energy(summary, grid, "Energy of a trial", lambda each: joules_of(each.energy_joules))])
    return _known(
        [
            _energy(summary, grid, "Energy to target", lambda each: _value(to_target(each.trials).energy_joules)),
            _iterations(grid),
            _joules_per_iteration(summary, grid),
        ]
    )


def _known(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _grid(summary: Summary) -> _Grid | None:
    if len(summary.varying) < 2:
        return None
    x_name, y_name = summary.varying[:2]
    x_values, y_values = _values(summary, x_name), _values(summary, y_name)
    cells: dict[tuple[str, str], list[ConfigurationSummary]] = {}
    for each in summary.configurations:
        if x_name in each.parameters and y_name in each.parameters:
            key = (value_text(each.parameters[x_name]), value_text(each.parameters[y_name]))
            cells.setdefault(key, []).append(each)
    if max(len(x_values), len(y_values)) > MOST_CELLS or 2 * len(cells) < len(x_values) * len(y_values):
        return None
    shown = {key: min(members, key=partial(_rank, summary)) for key, members in cells.items()}
    return _Grid(x_name, y_name, x_values, y_values, shown, any(len(members) > 1 for members in cells.values()))


def _rank(summary: Summary, each: ConfigurationSummary) -> tuple[bool, float]:
    """The cheapest is the least of its cell; with a target, before it come none that do not always arrive."""
    if not summary.has_target:
        return False, joules_of(each.energy_joules) or math.inf
    found = to_target(each.trials)
    return not found.complete, _value(found.energy_joules) or math.inf


def _energy(
    summary: Summary, grid: _Grid, quantity: str, joules: Callable[[ConfigurationSummary], float | None]
) -> Figure | None:
    values = _known_values(grid, joules)
    if not values:
        return None
    unit = EnergyUnit.for_values(values.values(), estimated=summary.estimated)
    mean = "Geometric mean over the repeats that reached the target" if summary.has_target else "Mean over the repeats"
    return Figure(
        "heatmap",
        f"{quantity} over {grid.x_name} and {grid.y_name}",
        f"{unit.title('Energy')}; dark costs most. {mean}.{_rest(grid)}",
        _heatmap(grid, values, unit.text),
    )


def _iterations(grid: _Grid) -> Figure | None:
    values = _known_values(grid, lambda each: _value(to_target(each.trials).epochs))
    if not values:
        return None
    return Figure(
        "heatmap-iterations",
        "Iterations to target",
        "The one factor of the energy: how many epochs (reports) the target took, geometric mean; dark took most."
        + _rest(grid),
        _heatmap(grid, values, number_text),
    )


def _joules_per_iteration(summary: Summary, grid: _Grid) -> Figure | None:
    values = _known_values(grid, _iteration_joules)
    if not values:
        return None
    unit = EnergyUnit.for_values(values.values(), estimated=summary.estimated)
    whole = {key for key in values if not to_target(grid.cells[key].trials).complete}
    caption = f"{unit.title('The other factor')}: what one of them cost on the way to the target, geometric mean."
    if whole:
        caption += f" Where not every trial arrived, no factor: “{_WHOLE}” is a trial's energy over all its iterations."
    return Figure(
        "heatmap-joules",
        "Energy of an iteration",
        caption + _rest(grid),
        _heatmap(grid, values, unit.text, dict.fromkeys(whole, _WHOLE)),
    )


def _iteration_joules(configuration: ConfigurationSummary) -> float | None:
    """Up to the target, if all trials reached it; of whole trials otherwise."""
    found = to_target(configuration.trials)
    return _value(found.joules_per_epoch) if found.complete else joules_of(configuration.joules_per_iteration)


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None


def _rest(grid: _Grid) -> str:
    return " Where more varied, the cheapest is shown." if grid.several else ""


def _known_values(grid: _Grid, value: Callable[[ConfigurationSummary], float | None]) -> dict[tuple[str, str], float]:
    return {key: known for key, each in grid.cells.items() if (known := value(each)) is not None}


def _heatmap(
    grid: _Grid,
    values: Mapping[tuple[str, str], float],
    text: Callable[[float], str],
    remarks: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> go.Figure:
    plot = empty_plot(height=80 + 72 * len(grid.y_values))
    plot.update_layout(plot_bgcolor=GRID)
    plot.add_heatmap(
        x=list(range(len(grid.x_values))),
        y=list(range(len(grid.y_values))),
        z=[[values.get((x, y)) for x in grid.x_values] for y in grid.y_values],
        colorscale="Cividis",
        reversescale=True,
        xgap=2,
        ygap=2,
        showscale=False,  # every cell carries its number
        hoverinfo="skip",
    )
    middle = (min(values.values()) + max(values.values())) / 2
    for row, y in enumerate(grid.y_values):
        for column, x in enumerate(grid.x_values):
            if (x, y) not in grid.cells:
                continue  # nobody tried this combination
            value, arrived = values.get((x, y)), _arrived(grid.cells[x, y])
            shown = None if value is None else text(value)
            parts = [part for part in (shown, remarks.get((x, y)), arrived) if part is not None]
            color = GREY if value is None else _ON_DARK if value > middle else _ON_BRIGHT
            plot.add_annotation(
                x=column, y=row, text="<br>".join(parts) or "n/a", showarrow=False, font={"size": 12, "color": color}
            )
    plot.update_xaxes(**_categories(grid.x_name, grid.x_values))
    plot.update_yaxes(**_categories(grid.y_name, grid.y_values))
    return plot


def _arrived(each: ConfigurationSummary) -> str | None:
    """What a cell says of trials that never reached the target; None where all did."""
    if each.reached_target is None or (each.arrives and not each.open and not each.failed):
        return None
    return (
        (each.to_target_text or each.arrival_text)
        .replace(" reached", "<br>reached")
        .replace(" before", "<br>before")
        .replace(", ", "<br>")
    )


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
