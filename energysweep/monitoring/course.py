"""When what was spent, for the series of a finished run: its clock, and the course of each trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energysweep.records import LeaseRow
from energysweep.reporting.power import interpolated

Sample = tuple[str, tuple[str, ...], float, float]
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
        return interpolated(self.at, self.joules, when) / self.joules[-1] if self.joules[-1] > 0 else 1.0

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
