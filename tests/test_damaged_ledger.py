"""Ledgers whose values cannot be: the numbers that there are, and one line of what is left out."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.errors import LedgerError
from energysweep.ledger import FILE_NAME, Ledger, LedgerData, read_ledger
from energysweep.reporting import summarise
from energysweep.runfolder import to_resume
from tests.reporting.example import example

TABLES = {
    "run": ("key", "value"),
    "energy": ("host", "window", "lease", "device", "component", "bucket", "source", "joules"),
    "meters": (
        *("host", "window", "node", "device", "component", "source", "joules", "window_seconds", "covered_seconds"),
        *("idle_floor_watts", "idle_floor_from", "resolution_joules", "failures", "resets"),
    ),
    "leases": (
        *("lease", "host", "window", "node", "trial", "attempt", "pid", "opened_at", "closed_at", "held_seconds"),
        *("covered_seconds", "cpu_seconds", "reserved_cpus", "gpus"),
    ),
    "trials": (
        *("trial", "parameters", "seed", "hardware", "status", "attempts", "started_at", "ended_at", "error", "stage"),
    ),
    "attempts": ("trial", "number", "started_at", "ended_at", "outcome", "checkpoint_joules", "error"),
    "results": ("trial", "iteration", "elapsed_seconds", "energy_joules", "active_energy_joules", "metrics"),
    "samples": ("series", "elapsed_seconds", "joules"),
}
JSON = ("null", "{}", "[]", '"x"', "-1", "1e400", "NaN", "{", "", "[[[]]]", '"\\ud800"', "1" * 5000, "[" * 5000, "true")
OBJECTS = (
    *('{"x": NaN}', '{"x": 1e400}', f'{{"x": {"9" * 400}}}', f'{{"x": {"9" * 5000}}}', '{"x": "\\ud800"}'),
    *('{"x": {"y": [1]}}', '{"x": "</script><img src=x onerror=alert(1)>"}', '{"\\ud800": 1}', '{"x": null}'),
)
VALUES = (
    *(-1.5, 1e308, float("inf"), float("nan"), "x", "", b"\xff\0", 2**62, -(2**62), None, 0, "NaN", "1e5", 1e-320),
    *("2023-01-01", "done", "active", "\x1b[31m"),
)
FACTS = (
    *("spec", "objective", "carbon", "started_at", "duration_seconds", "varying", "stages", "meters", "versions"),
    *("parts", "name", "id", "status", "owner", "grafana", "planned_trials"),
)


def written(folder: Path, data: LedgerData) -> Path:
    """A run folder with this ledger and a sweep that can be loaded."""
    folder.mkdir()
    with Ledger.create(folder / FILE_NAME, **data.run) as ledger:
        ledger.merge(data.energy, data.meters, data.leases, data.samples)
        ledger.record(data.trials, data.attempts, data.results)
    (folder / "work.py").write_text("def train(config): ...\n", encoding="utf-8")
    (folder / "sweep.yaml").write_text(
        "name: mnist\nworkload: work:train\nobjective: {metric: accuracy, mode: max}\n"
        "parameters: {x: {grid: [1, 2]}}\n",
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("damaged") / "run", example(parts=[{"started_at": 1.0}]))


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def change(folder: Path, sql: str, *values: object) -> None:
    """What another writer, or the disk, does to a ledger."""
    drawn: dict[int, random.Random] = {}
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        # SQLite's own random() takes no seed.
        draw = lambda seed: drawn.setdefault(seed, random.Random(seed)).getrandbits(62)  # noqa: E731, S311
        connection.create_function("drawn", 1, draw)
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute(sql, values)
        connection.commit()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """What a command says: its exit code, output and errors."""
    capsys.readouterr()
    code = main(list(arguments))
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return code, output.out, output.err


def test_a_result_that_cannot_be_hides_no_joule(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged, "UPDATE results SET metrics = '{' WHERE trial = 't-0.1-256-0' AND iteration = 2")
    code, out, _ = told(capsys, "report", str(damaged))
    assert code == 0
    assert "The ledger is damaged: results: 1 row left out (t-0.1-256-0 2: " in out
    whole, left = summarise(example()), summarise(read_ledger(damaged / FILE_NAME))
    assert left.totals == whole.totals
    assert [trial.energy_joules for trial in left.trials] == [trial.energy_joules for trial in whole.trials]
    summary = json.loads((damaged / "summary.json").read_text(encoding="utf-8"))
    assert len(summary["damage"]) == 1
    assert "The ledger of this run is damaged." in (damaged / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sql", "value", "line"),
    [
        ("UPDATE energy SET joules = ? WHERE bucket = 'overhead'", -1.5, "energy: 1 row left out"),
        ("UPDATE energy SET joules = ? WHERE bucket = 'overhead'", "x", "energy: 1 row left out"),
        ("UPDATE energy SET joules = ? WHERE bucket = 'overhead'", float("inf"), "energy: 1 row left out"),
        ("UPDATE energy SET bucket = ? WHERE bucket = 'overhead'", "pocket", "(pocket is no bucket)"),
        ("UPDATE energy SET lease = ? WHERE bucket = 'overhead'", "x", "(overhead of a lease)"),
        ("UPDATE leases SET lease = ? WHERE trial = 't-0.1-256-0'", "other", "which the ledger does not know"),
        ("UPDATE leases SET gpus = ? WHERE trial = 't-0.1-256-0'", "[1]", "gpus: no JSON object"),
        ("UPDATE trials SET status = ? WHERE trial = 't-0.1-256-0'", "fine", "trials: 1 row left out"),
        ("UPDATE trials SET trial = ? WHERE trial = 't-0.1-256-0'", "other", "which the ledger does not know"),
        ("UPDATE trials SET trial = ? WHERE trial = 't-0.1-256-0'", b"\xff\0", "trials: 1 row left out"),
        ("UPDATE run SET value = ? WHERE key = 'carbon'", "[]", "run: 1 row left out (carbon"),
        ("UPDATE run SET value = ? WHERE key = 'started_at'", "NaN", "run: 1 row left out (started_at"),
        ("DELETE FROM results WHERE ? OR 1", 1, ""),
    ],
)
def test_what_cannot_be_is_left_out_and_told(
    damaged: Path, capsys: pytest.CaptureFixture[str], sql: str, value: object, line: str
) -> None:
    change(damaged, sql, value)
    code, out, _ = told(capsys, "report", str(damaged))
    assert code == 0
    assert line in out
    code, out, _ = told(capsys, "compare", str(damaged))
    assert (code, line in out) == (0, True)


def test_a_table_that_is_gone_takes_only_its_own_with_it(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged, "DROP TABLE samples")
    change(damaged, "ALTER TABLE trials ADD COLUMN more TEXT")
    code, out, _ = told(capsys, "report", str(damaged))
    assert code == 0
    assert "samples: 1 row left out (all of them: no such table: samples)" in out
    assert len(read_ledger(damaged / FILE_NAME).trials) == 18


def test_a_receipt_says_what_is_left_out(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged, "UPDATE attempts SET outcome = 'x' WHERE trial = 't-0.1-256-0'")
    code, out, _ = told(capsys, "explain", str(damaged), "t-0.1-256-0")
    assert code == 0
    assert "The ledger is damaged: attempts: 1 row left out (t-0.1-256-0 1: outcome" in out


def test_nobody_goes_on_with_a_damaged_ledger(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert to_resume(damaged)[0] == "mnist-20231114T221320Z"
    change(damaged, "UPDATE energy SET joules = 'x' WHERE bucket = 'overhead'")
    code, _, err = told(capsys, "resume", str(damaged))
    assert code == 1
    (line,) = err.splitlines()
    assert "the ledger is damaged: energy: 1 row left out" in line
    assert line.endswith("energysweep report shows what there is")
    change(damaged, "DELETE FROM energy")
    change(damaged, "DELETE FROM run WHERE key = 'id'")
    with pytest.raises(LedgerError, match="the run id is missing"):
        to_resume(damaged)


@pytest.mark.parametrize("sql", ["DELETE FROM run WHERE key = 'id'", "UPDATE run SET value = '1' WHERE key = 'id'"])
def test_a_run_by_its_id_does_not_go_on_with_a_ledger_without_one(
    damaged: Path, capsys: pytest.CaptureFixture[str], sql: str
) -> None:
    change(damaged, sql)
    sweep, output, run_id = str(damaged / "sweep.yaml"), str(damaged.parent), damaged.name
    code, _, err = told(capsys, "run", sweep, "--output", output, "--run-id", run_id)
    assert code == 1
    _, line = err.splitlines()  # after what the sweep is
    assert line.startswith(f"energysweep: {damaged / FILE_NAME}: the ledger is damaged: run: the run id is missing;")


def test_half_a_surrogate_pair_in_a_metric_is_spelled_out(damaged: Path) -> None:
    change(damaged, """UPDATE results SET metrics = '{"accuracy": 0.5, "note": "\\ud800"}'""")
    data = read_ledger(damaged / FILE_NAME)
    assert data.damage == ()
    assert data.results[0].metrics == {"accuracy": 0.5, "note": "\\ud800"}


@pytest.mark.parametrize("kind", ["empty", "text", "foreign", "folder", "dangling", "device", "fifo"])
def test_what_is_no_ledger_is_told_in_one_line(damaged: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    ledger = damaged / FILE_NAME
    ledger.unlink()
    if kind == "empty":
        ledger.touch()
    elif kind == "text":
        ledger.write_text("hello" * 1000, encoding="utf-8")
    elif kind == "foreign":
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            connection.execute("CREATE TABLE a(b)")
    elif kind == "folder":
        ledger.mkdir()
    elif kind == "fifo":
        subprocess.run(["mkfifo", str(ledger)], check=True)
    else:
        ledger.symlink_to("/dev/zero" if kind == "device" else damaged / "nowhere")
    for command in ("report", "compare", "resume", "explain"):
        code, _, err = told(capsys, command, str(damaged), *(["t"] if command == "explain" else []))
        assert code == (2 if not ledger.is_file() else 1)
        assert len(err.splitlines()) == 1


def test_a_newer_ledger_is_told_in_one_line(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged, "PRAGMA user_version = 99")
    code, _, err = told(capsys, "report", str(damaged))
    assert code == 1
    assert "written with schema 99" in err


def test_a_ledger_can_be_read_while_another_process_writes_to_it(damaged: Path) -> None:
    with contextlib.closing(sqlite3.connect(damaged / FILE_NAME, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM energy")
        assert len(read_ledger(damaged / FILE_NAME).energy) == len(example().energy)


# 400 mutated ledgers -------------------------------------------------------------------------------------------------


def with_other_values(chance: random.Random) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Statements that change values."""
    for _ in range(chance.randint(1, 3)):
        table = chance.choice(list(TABLES))
        kind = chance.random()
        if table == "run" or kind < 0.2:
            yield "UPDATE run SET value = ? WHERE key = ?", (chance.choice(JSON + OBJECTS), chance.choice(FACTS))
        elif kind < 0.3:
            column, table = chance.choice([("parameters", "trials"), ("metrics", "results"), ("gpus", "leases")])
            yield f"UPDATE {table} SET {column} = ?", (chance.choice(JSON + OBJECTS),)  # noqa: S608
        elif kind < 0.4:
            yield f"DELETE FROM {table} WHERE drawn({chance.getrandbits(32)}) % {chance.randint(1, 3)} = 0", ()  # noqa: S608
        elif kind < 0.43:
            yield chance.choice([f"DROP TABLE {table}", f"ALTER TABLE {table} ADD COLUMN zz TEXT"]), ()
        else:
            some = chance.choice(["", f"WHERE drawn({chance.getrandbits(32)}) % 3 = 0"])
            column = chance.choice(TABLES[table])
            yield f"UPDATE OR REPLACE {table} SET {column} = ? {some}", (chance.choice(VALUES),)  # noqa: S608


def with_other_bytes(content: bytes, chance: random.Random) -> bytes:
    """The same file after a disk has had its way with it."""
    changed = bytearray(content)
    match chance.randrange(5):
        case 0:
            del changed[chance.randrange(len(changed)) :]
        case 1:
            for _ in range(chance.randint(1, 30)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
        case 2:
            start = chance.randrange(len(changed))
            changed[start : start + 4096] = bytes(len(changed[start : start + 4096]))
        case 3:
            start = chance.randrange(len(changed) // 4096) * 4096
            changed[start : start + 200] = chance.randbytes(200)
        case _:
            changed[chance.randrange(100)] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_400_mutated_ledgers_give_a_report_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    whole = example(parts=[{"started_at": 1.0}])
    small = replace(whole, results=whole.results[::3])
    base = written(tmp_path / "base", small)
    content = (base / FILE_NAME).read_bytes()
    folder = base.parent / "mutated"
    reports = lines = 0
    for number in range(400):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        what: list[object] = [number]
        if chance.random() < 0.3:
            (folder / FILE_NAME).write_bytes(with_other_bytes(content, chance))
        else:
            for sql, values in with_other_values(chance):
                what.append((sql, str(values)[:60]))
                with contextlib.suppress(sqlite3.Error):
                    change(folder, sql, *values)
        commands = [["explain", "t-0.1-256-0"], ["compare"], ["resume"], ["report", "--openmetrics"]]
        name, *rest = chance.choice([*commands, *[["report"]] * 2])
        more = [str(folder / "run.om")] if rest == ["--openmetrics"] else []
        arguments = [name, str(folder), *rest, *more]
        if name == "resume":  # beyond this Ray is started
            with contextlib.suppress(LedgerError):
                to_resume(folder)
            continue
        try:
            code, out, err = told(capsys, *arguments)
        except Exception as error:
            raise AssertionError(f"{arguments}: {what}") from error
        if code == 0:
            reports += 1
            assert out, what
        else:
            lines += 1
            assert (code in (1, 2), len(err.splitlines())) == (True, 1), (what, code, err)
    assert reports > 100
    assert lines > 20
