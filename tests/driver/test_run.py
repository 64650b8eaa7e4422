"""Whole sweeps on a real Ray."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

import pytest

from energysweep.core.errors import InputError
from energysweep.core.records import LeaseRow
from energysweep.core.runfolder import COPY, DRIVER_LOCK, RUN_KEY
from energysweep.driver.run import Run, run
from energysweep.driver.storage import SUMS
from energysweep.ledger.store import LedgerData
from energysweep.sweepfile import load_spec
from tests.conftest import home_of_an_agent
from tests.driver.test_resume import wait_for
from tests.support.ledgers import window_seconds
from tests.support.sweeps import read_ledger, run_in, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]  # Ray's own warnings are not ours to fix

RunSweep = Callable[..., Run]


def trials_by(done: Run, parameter: str) -> dict[str, dict[str, str]]:
    with (done.folder / "trials.csv").open() as file:
        return {row[f"param.{parameter}"]: row for row in csv.DictReader(file)}


def lease_by_trial(ledger: LedgerData) -> dict[str, LeaseRow]:
    """One for each trial, with the times of all that it had.

    A trial may have two: where a worker becomes free while a trial's own is still being made, Tune gives the trial the
    free one, and ends the other, which may have begun by then.
    """
    found: dict[str, LeaseRow] = {}
    for lease in ledger.leases:
        other = found.get(lease.trial)
        found[lease.trial] = lease if other is None else _together(other, lease)
    return found


def _together(one: LeaseRow, other: LeaseRow) -> LeaseRow:
    assert one.startup_seconds is not None
    assert other.startup_seconds is not None
    return one._replace(
        cpu_seconds=one.cpu_seconds + other.cpu_seconds, startup_seconds=one.startup_seconds + other.startup_seconds
    )


def least_active_joules(lease: LeaseRow) -> float:
    """Of the 80 W above the floor what its CPU time is of all that there is; how much more, other load decides."""
    return 80 * lease.cpu_seconds / (os.cpu_count() or 1) * 0.5


@dataclass(frozen=True)
class Measured:
    """A sweep of trials that work, sleep, and let children work, two at a time; and how long it took in seconds."""

    run: Run
    ledger: LedgerData
    elapsed: float


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    write_sweep(folder)
    with home_of_an_agent():
        began = time.monotonic()
        done = run_in(folder, "parameters.kind={grid: [burn, sleep, spawn]}", "max_concurrent_trials=2")
        return Measured(done, read_ledger(done), time.monotonic() - began)


def test_two_trials_at_once_share_the_100_watts_and_the_buckets_add_up(measured: Measured) -> None:
    totals, ledger = measured.run.summary.totals, measured.ledger
    # Half a second of 100 W: a busy host may make the agent wait between its look at the clock and at the meters.
    assert totals.energy_joules == pytest.approx(100 * window_seconds(ledger, measured.elapsed), rel=1e-3, abs=50)
    booked = (
        totals.trials_energy_joules
        + totals.buckets["startup"]
        + totals.buckets["overhead"]
        + totals.buckets["other_sweeps"]
        + totals.buckets["background"]
        + totals.buckets["unreserved_idle"]
    )
    assert booked == pytest.approx(totals.energy_joules, rel=1e-3)
    assert totals.conservation_error_ratio < 1e-3
    trials = trials_by(measured.run, "kind")
    leases = lease_by_trial(ledger)
    burning = leases[trials["burn"]["trial"]]
    # A Ray worker needs a little of its own, and a busy host may give the one that burns no more than a quarter second.
    assert leases[trials["sleep"]["trial"]].cpu_seconds < burning.cpu_seconds / 2
    assert float(trials["burn"]["active_energy_joules"]) > least_active_joules(burning)
    for row in trials.values():  # one of the host's CPUs is reserved: its part of the floor of 20 W
        share_watts = 20 / max(os.cpu_count() or 1, 1)
        worked_seconds = float(row["duration_seconds"]) - leases[row["trial"]].startup_seconds
        assert float(row["idle_energy_joules"]) == pytest.approx(share_watts * worked_seconds, rel=0.02)


def test_work_of_short_lived_children_started_from_a_thread_is_charged(measured: Measured) -> None:
    trials = trials_by(measured.run, "kind")
    leases = lease_by_trial(measured.ledger)
    lease = leases[trials["spawn"]["trial"]]
    assert leases[trials["sleep"]["trial"]].cpu_seconds < lease.cpu_seconds / 2
    assert float(trials["spawn"]["active_energy_joules"]) > least_active_joules(lease)
    last = [row.metrics["children_seconds"] for row in measured.ledger.results if row.trial == lease.trial][-1]
    assert lease.cpu_seconds > 0.9 * last > 0  # what the children themselves have used, as their parent was told


def test_every_result_carries_the_energy_and_it_never_goes_down(measured: Measured) -> None:
    assert len(measured.ledger.trials) == 3
    for trial in measured.ledger.trials:
        energy = [row.energy_joules for row in measured.ledger.results if row.trial == trial.trial]
        assert len(energy) == 3
        assert energy == sorted(energy)
        assert energy[0] > 0


def test_the_run_folder_holds_every_file(measured: Measured) -> None:
    done = measured.run
    files = {path.name for path in done.folder.iterdir() if path.is_file()}
    assert files >= {
        "sweep.yaml",
        "ledger.sqlite",
        "trials.csv",
        "configurations.csv",
        "summary.json",
        "report.html",
    }
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["schema_version"] == 1
    assert summary["status"] == "done"
    # 360 g/kWh: 1 J is 0.1 mg
    charged = sum(summary["totals"][name] for name in ("trials_energy_joules", "startup_joules", "overhead_joules"))
    assert summary["totals"]["emissions_grams"] == pytest.approx(charged * 1e-4)
    # The key is in a file of its own, and in what Tune keeps of the trainable.
    key = (done.folder / "run.key").read_text().strip()
    assert len(key) == 32
    tell_it = {path for path in done.folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()}
    assert {path.relative_to(done.folder).parts[0] for path in tell_it} <= {"run.key", "tune"}
    assert [(done.folder / name).stat().st_mode & 0o777 for name in ("run.key", "tune")] == [0o600, 0o700]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sweep of one short trial, which reports another metric than the objective's."""
    folder = tmp_path_factory.mktemp("short")
    write_sweep(folder)
    with home_of_an_agent():
        return run_in(folder, "parameters={kind: burn, reports: 1, seconds: 0.3}", "objective.metric=accuracy")


def test_a_trial_of_300_ms_gets_its_joules(short: Run) -> None:
    (trial,) = short.summary.trials
    (lease,) = read_ledger(short).leases
    # A reading may be a tenth of a second old.
    assert 0.3 * 20 / (os.cpu_count() or 1) * 0.5 < trial.energy_joules < 100 * (lease.held_seconds + 0.2)
    assert lease.cpu_seconds > 0
    assert trial.active_energy_joules > least_active_joules(lease)


@pytest.mark.slow
def test_any_program_is_swept_and_the_end_of_its_errors_is_told(sweep_folder: Path, run_sweep: RunSweep) -> None:
    (sweep_folder / "program.sh").write_text(
        dedent("""\
        #!/bin/sh
        echo "no report"
        echo "{\\"score\\": $1}"
        (i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done) &
        wait
        [ "$1" != 2 ] || { echo "no such flavour" >&2; exit 7; }
        """)
    )
    (sweep_folder / "program.sh").chmod(0o755)
    done = run_sweep("workload=null", "command=[./program.sh, '{x}']", "parameters={x: {grid: [1, 2]}}")

    trials = trials_by(done, "x")
    assert trials["1"]["status"] == "completed"
    assert float(trials["1"]["active_energy_joules"]) > 0
    assert trials["2"]["status"] == "failed"
    (problem,) = done.problems
    assert "no such flavour" in problem
    (failed,) = [trial for trial in read_ledger(done).trials if trial.status == "failed"]
    assert "exit code 7" in failed.error


@pytest.mark.slow
def test_a_program_that_is_not_to_be_changed_reports_by_what_it_writes(sweep_folder: Path, run_sweep: RunSweep) -> None:
    (sweep_folder / "program.py").write_text(
        dedent("""\
        import logging, sys, time
        logging.basicConfig(level=logging.INFO)
        for epoch in range(1, 4):
            for step in range(3):
                sys.stderr.write(f"\\r{step / 3:.0%}|#  | {step}/3, loss {1 / (epoch * 4 + step):.3f}")
                time.sleep(0.02)
            logging.info("epoch %d: \\x1b[1mval_acc %s\\x1b[0m %%", epoch, sys.argv[1] if epoch == 3 else epoch / 4)
        """)
    )
    done = run_sweep(
        "workload=null",
        "command=[python3, program.py, '{last}']",
        "parameters={last: {grid: [0.75, diverged]}}",
        r"results.pattern=['loss (?P<loss>[\d.]+)', 'val_acc (?P<score>\w[\w.]*)']",
        "objective.target=0.5",
    )
    assert done.problems == ()
    good, diverged = sorted(done.summary.trials, key=lambda trial: str(trial.parameters["last"]))
    assert good.metrics == {"loss": 0.071, "score": 0.75}  # 1 / 14
    assert (good.objective, good.iterations, good.iterations_to_target) == (0.75, 3, 2)
    assert diverged.metrics == {"loss": 0.071, "score": "diverged"}
    assert (diverged.objective, diverged.iterations_to_target) == (0.5, 2)


@pytest.mark.slow
def test_asha_stops_trials_by_their_joules_and_calls_them_pruned(run_sweep: RunSweep) -> None:
    done = run_sweep(
        "parameters={kind: burn, seconds: 0.2, reports: 30, gain: {grid: [5, 4, 3, 2, 1]}}",
        "scheduler={type: asha, resource: energy_joules, grace_period: 5, max_resource: 60, reduction_factor: 2}",
    )

    statuses = [trial.status for trial in done.summary.trials]
    assert "pruned" in statuses
    pruned = sum(trial.energy_joules or 0.0 for trial in done.summary.trials if trial.status == "pruned")
    assert done.summary.totals.pruned_joules == pytest.approx(pruned)
    ledger = read_ledger(done)
    for trial in ledger.trials:
        energy = [row.energy_joules for row in ledger.results if row.trial == trial.trial]
        assert all(joules < 60 for joules in energy[:-1])  # the first report at the end was the last


@pytest.mark.slow
def test_what_a_failed_attempt_spent_after_its_last_checkpoint_is_lost(sweep_folder: Path, run_sweep: RunSweep) -> None:
    (sweep_folder / "work.py").write_text(
        dedent("""\
        import json, pathlib, tempfile, time
        from ray import tune

        def burn(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass

        def train(config):
            checkpoint = tune.get_checkpoint()
            begin = 0
            if checkpoint:
                with checkpoint.as_directory() as folder:
                    begin = json.loads((pathlib.Path(folder) / "at").read_text())
            for i in range(begin, 4):
                burn(0.3)
                if i == 2 and not checkpoint:
                    burn(0.5)
                    raise RuntimeError("out of luck")
                with tempfile.TemporaryDirectory() as folder:
                    (pathlib.Path(folder) / "at").write_text(json.dumps(i + 1))
                    tune.report({"score": i, "at": time.time()}, checkpoint=tune.Checkpoint.from_directory(folder))
        """)
    )
    done = run_sweep("parameters={}", "max_failures=1")

    (trial,) = done.summary.trials
    assert (trial.status, trial.attempts) == ("completed", 2)
    ledger = read_ledger(done)
    first, second = ledger.attempts
    assert (first.outcome, second.outcome) == ("failed", "completed")
    assert "out of luck" in first.error
    results = [row.energy_joules for row in ledger.results]
    assert results == sorted(results)
    # 0.8 s of burning at up to 80 W above the floor were lost, and what came until the lease was closed; the rest was
    # not. A reading may be a tenth of a second old.
    (lease,) = [lease for lease in ledger.leases if lease.attempt == 1]
    after_checkpoint = lease.closed_at - ledger.results[1].metrics["at"]
    assert 0.2 * 80 * 0.8 < trial.lost_joules < 100 * (after_checkpoint + 0.2)
    assert trial.lost_joules < trial.energy_joules
    assert first.checkpoint_joules == results[1]


@pytest.mark.slow
def test_stop_at_target_ends_a_trial_that_has_held_it(run_sweep: RunSweep) -> None:
    done = run_sweep(
        "parameters={kind: sleep, seconds: 0.05, reports: 20}",
        "objective={metric: score, mode: max, target: 5, stop_at_target: true, patience: 2}",
    )

    (trial,) = done.summary.trials
    assert trial.metrics["score"] == 6  # reached at 5, held once more
    assert trial.energy_to_target_joules is not None
    assert trial.energy_to_target_joules < trial.energy_joules


def test_a_metric_that_is_never_reported_is_said_plainly(short: Run) -> None:
    assert not short.succeeded
    assert "never reported 'accuracy'" in short.problems[0]
    assert "score" in short.problems[0]


@pytest.mark.slow
def test_a_run_leaves_a_copy_of_its_folder_in_its_storage_and_fails_not_for_want_of_one(
    sweep_folder: Path, run_sweep: RunSweep
) -> None:
    changes = ("parameters={kind: sleep, seconds: 0.05}", f"storage={sweep_folder}/shared")
    done = run_sweep(*changes)
    copy = sweep_folder / "shared" / done.id / COPY
    assert done.copied is not None
    assert done.copied.startswith(f"copy: {copy} (")
    files = {path.name for path in copy.iterdir()}
    assert files == {path.name for path in done.folder.iterdir()} - {RUN_KEY, DRIVER_LOCK} | {SUMS}
    assert (copy / "report.html").read_bytes() == (done.folder / "report.html").read_bytes()
    assert read_ledger(replace(done, folder=copy)) == read_ledger(done)
    (copy / SUMS).unlink()
    (copy / SUMS).mkdir()
    again = run(
        load_spec(sweep_folder / "sweep.yaml", changes),
        output=sweep_folder / "results",
        run_id=done.id,
        metrics_port=0,
    )
    assert again.succeeded
    assert again.copied == f"no copy of the run folder is in the sweep's storage: {copy}: Is a directory"


def test_a_run_that_fails_lets_its_agent_go(sweep_folder: Path, agent_home: Path) -> None:
    spec = load_spec(sweep_folder / "sweep.yaml")
    with pytest.raises(InputError, match="No such file") as failure:
        run(spec, output=Path("/proc/self"), metrics_port=0)  # nobody, root included, can make a folder there
    # Whoever keeps the error keeps the driver's variables: its connection must have been closed, or the agent stays.
    wait_for(lambda: not (agent_home / "agent.sock").exists())
    assert failure.tb is not None
