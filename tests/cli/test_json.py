"""``--json``: every answer is one object of its schema, and the schemas in docs/json are those of the code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from energysweep.cli import main
from energysweep.cli.answering import VERSIONS
from energysweep.cli.schemas import schema, schema_text
from energysweep.core.jsontext import json_text, jsonable
from energysweep.core.runfolder import MADE, SUMMARY
from energysweep.ledger import account as account_of
from energysweep.ledger import model
from energysweep.ledger.store import LedgerData
from energysweep.report import runs
from tests.monitoring.test_observed import server
from tests.support import regimes
from tests.support.answers import answer, held
from tests.support.earlier_runs import SWEEP, Told, write_run, write_sweep
from tests.support.example import CRASHED, example
from tests.support.ledgers import write_ledger

ROOT = Path(__file__).parents[2]
GRID = [Told({"rate": rate}, 10.0, [0.5, 0.91, 0.92], startup_joules=3.0) for rate in (0.1, 0.2, 0.4)]
HOSTILE = {"x": "\ud800 [red] \x1b[2J \n", "huge": 10**400, "nan": math.nan, "inf": -math.inf, "in": [{"\ud800": 1}]}


# The schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERSIONS)
def test_the_file_of_a_schema_is_the_one_that_is_made_of_the_code(name: str) -> None:
    file = ROOT / "docs" / "json" / f"{name}.json"
    assert file.read_text(encoding="utf-8") == schema_text(name), "run: make docs"


def test_there_is_no_other_file_of_a_schema_and_the_command_prints_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert {file.stem for file in (ROOT / "docs" / "json").iterdir()} == set(VERSIONS)
    assert main(["schema", "validate"]) == 0
    assert capsys.readouterr().out == schema_text("validate")


def objects(made: Any) -> list[dict[str, Any]]:
    """All objects of a schema that have fields."""
    if isinstance(made, list):
        return [each for item in made for each in objects(item)]
    if not isinstance(made, dict):
        return []
    own = [made] if made.get("type") == "object" and "properties" in made else []
    return own + [each for item in made.values() for each in objects(item)]


@pytest.mark.parametrize("name", VERSIONS)
def test_every_object_has_all_its_fields_no_others_and_says_what_it_is(name: str) -> None:
    found = objects(schema(name))
    assert found
    for each in found:
        assert each["additionalProperties"] is False
        assert sorted(each["required"]) == sorted(each["properties"])
        assert each["description"].endswith((".", ")")), each["description"]


def test_a_version_stands_for_one_shape() -> None:
    # These are told outside of the command line, too.
    assert VERSIONS["summary"] == model.SCHEMA_VERSION
    assert VERSIONS["account"] == account_of.SCHEMA_VERSION
    assert VERSIONS["list"] == runs.SCHEMA_VERSION


# What is printed -----------------------------------------------------------------------------------------------------


@given(
    some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats() | some.text(some.characters()) | some.binary(),
        lambda each: some.lists(each) | some.dictionaries(some.text(some.characters()), each) | some.tuples(each),
    )
)
def test_whatever_there_is_becomes_json_that_every_reader_takes(value: Any) -> None:
    text = json_text(value)
    text.encode("ascii")
    said = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert said == jsonable(value)
    json.dumps(said, ensure_ascii=False).encode()
    assert json_text(said) == text


def test_what_json_lacks_is_null_or_spelled_out() -> None:
    assert jsonable({"a": math.nan, "b": [math.inf, -0.0], "c": 2**63 - 1, "d": 2**63, "e": "\udcff\0", "f": True}) == {
        "a": None,
        "b": [None, -0.0],
        "c": 2**63 - 1,
        "d": "9223372036854775808",
        "e": "\\udcff\\x00",
        "f": True,
    }
    assert jsonable(16**5000) == "0x1" + "0" * 5000  # Python writes out 4300 digits at most


def test_validate_tells_what_the_file_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = write_sweep(tmp_path)
    said = answer(capsys, "validate", sweep, "--set", "repeats=3")
    assert (said["configurations"], said["repeats"], said["trials"], said["expected_trials"]) == (3, 3, 9, 9)
    assert said["sentence"] == "3 configurations x 3 repeats = 9 trials"
    assert (said["varying"], said["made"], said["estimated"], said["target"]) == (["rate"], None, False, 0.9)
    race = answer(capsys, "validate", sweep, "--set", "scheduler={type: race, winners: 1}", "--set", "repeats=3")
    assert (race["trials"], race["expected_trials"], race["estimated"]) == (9, 5, True)
    assert (race["scheduler"], race["search"], race["address"]) == ("race", "grid", None)
    (tmp_path / "work.py").write_text(
        "def train(config):\n    pass\n\n\n"
        "def space(trial):\n"
        "    name = trial.suggest_categorical('name', ['sgd', 'adam'])\n"
        "    return {'name': name, **({'momentum': 0.9} if name == 'sgd' else {})}\n"
    )
    sweep.write_text(SWEEP.replace("parameters: {rate: {grid: [0.1, 0.2, 0.4]}}", "space: work.py:space"))
    assert answer(capsys, "validate", sweep)["made"] == {"always": ["name"], "sometimes": ["momentum"]}


def test_doctor_tells_every_kind_of_meter(capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(capsys, "doctor")
    assert {"rapl", "nvml_counter", "estimate"} <= {each["kind"] for each in said["kinds"]}
    assert all(each["estimated"] for each in said["devices"] if each["source"] == "estimate")
    assert said["host"]["kernel"]


def test_plan_tells_each_scheduler_or_that_nothing_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = write_sweep(tmp_path, SWEEP + "price: {per_kwh: 0.3, currency: EUR}\nbudget: {energy_joules: 100000}\n")
    said = answer(capsys, "plan", sweep)
    assert said["unknown"].startswith("Unknown: nothing has been measured of this workload.")
    assert (said["plans"], said["from"], said["estimated"], said["trials"]) == ([], [], None, None)
    run = write_run(tmp_path / "run", GRID, source="estimate")
    said = answer(capsys, "plan", sweep, "--from", run)
    assert (said["unknown"], said["from"], said["estimated"]) == (None, [str(run)], True)
    assert [each["budget"] for each in said["plans"]] == [{"energy_joules": "holds"}] * len(said["plans"])
    assert all(each["cost"]["low"] <= each["cost"]["high"] for each in said["plans"])
    assert said["order"]["of"] == [str(run)]


def test_rehearse_tells_a_run_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objective = {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1}
    run = write_run(tmp_path / "run", GRID, objective=objective)
    said = answer(capsys, "rehearse", run)
    assert (said["of"], said["metric"], said["mode"], said["target"]) == (str(run), "accuracy", "max", 0.9)
    assert (said["scheduler"], said["estimated"], said["order"]) == ("race", False, None)
    table = tmp_path / "curves.csv"
    table.write_text("configuration,seed,energy_joules,val_accuracy\na,0,10,0.5\na,0,20,0.95\nb,0,9,0.1\n")
    said = answer(capsys, "rehearse", "--table", table, "--target", "0.9", "--scheduler", "cap")
    assert (said["chosen"], said["estimated"], said["startup_joules"]) == ("a", None, 0.0)
    assert answer(capsys, "rehearse", "--table", table)["target"] is None


LEDGERS: dict[str, Callable[[], LedgerData]] = {
    "example": example,
    "estimate": lambda: example("estimate"),
    "pretraining": regimes.pretraining,
    "multitask": regimes.multitask,
    "hardware": regimes.hardware,
    "budget": lambda: example(
        status="stopped by budget",
        forecast={"joules": 2000.0, "low": 1000.0, "high": 4000.0},
        spec={"budget": {"energy_joules": 3000, "cost": 5}, "price": {"per_kwh": 0.3}, "tags": ["a"]},
        parts=[{"started_at": 1_700_000_000.0, "duration_seconds": 60.0}],
        owner="Ada",
    ),
    "forecast": lambda: example(forecast={"joules": 2000.0, "low": 1000.0, "high": 4000.0}),
    "unmeasured": lambda: replace(example(), energy=[], meters=[], leases=[]),
    "nothing": lambda: LedgerData(run={}),
    "hostile": lambda: example(extra=HOSTILE, name="\x1b[2J\ud800", owner="\ud800", id="\x1b]0;x\x07"),
}


@pytest.mark.parametrize("ledger", LEDGERS)
def test_what_is_said_of_any_run_is_of_its_schema(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = LEDGERS[ledger]()
    run = write_ledger(tmp_path / "run", data)
    said = answer(capsys, "report", run)
    assert set(said["files"]) == set(MADE)
    assert said["files"][SUMMARY] == str(run / SUMMARY)
    assert held("summary", (run / SUMMARY).read_text(encoding="utf-8")) == said["summary"]
    assert said["summary"]["estimated"] == (ledger == "estimate")
    assert answer(capsys, "compare", run)["runs"] == [said["summary"]]
    both = answer(capsys, "compare", run, write_ledger(tmp_path / "other", example(id="other", name="other")))
    assert [each["sweep"] for each in both["runs"]][1] == "other"
    assert answer(capsys, "explain", run)["estimated"] == (ledger == "estimate")
    for trial in [each.trial for each in data.trials][:2]:
        assert answer(capsys, "explain", run, trial)["trial"] == trial
    listed = answer(capsys, "list", run)["runs"]
    assert listed[0]["energy_joules"] == answer(capsys, "account", run)["totals"]["charged_joules"]
    for by in account_of.BY:
        assert answer(capsys, "account", run, "--by", by)["by"] == by


def test_what_nobody_measured_is_null_and_never_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_ledger(tmp_path / "run", LEDGERS["unmeasured"]())
    summary = answer(capsys, "report", run)["summary"]
    assert {value for name, value in summary["totals"].items() if name.endswith(("_joules", "_grams"))} == {None}
    assert {each["energy_joules"] for each in summary["configurations"]} == {None}
    assert answer(capsys, "explain", run, CRASHED)["energy_joules"] is None
    assert answer(capsys, "list", run)["runs"][0]["energy_joules"] is None


def test_explain_has_the_whole_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(capsys, "explain", write_ledger(tmp_path / "run", example()), CRASHED)
    first, second = said["receipt"]["attempts"]
    assert (first["outcome"], first["lost_joules"], second["lost_joules"]) == ("failed", pytest.approx(11), 0)
    leases = [lease for attempt in said["receipt"]["attempts"] for lease in attempt["leases"]]
    assert [lease["joules"] for lease in leases] == pytest.approx([66, 55])
    assert math.fsum(row["joules"] for lease in leases for row in lease["rows"]) == pytest.approx(said["energy_joules"])
    for device in said["receipt"]["windows"][0]["devices"]:
        assert math.fsum(device["buckets"].values()) == pytest.approx(device["booked_joules"])
        assert device["difference_joules"] == pytest.approx(device["metered_joules"] - device["booked_joules"])
        assert device["metered_joules"] == device["meter"]["energy_joules"]


def test_report_tells_what_a_prometheus_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = [{"metric": {"trial": "t-0.1-16-0"}, "value": [0, "199"]}]
    with server(200, json.dumps({"status": "success", "data": {"result": held}})) as url:
        run = write_ledger(tmp_path / "run", example())
        said = answer(capsys, "report", run, "--prometheus", url, "--openmetrics", tmp_path / "run.om")
    by_trial = {each["trial"]: each for each in said["prometheus"]}
    assert by_trial["t-0.1-16-0"]["prometheus_joules"] == 199.0
    assert by_trial["t-0.1-16-1"]["prometheus_joules"] is None
    assert said["openmetrics"] == str(tmp_path / "run.om")


def test_compare_tells_what_runs_have_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_ledger(tmp_path / "one", example(id="one"))
    two = write_ledger(tmp_path / "two", example("estimate", id="two"))
    said = answer(capsys, "compare", one, two, "--markdown", tmp_path / "tables.md")
    assert ([each["title"] for each in said["columns"]], said["at_target"]) == (["one", "two"], True)
    assert said["rows"][0]["cells"][1]["energy_ratio"] == 1.0
    assert [cell["estimated"] for cell in said["rows"][0]["cells"]] == [False, True]
    assert said["estimated"]
    assert any("different meters" in each for each in said["warnings"])
    assert (said["html"], said["markdown"]) == (None, str(tmp_path / "tables.md"))
    assert (tmp_path / "tables.md").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "missing.yaml"],
        ["validate"],
        ["report", "missing"],
        ["report", ".", "--carbon", "country=Nowhere"],
        ["compare", "missing"],
        ["explain", "missing"],
        ["doctor", "--meter", "watts"],
        ["plan", "missing.yaml"],
        ["rehearse"],
        ["rehearse", "missing"],
        ["list", "missing"],
        ["account", "missing"],
    ],
)
def test_bad_input_is_exit_code_2_and_nothing_on_standard_output(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("energysweep: ")


def test_a_report_that_cannot_be_written_answers_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_ledger(tmp_path / "run", example())
    (run / SUMMARY).mkdir()
    assert main(["report", str(run), "--json"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "cannot be written" in err
