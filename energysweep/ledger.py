"""The ledger: one SQLite file that holds every joule of a run, exactly once.

Energy is a grow-only counter: its row keeps the highest joules ever seen under its key. So merging is idempotent and
needs no order: a poll that is repeated, late or lost can neither lose nor double a joule.

SQLite's WAL mode is unsafe on network file systems: keep the file on a local disk and copy it with ``backup``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from energysweep import ledger_rows
from energysweep.errors import LedgerError, one_line
from energysweep.ledger_rows import (
    Damage,
    Table,
    checked_facts,
    checked_leases,
    of_known_trials,
    with_known_leases,
)
from energysweep.records import AttemptRow, EnergyRow, LeaseRow, MeterRow, ResultRow, SampleRow, TrialRow, readable

FILE_NAME: Final = "ledger.sqlite"
_Row = TypeVar("_Row", EnergyRow, MeterRow, LeaseRow, TrialRow, AttemptRow, ResultRow, SampleRow)
_APPLICATION_ID: Final = 0x454E5357  # "ENSW", in the file's header: a foreign SQLite file is recognised by it
_SCHEMA_VERSION: Final = 3

_SCHEMA: Final = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE energy (
  host TEXT NOT NULL, window TEXT NOT NULL, lease TEXT NOT NULL, device TEXT NOT NULL, component TEXT NOT NULL,
  bucket TEXT NOT NULL, source TEXT NOT NULL, joules REAL NOT NULL CHECK (joules >= 0),
  PRIMARY KEY (host, window, lease, device, component, bucket, source)) WITHOUT ROWID;
CREATE TABLE meters (
  host TEXT NOT NULL, window TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL, component TEXT NOT NULL,
  source TEXT NOT NULL, joules REAL NOT NULL CHECK (joules >= 0), window_seconds REAL NOT NULL,
  covered_seconds REAL NOT NULL, idle_floor_watts REAL, idle_floor_from TEXT NOT NULL, resolution_joules REAL,
  failures INTEGER NOT NULL, resets INTEGER NOT NULL,
  PRIMARY KEY (host, window, device, source)) WITHOUT ROWID;
CREATE TABLE leases (
  lease TEXT PRIMARY KEY, host TEXT NOT NULL, window TEXT NOT NULL, node TEXT NOT NULL, trial TEXT NOT NULL,
  attempt INTEGER NOT NULL, pid INTEGER NOT NULL, opened_at REAL NOT NULL, closed_at REAL, held_seconds REAL NOT NULL,
  covered_seconds REAL NOT NULL, cpu_seconds REAL NOT NULL, reserved_cpus REAL NOT NULL, gpus TEXT NOT NULL,
  startup_seconds REAL, works_elsewhere INTEGER) WITHOUT ROWID;
CREATE TABLE trials (
  trial TEXT PRIMARY KEY, parameters TEXT NOT NULL, seed INTEGER, hardware TEXT NOT NULL, status TEXT NOT NULL,
  attempts INTEGER NOT NULL, started_at REAL, ended_at REAL, error TEXT, stage TEXT NOT NULL DEFAULT ''
  ) WITHOUT ROWID;
CREATE TABLE attempts (
  trial TEXT NOT NULL, number INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL, outcome TEXT NOT NULL,
  checkpoint_joules REAL, error TEXT, PRIMARY KEY (trial, number)) WITHOUT ROWID;
CREATE TABLE results (
  trial TEXT NOT NULL, iteration INTEGER NOT NULL, elapsed_seconds REAL NOT NULL, energy_joules REAL,
  active_energy_joules REAL, metrics TEXT NOT NULL, PRIMARY KEY (trial, iteration)) WITHOUT ROWID;
CREATE TABLE samples (
  series TEXT NOT NULL, elapsed_seconds REAL NOT NULL, joules REAL NOT NULL,
  PRIMARY KEY (series, elapsed_seconds)) WITHOUT ROWID;
"""

# What makes a ledger of a version into one of the next. Runs of older energysweeps had no stages, and
# did not tell start-up apart from work.
_UPGRADES: Final = {
    1: ("ALTER TABLE trials ADD COLUMN stage TEXT NOT NULL DEFAULT ''",),
    2: (
        "ALTER TABLE leases ADD COLUMN startup_seconds REAL",
        "ALTER TABLE leases ADD COLUMN works_elsewhere INTEGER",
    ),
}


@dataclass(frozen=True)
class LedgerData:
    """All that a ledger holds, read at one moment; the report is a function of this and of nothing else.

    Attributes:
        run: what the driver noted about the run. Keys: ``id``, ``name``, ``spec`` (the sweep as a mapping),
            ``started_at``, ``duration_seconds``, ``status`` (``running``, ``done``, ``failed`` or ``interrupted``),
            ``planned_trials`` (how many it makes), ``objective`` (``metric``, ``mode``, ``target``, ``patience``),
            ``stages`` (by name, the stage's
            ``objective``), ``varying`` (names of the parameters that differ between configurations), ``carbon``
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
    damage: Sequence[str] = ()


def without_orphans(data: LedgerData) -> LedgerData:
    """The same without the rows of leases and trials that it does not have; they are told of as damage."""
    damage = Damage()
    energy = with_known_leases(data.energy, data.leases, damage)
    attempts = of_known_trials("attempts", data.attempts, data.trials, damage)
    results = of_known_trials("results", data.results, data.trials, damage)
    damaged = (*data.damage, *damage.texts())
    return replace(data, energy=energy, attempts=attempts, results=results, damage=damaged)


def read_ledger(path: Path) -> LedgerData:
    """What a ledger holds, as far as it can be read.

    Raises:
        LedgerError: there is none, it is something else, or its structure is damaged.
    """
    with Ledger.open(path) as ledger:
        return without_orphans(ledger.read())


class Ledger:
    """The ledger's file, open for writing by one driver or for reading by a report."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path

    @classmethod
    def create(cls, path: Path, **facts: Any) -> Ledger:
        """A new ledger, or the existing one at ``path`` to go on with.

        A new one appears whole: a driver that is killed meanwhile leaves none.

        Args:
            path: its file.
            facts: what a new one has to say of the run at once.

        Raises:
            LedgerError: the folder cannot be written, or the file is something else.
        """
        if not path.exists():
            _make(path, facts)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """An existing ledger; one of an older schema is brought up to this one.

        Raises:
            LedgerError: there is none, it is damaged, or it is something else.
        """
        with _connecting(path) as connection:
            if _checked_version(connection, path) < _SCHEMA_VERSION:
                _upgrade(connection)
        return cls(connection, path)

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
        """Take over what an agent says, all of it or nothing. The highest value of each counter stays."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO energy VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET joules = max(joules, excluded.joules)",
                energy,
            )
            connection.executemany(
                "INSERT INTO meters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " joules = max(joules, excluded.joules), window_seconds = max(window_seconds, excluded.window_seconds),"
                " covered_seconds = max(covered_seconds, excluded.covered_seconds),"
                " failures = max(failures, excluded.failures), resets = max(resets, excluded.resets)",
                meters,
            )
            connection.executemany(
                "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " closed_at = coalesce(closed_at, excluded.closed_at),"
                " held_seconds = max(held_seconds, excluded.held_seconds),"
                " covered_seconds = max(covered_seconds, excluded.covered_seconds),"
                " cpu_seconds = max(cpu_seconds, excluded.cpu_seconds),"
                " startup_seconds = max(startup_seconds, excluded.startup_seconds),"
                " works_elsewhere = max(works_elsewhere, excluded.works_elsewhere)",
                leases,
            )
            connection.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?)", samples)

    def record(
        self,
        trials: Iterable[TrialRow] = (),
        attempts: Iterable[AttemptRow] = (),
        results: Iterable[ResultRow] = (),
    ) -> None:
        """Write down what the driver knows of its trials; the newest row of a key replaces the one before."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_written(row._replace(parameters=json.dumps(row.parameters))) for row in trials),  # type: ignore[arg-type]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)", map(_written, attempts)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)",
                (row._replace(metrics=json.dumps(row.metrics)) for row in results),  # type: ignore[arg-type]
            )

    def read(self) -> LedgerData:
        """Everything that can be read, as of one moment, in the order of the keys; what cannot be is told of."""
        damage = Damage()
        with self._transaction() as connection:
            facts = checked_facts(_rows(connection, "run", ("key", "value"), "", damage), damage)
            leases = checked_leases(_read(connection, ledger_rows.LEASES, damage), damage)
            trials = _read(connection, ledger_rows.TRIALS, damage)
            energy = _read(connection, ledger_rows.ENERGY, damage)
            meters = _read(connection, ledger_rows.METERS, damage)
            attempts = _read(connection, ledger_rows.ATTEMPTS, damage)
            results = _read(connection, ledger_rows.RESULTS, damage)
            samples = _read(connection, ledger_rows.SAMPLES, damage)
        return LedgerData(
            run=facts,
            energy=energy,
            meters=meters,
            leases=leases,
            trials=trials,
            attempts=attempts,
            results=results,
            samples=samples,
            damage=damage.texts(),
        )

    def facts(self) -> Mapping[str, Any]:
        """What ``note`` remembered, as far as it can be read."""
        damage = Damage()
        with self._transaction() as connection:
            return checked_facts(_rows(connection, "run", ("key", "value"), "", damage), damage)

    def read_whole(self) -> LedgerData:
        """Everything, to go on with.

        Raises:
            LedgerError: something is damaged: what is written on top of it could not be trusted.
        """
        data = without_orphans(self.read())
        if data.damage or "id" not in data.run:
            what = data.damage[0] if data.damage else "run: the run id is missing"
            raise LedgerError(f"{self.path}: the ledger is damaged: {what}; energysweep report shows what there is")
        return data

    def backup(self, path: Path) -> None:
        """Copy the ledger, also while it is written to; ``path`` may be on a network file system."""
        with self._lock, _translated(path):
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")
            finally:
                target.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.path), self._connection:
            self._connection.execute("BEGIN")
            yield self._connection


def _make(path: Path, facts: Mapping[str, Any]) -> None:
    """A ledger of these facts alone. It is made elsewhere, so that whoever finds it at ``path`` finds it whole."""
    with _translated(path), tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        connection = sqlite3.connect(new, isolation_level=None)
        with Ledger(connection, path) as ledger:
            connection.executescript(
                f"PRAGMA journal_mode = WAL; BEGIN; PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_SCHEMA_VERSION}; {_SCHEMA} COMMIT;"
            )
            ledger.note(**facts)
        new.rename(path)  # closed, it is one file, without a WAL beside it


def _upgrade(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()  # another process may have been faster
        for step in range(version, _SCHEMA_VERSION):
            for statement in _UPGRADES[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


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


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _text(content: bytes) -> str | bytes:
    """A text of the file; its bytes if they are none, which no check of a text lets pass."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a ledger that can be read."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != _APPLICATION_ID:
        raise LedgerError(f"{path}: this is no ledger of energysweep")
    version = _version(connection)
    if not 1 <= version <= _SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: written with schema {version}, this energysweep reads schema {_SCHEMA_VERSION} and older"
        )
    for (problem,) in connection.execute("PRAGMA quick_check(1000)"):
        # A value that breaks a rule of its column is left out, and told of, by whoever reads the rows.
        if problem != "ok" and "CHECK constraint" not in problem and "NULL value" not in problem:
            raise LedgerError(f"{path}: the ledger is damaged ({one_line(problem)})")
    return version


@contextlib.contextmanager
def _connecting(path: Path) -> Iterator[sqlite3.Connection]:
    """A new connection; it is closed again if what is done with it here fails."""
    if not path.is_file():
        raise LedgerError(f"{path}: there is no ledger here")
    with _translated(path):
        connection = _connection(path)
        try:
            try:
                connection.execute("PRAGMA schema_version").fetchone()
            except sqlite3.OperationalError:
                connection.close()
                if os.access(path.parent, os.W_OK):
                    raise
                connection = _in_memory(path)
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection
        except BaseException:
            connection.close()
            raise


def _connection(path: Path | str) -> sqlite3.Connection:
    # The driver's poll thread and Tune's callbacks share one connection, one at a time (see Ledger._transaction).
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.text_factory = _text
    return connection


def _in_memory(path: Path) -> sqlite3.Connection:
    """A copy of a ledger in a folder that cannot be written: SQLite's WAL mode needs a file beside it to read it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(path.with_name(name), folder)
        copy, memory = _connection(Path(folder) / path.name), _connection(":memory:")
        try:
            copy.backup(memory)
        except BaseException:
            memory.close()
            raise
        finally:
            copy.close()
    return memory


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {one_line(error)}") from error
    except UnicodeDecodeError as error:  # in SQLite's own message: names of tables may hold anything
        raise LedgerError(f"{path}: the ledger is damaged (its schema is no text)") from error
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror or error}") from error
