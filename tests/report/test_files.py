from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.errors import EnergysweepError, NotWritten
from energysweep.report import summarise, write_report
from energysweep.report.files import configurations_csv, summary_json, trials_csv, write_whole
from tests.support import regimes
from tests.support.example import CRASHED, example


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_trials_csv_has_the_columns_that_others_rely_on() -> None:
    rows = rows_of(trials_csv(summarise(example())))
    assert len(rows) == 18
    assert list(rows[0]) == [
        *("trial", "hardware", "status", "attempts", "nodes"),
        *("param.learning_rate", "param.batch_size", "param.seed"),
        *("energy_joules", "active_energy_joules", "idle_energy_joules"),
        *("energy_joules.cpu", "energy_joules.dram", "energy_joules.gpu"),
        *("startup_joules", "startup_seconds"),
        *("lost_joules", "pruned_joules", "emissions_grams", "power_watts", "duration_seconds", "coverage", "source"),
        *("unmetered_ray_work", "untold_startup"),
        *("accuracy", "energy_to_target_joules", "iterations", "iterations_to_target"),
    ]
    crashed = next(row for row in rows if row["trial"] == CRASHED)
    assert float(crashed["energy_joules"]) == pytest.approx(121)
    assert float(crashed["energy_to_target_joules"]) == pytest.approx(55)
    assert (crashed["iterations"], crashed["iterations_to_target"]) == ("10", "5")
    assert crashed["energy_joules.gpu"] == "n/a"


def test_configurations_csv_has_mean_std_and_n() -> None:
    rows = rows_of(configurations_csv(summarise(example())))
    assert len(rows) == 9
    best = next(row for row in rows if row["config"] == "learning_rate=0.1 batch_size=256")
    assert float(best["energy_to_target_joules.mean"]) == pytest.approx(21)
    assert float(best["energy_to_target_joules.std"]) == pytest.approx(2**0.5)
    assert best["energy_to_target_joules.n"] == "2"
    assert best["accuracy.mean"] == "0.96"


def test_a_text_that_looks_like_a_formula_stays_a_text() -> None:
    extra = {"formula": '=HYPERLINK("x")', "number": "-1e-3", "switch": True, "layers": [64, 32]}
    row = rows_of(trials_csv(summarise(example(extra=extra))))[0]
    assert row["param.formula"] == '\'=HYPERLINK("x")'
    assert row["param.number"] == "-1e-3"
    assert row["param.switch"] == "true"
    assert row["param.layers"] == "[64, 32]"


def test_a_metric_that_is_called_like_a_column_does_not_replace_it() -> None:
    data = example()
    first = data.results[0]
    data.results[0].metrics["energy_joules"] = 7
    row = next(row for row in rows_of(trials_csv(summarise(data))) if row["trial"] == first.trial)
    assert row["metric.energy_joules"] == "7"
    assert float(row["energy_joules"]) == pytest.approx(200)


OURS = ("energy_joules", "iterations", "iterations_to_target", "energy_to_target_joules", "stage", "estimated", "trial")


def test_no_metric_is_lost_to_a_column_of_ours_or_replaces_one() -> None:
    data = example()
    metrics = {name: 7000.0 + place for place, name in enumerate(OURS)}
    called = replace(data, results=[row._replace(metrics={**row.metrics, **metrics}) for row in data.results])
    for text in (trials_csv, configurations_csv):
        for row, plain in zip(rows_of(text(summarise(called))), rows_of(text(summarise(data))), strict=True):
            assert {name: row[name] for name in plain} == plain
            found = {name: value for name, value in row.items() if name not in plain}
            assert sorted(float(value) for name, value in found.items() if not name.endswith((".std", ".n"))) == (
                sorted(metrics.values())
            )


def test_a_report_is_four_files(tmp_path: Path) -> None:
    summary = write_report(tmp_path, example())
    assert {path.name for path in tmp_path.iterdir()} == {
        "trials.csv",
        "configurations.csv",
        "summary.json",
        "report.html",
    }
    assert json.loads((tmp_path / "summary.json").read_text())["sweep"] == summary.sweep


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(EnergysweepError, match="cannot be written"):
        write_report(tmp_path / "missing", example())


def test_what_can_be_written_of_a_report_is_and_the_numbers_are_told(tmp_path: Path) -> None:
    for name in ("configurations.csv", "report.html"):
        (tmp_path / name).mkdir()
    with pytest.raises(NotWritten) as failed:
        write_report(tmp_path, example())
    assert failed.value.missing == ("configurations.csv", "report.html")
    assert str(failed.value) == (
        f"{tmp_path}/configurations.csv: cannot be written (Is a directory), nor can report.html"
    )
    assert failed.value.summary == summarise(example())
    assert json.loads((tmp_path / "summary.json").read_text())["sweep"] == failed.value.summary.sweep


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(EnergysweepError, match=r"summary\.json"):
        write_whole(tmp_path / "summary.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_summary_json_has_the_analyses() -> None:
    said = json.loads(summary_json(summarise(regimes.pretraining())))["analyses"]
    assert said["effects"] is None  # from scratch and pretrained are not the same work
    assert [each["reuses"] for each in said["pretraining"]] == [pytest.approx(12.5), pytest.approx(10)]
    assert [each["frozen"] for each in said["pretraining"]] == [False, True]
    (hardware,) = json.loads(summary_json(summarise(regimes.hardware())))["analyses"]["hardware"]
    assert hardware["ratio"]["energy"]["value"] == pytest.approx(2)
    effects = json.loads(summary_json(summarise(example())))["analyses"]["effects"]
    assert [each["parameter"] for each in effects["epochs"]["main"]] == ["learning_rate", "batch_size"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_metric_that_diverged_has_no_mean_and_breaks_no_table(loss: float) -> None:
    data = example()
    results = [
        row._replace(metrics={**row.metrics, "loss": loss if "-16-" in row.trial else 0.5}) for row in data.results
    ]
    rows = rows_of(configurations_csv(summarise(replace(data, results=results))))
    means = {row["param.batch_size"]: row["loss.mean"] for row in rows}
    assert means == {"16": "n/a", "64": "0.5", "256": "0.5"}


@pytest.mark.parametrize("value", [10**400, "high", True, None, float("nan"), "bad\udcff", "a\0b", "=1+1"], ids=ascii)
def test_a_report_is_written_whatever_the_ledger_has_as_a_metric(tmp_path: Path, value: Any) -> None:
    data = example()
    results = [row._replace(metrics={**row.metrics, "states": value, f"{value}"[:9]: 1.0}) for row in data.results]
    odd = [row._replace(metrics={"accuracy": value}) if "-16-" in row.trial else row for row in results]
    for rows, objective in ((results, "n/a" if value is None else None), (odd, None)):
        summary = write_report(tmp_path, replace(data, results=rows))
        table = rows_of((tmp_path / "trials.csv").read_text(encoding="utf-8"))
        assert len(table) == 18
        assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
        assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
        assert objective is None or {row["states"] for row in table} == {objective}
    for trial in summary.trials:
        if "-16-" in trial.trial:
            assert (trial.objective, trial.reached_target, trial.energy_to_target_joules) == (None, False, None)
        else:
            assert trial.objective is not None
