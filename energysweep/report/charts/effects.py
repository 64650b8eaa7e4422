"""Charts of what the parameters do: the range of each one's effect, and whether two of them act independently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from energysweep.analysis import Effect, Effects, Estimate, Quantity, to_target
from energysweep.analysis.trials import value_order
from energysweep.core.naming import exact_text, value_text
from energysweep.core.text import TIMES, count_text, number_text
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.report.answers.settings import interaction_text
from energysweep.report.charts.base import (
    BLUE,
    GREY,
    ORANGE,
    EnergyUnit,
    Figure,
    empty_plot,
    ends_of,
    escaped,
    in_order,
    lines,
    log_range,
    log_ticks,
    with_legend,
)

_COLORS: Final[dict[Quantity, str]] = {"energy": GREY, "epochs": BLUE, "joules_per_epoch": ORANGE}
_NAMES: Final[dict[Quantity, str]] = {
    "energy": "energy to target",
    "epochs": "iterations",
    "joules_per_epoch": "energy of an iteration",
}
_MOST_LEVELS: Final = 8  # lines of the chart of two parameters


def main_effects(summary: Summary) -> Figure | None:
    """How much each parameter changes the energy to the target, and through which of its factors."""
    fitted = summary.effects
    if not fitted:
        return None
    names = [each.parameter for each in fitted["energy"].main]
    plot = with_legend(empty_plot(height=90 + 96 * len(names)))
    for quantity, each in fitted.items():
        _add_bars(plot, quantity, [each.of(name) for name in names], names, estimated=summary.estimated)
    plot.update_layout(barmode="group", bargap=0.25)
    estimated = " (of estimates)" if summary.estimated else ""
    plot.update_xaxes(title=f"Highest over lowest{estimated}", type="log")
    tops = [ends_of(found.range)[1] for each in fitted.values() for found in each.main]
    ends = (1.0, 2.4 * max(tops))  # with room for the numbers behind the bars
    plot.update_xaxes(range=[math.log10(end) for end in ends], tickvals=log_ticks(ends))
    plot.update_yaxes(autorange="reversed", showgrid=False)
    return Figure(
        "effects",
        "How much each parameter matters",
        "The factor between a parameter's highest and lowest level, averaged over the others; lines are 95 % intervals"
        f" from the repeats.{_left_out(fitted['energy'])}",
        plot,
    )


def _add_bars(
    plot: go.Figure, quantity: Quantity, found: Sequence[Effect | None], names: Sequence[str], *, estimated: bool
) -> None:
    ranges = [each.range if each else Estimate(1.0, None, None, 0) for each in found]
    about = "≈ " if estimated and quantity != "epochs" else ""
    plot.add_bar(
        name=_NAMES[quantity],
        orientation="h",
        y=[lines(name) for name in names],
        # A bar of a logarithmic axis begins where the axis does.
        x=[each.value for each in ranges],
        error_x={
            "type": "data",
            "array": [ends_of(each)[1] - each.value for each in ranges],
            "arrayminus": [each.value - max(1.0, ends_of(each)[0]) for each in ranges],
            "visible": any(each.has_interval for each in ranges),
            "thickness": 1,
            "width": 3,
        },
        marker={"color": _COLORS[quantity]},
        hovertext=[f"{_NAMES[quantity]} {about}{TIMES}{number_text(each.value)}" for each in ranges],
        hoverinfo="text",
    )
    for name, each in zip(names, ranges, strict=True):
        shift = {"energy": 1, "epochs": 0, "joules_per_epoch": -1}[quantity]
        plot.add_annotation(
            x=math.log10(ends_of(each)[1]),
            y=lines(name),
            yshift=23 * shift,
            xshift=5,
            xanchor="left",
            text=f"{about}{TIMES}{number_text(each.value)}",
            showarrow=False,
            font={"size": 11},
        )


def interaction(summary: Summary) -> Figure | None:
    """Energy to the target over one parameter, parallel lines if two act independently."""
    if not summary.comparable or len(summary.varying) != 2 or len({e.hardware for e in summary.configurations}) > 1:
        return None
    fitted = summary.effects.get("energy")
    told = interaction_text(fitted) if fitted else None
    if told is None:
        return None
    x_name, line_name = summary.varying
    levels = _levels(summary.configurations, x_name)
    others = _levels(summary.configurations, line_name)
    if len(others) > _MOST_LEVELS:
        return None
    means = {
        (exact_text(each.parameters.get(x_name)), exact_text(each.parameters.get(line_name))): found.energy_joules.value
        for each in summary.configurations
        if (found := to_target(each.trials)).complete and found.energy_joules
    }
    unit = EnergyUnit.for_values(means.values(), estimated=summary.estimated)
    plot = with_legend(empty_plot(height=330), rows=2)
    for (text, key), color in in_order(others):
        plot.add_scatter(
            name=f"{escaped(line_name)} {escaped(text)}",
            mode="lines+markers",
            x=list(range(len(levels))),
            y=[unit.scaled(means.get((level, key))) for _, level in levels],
            line={"color": color},
            marker={"size": 8, "line": {"color": GREY, "width": 0.5}},
            hovertemplate="%{y:.3s} " + unit.name + "<extra>%{fullData.name}</extra>",
        )
    plot.update_xaxes(
        title=lines(x_name), tickvals=list(range(len(levels))), ticktext=[lines(text) for text, _ in levels]
    )
    ends = log_range([each / unit.joules for each in means.values()])
    plot.update_yaxes(
        title=unit.title("Energy to target"),
        type="log",
        range=[math.log10(end) for end in ends],
        tickvals=log_ticks(ends),
    )
    return Figure(
        "interaction",
        f"Whether {x_name} and {line_name} act independently",
        f"Parallel lines would mean: each has its own factor. {told}",
        plot,
    )


def _left_out(fitted: Effects) -> str:
    left_out = count_text(len(fitted.censored), "setting")
    return f" Without {left_out} that did not always reach the target." if fitted.censored else ""


def _levels(configurations: Sequence[ConfigurationSummary], name: str) -> list[tuple[str, str]]:
    """The values of a parameter in order: as text, and as a key."""
    values = sorted((each.parameters.get(name) for each in configurations), key=value_order)
    return list(dict.fromkeys((value_text(value), exact_text(value)) for value in values))
