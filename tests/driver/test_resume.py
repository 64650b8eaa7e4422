"""A driver that is killed, and the second part of its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.driver.run import Run
from energysweep.ledger.store import Ledger, LedgerData
from energysweep.report import summarise
from tests.support.sweeps import end_of_orphans

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

STEPS = """
import json, pathlib, tempfile, time
from ray import tune


def train(config):
    checkpoint, begin = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            begin = json.loads((pathlib.Path(folder) / "at").read_text())
    for i in range(begin, config["steps"]):
        sum(range(300_000))  # work enough to be seen; who waits for a trial shall not wait for a core
        time.sleep(0.25)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "at").write_text(json.dumps(i + 1))
            tune.report({"score": i}, checkpoint=tune.Checkpoint.from_directory(folder))


def space(trial):
    trial.suggest_categorical("steps", [2, 3, 24, 25])
"""


def read(folder: Path) -> LedgerData:
    with Ledger.open(folder / LEDGER) as ledger:
        return ledger.read()


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Until it holds. A machine on which others burn CPU takes many times as long as an idle one."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def start(sweep_folder: Path, *overrides: str, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """The driver of the run ``it``."""
    run = [sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "it", "--metrics-port", "0"]
    return subprocess.Popen(
        [*run, *options, *(part for override in overrides for part in ("--set", override))],
        cwd=sweep_folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_at(driver: subprocess.Popen[bytes], moment: Callable[[], bool], seconds: float = 300) -> None:
    """Kill a driver and its Ray by SIGKILL in a moment that the ledger tells of.

    The driver, which alone writes the ledger, is stopped while the moment is looked for once more: it may have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        assert driver.poll() is None, "the driver ended before that moment"
        if moment():
            driver.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, driver.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if moment():
                driver.kill()
                driver.wait()
                end_of_orphans()
                return
            driver.send_signal(signal.SIGCONT)
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_the_midst_of_a_later_trial(folder: Path) -> bool:
    """A trial has ended, and another one has reported."""
    data = read(folder)
    reported = {row.trial for row in data.results}
    states = {trial.status for trial in data.trials if trial.trial in reported}
    return "running" in states and len(states) > 1


def test_a_run_whose_driver_was_killed_goes_on_without_losing_a_joule(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep_folder / "work.py").write_text(dedent(STEPS))
    folder = sweep_folder / "results" / "it"
    driver = start(sweep_folder, "parameters={steps: {grid: [2, 30]}}", "max_concurrent_trials=1", "stop={score: 29}")
    wait_for((folder / LEDGER).exists)

    def deep_in_the_second_trial() -> bool:
        data = read(folder)
        deep = {row.trial for row in data.results if row.iteration >= 12}
        return {trial.status for trial in data.trials if trial.trial in deep} == {"running"}

    kill_at(driver, deep_in_the_second_trial)
    first = read(folder)
    assert main(["report", str(folder)]) == 0  # also of what there is

    capsys.readouterr()
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("completed: ")]
    assert told == ["completed: steps=30"]  # the other one was told of in its own time
    second = read(folder)

    assert second.run["status"] == "done"
    assert len(second.run["parts"]) == 2
    short, long = sorted(second.trials, key=lambda trial: trial.parameters["steps"])
    assert (short.status, short.attempts) == ("completed", 1)  # not run again
    assert (long.status, long.attempts) == ("completed", 2)
    outcomes = [attempt.outcome for attempt in second.attempts if attempt.trial == long.trial]
    assert outcomes == ["interrupted", "completed"]
    decided = {row.trial: row.why for row in second.decisions if row.what == "ended"}
    assert (decided[short.trial], decided[long.trial]) == ("itself", "stop")  # its rules are asked in both parts
    # It went on from a checkpoint: no step twice, but for those after the last checkpoint that the driver noted.
    steps = [row.metrics["score"] for row in second.results if row.trial == long.trial]
    killed_at = sum(row.trial == long.trial for row in first.results)
    assert steps[:killed_at] == list(range(killed_at))
    assert 0 < steps[killed_at] <= killed_at
    assert steps[killed_at:] == list(range(steps[killed_at], 30))
    energy = [row.energy_joules for row in second.results if row.trial == long.trial]
    assert energy == sorted(energy)
    # The ledger only grew.
    now = {row[:-1]: row.joules for row in second.energy}
    for row in first.energy:
        assert now[row[:-1]] >= row.joules
    summary = summarise(second)
    assert summary.totals.conservation_error_ratio < 1e-3
    # The agent's window went on, or began again: either way it is metered for as long as it was open.
    seconds = sum(meter.window_seconds for meter in second.meters)
    assert seconds > 0.95 * second.run["duration_seconds"]
    assert summary.totals.energy_joules == pytest.approx(100 * seconds, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "scheduler={type: asha, grace_period: 2, reduction_factor: 2}",
        "search={algorithm: optuna, num_samples: 4, seed: 7}",
        pytest.param("space=work.py:space", marks=pytest.mark.variant),
    ],
)
def test_a_trial_that_ended_after_tune_last_wrote_its_state_does_not_run_again(
    sweep_folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (sweep_folder / "work.py").write_text(dedent(STEPS))
    folder = sweep_folder / "results" / "it"
    parameters = "{steps: {randint: [2, 24]}}" if "optuna" in how else "{steps: {grid: [2, 3, 24, 25]}}"
    parameters = "{}" if "space" in how else parameters
    with monkeypatch.context() as environment:
        environment.setenv("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # once, as soon as the trials are queued
        driver = start(sweep_folder, f"parameters={parameters}", "max_concurrent_trials=1", how)

    wait_for((folder / LEDGER).exists)

    kill_at(driver, lambda: in_the_midst_of_a_later_trial(folder))
    first = read(folder)
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    second = read(folder)
    assert second.run["status"] == "done"
    ended = [trial for trial in first.trials if trial.status in ("completed", "pruned")]
    assert ended
    assert [trial for trial in ended if trial not in second.trials] == []  # one attempt, and as they were
    of_ended = {trial.trial for trial in ended}
    for rows in ("results", "attempts"):
        before, after = ([row for row in getattr(data, rows) if row.trial in of_ended] for data in (first, second))
        assert after == before
    done = [trial for trial in second.trials if trial.status in ("completed", "pruned")]
    assert done == second.trials  # a search's new trials are written down as they begin: none is made anew
    assert sorted(trial.attempts for trial in done) == [1, 1, 1, 2]
    assert summarise(second).totals.conservation_error_ratio < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [pytest.param("the ledger is there", marks=pytest.mark.variant), "Tune's state is lost"]
)
def test_a_run_whose_driver_was_killed_before_tune_wrote_its_state_begins_its_trials_anew(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    (sweep_folder / "work.py").write_text(dedent(STEPS))
    folder = sweep_folder / "results" / "it"
    driver = start(sweep_folder, "parameters={steps: 40}")
    wait_for((folder / LEDGER).exists)
    is_lost = moment == "Tune's state is lost"

    def it_is() -> bool:
        data = read(folder)
        return not is_lost or (len(data.results) >= 4 and any(row.joules > 0 and row.lease for row in data.energy))

    kill_at(driver, it_is)
    states = list((folder / "tune").rglob("experiment_state-*.json"))
    assert states or not is_lost
    for state in states:  # there is none yet, if this process was as fast as it is meant to be
        state.unlink()
    first = read(folder)
    assert main(["report", str(folder)]) == 0  # also of what there is

    capsys.readouterr()
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    err = capsys.readouterr().err
    assert "completed: default" in err
    assert "trials 2/1" not in err
    assert "about -" not in err  # time left
    second = read(folder)
    statuses = sorted(trial.status for trial in second.trials)
    assert statuses == ["completed", "interrupted"] if first.results else statuses[0] == "completed"
    now = {row[:-1]: row.joules for row in second.energy}
    assert all(now[row[:-1]] >= row.joules for row in first.energy)
    assert [row for row in first.results if row not in second.results] == []
    (completed,) = (trial.trial for trial in second.trials if trial.status == "completed")
    assert [row.metrics["score"] for row in second.results if row.trial == completed] == list(range(40))
    summary = summarise(second)
    assert summary.totals.conservation_error_ratio < 1e-3
    assert all(trial.energy_joules > 0 for trial in summary.trials if trial.iterations)


@pytest.mark.slow
def test_a_finished_run_stays_as_it_is_when_resumed(done: Run) -> None:
    before = read(done.folder)
    assert main(["resume", str(done.folder), "--metrics-port", "0"]) == 0
    after = read(done.folder)
    assert after.results == before.results
    assert after.leases == before.leases


def test_a_report_that_cannot_be_written_is_one_line_beside_the_numbers(
    done: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    page = done.folder / "report.html"
    page.unlink()
    page.mkdir()
    capsys.readouterr()
    assert main(["resume", str(done.folder), "--metrics-port", "0"]) == 1
    told = capsys.readouterr()
    assert "kind=sleep" in told.out or "default" in told.out
    assert "report: " not in told.out
    assert told.err == f"energysweep: {page}: cannot be written (Is a directory)\n"
    assert main(["report", str(done.folder)]) == 1
    told = capsys.readouterr()
    assert "energy" in told.out
    assert told.err == f"energysweep: {page}: cannot be written (Is a directory)\n"


@pytest.mark.slow
def test_a_run_goes_on_in_a_folder_of_another_name(
    sweep_folder: Path, done: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = done.folder.rename(sweep_folder / "a copy of it")
    with Ledger.create(moved / LEDGER) as ledger:
        ledger.note(status="interrupted")
    assert main(["resume", str(moved), "--metrics-port", "0"]) == 0
    assert f"report: {moved / 'report.html'}" in capsys.readouterr().out
    assert not done.folder.exists()
    data = read(moved)
    assert (data.run["id"], data.run["status"]) == (done.id, "done")
    assert len(data.trials) == 1


def test_an_id_of_another_sweep_is_refused(sweep_folder: Path, done: Run, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", str(sweep_folder / "sweep.yaml"), "--output", str(done.folder.parent), "--run-id", done.id]
    assert main(arguments) == 2
    assert "a run of another sweep" in capsys.readouterr().err
