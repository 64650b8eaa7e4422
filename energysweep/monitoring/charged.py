"""What a finished sweep was charged with, over time: its own counters, of trials, start-up and overhead together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from energysweep.carbon import Intensity
from energysweep.ledger import LedgerData
from energysweep.monitoring.course import Course, Sample
from energysweep.records import Bucket
from energysweep.reporting.balance import in_windows_with_leases


class Spent(NamedTuple):
    """A trial, the start-up of all, or the overhead: when it drew its energy, and how much in all.

    Attributes:
        joules: by component and source.
    """

    bucket: str
    course: Course
    joules: Mapping[tuple[str, str], float]


def in_bucket(data: LedgerData, bucket: Bucket) -> dict[tuple[str, str], float]:
    """Joules of a bucket by component and source, of the windows that reports count."""
    joules: dict[tuple[str, str], float] = {}
    for row in in_windows_with_leases(data, data.energy):
        if row.bucket == bucket:
            key = (row.component, row.source)
            joules[key] = joules.get(key, 0.0) + row.joules
    return joules


def charged_samples(
    run: str, times: Sequence[float], spent: Iterable[Spent], intensity: Intensity | None
) -> Iterator[Sample]:
    """The sweep's counters of joules, and of grams if the grid is known.

    Args:
        run: the run id.
        times: of the samples, in order; the last one is not before the end of anything.
        spent: all trials, their start-up and the overhead.
        intensity: of the grid.
    """
    grams: dict[str, list[float]] = {}
    for key, steps in _grown(times, spent).items():
        totals = list(accumulate(steps))
        for at, joules in zip(times, totals, strict=True):
            yield "energysweep_sweep_energy_joules_total", (run, *key), joules, at
        if intensity is not None:
            _, bucket, _ = key
            so_far = grams.get(bucket, [0.0] * len(times))
            grams[bucket] = [a + intensity.emissions_grams(b) for a, b in zip(so_far, totals, strict=True)]
    for bucket, values in grams.items():
        for at, value in zip(times, values, strict=True):
            yield "energysweep_sweep_emissions_grams_total", (run, bucket), value, at


def _grown(times: Sequence[float], spent: Iterable[Spent]) -> dict[tuple[str, str, str], list[float]]:
    """Joules since the time before, by component, bucket and source. A trial adds only to the steps of its life."""
    grown: dict[tuple[str, str, str], list[float]] = {}
    for bucket, course, joules in spent:
        before = 0.0
        for step in range(bisect_left(times, course.at[0]), bisect_left(times, course.at[-1]) + 1):
            part = course.part(times[step])
            for (component, source), total in joules.items():
                steps = grown.setdefault((component, bucket, source), [0.0] * len(times))
                steps[step] += total * (part - before)
            before = part
    return grown
