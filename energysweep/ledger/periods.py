"""In which month joules were drawn, as far as a ledger tells: the one rule, until ledgers say the hour of every joule.

Months are those of UTC. A run that lies within one month has all its joules in it. Of another run:

* a trial's joules, or a bucket's, on one device are divided as its samples are, which the ledger has about once a
  second while its driver worked (what was drawn between two of them, evenly over that time);
* where there is no sample, a lease's are divided evenly over the time for which it was open, and a bucket's of a host
  evenly over the time in which the run was worked on;
* what nobody tells the time of is drawn in no month.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from energysweep.core.records import EnergyRow
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData

Shares = Mapping[str | None, float]
"""By month (``2026-11``), which part of some joules was drawn in it; together 1. None: nobody knows when."""


class _Piece(NamedTuple):
    """A time in which somebody worked on the run: on the sweep's own time, and when that was."""

    elapsed: float
    begin: float
    end: float


class Months:
    """Of one run.

    Args:
        data: its ledger.
        state: the same, folded.
    """

    def __init__(self, data: LedgerData, state: RunState) -> None:
        self._state = state
        self._pieces = _pieces(data)
        leases = [at for lease in data.leases for at in _held(state, lease.lease)]
        times = [at for piece in self._pieces for at in (piece.begin, piece.end)] + leases
        ends = {month_of(at) for at in (min(times), max(times))} if times else {None}
        self._only = next(iter(ends)) if len(ends) == 1 else ""
        self._samples: dict[str, list[tuple[float, float]]] = {}
        if self._only == "":
            for row in data.samples:
                self._samples.setdefault(row.series, []).append((row.elapsed_seconds, row.joules))
        self._known: dict[str, Shares] = {}

    def of(self, row: EnergyRow) -> Shares:
        """In which months a row's joules were drawn."""
        if self._only != "":
            return {self._only: 1.0}
        name = self._state.series_of(row)
        series = f"{name} {row.window} {row.device}"
        # A lease's start-up is in the series of all of them.
        if series not in self._samples or (row.lease and name.startswith("bucket:")):
            return self._held(row)
        if series not in self._known:
            self._known[series] = self._sampled(self._samples[series])
        return self._known[series]

    def _sampled(self, samples: Iterable[tuple[float, float]]) -> Shares:
        found: dict[str | None, list[float]] = {}
        for (begin, joules), (end, more) in pairwise(sorted(samples)):
            if more > joules:
                for month, share in self._over(begin, end).items():
                    found.setdefault(month, []).append((more - joules) * share)
        return _shares({month: math.fsum(joules) for month, joules in found.items()})

    def _over(self, begin: float, end: float) -> Shares:
        """A time on the sweep's own clock, evenly; what is before its first part or after its last belongs to these."""
        seconds: dict[str | None, float] = {}
        borders = [-math.inf, *(piece.elapsed for piece in self._pieces[1:]), math.inf]
        for piece, (low, high) in zip(self._pieces, pairwise(borders), strict=False):
            first, last = max(begin, low), min(end, high)
            if last > first:
                offset = piece.begin - piece.elapsed
                for month, part in _evenly(first + offset, last + offset).items():
                    seconds[month] = seconds.get(month, 0.0) + part * (last - first)
        return _shares(seconds)

    def _held(self, row: EnergyRow) -> Shares:
        if row.lease:
            begin, end = _held(self._state, row.lease)
            return _evenly(begin, end)
        seconds: dict[str | None, float] = {}
        for piece in self._pieces:
            for month, part in _evenly(piece.begin, piece.end).items():
                seconds[month] = seconds.get(month, 0.0) + part * max(piece.end - piece.begin, 1e-9)
        return _shares(seconds)


_LAST: Final = 2.5e11
"""A time that no clock of ``records.UnixTime`` is after: beyond it, where a damaged duration leads, are no months."""


def month_of(at: float) -> str:
    """Of a Unix time."""
    return f"{datetime.fromtimestamp(min(at, _LAST), UTC):%Y-%m}"


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


def _evenly(begin: float, end: float) -> Shares:
    """Which part of a time lies in each month."""
    if end <= begin or month_of(begin) == month_of(end):
        return {month_of(begin): 1.0}
    found: dict[str | None, float] = {}
    at = begin
    while at < min(end, _LAST):
        day = datetime.fromtimestamp(at, UTC)
        following = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC).timestamp()
        found[month_of(at)] = ((end if following >= _LAST else min(following, end)) - at) / (end - begin)
        at = following
    return found


def _shares(amounts: Mapping[str | None, float]) -> Shares:
    everything = math.fsum(amounts.values())
    return {month: amount / everything for month, amount in amounts.items()} if everything > 0 else {None: 1.0}
