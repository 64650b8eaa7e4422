"""The command `export`: which formats there are, where files go, and what is never replaced."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.export.formats import FORMATS
from tests.export.conftest import Export
from tests.support.example import example

CODECARBON = ("--format", "codecarbon")


@pytest.mark.parametrize("row", FORMATS.values(), ids=lambda row: row.name)
def test_every_row_names_a_function_that_carries_it_out(row: object) -> None:
    module, _, function = FORMATS[row.name].made_by.partition(":")  # type: ignore[attr-defined]
    assert callable(getattr(import_module(module), function))


def test_an_unknown_format_names_all(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        export(example(), "--format", "excel")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("energysweep: argument --format: invalid choice: 'excel' (choose from ")
    assert all(name in said for name in FORMATS)
    assert said.count("\n") == 1


def test_it_goes_into_the_run_s_folder(export: Export, tmp_path: Path) -> None:
    code, out, err = export(example(), *CODECARBON)
    assert (code, err) == (0, "")
    assert out == f"emissions.csv: {tmp_path / 'run' / 'emissions.csv'}\n"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {LEDGER, "emissions.csv"}


def test_it_goes_where_it_is_asked_to(export: Export, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    assert export(example(), *CODECARBON, "--output", folder)[0] == 0
    assert export(None, *CODECARBON, "--output", folder / "ours.csv")[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["emissions.csv", "ours.csv"]
    assert len({path.read_bytes() for path in folder.iterdir()}) == 1


def test_a_file_that_is_there_is_only_replaced_if_that_is_asked_for(export: Export, tmp_path: Path) -> None:
    there = tmp_path / "emissions.csv"
    there.write_text("CodeCarbon's own\n")
    code, out, err = export(example(), *CODECARBON, "--output", tmp_path)
    assert (code, out) == (2, "")
    assert err == f"energysweep: {there}: there is such a file already; --force replaces it\n"
    assert there.read_text() == "CodeCarbon's own\n"
    assert export(None, *CODECARBON, "--output", tmp_path, "--force")[0] == 0
    assert there.read_text().startswith("timestamp,")


@pytest.mark.parametrize("name", [LEDGER, "trials.csv", "sweep.yaml"])
def test_no_export_replaces_a_file_of_a_run(export: Export, tmp_path: Path, name: str) -> None:
    before = export(example(), *CODECARBON), (tmp_path / "run" / LEDGER).read_bytes()
    code, out, err = export(None, *CODECARBON, "--output", tmp_path / "run" / name, "--force")
    assert (code, out) == (2, "")
    assert err.endswith(f"run/{name}: --output: this is a file of the run itself, which no export replaces\n")
    assert (tmp_path / "run" / LEDGER).read_bytes() == before[1]


@pytest.mark.parametrize(
    ("place", "code", "problem"),
    [("not/there", 1, "not/there: cannot be written (No such file or directory)"), ("/dev/null", 2, "this is no file")],
)
def test_what_cannot_be_written_is_one_line(export: Export, place: str, code: int, problem: str) -> None:
    ended, out, err = export(example(), *CODECARBON, "--output", place, "--force")
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert problem in err


def test_a_folder_that_cannot_be_written_is_left_as_it_is(export: Export, tmp_path: Path) -> None:
    full = tmp_path / ("x" * 250)  # a name beside it, for what is not finished, is longer than any may be
    code, _, err = export(example(), *CODECARBON, "--output", full)
    assert (code, err.count("\n")) == (1, 1)
    assert not full.exists()


def test_a_run_that_goes_on_is_exported_as_far_as_it_is(export: Export) -> None:
    whole = example(status="running", planned_trials=20)
    code, out, err = export(whole, *CODECARBON)
    assert (code, out.count("\n")) == (0, 1)
    assert err.startswith("energysweep: The run has not ended: 2 of 20 trials are open.")


def test_what_is_damaged_is_told_and_the_rest_exported(export: Export, tmp_path: Path) -> None:
    assert export(example(), *CODECARBON)[0] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / LEDGER)) as connection:
        connection.execute("UPDATE trials SET status = 'lost' WHERE trial = 't-0.1-16-0'")
        connection.commit()
    code, _, err = export(None, *CODECARBON, "--force")
    assert code == 0
    assert err.startswith("energysweep: The ledger is damaged: trials: 1 row left out (t-0.1-16-0: status: ")
    assert len((tmp_path / "run" / "emissions.csv").read_text().splitlines()) == 18


def test_another_grid_counts_other_grams(export: Export, tmp_path: Path) -> None:
    for name, carbon in (("own.csv", ()), ("other.csv", ("--carbon", "grams_per_kwh=720"))):
        data = None if carbon else example()
        assert export(data, *CODECARBON, *carbon, "--output", tmp_path / name)[0] == 0
    own, other = (
        [line.split(",")[5] for line in (tmp_path / name).read_text().splitlines()[1:]]
        for name in ("own.csv", "other.csv")
    )
    assert [float(each) for each in other] == pytest.approx([2 * float(each) for each in own])


def test_what_is_no_run_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), *CODECARBON]) == 2
    assert "this is no run folder" in capsys.readouterr().err


def test_a_hostile_name_of_a_file_is_told_in_one_line(export: Export, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"\xff\x1b[31m\n.csv")
    name.write_text("")
    code, _, err = export(replace(example()), *CODECARBON, "--output", name)
    assert (code, err.count("\n")) == (2, 1)
    assert "\x1b" not in err


def test_an_option_of_another_format_is_told(export: Export) -> None:
    code, out, err = export(example(), *CODECARBON, "--embodied-grams", "1")
    assert (code, out) == (2, "")
    assert err == "energysweep: --embodied-grams: the format codecarbon does not take it; it is for sci\n"


@pytest.mark.parametrize("document", ["docs/export.md", ".ci/run"])
def test_every_format_is_documented_and_tried_in_ci(document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    names = text if document.endswith(".md") else text.partition("for format in ")[2].partition("; do")[0]
    wanted = [row.name for row in FORMATS.values() if "output" in row.options]
    assert [name for name in wanted if not re.search(rf"(?<!\S)`?{name}`?(?!\S)", names)] == []
