"""How two rows of one key become one: the rule of each kind of row, in Python and as SQLite's upsert.

Each rule takes the greater of two by an order of its own. So merging is idempotent and needs no order: what is told
twice, late or in another order ends the same, in memory and in the file.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    SampleRow,
    TrialRow,
)

Row = EnergyRow | MeterRow | LeaseRow | TrialRow | AttemptRow | ResultRow | SampleRow | DecisionRow
_Row = TypeVar("_Row", bound=Row)


@dataclass(frozen=True)
class Rule(ABC, Generic[_Row]):
    """The rule of one kind of row.

    Attributes:
        table: where the ledger keeps them.
        row: what they are.
        key: the columns that say which row it is.
    """

    table: str
    row: type[_Row]
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All its columns, in their order."""
        return self.row._fields

    @property
    def values(self) -> tuple[str, ...]:
        """The columns beside its key."""
        return tuple(name for name in self.columns if name not in self.key)

    def key_of(self, row: _Row) -> tuple[Hashable, ...]:
        """Which row it is."""
        return tuple(getattr(row, name) for name in self.key)

    @abstractmethod
    def merged(self, one: _Row, other: _Row) -> _Row:
        """The one row that two of the same key become."""

    @cached_property
    def upsert(self) -> str:
        """The statement that merges a row into the ledger's table."""
        places = ", ".join("?" for _ in self.columns)
        return f"INSERT INTO {self.table} VALUES ({places}) ON CONFLICT DO UPDATE SET {self._conflict}"  # noqa: S608 - ours

    @property
    @abstractmethod
    def _conflict(self) -> str:
        """What the upsert does with a row that is there."""


@dataclass(frozen=True)
class _Greatest(Rule[_Row]):
    """Each column by itself: the greatest that was told of it. What is known is greater than what is not.

    Attributes:
        least: columns of which it is the least.
    """

    least: tuple[str, ...] = ()

    def merged(self, one: _Row, other: _Row) -> _Row:
        values: list[Any] = [
            known if known == new else self._chosen(name, known, new)
            for name, known, new in zip(self.columns, one, other, strict=True)
        ]
        return self.row(*values)

    def _chosen(self, name: str, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return one if other is None else other
        return min(one, other) if name in self.least else max(one, other)

    @property
    def _conflict(self) -> str:
        optional = {name for name, hint in get_type_hints(self.row).items() if type(None) in get_args(hint)}

        def chosen(name: str) -> str:
            new = f"excluded.{name}"
            # SQLite's max of a value and NULL is NULL.
            pair = f"coalesce({name}, {new}), coalesce({new}, {name})" if name in optional else f"{name}, {new}"
            return f"{name} = {'min' if name in self.least else 'max'}({pair})"

        return ", ".join(map(chosen, self.values))


@dataclass(frozen=True)
class _Newest(Rule[_Row]):
    """The whole row that is further on.

    Attributes:
        order: the columns that tell which one is, the first that differs deciding; what is unknown comes first. Of
            rows that are equal in these the other columns decide, so that the same one is taken everywhere.
        ranks: the order of a column's values, where it is not their own.
        json: the columns that are JSON in the ledger.
    """

    order: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, int]]
    json: tuple[str, ...] = ()

    @property
    def _deciding(self) -> tuple[str, ...]:
        return (*self.order, *(name for name in self.values if name not in self.order))

    def merged(self, one: _Row, other: _Row) -> _Row:
        for name in self._deciding:
            places = self._place(name, getattr(one, name)), self._place(name, getattr(other, name))
            if places[0] != places[1]:
                return one if places[0] > places[1] else other
        return one

    def _place(self, name: str, value: Any) -> tuple[bool, Any]:
        if value is None:
            return False, 0
        if name in self.json:
            return True, json.dumps(value)
        return True, (self.ranks[name][value], value) if name in self.ranks else value

    @property
    def _conflict(self) -> str:
        given = ", ".join(f"{name} = excluded.{name}" for name in self.values)
        new, old = (
            ", ".join(self._placed(name, of) for name in self._deciding) for of in ("excluded.", f"{self.table}.")
        )
        return f"{given} WHERE ({new}) > ({old})"

    def _placed(self, name: str, of: str) -> str:
        column = f"{of}{name}"
        if name in self.ranks:
            cases = " ".join(f"WHEN '{value}' THEN {rank}" for value, rank in self.ranks[name].items())
            return f"CASE {column} {cases} END, {column}"
        return f"{column} IS NOT NULL, coalesce({column}, 0)"


# The rules ----------------------------------------------------------------------------------------------------------

# Counters only grow. What is beside them (a device's floor, what a lease has reserved) is the same in every row of a
# key; were it not, the greatest would be taken everywhere.
ENERGY: Final = _Greatest("energy", EnergyRow, ("host", "window", "lease", "device", "component", "bucket", "source"))
METERS: Final = _Greatest("meters", MeterRow, ("host", "window", "device", "source"))
# A lease that is closed stays so. Its attempt is numbered by the driver whenever an agent tells of it: an end of an
# attempt that is noted later can only make the number too great.
LEASES: Final = _Greatest("leases", LeaseRow, ("lease",), least=("attempt",))
# The running total of a series cannot fall.
SAMPLES: Final = _Greatest("samples", SampleRow, ("series", "elapsed_seconds"))
# A trial's attempts are numbered; within one it runs, waits for the next or is interrupted, or has ended.
_STATUS: Final = {"running": 0, "pending": 1, "interrupted": 2, "failed": 3, "pruned": 3, "completed": 3}
TRIALS: Final = _Newest(
    "trials", TrialRow, ("trial",), ("attempts", "status", "ended_at"), {"status": _STATUS}, ("parameters",)
)
_OUTCOME: Final = {"running": 0, "interrupted": 1, "failed": 2, "completed": 2}
ATTEMPTS: Final = _Newest(
    "attempts",
    AttemptRow,
    ("trial", "number"),
    ("started_at", "outcome", "ended_at", "checkpoint_joules"),
    {"outcome": _OUTCOME},
)
RESULTS: Final = _Newest("results", ResultRow, ("trial", "iteration"), ("elapsed_seconds",), {}, ("metrics",))

# The one driver of a run numbers what it decides; what was written once is not written otherwise.
DECISIONS: Final = _Newest("decisions", DecisionRow, ("number",), ("at",), {}, ("numbers",))

RULES: Final[Sequence[Rule[Any]]] = (ENERGY, METERS, LEASES, TRIALS, ATTEMPTS, RESULTS, SAMPLES, DECISIONS)
