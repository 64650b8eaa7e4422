"""Which ledgers hold the same run, as a copy or a backup: its energy was drawn once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from energysweep.core.text import NOT_AVAILABLE
from energysweep.ledger import merging
from energysweep.ledger.store import LedgerData

Named = tuple[str, LedgerData]
"""What people call a ledger, and what it holds."""


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Ledgers of different runs.

    Attributes:
        kept: one for each run, in the order in which they were given.
        notes: which were left out, for people.
    """

    kept: tuple[LedgerData, ...]
    notes: tuple[str, ...]


def without_copies(given: Sequence[Named]) -> Ledgers:
    """One ledger of each run: the one with the most energy counts, the others are of an earlier moment."""
    groups = by_run(given)
    kept = tuple(_newest(group)[1] for group in groups)
    return Ledgers(kept, tuple(text for group in groups if (text := copies_text(group)) is not None))


def by_run(given: Sequence[Named]) -> list[list[Named]]:
    """The ledgers, those of one run together.

    Two ledgers are of one run if they have its id and a window in common: a window's id is unique for all time. (Two
    machines may have given two runs the same id.) Where one is of a time before its first window, the time at which it
    began tells.
    """
    groups: list[list[Named]] = []
    for name, data in given:
        is_same = [any(_same_run(data, other) for _, other in group) for group in groups]
        together = [member for group, same in zip(groups, is_same, strict=True) if same for member in group]
        first = is_same.index(True) if together else len(groups)
        groups = [group for group, same in zip(groups, is_same, strict=True) if not same]
        groups.insert(first, [*together, (name, data)])
    return groups


def merged(group: Sequence[Named]) -> LedgerData:
    """The ledgers of one run as one, by the rules of ``merging``: also what copies have booked that went on apart."""
    newest = _newest(group)[1]
    if len(group) == 1:
        return newest
    every = [data for _, data in sorted(group, key=lambda each: each[0])]
    rows = {rule.table: _merged(rule, [getattr(data, rule.table) for data in every]) for rule in merging.RULES}
    parts: dict[float, Any] = {}
    for part in (part for data in every for part in data.run.get("parts") or ()):
        known = parts.get(part["started_at"], part)
        longer = (known.get("duration_seconds") or 0.0) >= (part.get("duration_seconds") or 0.0)
        parts[part["started_at"]] = known if longer else part
    run = newest.run | {"parts": [parts[at] for at in sorted(parts)]}
    damage = tuple(dict.fromkeys(line for data in every for line in data.damage))
    return replace(newest, run=run, damage=damage, **rows)


def copies_text(group: Sequence[Named]) -> str | None:
    """Which folders hold the same run, for people; None if one does."""
    name, newest = _newest(group)
    others = sorted(other for other, data in group if data is not newest)
    if not others:
        return None
    run = newest.run.get("id", NOT_AVAILABLE)
    return f"{', '.join(others)} and {name} hold the same run, {run}: it is counted once, as in {name}."


def _merged(rule: merging.Rule[Any], tables: Sequence[Sequence[Any]]) -> list[Any]:
    rows: dict[Any, Any] = {}
    for row in (row for table in tables for row in table):
        key = rule.key_of(row)
        rows[key] = rule.merged(rows[key], row) if key in rows else row
    return [*rows.values()]


def _newest(group: Sequence[Named]) -> Named:
    """The one with the most energy; of several the one that has come further, and then the first."""

    def moment(named: Named) -> tuple[float, bool, float]:
        run = named[1].run
        return _metered(named[1]), run.get("status", "running") != "running", run.get("duration_seconds") or 0.0

    return max(group, key=moment)


def _same_run(one: LedgerData, other: LedgerData) -> bool:
    ids = one.run.get("id"), other.run.get("id")
    if ids[0] != ids[1] and None not in ids:
        return False
    windows, others = _windows(one), _windows(other)
    if (windows and others) or None in ids:  # of a damaged ledger, which does not know its id
        return bool(windows & others)
    return bool(one.run.get("started_at") == other.run.get("started_at"))


def _windows(data: LedgerData) -> set[tuple[str, str]]:
    return {(row.host, row.window) for row in data.meters} | {(row.host, row.window) for row in data.leases}


def _metered(data: LedgerData) -> float:
    return sum(row.joules for row in data.meters)
