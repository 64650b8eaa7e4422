"""The ledger's file: its schema, those of older energysweeps, and how it is opened.

Only the driver that writes to a ledger brings its file up to this schema. For everybody else the file stays as it is:
its driver may be of that older energysweep, and whoever reads may have no right to write.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from energysweep.core.errors import LedgerError, one_line

_APPLICATION_ID: Final = 0x454E5357  # "ENSW", in the file's header: a foreign SQLite file is recognised by it
_SCHEMA_VERSION: Final = 6

_DECISIONS: Final = """CREATE TABLE decisions (
  number INTEGER PRIMARY KEY, at REAL NOT NULL, trial TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, joules REAL,
  limit_joules REAL, sweep_joules REAL, numbers TEXT NOT NULL) WITHOUT ROWID"""
_SCHEMA: Final = f"""
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE energy (
  host TEXT NOT NULL, window TEXT NOT NULL, lease TEXT NOT NULL, device TEXT NOT NULL, component TEXT NOT NULL,
  bucket TEXT NOT NULL, source TEXT NOT NULL, joules REAL NOT NULL CHECK (joules >= 0),
  PRIMARY KEY (host, window, lease, device, component, bucket, source)) WITHOUT ROWID;
CREATE TABLE meters (
  host TEXT NOT NULL, window TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL, component TEXT NOT NULL,
  source TEXT NOT NULL, joules REAL NOT NULL CHECK (joules >= 0), window_seconds REAL NOT NULL,
  covered_seconds REAL NOT NULL, idle_floor_watts REAL, idle_floor_from TEXT NOT NULL, resolution_joules REAL,
  failures INTEGER NOT NULL, resets INTEGER NOT NULL, books TEXT NOT NULL DEFAULT '', opened_joules REAL,
  opened_at REAL, PRIMARY KEY (host, window, device, source)) WITHOUT ROWID;
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
  active_energy_joules REAL, metrics TEXT NOT NULL, power_watts REAL, PRIMARY KEY (trial, iteration)) WITHOUT ROWID;
CREATE TABLE samples (
  series TEXT NOT NULL, elapsed_seconds REAL NOT NULL, joules REAL NOT NULL,
  PRIMARY KEY (series, elapsed_seconds)) WITHOUT ROWID;
{_DECISIONS};
"""

# What makes a ledger of a version into one of the next. Runs of older energysweeps had no stages, did not tell start-up
# apart from work, wrote down no decisions, and did not say when a window was opened and where a counter stood then, nor
# with which power a trial reported.
_UPGRADES: Final = {
    1: ("ALTER TABLE trials ADD COLUMN stage TEXT NOT NULL DEFAULT ''",),
    2: (
        "ALTER TABLE leases ADD COLUMN startup_seconds REAL",
        "ALTER TABLE leases ADD COLUMN works_elsewhere INTEGER",
    ),
    3: (_DECISIONS,),
    4: (
        "ALTER TABLE meters ADD COLUMN books TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE meters ADD COLUMN opened_joules REAL",
        "ALTER TABLE meters ADD COLUMN opened_at REAL",
    ),
    5: ("ALTER TABLE results ADD COLUMN power_watts REAL",),
}


def make(path: Path, facts: Mapping[str, Any]) -> None:
    """A ledger of these facts alone. It is made elsewhere, so that whoever finds it at ``path`` finds it whole.

    Raises:
        LedgerError: it cannot be written.
    """
    with translated(path), tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        with contextlib.closing(_connection(new)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = WAL; BEGIN; PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_SCHEMA_VERSION}; {_SCHEMA} COMMIT;"
            )
            rows = [(key, json.dumps(value)) for key, value in facts.items()]
            connection.executemany("INSERT INTO run VALUES (?, ?)", rows)
        new.rename(path)  # closed, it is one file, without a WAL beside it


def to_write(path: Path) -> sqlite3.Connection:
    """An existing ledger to write to, brought up to this schema.

    Raises:
        LedgerError: there is none, it cannot be written, it is damaged, or it is something else.
    """
    with _connecting(path) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        if _checked_version(connection, path) < _SCHEMA_VERSION:
            _upgrade(connection)
    return connection


def to_read(path: Path, *, untouched: bool = False) -> sqlite3.Connection:
    """An existing ledger to read; one of an older schema as a copy in memory that is brought up to this one.

    Args:
        path: the ledger's.
        untouched: nothing is written into its folder. Otherwise SQLite may make the files of its log, and end them.

    Raises:
        LedgerError: there is none, it is damaged, or it is something else.
    """
    with _connecting(path, or_copied=True, untouched=untouched) as connection:
        if _checked_version(connection, path) == _SCHEMA_VERSION:
            connection.execute("PRAGMA query_only = ON")
            return connection
        memory = _in_memory(connection)
        try:
            _upgrade(memory, as_far_as_possible=True)
            memory.execute("PRAGMA query_only = ON")
        except BaseException:
            memory.close()
            raise
        return memory


def _upgrade(connection: sqlite3.Connection, *, as_far_as_possible: bool = False) -> None:
    """Bring a ledger up to this schema.

    Args:
        connection: to it.
        as_far_as_possible: pass over a table that is not there; whoever reads the ledger tells of it.
    """
    passed_over = (sqlite3.OperationalError,) if as_far_as_possible else ()
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        for step in range(_version(connection), _SCHEMA_VERSION):
            for statement in _UPGRADES[step]:
                with contextlib.suppress(*passed_over):
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


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
    for (text,) in connection.execute("PRAGMA quick_check(1000)"):
        # The name of a table in it may be no text.
        problem = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
        # A value that breaks a rule of its column is left out, and told of, by whoever reads the rows.
        if problem != "ok" and "CHECK constraint" not in problem and "NULL value" not in problem:
            raise LedgerError(f"{path}: the ledger is damaged ({one_line(problem)})")
    return version


@contextlib.contextmanager
def _connecting(path: Path, *, or_copied: bool = False, untouched: bool = False) -> Iterator[sqlite3.Connection]:
    """A new connection; it is closed again if what is done with it here fails.

    Args:
        path: the ledger's.
        or_copied: to a copy of it, where its folder cannot be written: SQLite's WAL mode needs a file beside it.
        untouched: nothing is written into its folder.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: there is no ledger here")
    with translated(path):
        connection = _connection(_read_only(path) if untouched else path)
        try:
            try:
                connection.execute("PRAGMA schema_version").fetchone()
            except sqlite3.OperationalError:
                if not or_copied or (os.access(path.parent, os.W_OK) and not untouched):
                    raise
                connection.close()
                connection = _copied(path)
            yield connection
        except BaseException:
            connection.close()
            raise


def _read_only(path: Path) -> str:
    """Its address for a connection that writes nothing.

    Where there is no log beside it, its driver has ended, and SQLite would make one even to read.
    """
    without_log = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return f"{path.resolve().as_uri()}?mode=ro{without_log}"


def _connection(path: Path | str) -> sqlite3.Connection:
    # The driver's poll thread and Tune's callbacks share one connection, one at a time (see Ledger._transaction).
    is_address = isinstance(path, str) and path.startswith("file:")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30, uri=is_address)
    connection.text_factory = _text
    return connection


def _copied(path: Path) -> sqlite3.Connection:
    """What a ledger's files hold, in memory."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(path.with_name(name), folder)
        return _in_memory(_connection(Path(folder) / path.name))


def _in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The same in memory, as of one moment; closes ``connection``."""
    memory = _connection(":memory:")
    try:
        connection.backup(memory)
    except BaseException:
        memory.close()
        raise
    finally:
        connection.close()
    return memory


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """What SQLite and the system say of a ledger, as a LedgerError that names it."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {one_line(error)}") from error
    except UnicodeDecodeError as error:  # in SQLite's own message: names of tables may hold anything
        raise LedgerError(f"{path}: the ledger is damaged (its schema is no text)") from error
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror or error}") from error
