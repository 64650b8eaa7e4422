"""Many runs on the command line: a list of them, and what they cost together."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.account import BY
from energysweep.ledger.store import Ledger
from tests.support.accounted import Hosts, as_before_schema_5

CARBON = {"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023, "source": "CodeCarbon", "pue": 1.0}  # 0.0001 g/J


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Two runs, one after the other, each of 8 s: 25 W of the floor, 22 W of its own and 2 W of background."""
    with closing(Hosts(tmp_path)) as made:
        spec = {"price": {"per_kwh": 3.6, "currency": "EUR"}}
        noted: dict[str, dict[str, Any]] = {
            "first": {"owner": "=Ada"},
            "second": {"owner": "Grace", "carbon": CARBON, "spec": spec},
        }
        for name, facts in noted.items():
            run = made.run(name, **facts)
            run.begin()
            run.work("t0")
            made.wait(8)
            run.end()
            made.wait(1)
        yield made


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    assert main([str(each) for each in arguments]) == code
    return capsys.readouterr().out


OWN = 8 * (20 + 2) + 25


def test_the_newest_run_is_listed_first(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "list", hosts.results, "--json"))
    assert (told["schema_version"], told["problems"]) == (1, [])
    newest, oldest = told["runs"]
    assert {key: newest[key] for key in ("run_id", "name", "status", "trials", "path")} == {
        "run_id": "second",
        "name": "second",
        "status": "done",
        "trials": 1,
        "path": str(hosts.results / "second"),
    }
    assert newest["energy_joules"] == pytest.approx(OWN)
    assert newest["emissions_grams"] == pytest.approx(OWN * 0.0001)
    assert newest["headline"].startswith("A trial took 185 J")
    assert (oldest["run_id"], oldest["emissions_grams"], oldest["owner"]) == ("first", None, "=Ada")
    assert (newest["owner"], newest["tags"]) == ("Grace", [])
    first, second = said(capsys, "list", hosts.results).splitlines()[1:]
    assert first.split()[:3] == ["second", "done", "1"]
    assert "n/a" in second


def test_the_folder_of_results_is_listed_by_default(
    hosts: Hosts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hosts.results.parent)
    assert len(json.loads(said(capsys, "list", "--json"))["runs"]) == 2
    monkeypatch.chdir(hosts.results)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "energysweep: results: there is no such folder\n"


def test_a_folder_without_runs_lists_none_and_has_no_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(said(capsys, "list", tmp_path, "--json"))["runs"] == []
    assert main(["list", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"There is no run below {tmp_path}.\n"
    assert main(["account", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"energysweep: DIR: there is no run below {tmp_path}\n"


@pytest.mark.parametrize("by", BY)
def test_groups_and_what_stands_apart_are_what_the_meters_saw(
    by: str, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(said(capsys, "account", hosts.results, "--by", by, "--json"))
    totals = told["totals"]
    assert (told["schema_version"], told["by"], totals["runs"], totals["trials"]) == (1, by, 2, 2)
    assert totals["energy_joules"] == pytest.approx(hosts.metered_joules)
    apart = [totals[f"{name}_joules"] for name in ("background", "unreserved_idle", "other_sweeps", "booked_twice")]
    groups = [group["energy_joules"] for group in told["groups"]]
    assert math.fsum(groups) == pytest.approx(totals["charged_joules"]) == pytest.approx(2 * OWN)
    assert math.fsum([*groups, *apart]) == pytest.approx(totals["energy_joules"])
    for each in [*told["groups"], totals | {"energy_joules": totals["charged_joules"]}]:
        parts = [each[name] for name in ("trials_energy_joules", "startup_joules", "overhead_joules")]
        assert math.fsum(parts) == pytest.approx(each["energy_joules"])


def test_the_csv_adds_up_and_no_spreadsheet_runs_a_name(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(said(capsys, "account", hosts.results, "--csv"))))
    assert {row["owner"] for row in rows if row["part"] == "charged"} == {"'=Ada", "Grace"}
    assert (rows[-1]["part"], rows[-1]["energy_joules"], rows[-1]["shared_joules"]) == ("seen_by_several", "n/a", "0.0")
    assert math.fsum(float(row["energy_joules"]) for row in rows[:-1]) == pytest.approx(hosts.metered_joules)
    ada, grace = sorted((row for row in rows if row["part"] == "charged"), key=lambda row: str(row["owner"]))
    assert (ada["emissions_grams"], ada["cost.EUR"]) == ("n/a", "n/a")
    assert float(grace["cost.EUR"]) == pytest.approx(OWN * 1e-6)


def test_the_table_tells_owners_what_stands_apart_and_the_balance(
    hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "account", hosts.results)
    lines = [line for line in told.splitlines() if " J" in line]
    assert [line.split("  ")[0] for line in lines[:7]] == [
        "=Ada",
        "Grace",
        "charged",
        "background",
        "unreserved idle",
        "other sweeps",
        "the meters saw",
    ]
    assert "Balance: the parts, by what was booked, differ from what the meters saw by 0.0 %." in told
    assert "The runs one by one" not in told
    assert "1 run of 2 noted no grid" in told
    assert "charged twice" not in told


def test_what_is_left_out_is_a_line_and_the_exit_code(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    (hosts.results / "broken").mkdir()
    (hosts.results / "broken" / LEDGER).write_text("no ledger")
    for arguments in (["list"], ["account"], ["account", "--csv"], ["account", "--json"], ["list", "--json"]):
        assert main([arguments[0], str(hosts.results), *arguments[1:]]) == 1
        out, err = capsys.readouterr()
        assert len(err.splitlines()) == 1
        assert err.startswith(f"energysweep: {hosts.results / 'broken' / LEDGER}: ")
        assert err.endswith(": this run is left out\n")
        assert "Grace" in out or "second" in out
        if "--json" in arguments:
            assert [f"energysweep: {line}\n" for line in json.loads(out)["problems"]] == [err]


def test_where_no_ledger_can_be_read_nothing_is_n_a_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LEDGER).write_text("no ledger")
    assert main(["account", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["groups"], told["totals"]["energy_joules"], told["totals"]["charged_joules"]) == ([], None, None)


def test_names_of_users_control_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    Ledger.create(tmp_path / "run" / LEDGER, id="\x1b]0;run\x07", name="[red]\x1b[2J", owner="[b]\x1b[31m").close()
    for arguments in (["list"], ["account"], ["account", "--by", "name"]):
        told = said(capsys, arguments[0], tmp_path, *arguments[1:])
        assert "\x1b" not in told
        assert "n/a" in told
    assert "[b]" in said(capsys, "account", tmp_path)


def test_a_name_makes_no_row_of_its_own_and_none_is_n_a(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, owner in {"a": "Ada\ncharged  1,000 J", "b": "x" * 100_000, "c": ""}.items():
        (tmp_path / name).mkdir()
        spec = {"price": {"per_kwh": 1.0, "currency": "EU\nR"}}
        Ledger.create(tmp_path / name / LEDGER, id=name, name="", owner=owner, spec=spec).close()
    told = said(capsys, "account", tmp_path)
    assert any(line.startswith("Ada charged 1,000 J") for line in told.splitlines())
    assert len(told) < 10_000
    groups = json.loads(said(capsys, "account", tmp_path, "--json"))["groups"]
    assert {group["key"] for group in groups} == {"Ada\ncharged  1,000 J", "x" * 100_000, None}
    assert {
        group["key"] for group in json.loads(said(capsys, "account", tmp_path, "--by", "name", "--json"))["groups"]
    } == {
        "a",
        "b",
        "c",
    }


def test_an_overlap_by_time_is_an_estimate_wherever_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Hosts(tmp_path)) as hosts:
        for name in ("one", "other"):
            run = hosts.run(name)
            run.begin()
            run.work("t0")
        hosts.wait(10)
        for run in hosts.runs:
            run.end()
        exact = json.loads(said(capsys, "account", hosts.results, "--json"))["totals"]
        told = said(capsys, "account", hosts.results)
        assert "≈" not in told
        assert "The runs one by one saw 1,420 J: 710 J of it more than one of them, counted once." in told
        as_before_schema_5(hosts.folders)
        totals = json.loads(said(capsys, "account", hosts.results, "--json"))["totals"]
        told = said(capsys, "account", hosts.results)
        rows = list(csv.DictReader(io.StringIO(said(capsys, "account", hosts.results, "--csv"))))
    assert (exact["apart_estimated"], exact["overlap_estimated_joules"]) == (False, 0)
    assert (exact["shared_joules"], exact["runs_energy_joules"]) == pytest.approx((710, 1420))
    assert (totals["apart_estimated"], totals["estimated"]) == (True, False)
    assert (totals["overlap_estimated_joules"], totals["energy_joules"]) == pytest.approx((710, 710))
    for title in ("background", "unreserved idle", "the meters saw"):
        assert any(line.startswith(title) and "≈" in line for line in told.splitlines())
    assert "differ from what the meters saw by ≈ " in told
    assert "The runs one by one saw 1,420 J: ≈ 710 J of it" in told
    assert {row["part"]: row["estimated"] for row in rows if row["part"] in ("background", "charged")} == {
        "charged": "false",
        "background": "true",
    }
    assert float(rows[-1]["overlap_estimated_joules"]) == pytest.approx(710)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["account"], "the following arguments are required: DIR"),
        (["account", "x", "--by", "colour"], "invalid choice: 'colour'"),
        (["account", "x", "--json", "--csv"], "not allowed with"),
        (["account", "no/such/folder"], "no/such/folder: there is no such folder"),
        (["list", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_a_wrong_account_is_one_line(arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    err = capsys.readouterr().err
    assert fragment in err
    assert len(err.splitlines()) == 1
