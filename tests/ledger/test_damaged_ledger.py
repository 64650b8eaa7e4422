"""Ledgers whose values cannot be: the numbers that there are, and one line of what is left out."""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import example as example_of
from hypothesis import given
from hypothesis import strategies as st

from energysweep.cli import main
from energysweep.core import carbon
from energysweep.core.errors import InputError, LedgerError
from energysweep.core.runfolder import LEDGER
from energysweep.driver.run_facts import beginning, to_resume
from energysweep.export.formats import FORMATS
from energysweep.ledger import rows
from energysweep.ledger.store import Ledger, LedgerData, read_ledger
from energysweep.report import summarise
from energysweep.sweepfile import load_spec
from tests.support.example import example
from tests.support.ledgers import write_ledger

TABLES = {"run": ("key", "value")} | {
    table.name: table.columns for table in vars(rows).values() if isinstance(table, rows.Table)
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
    *("parts", "name", "id", "status", "owner", "grafana", "planned_trials", "full_reports"),
)


def written(folder: Path, data: LedgerData) -> Path:
    """A run folder with this ledger and a sweep that can be loaded."""
    write_ledger(folder, data)
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
    with contextlib.closing(sqlite3.connect(folder / LEDGER)) as connection:
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
    whole, left = summarise(example()), summarise(read_ledger(damaged / LEDGER))
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
        ("UPDATE leases SET startup_seconds = ? WHERE trial = 't-0.1-256-0'", float("inf"), "leases: 1 row left out"),
        ("UPDATE leases SET startup_seconds = ? WHERE trial = 't-0.1-256-0'", -100.0, "leases: 1 row left out"),
        ("UPDATE leases SET startup_seconds = ? WHERE trial = 't-0.1-256-0'", 1e308, "startup_seconds: 1e+308"),
        ("UPDATE leases SET works_elsewhere = ? WHERE trial = 't-0.1-256-0'", 2, "works_elsewhere: 2"),
        ("UPDATE trials SET status = ? WHERE trial = 't-0.1-256-0'", "fine", "trials: 1 row left out"),
        ("UPDATE trials SET trial = ? WHERE trial = 't-0.1-256-0'", "other", "which the ledger does not know"),
        ("UPDATE trials SET trial = ? WHERE trial = 't-0.1-256-0'", b"\xff\0", "trials: 1 row left out"),
        ("UPDATE run SET value = ? WHERE key = 'carbon'", "[]", "run: 1 row left out (carbon"),
        ("UPDATE run SET value = ? WHERE key = 'started_at'", "NaN", "run: 1 row left out (started_at"),
        ("INSERT INTO run VALUES ('forecast', ?)", '{"joules": 1, "low": 1e999, "high": 2}', "(forecast"),
        ("INSERT INTO run VALUES ('forecast', ?)", '{"joules": 1, "low": 1}', "(forecast"),
        ("UPDATE run SET value = ? WHERE key = 'spec'", '{"scheduler": {"type": ["race"]}}', "(spec: scheduler.type"),
        (
            "UPDATE run SET value = ? WHERE key = 'spec'",
            f'{{"budget": {{"cost": 1{"0" * 400}}}}}',
            "(spec: budget.cost",
        ),
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


def has_float(kind: object) -> bool:
    return kind is float or any(map(has_float, get_args(kind)))


@pytest.mark.parametrize("table", [name for name in TABLES if name != "run"])
def test_no_number_of_a_row_is_without_bounds(table: str) -> None:
    (found,) = [each for each in vars(rows).values() if getattr(each, "name", "") == table]
    whole = next(iter(getattr(example(), table)))
    numbers = [name for name, kind in get_type_hints(found.row, include_extras=True).items() if has_float(kind)]
    assert numbers or table == "trials"
    for column in numbers:
        for value in (float("inf"), float("nan"), 1e300, -1.0):
            damage = rows.Damage()
            row = whole._replace(**{column: value})
            cells = [json.dumps(cell) if name == found.json else cell for name, cell in row._asdict().items()]
            assert found.checked([cells], damage) == [], (column, value)
            assert len(damage.texts()) == 1


def test_a_table_that_is_gone_takes_only_its_own_with_it(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged, "DROP TABLE samples")
    change(damaged, "ALTER TABLE trials ADD COLUMN more TEXT")
    code, out, _ = told(capsys, "report", str(damaged))
    assert code == 0
    assert "samples: 1 row left out (all of them: no such table: samples)" in out
    assert len(read_ledger(damaged / LEDGER).trials) == 18


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
    path = damaged / "sweep.yaml"
    path.write_text(path.read_text().replace("workload: work:train", "command: [python, work.py]"), encoding="utf-8")
    sweep, output, run_id = str(damaged / "sweep.yaml"), str(damaged.parent), damaged.name
    code, _, err = told(capsys, "run", sweep, "--output", output, "--run-id", run_id)
    assert code == 1
    _, line = err.splitlines()  # after what the sweep is
    assert line.startswith(f"energysweep: {damaged / LEDGER}: the ledger is damaged: run: the run id is missing;")


def test_half_a_surrogate_pair_in_a_metric_is_spelled_out(damaged: Path) -> None:
    change(damaged, """UPDATE results SET metrics = '{"accuracy": 0.5, "note": "\\ud800"}'""")
    data = read_ledger(damaged / LEDGER)
    assert data.damage == ()
    assert data.results[0].metrics == {"accuracy": 0.5, "note": "\\ud800"}


@pytest.mark.parametrize("kind", ["empty", "text", "foreign", "folder", "dangling", "device", "fifo"])
def test_what_is_no_ledger_is_told_in_one_line(damaged: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    ledger = damaged / LEDGER
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
    with contextlib.closing(sqlite3.connect(damaged / LEDGER, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM energy")
        assert len(read_ledger(damaged / LEDGER).energy) == len(example().energy)


# What a sweep may say ------------------------------------------------------------------------------------------------


# Of every size, and on both sides of every bound.
NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(-(10**310), 10**310),
    st.builds(
        lambda sign, exponent, factor: sign * factor * 10.0**exponent,
        st.sampled_from((-1, 1)),
        st.integers(-9, 307),
        st.sampled_from((0.999, 1, 1.001)),
    ),
    st.sampled_from((0, 1, 2, 0.95)),
)
KEYS = (
    *("objective.target", "objective.patience", "carbon.grams_per_kwh", "carbon.pue", "repeats", "search.seed"),
    *("idle_power_watts.cpu", "max_failures", "hardware.a.resources.cpu", "hardware.a.resources.gpu", "parameters.x"),
    *("stages.s.objective.target", "stages.s.objective.patience", "stop.loss", "scheduler.grace_period"),
    *("budget.energy_joules", "budget.emissions_grams", "budget.cost", "budget.duration_seconds", "price.per_kwh"),
)
SWEEP = """\
name: a
workload: work.py:train
objective: {metric: loss, mode: min}
parameters: {x: 1, pretrained: {from: s}}
hardware: {a: {resources: {cpu: 1, gpu: 0.5}}}
scheduler: {type: asha}
stages: {s: {objective: {metric: loss, mode: min}}}
carbon: {grams_per_kwh: 100}
price: {per_kwh: 0.3}
"""


def in_yaml(number: float) -> str:
    """A number as YAML has it."""
    if isinstance(number, float) and not math.isfinite(number):
        return ".nan" if math.isnan(number) else f"{'-' if number < 0 else ''}.inf"
    return repr(number)


@given(st.dictionaries(st.sampled_from(KEYS), NUMBERS, min_size=1, max_size=3))
@example_of({"objective.target": 1e305})
@example_of({"stages.s.objective.target": -1e301})
@example_of({"objective.patience": 10**10})
@example_of({"carbon.grams_per_kwh": 1e300})
@example_of({"carbon.pue": 1e5})
@example_of({"idle_power_watts.cpu": 1e300})
@example_of({"hardware.a.resources.cpu": 1e7})
@example_of({"budget.cost": 1e308})
@example_of({"price.per_kwh": 1e308})
def test_whatever_a_sweep_may_say_its_ledger_reads_back_whole(numbers: dict[str, float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
        try:
            spec = load_spec(folder / "sweep.yaml", [f"{key}={in_yaml(value)}" for key, value in numbers.items()])
        except InputError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert any(key in refused for key in numbers) or "makes " in refused, refused
            return
        grid = carbon.resolve(**spec.carbon.model_dump())
        (profile,) = spec.profiles.values()
        whole = example()
        meter = whole.meters[0]._replace(idle_floor_watts=float(spec.idle_power_watts.get("cpu", 0.0)))
        lease = whole.leases[0]._replace(reserved_cpus=float(profile.cpu), gpus=json.dumps({"GPU-1": profile.gpu}))
        trial = whole.trials[0]._replace(parameters={"x": spec.parameters["x"]}, seed=spec.repeats - 1)
        with Ledger.create(folder / LEDGER, **beginning("it", spec, grid, 1.0)) as ledger:
            ledger.merge((), [meter], [lease])
            ledger.record([trial])
            data = ledger.read_whole()
        assert data.damage == ()
        assert (data.run["objective"]["target"], data.run["carbon"]["pue"]) == (spec.objective.target, spec.carbon.pue)


# Mutated ledgers -----------------------------------------------------------------------------------------------------

MUTATED = 150


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
def test_mutated_ledgers_give_a_report_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    whole = example(parts=[{"started_at": 1.0}])
    small = replace(whole, results=whole.results[::3])
    base = written(tmp_path / "base", small)
    content = (base / LEDGER).read_bytes()
    folder = base.parent / "mutated"
    reports = lines = 0
    for number in range(MUTATED):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        what: list[object] = [number]
        if chance.random() < 0.3:
            (folder / LEDGER).write_bytes(with_other_bytes(content, chance))
        else:
            for sql, values in with_other_values(chance):
                what.append((sql, str(values)[:60]))
                with contextlib.suppress(sqlite3.Error):
                    change(folder, sql, *values)
        commands = [["explain", "t-0.1-256-0"], ["compare"], ["resume"], ["report", "--openmetrics"]]
        commands += [["export", "--force", "--format", each] for each in FORMATS]
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
    assert reports > MUTATED / 4
    assert lines > MUTATED / 20
