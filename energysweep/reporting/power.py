"""Power over time from the running totals of energy: what was drawn when, and by whom."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from energysweep.analysis.trials import grouped
from energysweep.records import SampleRow

MOST_POINTS: Final = 300


@dataclass(frozen=True, slots=True)
class PowerSeries:
    """Mean power per interval.

    Attributes:
        series: a trial's id, or ``bucket:overhead`` and so on.
        seconds: the middles of the intervals, since the sweep began.
        watts: mean power in each.
        energy_joules: their sum in energy.
    """

    series: str
    seconds: tuple[float, ...]
    watts: tuple[float, ...]
    energy_joules: float


def power_over_time(samples: Sequence[SampleRow], most_points: int = MOST_POINTS) -> list[PowerSeries]:
    """The power of every series on one common grid of at most ``most_points`` intervals.

    A series' total is taken as linear between its samples and constant after its last one. All series are sampled
    together, so what one's first sample shows was spent since the sample before it.
    """
    times = sorted({row.elapsed_seconds for row in samples})
    if len(times) < 2:
        return []
    edges = _edges(times, most_points)
    by_series = grouped(sorted(samples, key=lambda row: row.elapsed_seconds), lambda row: row.series)
    return [_power(name, rows, times, edges) for name, rows in sorted(by_series.items())]


def _power(name: str, rows: Sequence[SampleRow], times: Sequence[float], edges: Sequence[float]) -> PowerSeries:
    at = [row.elapsed_seconds for row in rows]
    joules = [row.joules for row in rows]
    before = bisect_left(times, at[0]) - 1
    if before >= 0:
        at, joules = [times[before], *at], [0.0, *joules]
    totals = [interpolated(at, joules, edge) for edge in edges]
    pairs = list(pairwise(edges))
    steps = [later - earlier for earlier, later in pairwise(totals)]
    return PowerSeries(
        series=name,
        seconds=tuple((start + end) / 2 for start, end in pairs),
        watts=tuple(step / (end - start) for step, (start, end) in zip(steps, pairs, strict=True)),
        energy_joules=totals[-1] - totals[0],
    )


def _edges(times: Sequence[float], most_points: int) -> list[float]:
    if len(times) - 1 <= most_points:
        return list(times)
    step = (times[-1] - times[0]) / most_points
    return [times[0] + index * step for index in range(most_points)] + [times[-1]]


def interpolated(at: Sequence[float], values: Sequence[float], when: float) -> float:
    """A value that is linear between its samples and constant before and after them."""
    right = bisect_right(at, when)
    if right == 0:
        return values[0]
    if right == len(at):
        return values[-1]
    left = right - 1
    share = (when - at[left]) / (at[right] - at[left])
    return values[left] + share * (values[right] - values[left])
