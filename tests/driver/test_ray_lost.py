"""Ray goes away under a sweep: the raylet or the GCS of its own Ray, the head of a cluster; or its folder does."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from energysweep.accounting.processes import Root, read_process, scan
from energysweep.cli import main
from energysweep.core.runfolder import DRIVER_LOCK, LEDGER
from energysweep.driver.session import StopSignals
from energysweep.driver.watch import Gate
from energysweep.ledger.store import Ledger
from energysweep.report import summarise
from tests.driver.test_cluster import command_of, sweep_on, two_raylets
from tests.driver.test_resume import read, wait_for
from tests.support.sweeps import UNTIL

slow = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("default")]
PROC = Path("/proc")


def start(sweep_folder: Path, *options: str) -> subprocess.Popen[str]:
    """The driver of the run ``it``, whose trials work until the file ``enough`` is there."""
    (sweep_folder / "work.py").write_text(UNTIL)
    parameters = f"parameters={{file: {sweep_folder}/enough, gain: {{grid: [1, 2]}}}}"
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "it", "--metrics-port", "0"),
            *(
                "--set",
                parameters,
                "--set",
                "max_concurrent_trials=2",
                "--set",
                "hardware={half: {resources: {cpu: 0.5}}}",
            ),
            *options,
        ],
        cwd=sweep_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both_have_reported(folder: Path, reports: int) -> bool:
    if not (folder / LEDGER).exists():
        return False
    rows = read(folder).results
    of_trials = [sum(row.trial == trial for row in rows) for trial in {row.trial for row in rows}]
    return len(of_trials) == 2 and min(of_trials) >= reports


def own(driver: subprocess.Popen[Any], name: str) -> Root:
    """A process of the driver's own Ray."""
    for children in (PROC / str(driver.pid) / "task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            process = read_process(PROC, pid)
            if process and process.alive and (PROC / str(pid) / "comm").read_text().strip() == name:
                return process.root
    raise AssertionError(name)


def children(parent: Root) -> set[Root]:
    return {process.root for process in scan(PROC).values() if process.parent == parent.pid}


def is_there(root: Root) -> bool:
    process = read_process(PROC, root.pid)
    return process is not None and process.root == root and process.alive


def trained_once(folder: Path) -> None:
    """Every step once, but for those after the last checkpoint that Tune had noted; and all joules balance."""
    data = read(folder)
    for trial in data.trials:
        steps = [row.metrics["score"] for row in data.results if row.trial == trial.trial]
        assert sum(after != before + 1 for before, after in itertools.pairwise(steps)) <= 1, steps
        assert sorted(set(steps)) == list(range(1, steps[-1] + 1))
        energy = [row.energy_joules for row in data.results if row.trial == trial.trial]
        assert energy == sorted(energy)
    summary = summarise(data)
    assert summary.totals.conservation_error_ratio is not None
    assert summary.totals.conservation_error_ratio < 1e-3
    # The replayed meter draws 100 W for as long as it is looked at, once.
    seconds = sum(meter.window_seconds for meter in data.meters)
    assert summary.totals.energy_joules == pytest.approx(100 * seconds, rel=0.02)


@pytest.mark.parametrize(
    "name", [pytest.param("raylet", marks=slow), pytest.param("gcs_server", marks=[*slow, pytest.mark.variant])]
)
def test_a_ray_of_its_own_that_is_killed_is_started_again_and_the_sweep_goes_on(sweep_folder: Path, name: str) -> None:
    folder = sweep_folder / "results" / "it"
    sweep = start(sweep_folder)
    wait_for(lambda: both_have_reported(folder, 4))
    raylet = own(sweep, "raylet")
    old = children(raylet) | {raylet, own(sweep, "gcs_server")}
    os.kill(own(sweep, name).pid, signal.SIGKILL)

    def goes_on() -> bool:
        data = read(folder)
        again = [attempt for attempt in data.attempts if attempt.number == 2]
        return len(again) == 2 and all(
            any(
                row.trial == attempt.trial and row.elapsed_seconds > data.run["parts"][0]["duration_seconds"]
                for row in data.results
            )
            for attempt in again
        )

    wait_for(goes_on)
    assert own(sweep, "raylet") not in old  # the same driver, with another Ray
    assert not any(is_there(process) for process in old)
    (sweep_folder / "enough").touch()
    out, err = sweep.communicate(timeout=300)

    assert sweep.returncode == 0, err
    assert "Traceback" not in err
    (said,) = [line for line in err.splitlines() if "starting Ray again" in line]
    assert said == (
        f"Ray's {name} was ended by SIGKILL, as the kernel does it when memory runs out: starting Ray again,"
        " and resuming (3 of --ray-restarts left)"
    )
    assert "Raylet is terminated" not in out + err
    assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    data = read(folder)
    assert data.run["status"] == "done"
    assert len(data.run["parts"]) == 2
    for trial in data.trials:
        outcomes = [attempt.outcome for attempt in data.attempts if attempt.trial == trial.trial]
        assert outcomes == ["interrupted", "completed"]
    trained_once(folder)
    assert summarise(data).totals.lost_joules >= 0
    assert not (folder / DRIVER_LOCK).exists()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
@pytest.mark.variant
def test_without_restarts_the_sweep_ends_with_its_report_and_says_how_to_go_on(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder / "results" / "it"
    sweep = start(sweep_folder, "--ray-restarts", "0")
    wait_for(lambda: both_have_reported(folder, 4))
    gcs = own(sweep, "gcs_server")
    os.kill(gcs.pid, signal.SIGKILL)
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    assert err.splitlines()[-1] == (
        "energysweep: Ray's gcs_server was ended by SIGKILL, as the kernel does it when memory runs out;"
        f" to go on: energysweep resume {folder}"
    )
    assert "Traceback" not in err
    assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    data = read(folder)
    assert {attempt.outcome for attempt in data.attempts} == {"interrupted"}
    assert all(attempt.ended_at for attempt in data.attempts)
    assert summary["totals"]["trials_energy_joules"] > 0
    assert not (folder / DRIVER_LOCK).exists()

    (sweep_folder / "enough").touch()
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    assert read(folder).run["status"] == "done"
    trained_once(folder)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_driver_whose_results_are_removed_ends_with_the_numbers_on_the_terminal(sweep_folder: Path) -> None:
    folder = sweep_folder / "results" / "it"
    sweep = start(sweep_folder)
    wait_for(lambda: both_have_reported(folder, 4))
    ray = own(sweep, "raylet")
    workers = children(ray)
    (sweep_folder / "results").rename(
        sweep_folder / "removed"
    )  # all at once: while it is removed its lock may go first
    shutil.rmtree(sweep_folder / "removed", ignore_errors=True)
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1] == f"energysweep: the run folder has gone ({folder}: No such file or directory)"
    assert "gain=1" in out
    assert "report: " not in out
    wait_for(lambda: not any(is_there(process) for process in workers | {ray}))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_driver_that_another_one_has_taken_the_run_from_writes_nothing_more(sweep_folder: Path) -> None:
    folder = sweep_folder / "results" / "it"
    sweep = start(sweep_folder)
    wait_for(lambda: both_have_reported(folder, 2))
    lock = json.loads((folder / DRIVER_LOCK).read_text())
    other = json.dumps(lock | {"token": "other", "node": "elsewhere", "pid": 77})
    with (folder / DRIVER_LOCK).open("r+") as file:  # as on a file system that does not tell other hosts of its locks
        file.write(other.ljust(1024))
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    assert "energysweep: another driver has taken over this run (process 77 on elsewhere since " in err.splitlines()[-1]
    assert json.loads((folder / DRIVER_LOCK).read_text())["token"] == "other"  # noqa: S105 - no secret
    assert not (folder / "report.html").exists()
    assert read(folder).run["status"] == "running"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("what", ["head", pytest.param("raylet of the driver", marks=pytest.mark.variant)])
def test_a_cluster_that_goes_away_ends_the_sweep_with_its_report(sweep_folder: Path, what: str) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    folder = sweep_folder / "results" / "it"
    with two_raylets() as cluster:
        parameters = f"parameters={{file: {sweep_folder}/enough, gain: {{grid: [1, 2]}}}}"
        sweep = sweep_on(cluster, sweep_folder, "it", parameters, "hardware={half: {resources: {cpu: 0.5}}}")
        wait_for(lambda: both_have_reported(folder, 2))
        program = b"gcs_server" if what == "head" else b"raylet/raylet"
        for pid in cluster.processes_of("head"):
            if program in command_of(pid).split(b"\0")[0]:
                os.kill(pid, signal.SIGKILL)
        out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    # `ray start --block` ends the rest of its node with the raylet, and the head with it.
    gone = ["has not answered for", "has lost the node that this driver is on"]
    assert f"the cluster at {cluster.address}" in last
    assert any(words in last for words in gone)
    assert last.endswith(f"to go on: energysweep resume {folder} --address {cluster.address}")
    assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    data = read(folder)
    assert data.run["status"] == "interrupted"
    assert summarise(data).totals.trials_energy_joules > 0


def test_a_failure_that_follows_from_rays_end_does_not_reach_the_books() -> None:
    lost: list[str] = []
    gate = Gate(lambda: lost[0] if lost else None, StopSignals())
    gate.on_trial_error(iteration=0, trials=[], trial=None)  # passes: it is the trial's own
    lost.append("Ray's raylet has gone")
    gate.on_trial_result(iteration=0, trials=[], trial=None, result={})  # a result that came before is one
    passed = threading.Event()

    def fail() -> None:
        gate.on_trial_error(iteration=0, trials=[], trial=None)
        passed.set()

    threading.Thread(target=fail, daemon=True).start()
    assert not passed.wait(0.2)
    closed = threading.Thread(target=lambda: gate.on_step_begin(iteration=1, trials=[]), daemon=True)
    closed.start()
    closed.join(0.2)
    assert closed.is_alive()  # and nothing after it


def test_a_ledger_can_be_read_while_its_files_are_gone(tmp_path: Path) -> None:
    """What the numbers on the terminal rely on when a run folder is removed."""
    (tmp_path / "run").mkdir()
    with Ledger.create(tmp_path / "run" / LEDGER, id="x") as ledger:
        ledger.note(more=1)
        shutil.rmtree(tmp_path / "run")
        assert ledger.read().run == {"id": "x", "more": 1}
