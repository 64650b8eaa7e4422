"""Parquet files, read by pyarrow and pandas."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.jsontext import jsonable
from energysweep.core.runfolder import LEDGER
from energysweep.export.parquet import tables
from energysweep.ledger.store import LedgerData, read_ledger
from energysweep.report.files import configurations_csv, trials_csv
from tests.export.conftest import Export, exported
from tests.support import regimes
from tests.support.example import CRASHED, example
from tests.support.ledgers import write_ledger

NAMES = ["configurations", "energy", "results", "trials"]
FORMAT = ("--format", "parquet")


def unit(table: pa.Table, name: str) -> str | None:
    metadata = table.schema.field(name).metadata or {}
    return metadata[b"unit"].decode() if b"unit" in metadata else None


@pytest.mark.parametrize("data", [example(), example("estimate", extra={"layers": [64, 32]}), regimes.pretraining()])
def test_its_numbers_are_those_of_the_csv_files_to_the_last_digit(data: LedgerData) -> None:
    run = exported(data)
    made = tables(run)
    for name, text in (("trials", trials_csv(run.summary)), ("configurations", configurations_csv(run.summary))):
        rows = list(csv.DictReader(io.StringIO(text)))
        table = made[name]
        assert [column for column in table.column_names if column != "estimated"] == list(rows[0])
        for place, row in enumerate(table.to_pylist()):
            for column, value in row.items():
                if column != "estimated":
                    assert rows[place][column] == as_csv(value) or float(rows[place][column]) == value


def as_csv(value: Any) -> str:
    return "n/a" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)


def test_pandas_and_pyarrow_read_the_files(export: Export, tmp_path: Path) -> None:
    code, out, err = export(example(), *FORMAT)
    folder = tmp_path / "run" / "parquet"
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == [f"parquet: {folder / name}.parquet" for name in NAMES]
    trials = pandas.read_parquet(folder / "trials.parquet")
    assert trials.energy_joules.sum() == pytest.approx(2183)
    assert trials.energy_joules.dtype == "float64"
    assert trials["param.batch_size"].dtype == "int64"
    assert set(trials.loc[trials["energy_joules.gpu"].isna()].trial) == set(trials.trial)
    energy = pq.read_table(folder / "energy.parquet")
    assert unit(energy, "joules") == "J"
    by_bucket = energy.to_pandas().groupby("bucket").joules.sum().to_dict()
    assert by_bucket == pytest.approx(
        {"active": 0.8 * 2183, "idle": 0.2 * 2183, "overhead": 100, "background": 150, "unreserved_idle": 567}
    )
    about = json.loads(energy.schema.metadata[b"energysweep"])
    assert about["run"] == "mnist-20231114T221320Z"
    assert (about["estimated"], about["sources"], about["damage"]) == (False, ["rapl"], [])


def test_the_rows_of_the_ledger_are_all_there_as_they_are(tmp_path: Path) -> None:
    data = example()
    made = tables(exported(data))
    assert [row["joules"] for row in made["energy"].to_pylist()] == [row.joules for row in data.energy]
    assert [(row["trial"], row["iteration"], row["energy_joules"]) for row in made["results"].to_pylist()] == [
        (row.trial, row.iteration, row.energy_joules) for row in data.results
    ]
    of_host = [row for row in made["energy"].to_pylist() if row["trial"] is None]
    assert [(row["bucket"], row["node"], row["lease"]) for row in of_host] == [
        (bucket, "laptop", None) for bucket in ("overhead", "background", "unreserved_idle")
    ]
    crashed = [row for row in made["energy"].to_pylist() if row["trial"] == CRASHED]
    assert {row["attempt"] for row in crashed} == {1, 2}


def test_a_column_says_its_unit() -> None:
    made = tables(exported(example()))
    trials, configurations = made["trials"], made["configurations"]
    units = {
        "energy_joules": "J",
        "energy_joules.cpu": "J",
        "emissions_grams": "g CO2e",
        "power_watts": "W",
        "duration_seconds": "s",
        "coverage": "1",
        "accuracy": None,
        "param.learning_rate": None,
        "status": None,
    }
    assert {name: unit(trials, name) for name in units} == units
    assert unit(configurations, "energy_joules.mean") == "J"
    assert unit(configurations, "energy_joules.n") is None
    assert unit(configurations, "lost_joules.total") == "J"
    assert trials.schema.field("energy_joules.gpu").type == pa.float64()  # though there is none
    assert unit(made["results"], "metric.accuracy") is None


def test_a_metric_with_a_unit_s_name_has_none_of_ours() -> None:
    data = example()
    data = replace(data, results=[row._replace(metrics={"wall_seconds": 3}) for row in data.results])
    made = tables(exported(data))
    assert unit(made["trials"], "wall_seconds") is None
    assert unit(made["results"], "metric.wall_seconds") is None


RUNS = Path(__file__).parents[1] / "ledger" / "old_runs"
ONE_SEED = replace(example(), trials=[row for row in example().trials if row.trial.endswith("-0")])
UNTOLD = replace(example(), results=[row._replace(metrics={"accuracy": None}) for row in example().results])


@pytest.mark.parametrize(
    "data",
    [
        LedgerData(run={}),
        ONE_SEED,
        UNTOLD,
        replace(example(), energy=(), meters=(), leases=()),
        regimes.pretraining(),
        *(read_ledger(RUNS / name / LEDGER) for name in ("hardware", "mixed", "pretraining")),
    ],
)
def test_a_column_of_ours_has_the_same_type_in_every_run(data: LedgerData) -> None:
    whole, made = tables(exported(example())), tables(exported(data))
    for name, table in made.items():
        known = whole[name].schema
        for field in table.schema:
            if field.name in known.names and not field.name.startswith(("param.", "metric.", "accuracy")):
                assert field.equals(known.field(field.name), check_metadata=True)
        pa.unify_schemas([known, table.schema], promote_options="permissive")
        assert not any(pa.types.is_string(field.type) for field in table.schema if unit(table, field.name))
    schemas = [each["configurations"].schema for each in (whole, made)]
    pa.unify_schemas([pa.schema([field for field in each if not field.name.startswith("param.")]) for each in schemas])


def test_all_columns_of_ours_are_there_without_rows() -> None:
    whole, empty = tables(exported(example())), tables(exported(LedgerData(run={})))
    for name, table in empty.items():
        others = {each for each in whole[name].column_names if each.startswith(("param.", "metric.", "accuracy"))}
        assert set(table.column_names) - {"stage"} == set(whole[name].column_names) - others
        for field in table.schema:
            if field.name != "stage":
                assert field.equals(whole[name].schema.field(field.name), check_metadata=True)


def test_what_nobody_told_has_the_type_of_nothing() -> None:
    made = tables(exported(UNTOLD))
    assert (
        made["trials"].schema.field("accuracy").type
        == made["results"].schema.field("metric.accuracy").type
        == pa.null()
    )
    assert made["configurations"].schema.field("accuracy.mean").type == pa.float64()


def test_a_metric_called_like_our_column_is_there_beside_it(export: Export, tmp_path: Path) -> None:
    data = example()
    metrics = {"estimated": 3, "iterations": 700}
    data = replace(data, results=[row._replace(metrics={**row.metrics, **metrics}) for row in data.results])
    assert export(data, *FORMAT)[0] == 0
    trials = pq.read_table(tmp_path / "run" / "parquet" / "trials.parquet")
    assert set(trials["estimated"].to_pylist()) == {False}
    assert set(trials["metric.estimated"].to_pylist()) == {3}
    assert set(trials["metric.iterations"].to_pylist()) == {700}
    assert max(trials["iterations"].to_pylist()) == 10
    assert "metric.estimated" in trials_csv(exported(data).summary).partition("\n")[0]


def test_an_estimate_is_called_one() -> None:
    for table in tables(exported(example("estimate"))).values():
        assert set(table["estimated"].to_pylist()) == {True}
    unmetered = tables(exported(replace(example(), energy=(), meters=(), leases=())))
    assert set(unmetered["trials"]["estimated"].to_pylist()) == {None}


def with_parameter(values: list[Any]) -> LedgerData:
    """A run of so many trials, with these values of a parameter."""
    data = example(varying=["x"])
    trials = [row._replace(parameters={"x": value}) for row, value in zip(data.trials, values, strict=False)]
    known = {row.trial for row in trials}
    return replace(
        data,
        trials=trials,
        results=[row for row in data.results if row.trial in known],
        attempts=[row for row in data.attempts if row.trial in known],
        leases=[row for row in data.leases if row.trial in known],
        energy=[row for row in data.energy if row.lease.partition("/")[0] in known],
    )


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(st.characters(codec=None), max_size=9),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_whatever_a_parameter_is_it_comes_back(values: list[Any]) -> None:
    made = tables(exported(with_parameter(values)))["trials"]
    column = made.schema.field("param.x") if "param.x" in made.column_names else None
    assert column is not None
    stream = io.BytesIO()
    pq.write_table(made, stream)
    read = {row["trial"]: row["param.x"] for row in pq.read_table(io.BytesIO(stream.getvalue())).to_pylist()}
    as_json = (column.metadata or {}).get(b"encoding") == b"json"
    for row, value in zip(example().trials, values, strict=False):
        found = read[row.trial]
        if isinstance(value, str) and not as_json:
            value = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")  # noqa: PLW2901
        if as_json and found is not None:
            assert found == json.dumps(jsonable(value))
        else:
            assert found == value or (isinstance(value, float) and math.isnan(value) and math.isnan(found))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([2**53 + 1, 2.5], pa.string()),
        ([2**63], pa.string()),
        ([True, False], pa.bool_()),
        ([True, 1], pa.string()),
        (["a", 1], pa.string()),
        ([[1], [2]], pa.string()),
    ],
)
def test_the_narrowest_type_that_holds_all(values: list[Any], kind: pa.DataType) -> None:
    assert tables(exported(with_parameter(values)))["trials"].schema.field("param.x").type == kind


def test_a_run_of_nothing_has_tables_of_no_rows(export: Export, tmp_path: Path) -> None:
    assert export(LedgerData(run={}), *FORMAT)[0] == 0
    assert {name: len(pandas.read_parquet(tmp_path / "run" / "parquet" / f"{name}.parquet")) for name in NAMES} == (
        dict.fromkeys(NAMES, 0)
    )


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    run = write_ledger(tmp_path / "run", example())
    program = f"""
import sys
sys.modules["pyarrow"] = None
from energysweep.cli import main
sys.exit(main(["export", {str(run)!r}, "--format", "parquet"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "energysweep: --format: parquet needs pyarrow, which is not installed: pip install pyarrow\n"
    )


def test_none_of_its_files_is_replaced_unless_that_is_asked_for(export: Export, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "trials.parquet").write_text("somebody's")
    code, out, err = export(example(), *FORMAT, "--output", folder)
    assert (code, out) == (2, "")
    assert "trials.parquet: there is such a file already; --force replaces it" in err
    assert [path.name for path in folder.iterdir()] == ["trials.parquet"]
    assert export(None, *FORMAT, "--output", folder, "--force")[0] == 0
    assert sorted(path.stem for path in folder.iterdir()) == NAMES


def test_several_files_need_a_folder(export: Export, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = export(example(), *FORMAT, "--output", tmp_path / "file", "--force")
    assert (code, err.count("\n")) == (2, 1)
    assert "this is no folder, and several files are written" in err
    code, _, err = export(None, *FORMAT, "--output", tmp_path / "not" / "there")
    assert (code, err.count("\n")) == (1, 1)
    assert "not/there: cannot be made (No such file or directory)" in err
