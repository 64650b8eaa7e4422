"""When energy was drawn: power over time for a report, and the course of each trial for a finished run's series."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from energysweep.analysis.trials import grouped
from energysweep.core.metrics import Family
from energysweep.core.records import LeaseRow, SampleRow

# Power over time, from the running totals of energy ------------------------------------------------------------------

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
    """The power of every series on one common grid of at most ``most_points`` equal intervals.

    What a series drew on one device is linear between that device's readings and constant after its last one.
    """
    times = sorted({row.elapsed_seconds for row in samples})
    if len(times) < 2:
        return []
    edges = _edges(times, most_points)
    return [_power(name, total, edges) for name, total in sorted(running_totals(samples).items())]


def running_totals(samples: Sequence[SampleRow]) -> dict[str, list[tuple[float, float]]]:
    """By series, over all its devices: when its running total was how many joules; linear in between."""
    times = sorted({row.elapsed_seconds for row in samples})
    parts = grouped(sorted(samples, key=lambda row: row.elapsed_seconds), lambda row: row.series)
    lines = [(name.partition(" ")[0], _line(rows, times, named=" " in name)) for name, rows in parts.items()]
    found = {}
    for series, members in grouped(lines, lambda line: line[0]).items():
        at = sorted({when for _, (all_times, _) in members for when in all_times})
        sums = [_interpolated_all(*line, at) for _, line in members]
        found[series] = [(when, math.fsum(each)) for when, each in zip(at, zip(*sums, strict=True), strict=True)]
    return found


def _line(rows: Sequence[SampleRow], times: Sequence[float], *, named: bool) -> tuple[list[float], list[float]]:
    """A running total as times and joules.

    One of an older energysweep has no device and no row of its beginning: what its first sample shows was spent since
    the sample before it, of whatever series.
    """
    at, joules = [row.elapsed_seconds for row in rows], [row.joules for row in rows]
    before = -1 if named else bisect_left(times, at[0]) - 1
    return (at, joules) if before < 0 else ([times[before], *at], [0.0, *joules])


def _power(name: str, total: Sequence[tuple[float, float]], edges: Sequence[float]) -> PowerSeries:
    totals = _interpolated_all([at for at, _ in total], [joules for _, joules in total], edges)
    pairs = list(pairwise(edges))
    steps = [later - earlier for earlier, later in pairwise(totals)]
    return PowerSeries(
        series=name,
        seconds=tuple((start + end) / 2 for start, end in pairs),
        watts=tuple(step / (end - start) for step, (start, end) in zip(steps, pairs, strict=True)),
        energy_joules=totals[-1] - totals[0],
    )


def _edges(times: Sequence[float], most_points: int) -> list[float]:
    number = min(most_points, len(times) - 1)
    step = (times[-1] - times[0]) / number
    return [times[0] + index * step for index in range(number)] + [times[-1]]


def _interpolated_all(at: Sequence[float], values: Sequence[float], when: Sequence[float]) -> list[float]:
    return [_interpolated(at, values, each) for each in when]


def _interpolated(at: Sequence[float], values: Sequence[float], when: float) -> float:
    """A value that is linear between its samples and constant before and after them."""
    right = bisect_right(at, when)
    if right == 0:
        return values[0]
    if right == len(at):
        return values[-1]
    left = right - 1
    share = (when - at[left]) / (at[right] - at[left])
    return values[left] + share * (values[right] - values[left])


# The course of each trial on the run's own clock ---------------------------------------------------------------------

Sample = tuple[Family, tuple[str, ...], float, float]
"""Name of the metric, label values, value, Unix time."""

STEP_SECONDS = 15.0  # a common scrape interval; queries look back five minutes at most


class RunClock:
    """Unix time of the sweep's own seconds, which stand still between its parts."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        parts = run.get("parts") or [
            {"started_at": run.get("started_at") or 0.0, "duration_seconds": run.get("duration_seconds") or 0.0}
        ]
        self._parts = [(float(part["started_at"]), float(part.get("duration_seconds") or 0.0)) for part in parts]
        self.end = self._parts[-1][0] + self._parts[-1][1]

    def at(self, elapsed_seconds: float) -> float:
        """The Unix time of a moment of the sweep."""
        for started_at, seconds in self._parts[:-1]:
            if elapsed_seconds <= seconds:
                return started_at + elapsed_seconds
            elapsed_seconds -= seconds
        return self._parts[-1][0] + elapsed_seconds


@dataclass(frozen=True)
class Course:
    """A trial's running total over time."""

    at: Sequence[float]
    joules: Sequence[float]

    def part(self, when: float) -> float:
        """The part of the whole that had been drawn by then, from 0 to 1."""
        return _interpolated(self.at, self.joules, when) / self.joules[-1] if self.joules[-1] > 0 else 1.0

    def times(self) -> Iterator[float]:
        """Its beginning, every 15 s, its end."""
        return every_step(self.at[0], self.at[-1])


def course_of(leases: Sequence[LeaseRow], totals: Sequence[tuple[float, float]], joules: float) -> Course:
    """The course of a trial that was booked these joules in all.

    Args:
        leases: its leases, at least one.
        totals: its running total: Unix time, joules.
        joules: its last value.
    """
    begin = min(lease.opened_at for lease in leases)
    end = max(lease.closed_at or lease.opened_at + lease.held_seconds for lease in leases)
    return course_between(begin, end, totals, joules)


def course_between(begin: float, end: float, totals: Sequence[tuple[float, float]], joules: float) -> Course:
    """The course of what rose from 0 to so many joules between two Unix times, by its running total."""
    # A poll may tell of a lease's last second after its end.
    points = [(begin, 0.0)]
    for at, total in sorted(totals):
        if points[-1][0] < at < end:
            points.append((at, min(joules, max(points[-1][1], total))))
    points.append((max(end, begin + 0.001), joules))
    return Course([at for at, _ in points], [total for _, total in points])


def every_step(begin: float, end: float) -> Iterator[float]:
    """The beginning, every 15 s, the end."""
    at = begin
    while at < end:
        yield at
        at += STEP_SECONDS
    yield end
