"""Charts of each parameter by itself: how much it matters, and the trials over its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from energysweep.analysis.importance import FEW, Importance, importance
from energysweep.analysis.trials import value_order
from energysweep.core.naming import value_text
from energysweep.core.text import number_text
from energysweep.ledger.balance import mean_of
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import compared_mean
from energysweep.ledger.trials import TrialSummary
from energysweep.report.charts.base import (
    BLUE,
    GREY,
    ORANGE,
    EnergyUnit,
    Figure,
    above,
    axis_type,
    empty_plot,
    lines,
    opened,
    with_legend,
)
from energysweep.report.charts.search import as_number

MOST_SLICES: Final = 12
_MOST_TICKS: Final = 8
_CHANCE: Final = 0.05


def importances(summary: Summary) -> Figure | None:
    """How much each parameter has to do with the objective and with the energy; None where nothing can be told."""
    configurations = summary.configurations
    settings = [each.parameters for each in configurations]
    quantities = [
        ("objective", [mean_of(each.objective) for each in configurations] if summary.objective else [], BLUE),
        (
            "energy to target" if summary.has_target else "energy",
            [compared_mean(e, summary.objective) for e in configurations],
            ORANGE,
        ),
    ]
    found = [
        (name, importance(settings, values, summary.varying), color) for name, values, color in quantities if values
    ]
    counts = [each.n for _, members, _ in found for each in members]
    if not counts:
        return None
    largest: dict[str, float] = {}
    for _, members, _ in found:
        for each in members:
            largest[each.parameter] = max(largest.get(each.parameter, 0.0), each.share)
    shown = sorted(largest, key=lambda name: -largest[name])[:MOST_SLICES]
    plot = with_legend(empty_plot(height=90 + 56 * len(shown)))
    for name, members, color in found:
        _add_bars(plot, name, {each.parameter: each for each in members}, shown, color)
    plot.update_layout(barmode="group", bargap=0.25)
    plot.update_xaxes(
        title="Part of the ranks' variance (an estimate)", range=[0, 1.25], tickvals=[0, 0.25, 0.5, 0.75, 1]
    )
    plot.update_yaxes(autorange="reversed", showgrid=False)
    few = " So few show large shares only." if min(counts) < FEW else ""
    return Figure(
        "importance",
        "Importance of parameters",
        f"An estimate from {_between(counts)} configurations, of each parameter by itself: how far the ranks differ"
        f" between its values (Kruskal-Wallis). Pale: chance alone gives as much in 1 of 20 cases.{few}",
        plot,
    )


def _between(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _add_bars(plot: go.Figure, name: str, found: dict[str, Importance], shown: list[str], color: str) -> None:
    members = [found.get(each) for each in shown]
    plot.add_bar(
        name=name,
        orientation="h",
        y=[lines(each) for each in shown],
        x=[each.share if each else None for each in members],
        marker={"color": color, "opacity": [1.0 if each and each.chance <= _CHANCE else 0.35 for each in members]},
        text=[f"≈ {number_text(round(each.share, 2))}" if each else "n/a" for each in members],
        textposition="outside",
        cliponaxis=False,
        hovertext=[
            f"{name}: p {number_text(each.chance)}, {each.n} configurations" if each else "" for each in members
        ],
        hoverinfo="text",
    )


def slices(summary: Summary) -> list[Figure]:
    """For each varying parameter its trials' objective and energy, over its values."""
    trials = [trial for trial in summary.trials if not trial.stage and trial.energy_joules is not None]
    if len(trials) < 2:
        return []
    drawn = [_slice(summary, name, place, trials) for place, name in enumerate(summary.varying[:MOST_SLICES])]
    return [each for each in drawn if each is not None]


def _slice(summary: Summary, name: str, place: int, everything: list[TrialSummary]) -> Figure | None:
    trials = [trial for trial in everything if name in trial.parameters]
    if not trials:
        return None
    values = [trial.parameters[name] for trial in trials]
    joules = [trial.energy_to_target_joules if summary.has_target else trial.energy_joules for trial in trials]
    known = [each for each in joules if each is not None]
    unit = EnergyUnit.for_values(known, estimated=summary.estimated)
    goal = "energy to target" if summary.has_target else "energy of a trial"
    rows = [(unit.title(goal), unit.all_scaled(joules), axis_type(known))]
    if summary.objective is not None:
        rows.insert(0, (summary.objective.metric, [trial.objective for trial in trials], "linear"))
    plot = empty_plot(height=90 + 160 * len(rows))
    above(plot, [title for title, _, _ in rows])
    texts = list(dict.fromkeys(value_text(value) for value in sorted(values, key=value_order)))
    numbers = [number for value in values if (number := as_number(value)) is not None]
    numeric = len(numbers) == len(values)
    x = numbers if numeric else [float(texts.index(value_text(value))) for value in values]
    for row, (_, y, scale) in enumerate(rows):
        axis = f"y{row + 1 if row else ''}"
        plot.add_scatter(
            x=x, y=y, yaxis=axis, mode="markers", showlegend=False, **opened(summary, trials),
            marker={
                "color": [GREY if trial.reached_target is False else BLUE for trial in trials],
                "size": 7,
                "opacity": 0.7,
            },
        )  # fmt: skip
        plot.update_layout({axis.replace("y", "yaxis"): {"type": scale}})
    plot.update_xaxes(title=lines(name), type=axis_type(x) if numeric else "linear")
    if len(texts) <= _MOST_TICKS:
        ticks = sorted(set(x)) if numeric else list(range(len(texts)))
        plot.update_xaxes(tickvals=ticks, ticktext=[lines(text) for text in texts] if not numeric else None)
    elif not numeric:
        step = math.ceil(len(texts) / _MOST_TICKS)
        plot.update_xaxes(tickvals=list(range(0, len(texts), step)), ticktext=[lines(text) for text in texts[::step]])
    missed = " Grey: it did not reach the target." if any(trial.reached_target is False for trial in trials) else ""
    return Figure(f"slice-{place}", f"Trials over {name}", f"A point is a trial.{missed}", plot)
