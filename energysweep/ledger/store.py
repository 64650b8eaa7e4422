"""The ledger: one SQLite file that holds every joule of a run, exactly once.

Rows are merged by the rules of ``merging``: a counter keeps the highest that was ever told, a trial the newest row. So
a poll that is repeated, late or lost can neither lose nor double a joule.

SQLite's WAL mode is unsafe on network file systems: keep the file on a local disk and copy it with ``backup``.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from energysweep.core.errors import LedgerError
from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    SampleRow,
    TrialRow,
    readable,
)
from energysweep.ledger import file, merging, rows
from energysweep.ledger.file import translated
from energysweep.ledger.rows import Damage, Table, checked_facts, checked_leases, of_known_trials, with_known_leases

_Row = TypeVar("_Row", EnergyRow, MeterRow, LeaseRow, TrialRow, AttemptRow, ResultRow, SampleRow, DecisionRow)


@dataclass(frozen=True)
class LedgerData:
    """All that a ledger holds, read at one moment; the report is a function of this and of nothing else.

    Attributes:
        run: what the driver noted about the run. Keys: ``id``, ``name``, ``spec`` (the sweep as a mapping),
            ``started_at``, ``duration_seconds``, ``status`` (``running``, ``done``, ``failed`` or ``interrupted``),
            ``planned_trials`` (how many it makes), ``objective`` (``metric``, ``mode``, ``target``, ``patience``),
            ``stages`` (by name, the stage's ``objective``), ``pilot`` (how many ``trials`` it made, of how many
            ``reports``), ``order`` (``places``, in which the configurations begin; ``known``, ``untried``, ``of``: what
            it is from), ``varying`` (names of the parameters that differ between configurations), ``carbon``
            (``grams_per_kwh``, ``zone``, ``year``, ``source``, ``pue``), ``meters`` (by node, a sentence
            on what was taken and why not better), ``versions`` (by package). Any of them may be missing.
        damage: what could not be read and is left out, one line for each table; empty if all is well.
    """

    run: dict[str, Any]
    energy: Sequence[EnergyRow] = ()
    meters: Sequence[MeterRow] = ()
    leases: Sequence[LeaseRow] = ()
    trials: Sequence[TrialRow] = ()
    attempts: Sequence[AttemptRow] = ()
    results: Sequence[ResultRow] = ()
    samples: Sequence[SampleRow] = field(default=(), repr=False)
    decisions: Sequence[DecisionRow] = field(default=(), repr=False)
    damage: Sequence[str] = ()


def without_orphans(data: LedgerData) -> LedgerData:
    """The same without the rows of leases and trials that it does not have; they are told of as damage."""
    damage = Damage()
    energy = with_known_leases(data.energy, data.leases, damage)
    attempts = of_known_trials("attempts", data.attempts, data.trials, damage)
    results = of_known_trials("results", data.results, data.trials, damage)
    damaged = (*data.damage, *damage.texts())
    return replace(data, energy=energy, attempts=attempts, results=results, damage=damaged)


def read_ledger(path: Path, *, untouched: bool = False) -> LedgerData:
    """What a ledger holds, as far as it can be read.

    Args:
        path: its file.
        untouched: nothing is written into its folder, as SQLite does where it may.

    Raises:
        LedgerError: there is none, it is something else, or its structure is damaged.
    """
    with Ledger.open(path, untouched=untouched) as ledger:
        return without_orphans(ledger.read())


class Ledger:
    """The ledger's file: made by ``create`` for the one driver that writes, by ``open`` for whoever reads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path

    @classmethod
    def create(cls, path: Path, **facts: Any) -> Ledger:
        """A new ledger, or the existing one at ``path`` to go on with, brought up to this schema.

        A new one appears whole: a driver that is killed meanwhile leaves none.

        Args:
            path: its file.
            facts: what a new one has to say of the run at once.

        Raises:
            LedgerError: it cannot be written, it is damaged, or it is something else.
        """
        if not path.exists():
            file.make(path, facts)
        return cls(file.to_write(path), path)

    @classmethod
    def open(cls, path: Path, *, untouched: bool = False) -> Ledger:
        """An existing ledger, to read it; its file stays as it is, whatever energysweep wrote it.

        Args:
            path: its file.
            untouched: nor is anything written beside it.

        Raises:
            LedgerError: there is none, it is damaged, or it is something else.
        """
        return cls(file.to_read(path, untouched=untouched), path)

    def close(self) -> None:
        """Close the file; it may be opened again."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, **facts: Any) -> None:
        """Remember facts about the run (any JSON); a later one replaces an earlier one of the same key."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO run VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                [(key, json.dumps(value)) for key, value in facts.items()],
            )

    def merge(
        self,
        energy: Iterable[EnergyRow] = (),
        meters: Iterable[MeterRow] = (),
        leases: Iterable[LeaseRow] = (),
        samples: Iterable[SampleRow] = (),
    ) -> None:
        """Take over what an agent says, all of it or nothing, by the rules of ``merging``."""
        with self._transaction() as connection:
            connection.executemany(merging.ENERGY.upsert, energy)
            connection.executemany(merging.METERS.upsert, meters)
            connection.executemany(merging.LEASES.upsert, leases)
            connection.executemany(merging.SAMPLES.upsert, samples)

    def record(
        self,
        trials: Iterable[TrialRow] = (),
        attempts: Iterable[AttemptRow] = (),
        results: Iterable[ResultRow] = (),
        decisions: Iterable[DecisionRow] = (),
    ) -> None:
        """Write down what the driver knows and decides: of each key the row that is further on, by ``merging``."""
        with self._transaction() as connection:
            connection.executemany(
                merging.TRIALS.upsert,
                (_written(row._replace(parameters=json.dumps(row.parameters))) for row in trials),  # type: ignore[arg-type]
            )
            connection.executemany(merging.ATTEMPTS.upsert, map(_written, attempts))
            connection.executemany(
                merging.RESULTS.upsert,
                (row._replace(metrics=json.dumps(row.metrics)) for row in results),  # type: ignore[arg-type]
            )
            connection.executemany(
                merging.DECISIONS.upsert,
                (_written(row._replace(numbers=json.dumps(row.numbers))) for row in decisions),  # type: ignore[arg-type]
            )

    def read(self) -> LedgerData:
        """Everything that can be read, as of one moment, in the order of the keys; what cannot be is told of."""
        damage = Damage()
        with self._transaction() as connection:
            facts = checked_facts(_rows(connection, "run", ("key", "value"), "", damage), damage)
            leases = checked_leases(_read(connection, rows.LEASES, damage), damage)
            trials = _read(connection, rows.TRIALS, damage)
            energy = _read(connection, rows.ENERGY, damage)
            meters = _read(connection, rows.METERS, damage)
            attempts = _read(connection, rows.ATTEMPTS, damage)
            results = _read(connection, rows.RESULTS, damage)
            samples = _read(connection, rows.SAMPLES, damage)
            decisions = _read(connection, rows.DECISIONS, damage)
        return LedgerData(
            run=facts,
            energy=energy,
            meters=meters,
            leases=leases,
            trials=trials,
            attempts=attempts,
            results=results,
            samples=samples,
            decisions=decisions,
            damage=damage.texts(),
        )

    def facts(self) -> Mapping[str, Any]:
        """What ``note`` remembered, as far as it can be read."""
        damage = Damage()
        with self._transaction() as connection:
            return checked_facts(_rows(connection, "run", ("key", "value"), "", damage), damage)

    def run_id(self) -> str:
        """The run's id.

        Raises:
            LedgerError: it cannot be read.
        """
        run_id: str | None = self.facts().get("id")
        if run_id is None:
            raise self._damaged("run: the run id is missing")
        return run_id

    def read_whole(self) -> LedgerData:
        """Everything, to go on with.

        Raises:
            LedgerError: something is damaged: what is written on top of it could not be trusted.
        """
        data = without_orphans(self.read())
        if data.damage:
            raise self._damaged(data.damage[0])
        self.run_id()
        return data

    def backup(self, path: Path) -> None:
        """Copy the ledger, also while it is written to; ``path`` may be on a network file system."""
        with self._lock, translated(path):
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")
            finally:
                target.close()

    def _damaged(self, what: str) -> LedgerError:
        return LedgerError(f"{self.path}: the ledger is damaged: {what}; energysweep report shows what there is")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self.path), self._connection:
            self._connection.execute("BEGIN")
            yield self._connection


def _written(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as SQLite takes it: an error's text may hold anything."""
    return tuple(readable(value) if isinstance(value, str) else value for value in row)


def _read(connection: sqlite3.Connection, table: Table[_Row], damage: Damage) -> list[_Row]:
    return table.checked(_rows(connection, table.name, table.columns, table.order, damage), damage)


def _rows(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], order: str, damage: Damage
) -> list[tuple[Any, ...]]:
    """The rows of a table; none, and a note, if it is not there or lacks a column."""
    try:
        return connection.execute(f"SELECT {', '.join(columns)} FROM {table} {order}").fetchall()  # noqa: S608 - ours
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):
            raise
        damage.note(table, f"all of them: {error}")
        return []
