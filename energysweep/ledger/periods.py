"""In which month or hour joules were drawn, as far as a ledger tells: one rule, until ledgers say the hours.

Months and hours are those of UTC. A run that lies within one has all its joules in it. Of another run:

* a trial's joules, or a bucket's, on one device are divided as its samples are, which the ledger has about once a
  second while its driver worked (what was drawn between two of them, evenly over that time);
* where there is no sample, a lease's are divided evenly over the time for which it was open, and a bucket's of a host
  evenly over the time in which the run was worked on;
* what nobody tells the time of is drawn in none.

The times are those of the driver's clock when it began a part of the run, and count on from there: a clock that was
wrong then is wrong here, and a host that was suspended has its later joules that much too early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from energysweep.core.records import EnergyRow
from energysweep.hourly import hours
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData

Key = TypeVar("Key", str, int)

Shares: TypeAlias = Mapping[Key | None, float]
"""By month (``2026-11``) or hour (its Unix time), which part of some joules was drawn in it; together 1. None: nobody
knows when."""


@dataclass(frozen=True)
class Period(Generic[Key]):
    """What time is divided into.

    Attributes:
        of: in which one a moment lies.
        following: when the one after it begins.
        longest: of a longer time nobody asks how it is divided; a damaged ledger may tell of one.
    """

    of: Callable[[float], Key]
    following: Callable[[float], float]
    longest: float = math.inf


class _Piece(NamedTuple):
    """A time in which somebody worked on the run: on the sweep's own time, and when that was."""

    elapsed: float
    begin: float
    end: float


class Periods(Generic[Key]):
    """Of one run.

    Args:
        data: its ledger.
        state: the same, folded.
        period: months, or hours.
    """

    def __init__(self, data: LedgerData, state: RunState, period: Period[Key]) -> None:
        self._state = state
        self._period: Period[Key] = period
        self._pieces = _pieces(data)
        leases = [at for lease in data.leases for at in _held(state, lease.lease)]
        times = [at for piece in self._pieces for at in (piece.begin, piece.end)] + leases
        ends: set[Key | None] = {period.of(at) for at in (min(times), max(times))} if times else {None}
        self._only: Shares[Key] | None = {next(iter(ends)): 1.0} if len(ends) == 1 else None
        self._samples: dict[str, list[tuple[float, float]]] = {}
        if self._only is None:
            for row in data.samples:
                self._samples.setdefault(row.series, []).append((row.elapsed_seconds, row.joules))
        self._known: dict[str, Shares[Key]] = {}

    def of(self, row: EnergyRow) -> Shares[Key]:
        """When a row's joules were drawn."""
        if self._only is not None:
            return self._only
        name = self._state.series_of(row)
        series = f"{name} {row.window} {row.device}"
        # A lease's start-up is in the series of all of them.
        if series not in self._samples or (row.lease and name.startswith("bucket:")):
            return self._held(row)
        if series not in self._known:
            self._known[series] = self._sampled(self._samples[series])
        return self._known[series]

    def _sampled(self, samples: Iterable[tuple[float, float]]) -> Shares[Key]:
        found: dict[Key | None, list[float]] = {}
        for (begin, joules), (end, more) in pairwise(sorted(samples)):
            if more > joules:
                for key, share in self._over(begin, end).items():
                    found.setdefault(key, []).append((more - joules) * share)
        return _shares({key: math.fsum(joules) for key, joules in found.items()})

    def _over(self, begin: float, end: float) -> Shares[Key]:
        """A time on the sweep's own clock, evenly; what is before its first part or after its last belongs to these."""
        seconds: dict[Key | None, float] = {}
        borders = [-math.inf, *(piece.elapsed for piece in self._pieces[1:]), math.inf]
        for piece, (low, high) in zip(self._pieces, pairwise(borders), strict=False):
            first, last = max(begin, low), min(end, high)
            if last > first:
                offset = piece.begin - piece.elapsed
                for key, part in self._evenly(first + offset, last + offset).items():
                    seconds[key] = seconds.get(key, 0.0) + part * (last - first)
        return _shares(seconds)

    def _held(self, row: EnergyRow) -> Shares[Key]:
        if row.lease:
            begin, end = _held(self._state, row.lease)
            return self._evenly(begin, end)
        seconds: dict[Key | None, float] = {}
        for piece in self._pieces:
            for key, part in self._evenly(piece.begin, piece.end).items():
                seconds[key] = seconds.get(key, 0.0) + part * max(piece.end - piece.begin, 1e-9)
        return _shares(seconds)

    def _evenly(self, begin: float, end: float) -> Shares[Key]:
        """Which part of a time lies in each."""
        period = self._period
        if end <= begin or period.of(begin) == period.of(end):
            return {period.of(begin): 1.0}
        if end - begin > period.longest:
            return {None: 1.0}
        found: dict[Key | None, float] = {}
        at = begin
        while at < min(end, _LAST):
            following = period.following(at)
            found[period.of(at)] = ((end if following >= _LAST else min(following, end)) - at) / (end - begin)
            at = following
        return found


_LAST: Final = 2.5e11
"""A time that no clock of ``records.UnixTime`` is after: beyond it, where a damaged duration leads, is nothing."""


def month_of(at: float) -> str:
    """Of a Unix time."""
    return f"{datetime.fromtimestamp(min(at, _LAST), UTC):%Y-%m}"


def _next_month(at: float) -> float:
    day = datetime.fromtimestamp(at, UTC)
    return datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC).timestamp()


def hour_of(at: float) -> int:
    """Of a Unix time."""
    return hours.hour_of(min(at, _LAST))


MONTH: Final = Period(month_of, _next_month)
HOUR: Final = Period(hour_of, lambda at: hours.hour_of(at) + hours.SECONDS, longest=10 * 366 * 86400.0)


def _pieces(data: LedgerData) -> list[_Piece]:
    noted = data.run.get("parts") or ()
    parts = sorted((float(part["started_at"]), float(part.get("duration_seconds") or 0.0)) for part in noted)
    started_at = data.run.get("started_at")
    if not parts and started_at is not None:
        parts = [(float(started_at), float(data.run.get("duration_seconds") or 0.0))]
    pieces, elapsed = [], 0.0
    for begin, seconds in parts:
        pieces.append(_Piece(elapsed, begin, begin + seconds))
        elapsed += seconds
    return pieces


def _held(state: RunState, lease: str) -> tuple[float, float]:
    row = state.leases[lease]
    return row.opened_at, max(
        row.opened_at, row.opened_at + row.held_seconds if row.closed_at is None else row.closed_at
    )


def _shares(amounts: Mapping[Key | None, float]) -> Shares[Key]:
    everything = math.fsum(amounts.values())
    return {key: amount / everything for key, amount in amounts.items()} if everything > 0 else {None: 1.0}
