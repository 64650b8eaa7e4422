"""What is known of an hour's grid, and the grams that follow from joules by the hour: values and pure functions.

An hour is the Unix time at which it begins, a multiple of 3,600. It is one of UTC, so no change of clocks makes one
longer, shorter or twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from energysweep.core.carbon import JOULES_PER_KWH

SECONDS: Final = 3600

Kind = Literal["measured", "forecast", "yearly"]
_BETTER: Final[Mapping[Kind, int]] = {"measured": 2, "forecast": 1, "yearly": 0}


@dataclass(frozen=True, slots=True)
class HourIntensity:
    """Of one hour, what a kilowatt-hour of the grid emits.

    Attributes:
        zone: of which grid, as its source names it.
        hour: Unix time of its beginning.
        grams_per_kwh: grams of CO2e per kWh.
        kind: ``measured``; ``forecast``, which is also what a source has filled in by a model of its own; or
            ``yearly``, the mean that is taken where no source says anything of the hour.
        source: who says so, for people.
        fetched_at: Unix time at which it was read; None of a yearly mean.
    """

    zone: str
    hour: int
    grams_per_kwh: float
    kind: Kind
    source: str
    fetched_at: float | None


class Source(Protocol):
    """Who knows hours. A plug-in is a class with this one method."""

    def hours(self, first: int, last: int) -> Iterable[HourIntensity]:
        """What it knows of the hours from ``first`` to ``last``, both included; it may leave out any of them.

        It may raise whatever goes wrong, also after it has given some: these are kept.
        """


@dataclass(frozen=True, slots=True)
class HourGrams:
    """What was drawn in an hour, and what that has emitted: None where nobody knows the hour's grid."""

    joules: float
    grams: float | None
    kind: Kind | None


def hour_of(time: float) -> int:
    """The hour in which a moment lies."""
    return math.floor(time / SECONDS) * SECONDS


def hours_between(first: int, last: int) -> range:
    """All hours from the one to the other, both included."""
    return range(first, last + 1, SECONDS)


def better(one: HourIntensity, other: HourIntensity) -> HourIntensity:
    """The one to go by of two that say something of the same hour: measured before forecast, then the newer one."""
    rank, against = (_BETTER[one.kind], one.fetched_at or 0.0), (_BETTER[other.kind], other.fetched_at or 0.0)
    return one if rank >= against else other


def best(known: Iterable[HourIntensity]) -> dict[int, HourIntensity]:
    """By hour, the one to go by."""
    found: dict[int, HourIntensity] = {}
    for each in known:
        found[each.hour] = better(found[each.hour], each) if each.hour in found else each
    return found


def grams_by_hour(
    joules_by_hour: Mapping[int, float], intensities: Mapping[int, HourIntensity], pue: float = 1.0
) -> dict[int, HourGrams]:
    """What was emitted in each hour.

    Args:
        joules_by_hour: what computers drew, by the hour.
        intensities: of the grid, by the hour; an hour that is missing has no grams, not none.
        pue: power usage effectiveness, as of ``core.carbon.Intensity``.
    """
    found = {}
    for hour, joules in joules_by_hour.items():
        grid = intensities.get(hour)
        grams = None if grid is None else joules / JOULES_PER_KWH * pue * grid.grams_per_kwh
        found[hour] = HourGrams(joules, grams, None if grid is None else grid.kind)
    return found
