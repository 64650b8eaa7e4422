"""Run folders that hold the same run: a copy, or a backup. Its energy was drawn once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energysweep.ledger import LedgerData
from energysweep.reporting.text import NOT_AVAILABLE


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Ledgers of different runs.

    Attributes:
        kept: one for each run, in the order in which they were given.
        notes: which were left out, for people.
    """

    kept: tuple[LedgerData, ...]
    notes: tuple[str, ...]


def without_copies(given: Sequence[tuple[str, LedgerData]]) -> Ledgers:
    """One ledger of each run.

    Two ledgers are of one run if they have its id and a window in common: a window's id is unique for all time. (Two
    machines may have given two runs the same id.) Where one is of a time before its first window, the time at which it
    began tells.
    Of a run's ledgers the one with the most energy counts: the others are of an earlier moment.

    Args:
        given: of each ledger, what people call it, and what it holds.
    """
    groups: list[list[tuple[str, LedgerData]]] = []
    for name, data in given:
        found = next((group for group in groups if any(_same_run(data, other) for _, other in group)), None)
        if found is None:
            groups.append([(name, data)])
        else:
            found.append((name, data))
    kept, notes = [], []
    for group in groups:
        name, newest = max(group, key=lambda each: _metered(each[1]))
        kept.append(newest)
        others = [other for other, data in group if data is not newest]
        if others:
            run = newest.run.get("id", NOT_AVAILABLE)
            notes.append(f"{', '.join(others)} and {name} hold the same run, {run}: it is counted once, as in {name}.")
    return Ledgers(tuple(kept), tuple(notes))


def _same_run(one: LedgerData, other: LedgerData) -> bool:
    if one.run.get("id") != other.run.get("id"):
        return False
    windows, others = _windows(one), _windows(other)
    if windows and others:
        return bool(windows & others)
    return bool(one.run.get("started_at") == other.run.get("started_at"))


def _windows(data: LedgerData) -> set[tuple[str, str]]:
    return {(row.host, row.window) for row in data.meters} | {(row.host, row.window) for row in data.leases}


def _metered(data: LedgerData) -> float:
    return sum(row.joules for row in data.meters)
