"""What ``energysweep plan`` says: of earlier runs, and of what tells nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from tests.support.earlier_runs import SWEEP, Told, write_run, write_sweep

# To the target: 20 J, 40 J, never within 5 reports of 10 J.
GRID = [
    Told({"rate": 0.1}, 10.0, [0.5, 0.91, 0.92, 0.93, 0.94]),
    Told({"rate": 0.2}, 10.0, [0.3, 0.5, 0.8, 0.92, 0.93]),
    Told({"rate": 0.4}, 10.0, [0.1, 0.12, 0.1, 0.12, 0.1]),
]


def plans(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["plan", str(folder / "sweep.yaml"), *options, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_each_scheduler_is_forecast_from_a_run_of_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path)
    run = write_run(tmp_path / "run", GRID)
    told = plans(tmp_path, capsys, "--from", str(run))
    assert (told["trials"], told["configurations"], told["seen"], told["estimated"]) == (3, 3, 3, False)
    expected = {("fifo", False): 150.0, ("fifo", True): 110.0}
    found = {(each["scheduler"], each["stops_at_target"]): each for each in told["plans"]}
    assert list(found) == [("fifo", False), ("fifo", True), ("race", True), ("cap", True)]
    for way, joules in expected.items():
        energy = found[way]["energy_joules"]
        assert energy["low"] < joules < energy["high"] < 1.5 * energy["low"], way
        assert energy["value"] == pytest.approx(joules, rel=0.05)
        assert found[way]["emissions_grams"]["value"] == pytest.approx(energy["value"] * 1e-4)  # 360 g per kWh
        assert found[way]["duration_seconds"]["value"] == pytest.approx(energy["value"] / 10, rel=0.01)


def test_a_race_takes_longer_by_the_pauses_that_it_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path)
    quick = write_run(tmp_path / "quick", GRID)
    slow = write_run(tmp_path / "slow", GRID, between_seconds=30.0)
    told = {run: plans(tmp_path, capsys, "--from", str(run))["plans"] for run in (quick, slow)}
    for one, other in zip(told[quick], told[slow], strict=True):
        assert one["energy_joules"] == other["energy_joules"]  # nothing is drawn in these
        longer = other["duration_seconds"]["value"] - one["duration_seconds"]["value"]
        assert longer == pytest.approx(0.0) if one["scheduler"] != "race" else longer > 15.0


@pytest.mark.parametrize(
    ("stop", "joules", "notes"),
    [
        ("energy_joules: 25", 90.0, []),  # three reports of each
        ("accuracy: 0.25", 70.0, []),  # one, one, and all five
        ("accuracy: 0.25, energy_joules: 25, training_iteration: 4", 50.0, []),
        ("loss: 9", 150.0, ["When stop.loss ends a trial, no forecast knows: each is taken to go on without it."]),
    ],
)
def test_rules_of_stop_end_the_trials_of_a_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stop: str, joules: float, notes: list[str]
) -> None:
    write_sweep(tmp_path, SWEEP + f"stop: {{{stop}}}\n")
    run = write_run(tmp_path / "run", GRID, spec={"workload": "work.py:train"})
    found = plans(tmp_path, capsys, "--from", str(run))
    (fifo,) = (each for each in found["plans"] if (each["scheduler"], each["stops_at_target"]) == ("fifo", False))
    energy = fifo["energy_joules"]
    assert energy["low"] < joules < energy["high"]
    assert energy["value"] == pytest.approx(joules, rel=0.1)
    assert found["notes"] == notes


def test_every_forecast_number_has_its_interval_and_says_that_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path)
    run = write_run(tmp_path / "run", GRID, source="estimate")
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--from", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "planned: 3 configurations = 3 trials"
    assert said[1] == f"From {run}: 3 trials, of 3 of 3 configurations of the sweep."
    assert said[2] == "The joules that it rests on are partly of an estimate."
    rows = [line for line in said if line.startswith(("fifo", "race", "cap"))]
    assert len(rows) == 4
    assert rows[0].startswith("fifo (the file) ")
    numbers = [row.replace("each to the target", "").count(" to ") for row in rows]
    assert [row.count("≈") for row in rows] == numbers
    assert numbers == [3, 3, 3, 3]


def test_without_a_target_the_grid_and_the_race_for_the_best_are_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path, SWEEP.replace(", target: 0.9", ""))
    told = plans(tmp_path, capsys, "--from", str(write_run(tmp_path / "run", GRID)))
    assert [each["scheduler"] for each in told["plans"]] == ["fifo", "race"]


def test_tune_s_own_schedulers_are_forecast_but_those_that_change_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", GRID)
    # Both brackets of 2 go to 2 reports of 10 J, without a rung before; nobody has three others to be compared with.
    for scheduler, joules in (("{type: hyperband, max_resource: 2}", 60.0), ("{type: median}", 150.0)):
        write_sweep(tmp_path, f"{SWEEP}scheduler: {scheduler}\n")
        own = next(each for each in plans(tmp_path, capsys, "--from", str(run))["plans"] if each["is_own"])
        assert own["energy_joules"]["value"] == pytest.approx(joules, rel=0.05)
    settings = "perturbation_interval: 1, hyperparam_mutations: {rate: {uniform: [0, 1]}}"
    write_sweep(tmp_path, f"{SWEEP}scheduler: {{type: pbt, {settings}}}\n")
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--from", str(run)]) == 0
    assert "What pbt will cost cannot be rehearsed." in capsys.readouterr().out


def test_a_pilot_of_a_sweep_that_cannot_be_forecast_is_refused_before_it_is_paid_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path, SWEEP + "stop: {training_iteration: 30000}\n")
    assert main(["plan", "sweep.yaml", "--pilot", "1"]) == 2
    assert "all trials together would make 90,000 reports" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_what_nobody_has_measured_is_unknown_and_what_would_tell_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path)
    assert main(["plan", str(tmp_path / "sweep.yaml")]) == 0
    said = capsys.readouterr().out
    assert "Unknown" in said
    assert "--from RUN_DIR" in said
    assert "--pilot 3" in said
    assert plans(tmp_path, capsys)["plans"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "none"], "none: there is no such folder"),
        (["--from", "."], ".: this is no run folder: it has no ledger.sqlite"),
        (["--from", "short"], "--from: nobody knows how many reports a trial makes"),
        (["--from", "short", "--pilot", "2"], "--pilot: give either --from or --pilot, not both"),
        (["--pilot", "0"], "must be at least 1"),
        (["--pilot", "2"], "--pilot: a pilot does not tell how many reports a trial makes; say it with --reports"),
        (["--from", "short", "--reports", "no"], "no number of times"),
        (
            ["--pilot", "2", "--set", "parameters.pretrained={from: base}", "--set", "stages.base.parameters.rate=1"],
            "has no pilot",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path)
    write_run(tmp_path / "short", [Told({"rate": 0.1}, 10.0, [0.5, 0.95])])
    try:
        code = main(["plan", "sweep.yaml", *options])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_how_long_a_trial_is_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path)
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.5, 0.95])])
    [whole, *_] = plans(tmp_path, capsys, "--from", str(run), "--reports", "10")["plans"]
    assert whole["energy_joules"]["value"] == pytest.approx(300, rel=0.4)


def test_more_reports_than_can_be_drawn_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", GRID)
    sweep = write_sweep(tmp_path, SWEEP + "repeats: 2\n")
    assert main(["plan", str(sweep), "--from", str(run), "--reports", "1000000"]) == 2
    said = capsys.readouterr().err
    assert "all trials together would make 6,000,000 reports; a forecast draws at most 50,000" in said
    assert said.count("\n") == 1


def test_money_and_the_budget_are_told_where_the_sweep_has_a_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 0.36 of a kWh: 1e-7 for each joule.
    more = "price: {per_kwh: 0.36, currency: CHF}\nbudget: {energy_joules: 130, cost: 0.0005, duration_seconds: 1}\n"
    write_sweep(tmp_path, SWEEP + more)
    run = write_run(tmp_path / "run", GRID)
    whole, to_target, *_ = plans(tmp_path, capsys, "--from", str(run))["plans"]
    assert whole["cost"]["high"] == pytest.approx(whole["energy_joules"]["high"] * 1e-7)
    assert whole["budget"] == {"energy_joules": "may not", "cost": "holds", "duration_seconds": "does not"}
    assert to_target["budget"]["cost"] == "holds"
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--from", str(run)]) == 0
    said = capsys.readouterr().out
    assert "The budget of 130 J may not hold fifo; " in said
    assert " CHF (" in said
