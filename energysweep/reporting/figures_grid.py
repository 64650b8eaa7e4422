"""Heatmaps over two parameters: energy to target, and the two numbers that it is the product of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from energysweep.analysis.trials import value_order
from energysweep.reporting.charts import GREY, GRID, INK, EnergyUnit, Figure, empty_plot, lines
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.model import Summary
from energysweep.reporting.text import number_text, value_text
from energysweep.reporting.values import mean_of

MOST_CELLS: Final = 15  # along one side of a heatmap

_Cells = dict[tuple[str, str], list[ConfigurationSummary]]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Two parameters, their values in order, and the configurations of each cell."""

    x_name: str
    y_name: str
    x_values: list[str]
    y_values: list[str]
    cells: _Cells


def heatmaps(summary: Summary) -> list[Figure]:
    """Energy, iterations and joules per iteration over the first two varying parameters.

    None unless they form a grid that a page can hold: a random search fills a few cells of a huge grid, and a table of
    holes says nothing. Without a target only the energy of a trial.
    """
    grid = _grid(summary)
    if grid is None:
        return []
    if not summary.has_target:
        return _known([_energy(summary, grid, "Energy of a trial", lambda each: mean_of(each.energy_joules))])
    return _known(
        [
            _energy(summary, grid, "Energy to target", lambda each: mean_of(each.energy_to_target_joules)),
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
    cells: _Cells = {}
    for each in summary.configurations:
        if x_name in each.parameters and y_name in each.parameters:
            key = (value_text(each.parameters[x_name]), value_text(each.parameters[y_name]))
            cells.setdefault(key, []).append(each)
    if max(len(x_values), len(y_values)) > MOST_CELLS or 2 * len(cells) < len(x_values) * len(y_values):
        return None
    return _Grid(x_name, y_name, x_values, y_values, cells)


def _energy(
    summary: Summary, grid: _Grid, quantity: str, joules: Callable[[ConfigurationSummary], float | None]
) -> Figure | None:
    values = _cheapest(grid, joules)
    if not values:
        return None
    unit = EnergyUnit.for_values(values.values(), estimated=summary.estimated)
    reached = " that reached the target" if summary.has_target else ""
    return Figure(
        "heatmap",
        f"{quantity} over {grid.x_name} and {grid.y_name}",
        f"{unit.title('Energy')}; dark costs most. Mean over the repeats{reached}.{_rest(grid)}",
        _heatmap(grid, values, unit.text),
    )


def _iterations(grid: _Grid) -> Figure | None:
    values = _cheapest(grid, lambda each: mean_of(each.iterations_to_target))
    if not values:
        return None
    return Figure(
        "heatmap-iterations",
        "Iterations to target",
        f"The one factor of the energy: how many epochs (reports) the target took; dark took most.{_rest(grid)}",
        _heatmap(grid, values, number_text),
    )


def _joules_per_iteration(summary: Summary, grid: _Grid) -> Figure | None:
    values = _cheapest(grid, lambda each: mean_of(each.joules_per_iteration))
    if not values:
        return None
    unit = EnergyUnit.for_values(values.values(), estimated=summary.estimated)
    return Figure(
        "heatmap-joules",
        "Energy of an iteration",
        f"{unit.title('The other factor')}: what one of them cost, also where the target was not reached.{_rest(grid)}",
        _heatmap(grid, values, unit.text),
    )


def _rest(grid: _Grid) -> str:
    return " Where more varied, the lowest is shown." if any(len(each) > 1 for each in grid.cells.values()) else ""


def _cheapest(grid: _Grid, value: Callable[[ConfigurationSummary], float | None]) -> dict[tuple[str, str], float]:
    values = {key: [each for member in members if (each := value(member))] for key, members in grid.cells.items()}
    return {key: min(known) for key, known in values.items() if known}


def _heatmap(grid: _Grid, values: dict[tuple[str, str], float], text: Callable[[float], str]) -> go.Figure:
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
            parts = [*([] if value is None else [text(value)]), *([] if arrived is None else [arrived])]
            color = GREY if value is None else "white" if value > middle else INK
            plot.add_annotation(
                x=column, y=row, text="<br>".join(parts) or "n/a", showarrow=False, font={"size": 12, "color": color}
            )
    plot.update_xaxes(**_categories(grid.x_name, grid.x_values))
    plot.update_yaxes(**_categories(grid.y_name, grid.y_values))
    return plot


def _arrived(members: Sequence[ConfigurationSummary]) -> str | None:
    """What a cell says of trials that never reached the target; None where all did."""
    reached, trials = sum(each.reached_target or 0 for each in members), sum(len(each.trials) for each in members)
    if reached == trials or all(each.reached_target is None for each in members):
        return None
    return f"{reached} of {trials}" if reached else "not<br>reached"


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
