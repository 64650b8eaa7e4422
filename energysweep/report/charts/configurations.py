"""Charts of the configurations, and of the trials by each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import plotly.graph_objects as go

from energysweep.analysis.trials import value_order
from energysweep.core.naming import value_text
from energysweep.core.text import energy_text, number_text
from energysweep.ledger.balance import Spread, joules_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import compared_joules
from energysweep.ledger.trials import TrialSummary
from energysweep.report.charts.base import (
    BLUE,
    GREY,
    INK,
    MOST_CLASSES,
    PALE_GREY,
    SKY,
    VERMILION,
    WHITE,
    EnergyUnit,
    Figure,
    axis_type,
    empty_plot,
    error_bar,
    escaped,
    in_order,
    lines,
    log_range,
    log_ticks,
    opens,
)

MOST_BARS: Final = 20
MOST_BARS_IN_A_HALF: Final = 12  # with more, the chart takes a whole row of the page

_FRONT: Final = "Blue: no other configuration does as well for less energy."
_NO_FRONT: Final = "The configurations do not do the same work, so that none is better than another by this."


class _Bar(NamedTuple):
    """The mean of energies, where a bar ends, and their standard deviation."""

    joules: float
    std: float | None


_Point = tuple[ConfigurationSummary, _Bar, Spread]  # its energy, its objective


def energy_against_objective(summary: Summary) -> Figure | None:
    """Every configuration's energy and objective; the Pareto front joined."""
    objective = summary.objective
    shown = [(each, *means) for each in summary.configurations if (means := _means(each)) is not None]
    if objective is None or not shown:
        return None
    unit = EnergyUnit.for_values([energy.joules for _, energy, _ in shown], estimated=summary.estimated)
    front = sorted((point for point in shown if point[0].pareto), key=lambda point: point[1].joules)
    rest = [point for point in shown if not point[0].pareto]
    plot = empty_plot(height=380)
    plot.add_scatter(
        x=[unit.scaled(energy.joules) for _, energy, _ in front],
        y=[value.mean for _, _, value in front],
        mode="lines",
        line={"color": BLUE, "width": 2, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    ranked = all(each.pareto is not None for each in summary.configurations)
    others = "other" if ranked else "configuration"
    for name, points, color, size in (("on the Pareto front", front, BLUE, 11), (others, rest, GREY, 8)):
        if points:
            _add_points(plot, summary, points, unit, name=name, color=color, size=size)
    if objective.target is not None:
        plot.add_hline(y=objective.target, line={"color": VERMILION, "width": 1, "dash": "dash"})
    plot.update_xaxes(title=unit.title("Energy of a trial"), type=axis_type([energy.joules for _, energy, _ in shown]))
    plot.update_yaxes(title=lines(objective.metric))
    line = f" The dashed line is the target, {objective.target:g}." if objective.target is not None else ""
    return Figure(
        "pareto",
        f"Energy against {objective.metric}",
        f"{_FRONT if ranked else _NO_FRONT} Bars are one standard deviation over repeats.{line}",
        plot,
    )


def _add_points(
    plot: go.Figure, summary: Summary, points: Sequence[_Point], unit: EnergyUnit, *, name: str, color: str, size: int
) -> None:
    plot.add_scatter(
        name=name,
        mode="markers",
        x=[unit.scaled(energy.joules) for _, energy, _ in points],
        y=[value.mean for _, _, value in points],
        error_x=error_bar(unit.all_scaled(energy.std for _, energy, _ in points), color),
        error_y=error_bar([value.std for _, _, value in points], color),
        marker={"color": color, "size": size, "line": {"color": WHITE, "width": 1}},
        text=[_hover(each) for each, _, _ in points],
        customdata=opens(summary, [each.trials[0] for each, _, _ in points]),
        hovertemplate="%{text}<extra></extra>",
    )


def _means(configuration: ConfigurationSummary) -> tuple[_Bar, Spread] | None:
    energy, objective = _bar_of(configuration.energy_joules), configuration.objective
    return None if energy is None or objective is None else (energy, objective)


def _hover(configuration: ConfigurationSummary) -> str:
    objective = configuration.objective
    rows = [
        f"<b>{lines(configuration.title)}</b>",
        "energy " + energy_text(joules_of(configuration.energy_joules), estimated=configuration.estimated),
        f"objective {number_text(objective.mean if objective else None)}",
    ]
    return "<br>".join(rows)


def energy_to_target(summary: Summary) -> Figure | None:
    """A bar per configuration, cheapest first; those that did not arrive say so. Without a target, whole energy."""
    bars = [(each, _bar(each, summary)) for each in summary.configurations]
    bars.sort(key=lambda bar: (_end(bar[1]), bar[0].title))
    shown = bars[:MOST_BARS]
    if not any(spread for _, spread in shown):
        return None
    quantity = "Energy to target" if summary.has_target else "Energy of a trial"
    plot = _bars(summary, shown, quantity)
    wide = len(shown) > MOST_BARS_IN_A_HALF
    more = f" Of {len(bars)}, the {MOST_BARS} with the least energy are shown." if len(bars) > MOST_BARS else ""
    if summary.objective is None or summary.objective.target is None:
        return Figure(
            "energy-bars",
            "Energy per configuration",
            "Geometric mean of a configuration's trials; lines are one standard deviation." + more,
            plot,
            wide,
        )
    return Figure(
        "energy-bars",
        f"Energy to reach {summary.objective.metric} {summary.objective.target:g}",
        "Least energy first, over the trials that arrived (pale: not all of them did). Bars end at the geometric mean;"
        " lines are one standard deviation." + more,
        plot,
        wide,
    )


def _bar(configuration: ConfigurationSummary, summary: Summary) -> _Bar | None:
    return _bar_of(compared_joules(configuration, summary.objective))


def _bar_of(spread: Spread | None) -> _Bar | None:
    joules = joules_of(spread)
    return None if spread is None or joules is None else _Bar(joules, spread.std)


def _bars(summary: Summary, bars: Sequence[tuple[ConfigurationSummary, _Bar | None]], quantity: str) -> go.Figure:
    unit = EnergyUnit.for_values([bar.joules for _, bar in bars if bar], estimated=summary.estimated)
    positions = list(range(len(bars)))
    ends_joules = [bar.joules + (bar.std or 0.0) if bar else 0.0 for _, bar in bars]
    labels = [lines(each.title) for each, _ in bars]
    pitch = 14 + 14 * max(label.count("<br>") + 1 for label in labels)
    plot = empty_plot(height=100 + pitch * len(bars))
    plot.add_bar(
        orientation="h",
        y=positions,
        width=min(0.8, 26 / pitch),
        x=unit.all_scaled(bar.joules if bar else None for _, bar in bars),
        error_x=error_bar(unit.all_scaled(bar.std if bar else None for _, bar in bars), INK),
        marker={"color": [BLUE if _always(each) else SKY for each, _ in bars]},
        hovertext=[_hover(each) for each, _ in bars],
        customdata=opens(summary, [each.trials[0] for each, _ in bars]),
        hoverinfo="text",
    )
    for position, (each, bar), end_joules in zip(positions, bars, ends_joules, strict=True):
        text = _bar_text(each, bar, unit)
        plot.add_annotation(x=unit.scaled(end_joules), y=position, text=text, showarrow=False, xanchor="left", xshift=5)
    # Room for the text behind the longest bar.
    plot.update_xaxes(title=unit.title(quantity), range=[0, 1.35 * max(ends_joules) / unit.joules or 1.0])
    plot.update_yaxes(tickvals=positions, ticktext=labels, autorange="reversed")
    plot.update_yaxes(showgrid=False)
    return plot


def _bar_text(configuration: ConfigurationSummary, bar: _Bar | None, unit: EnergyUnit) -> str:
    if bar is None:
        if configuration.reached_target is not None and configuration.to_target_text:
            return configuration.to_target_text
        return "not measured" if configuration.ended else configuration.arrival_text
    value = unit.text(bar.joules)
    all_told = len(configuration.ended) == len(configuration.trials)
    return value if _always(configuration) and all_told else f"{value}, {configuration.arrival_text}"


def _always(configuration: ConfigurationSummary) -> bool:
    return configuration.reached_target is None or configuration.arrives


def _end(bar: _Bar | None) -> float:
    return math.inf if bar is None else bar.joules


# By each parameter: how many iterations the trials needed, and what an iteration cost --------------------------------

MOST_PARAMETERS: Final = 4

_AtWork = tuple[TrialSummary, float, int]  # a trial, joules per iteration, iterations


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


def _parameter_at_work(summary: Summary, name: str, points: Sequence[_AtWork], y_title: str) -> go.Figure:
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
            customdata=opens(summary, [trial for trial, _, _ in members]),
            hovertemplate="<b>%{text}</b><br>%{y} iterations at %{x:.3s} " + unit.name + "<extra></extra>",
        )
    x_ends = (x_range[0] / unit.joules, x_range[1] / unit.joules)
    plot.update_xaxes(title=unit.title("Energy of an iteration"), type="log", tickvals=log_ticks(x_ends))
    plot.update_yaxes(title=y_title, type="log", tickvals=log_ticks(y_range))
    plot.update_xaxes(range=[math.log10(end) for end in x_ends])
    plot.update_yaxes(range=[math.log10(count) for count in y_range])
    return plot


def _by_value(points: Sequence[_AtWork], name: str) -> list[tuple[str, list[_AtWork]]]:
    """The points by value of a parameter; more values than colours are cut into that many classes of neighbours."""
    ordered = sorted(points, key=lambda point: value_order(point[0].parameters.get(name)))
    groups: dict[str, list[_AtWork]] = {}
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
