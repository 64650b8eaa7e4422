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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from energysweep.errors import LedgerError
from energysweep.records import AttemptRow, EnergyRow, LeaseRow, MeterRow, ResultRow, SampleRow, TrialRow, readable

FILE_NAME: Final = "ledger.sqlite"
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
  startup_seconds REAL) WITHOUT ROWID;
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
    1: "ALTER TABLE trials ADD COLUMN stage TEXT NOT NULL DEFAULT ''",
    2: "ALTER TABLE leases ADD COLUMN startup_seconds REAL",
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
            on what was taken and why not better), ``versions`` (by package).
    """

    run: dict[str, Any]
    energy: Sequence[EnergyRow] = ()
    meters: Sequence[MeterRow] = ()
    leases: Sequence[LeaseRow] = ()
    trials: Sequence[TrialRow] = ()
    attempts: Sequence[AttemptRow] = ()
    results: Sequence[ResultRow] = ()
    samples: Sequence[SampleRow] = field(default=(), repr=False)


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
        if not path.is_file():
            raise LedgerError(f"{path}: there is no ledger here")
        with _connecting(path) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if application_id != _APPLICATION_ID:
                raise LedgerError(f"{path}: this is no ledger of energysweep")
            if not 1 <= version <= _SCHEMA_VERSION:
                raise LedgerError(
                    f"{path}: written with schema {version}, this energysweep reads schema {_SCHEMA_VERSION} and older"
                )
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise LedgerError(f"{path}: the ledger is damaged ({problem})")
            if version < _SCHEMA_VERSION:
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
                "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " closed_at = coalesce(closed_at, excluded.closed_at),"
                " held_seconds = max(held_seconds, excluded.held_seconds),"
                " covered_seconds = max(covered_seconds, excluded.covered_seconds),"
                " cpu_seconds = max(cpu_seconds, excluded.cpu_seconds),"
                " startup_seconds = max(startup_seconds, excluded.startup_seconds)",
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
        """Everything, as of one moment, in the order of the keys."""
        with self._transaction() as connection:
            rows = connection.execute
            return LedgerData(
                run={key: json.loads(value) for key, value in rows("SELECT * FROM run")},
                energy=[EnergyRow(*row) for row in rows("SELECT * FROM energy")],
                meters=[MeterRow(*row) for row in rows("SELECT * FROM meters")],
                leases=[LeaseRow(*row) for row in rows("SELECT * FROM leases ORDER BY opened_at, lease")],
                trials=[
                    TrialRow(trial, json.loads(parameters), *rest)
                    for trial, parameters, *rest in rows("SELECT * FROM trials")
                ],
                attempts=[AttemptRow(*row) for row in rows("SELECT * FROM attempts")],
                results=[_result(row) for row in rows("SELECT * FROM results")],
                samples=[SampleRow(*row) for row in rows("SELECT * FROM samples")],
            )

    def facts(self) -> Mapping[str, Any]:
        """What ``note`` remembered."""
        with self._transaction() as connection:
            return {key: json.loads(value) for key, value in connection.execute("SELECT * FROM run")}

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
            connection.execute(_UPGRADES[step])
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _written(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as SQLite takes it: an error's text may hold anything."""
    return tuple(readable(value) if isinstance(value, str) else value for value in row)


def _result(row: tuple[Any, ...]) -> ResultRow:
    return ResultRow(*row)._replace(metrics=json.loads(row[-1]))


@contextlib.contextmanager
def _connecting(path: Path) -> Iterator[sqlite3.Connection]:
    """A new connection; it is closed again if what is done with it here fails."""
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
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)


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
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: {error}") from error
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror or error}") from error
