"""A run's grams by the hour: what it was charged with in each, times that hour's grid.

This stands beside the grams by the yearly mean, which all else goes by (trials, configurations, budgets, exports): a
ledger tells no trial's joules by the hour with the certainty that comparing configurations needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from energysweep.core.buckets import BY_NAME
from energysweep.core.carbon import Intensity
from energysweep.hourly.grid import GridByTheHour, NamedSource
from energysweep.hourly.hours import SECONDS, Kind, grams_by_hour
from energysweep.ledger.periods import HOUR, Periods
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData


@dataclass(frozen=True)
class Hour:
    """One hour of a run.

    Attributes:
        hour: Unix time of its beginning.
        joules: what the sweep was charged with in it.
        grams_per_kwh, kind, source: of its grid; None where nobody knows it.
        grams: CO2e of the joules; None likewise.
    """

    hour: int
    joules: float
    grams_per_kwh: float | None
    kind: Kind | None
    source: str | None
    grams: float | None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "hour": datetime.fromtimestamp(self.hour, UTC).isoformat(),
            "joules": self.joules,
            "grams_per_kwh": self.grams_per_kwh,
            "kind": self.kind,
            "source": self.source,
            "emissions_grams": self.grams,
        }


@dataclass(frozen=True)
class ByTheHour:
    """A run by the hour.

    Attributes:
        source: who knows the hours, for people.
        hours: those in which it was charged with something, in their order.
        untimed_joules: what nobody knows the time of; they count by the yearly mean.
        untimed_grams: of these; None if there are some and no yearly mean is known.
        notes: what went wrong with the source, for people.
    """

    source: str
    hours: tuple[Hour, ...]
    untimed_joules: float
    untimed_grams: float | None
    notes: tuple[str, ...] = ()

    @property
    def emissions_grams(self) -> float | None:
        """Of all hours together; None if nobody knows the grid of one of them, or nothing was measured."""
        grams = [each.grams for each in self.hours] + ([self.untimed_grams] if self.untimed_joules else [])
        known = [each for each in grams if each is not None]
        return math.fsum(known) if known and len(known) == len(grams) else None

    def joules_of(self, kind: Kind) -> float:
        """What was drawn in hours with a figure of that kind; what has no known time is with the yearly one."""
        timed = math.fsum(each.joules for each in self.hours if each.kind == kind)
        return timed + (self.untimed_joules if kind == "yearly" and self.untimed_grams is not None else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "source": self.source,
            "emissions_grams": self.emissions_grams,
            "measured_joules": self.joules_of("measured"),
            "forecast_joules": self.joules_of("forecast"),
            "yearly_joules": self.joules_of("yearly"),
            "untimed_joules": self.untimed_joules,
        }


_APART: Final = 24 * SECONDS


def by_the_hour(data: LedgerData, state: RunState, named: NamedSource, yearly: Intensity | None) -> ByTheHour | None:
    """A run by the hours that a source knows.

    Args:
        data: its ledger.
        state: the same, folded.
        named: the source of the hours.
        yearly: the grid's mean, for hours that the source does not know; None if that is not known either.
    """
    periods = Periods(data, state, HOUR)
    joules: dict[int | None, list[float]] = {}
    for row in state.in_windows_with_leases()[0]:
        if BY_NAME[row.bucket].is_charged:
            for hour, share in periods.of(row).items():
                joules.setdefault(hour, []).append(row.joules * share)
    if not joules:
        return None
    untimed = math.fsum(joules.pop(None, ()))
    drawn = {hour: math.fsum(parts) for hour, parts in joules.items() if hour is not None}
    known_hours = GridByTheHour(named.source, yearly, named.cache)
    grid = {each.hour: each for first, last in _stretches(drawn) for each in known_hours.between(first, last)}
    grams = grams_by_hour(drawn, grid, 1.0 if yearly is None else yearly.pue)
    hours = []
    for hour in sorted(drawn):
        known, found = grid.get(hour), grams[hour]
        per_kwh, said = (None, None) if known is None else (known.grams_per_kwh, known.source)
        hours.append(Hour(hour, found.joules, per_kwh, found.kind, said, found.grams))
    of_untimed = None if yearly is None else yearly.emissions_grams(untimed)
    return ByTheHour(named.name, tuple(hours), untimed, of_untimed, (*named.notes, *known_hours.notes))


def _stretches(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last hour of each stretch without a day's break: nobody is asked for the weeks that a run lay still."""
    first = last = None
    for hour in sorted(hours):
        if first is None or last is None:
            first = hour
        elif hour - last > _APART:
            yield first, last
            first = hour
        last = hour
    if first is not None and last is not None:
        yield first, last
