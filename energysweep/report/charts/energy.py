"""Charts of all the energy: where it went, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from energysweep.core.buckets import APART, BUCKETS, Bucket
from energysweep.core.naming import trial_text
from energysweep.core.records import SampleRow
from energysweep.core.text import percent_text
from energysweep.ledger.course import PowerSeries, power_over_time
from energysweep.ledger.model import Summary
from energysweep.report.charts.base import (
    GREEN,
    VERMILION,
    WHITE,
    EnergyUnit,
    Figure,
    empty_plot,
    lines,
    with_legend,
)

MOST_TRIALS: Final = 20  # with an area of their own in the chart of power


_TOGETHER: Final = " and ".join(bucket.title for bucket in BUCKETS if bucket.is_work)
_APART: Final = "; ".join(f"{bucket.title} is {bucket.about}" for bucket in APART)


def _named(bucket: Bucket) -> str:
    return f"trials, {bucket.title}" if bucket.of == "lease" else bucket.title


def energy_by_purpose(summary: Summary) -> Figure | None:
    """Every bucket's joules and share; below them, what of the trials' energy was lost or pruned."""
    totals = summary.totals
    if not totals.energy_joules:
        return None
    buckets = [
        *((_named(bucket), totals.buckets[bucket.name], bucket.color) for bucket in BUCKETS),
        ("of trials: lost", totals.lost_joules, VERMILION),
        ("of trials: pruned", totals.pruned_joules, GREEN),
    ]
    shown = [(name, joules, color) for name, joules, color in buckets if joules]
    if not shown:
        return None
    unit = EnergyUnit.for_values([joules for _, joules, _ in shown], estimated=summary.estimated)
    plot = empty_plot(height=90 + 34 * len(shown))
    plot.add_bar(
        orientation="h",
        y=[name for name, _, _ in shown],
        x=unit.all_scaled(joules for _, joules, _ in shown),
        marker={"color": [color for _, _, color in shown]},
        text=[f"{unit.text(joules)} · {percent_text(joules / totals.energy_joules)}" for _, joules, _ in shown],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    largest = max(joules for _, joules, _ in shown)
    plot.update_xaxes(title=unit.title("Energy"), range=[0, 1.9 * largest / unit.joules], nticks=5)
    plot.update_yaxes(autorange="reversed", showgrid=False)
    return Figure(
        "buckets",
        "Where all the energy went",
        "Every joule that the meters saw is in one bar; bars “of trials” are parts of the trials' own."
        f" Trials are compared by {_TOGETHER} alone. Of the others, {_APART}.",
        plot,
    )


_TRIAL_COLORS: Final = ("#0072B2", "#56B4E9", "#009E73", "#4a8fc2", "#8fd0c0", "#2f6f9f")


def power_by_trial(summary: Summary, samples: Sequence[SampleRow]) -> Figure | None:
    """Mean power per interval, stacked: the node's buckets below, the trials above."""
    series = {each.series: each for each in power_over_time(samples)}
    if not series:
        return None
    plot = with_legend(empty_plot(height=360), rows=2)
    for bucket in reversed(BUCKETS):
        each = series.get(f"bucket:{bucket.name}")
        if each is not None:
            _add_area(plot, each.seconds, each.watts, _named(bucket), bucket.color, legend=True)
    named = {trial.trial: trial for trial in summary.trials}
    drawn = [each for key, each in series.items() if key in named]
    largest = sorted(drawn, key=lambda each: -each.energy_joules)[:MOST_TRIALS]
    rest = [each for each in drawn if each not in largest]
    if rest:
        watts = [sum(parts) for parts in zip(*(each.watts for each in rest), strict=True)]
        _add_area(plot, rest[0].seconds, watts, f"{len(rest)} other trials", GREEN, legend=True)
    for index, each in enumerate(sorted(largest, key=_begins)):
        trial = named[each.series]
        name = trial_text(trial.config, trial.seed)
        _add_area(plot, each.seconds, each.watts, name, _TRIAL_COLORS[index % len(_TRIAL_COLORS)], legend=False)
    plot.update_xaxes(title="Time since the sweep began (s)", showgrid=False)
    plot.update_yaxes(title=f"Power (W{', estimated' if summary.estimated else ''})", rangemode="tozero")
    return Figure(
        "power",
        "Power over time",
        "Stacked: at the bottom what belongs to no trial's work, above it each trial in a shade of its own (point at"
        " it for its name).",
        plot,
        wide=True,
    )


def _add_area(
    plot: go.Figure, seconds: Sequence[float], watts: Sequence[float], name: str, color: str, *, legend: bool
) -> None:
    plot.add_scatter(
        name=lines(name),
        x=list(seconds),
        y=list(watts),
        mode="lines",
        stackgroup="power",
        line={"width": 0.5, "color": WHITE, "shape": "hvh"},
        fillcolor=color,
        showlegend=legend,
        hovertemplate="%{fullData.name}<br>%{y:.3s} W at %{x:.0f} s<extra></extra>",
    )


def _begins(series: PowerSeries) -> float:
    return next((when for when, watts in zip(series.seconds, series.watts, strict=True) if watts > 0), math.inf)
