"""Races of real trials on a real Ray: pauses, repeats of the winners, a killed driver."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from ray.tune.schedulers import TrialScheduler

from energysweep.cli import main
from energysweep.driver.run import run
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData, read_ledger
from energysweep.report import summarise
from energysweep.report.live import Silent
from energysweep.searching.race import CANNOT_PAUSE
from energysweep.sweepfile import load_spec
from tests.driver.test_resume import in_the_midst_of_a_later_trial, kill_at, read, start
from tests.support.earlier_runs import Told as Earlier
from tests.support.earlier_runs import write_run
from tests.support.sweeps import read_ledger as ledger_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

STEPS = """
import json, pathlib, tempfile, time
from ray import tune


def train(config):
    checkpoint, at = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            at = json.loads((pathlib.Path(folder) / "at").read_text())
    while at < 40:
        at += 1
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "at").write_text(json.dumps(at))
            report = {"at": at, "accuracy": min(1.0, at * config["rate"])}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
"""
SWEEP = """
name: race
workload: steps.py:train
parameters: {rate: {grid: [0.02, 0.05, 0.15, 0.4]}}
objective: {metric: accuracy, mode: max, target: 0.8}
repeats: 2
scheduler: {type: race, winners: 2}
max_concurrent_trials: 2
meters: ["replay:trace.csv"]
idle_power_watts: {cpu: 20}
carbon: {grams_per_kwh: 360}
"""
PROGRAM = """
import json, sys, time
for at in range(1, 41):
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    print(json.dumps({"accuracy": min(1.0, at * float(sys.argv[1]))}), flush=True)
"""


class Told(Silent):
    """What a person was told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str) -> None:
        self.events.append(text)


@pytest.fixture
def race_folder(sweep_folder: Path) -> Path:
    (sweep_folder / "steps.py").write_text(STEPS)
    (sweep_folder / "program.py").write_text(PROGRAM)
    (sweep_folder / "sweep.yaml").write_text(SWEEP)
    return sweep_folder


def check_race(data: LedgerData) -> None:
    """What holds however long each step took on this machine."""
    state = RunState.of(data)
    by_rate: dict[float, dict[int, str]] = defaultdict(dict)
    for trial in state.all_trials():
        assert trial.row.seed is not None
        assert trial.results.reached == (trial.row.status == "completed"), trial.row
        assert trial.results.reached or trial.row.status == "pruned"
        by_rate[trial.row.parameters["rate"]][trial.row.seed] = trial.row.status
    assert len(by_rate) == 4  # all have begun
    winners = [rate for rate, seeds in by_rate.items() if len(seeds) == 2]
    assert len(winners) >= 2
    assert all(by_rate[rate][0] == "completed" for rate in winners)
    summary = summarise(data)
    assert any(each.reached_target == 2 for each in summary.configurations)
    assert summary.totals.conservation_error_ratio is not None
    assert summary.totals.conservation_error_ratio < 1e-3


def test_trials_pause_and_go_on_where_they_were_and_only_winners_are_repeated(race_folder: Path) -> None:
    progress = Told()
    done = run(load_spec(race_folder / "sweep.yaml"), output=race_folder / "results", metrics_port=0, progress=progress)
    assert done.succeeded, done.problems
    data = ledger_of(done)
    check_race(data)
    state = RunState.of(data)
    for trial in state.all_trials():
        steps = [report.metrics["at"] for report in state.reports_of(trial.row.trial)]
        assert steps == list(range(1, len(steps) + 1))  # nothing was done twice, nothing was lost
        decided = [each.what for each in state.decisions_of(trial.row.trial)]
        assert decided[0] == "started"
        assert decided[-1] == "ended"
        # Whoever is paused goes on, or is ended where it is.
        assert decided[1:-1] == ["paused", "resumed"] * (len(decided) // 2 - 1) + ["paused"] * (len(decided) % 2)
        by_cap = [each for each in state.decisions_of(trial.row.trial) if each.why == "capped"]
        assert all(each.joules and each.limit_joules for each in by_cap)
    assert [(each.what, each.why) for each in state.decisions_of("")] == [("started", "run"), ("ended", "run")]
    spent = [each.sweep_joules or 0.0 for each in state.decisions()]
    assert spent == sorted(spent)
    # Some trial worked under several leases, between which it was paused.
    assert max(Counter(lease.trial for lease in data.leases).values()) > 1
    assert CANNOT_PAUSE not in progress.events
    assert main(["rehearse", str(done.folder), "--scheduler", "cap"]) == 0


PROGRAM_SWEEP = ("workload=null", 'command=["python3", program.py, "{rate}"]')


@pytest.mark.parametrize("kind", [pytest.param("cap", marks=pytest.mark.variant), "race"])
def test_a_program_without_checkpoints_is_capped(race_folder: Path, kind: str) -> None:
    overrides = [
        f"scheduler={{type: {kind}, winners: 2}}",
        *PROGRAM_SWEEP,
        "parameters={rate: {grid: [0.4, 0.15, 0.05, 0.02]}}",
    ]
    progress = Told()
    done = run(
        load_spec(race_folder / "sweep.yaml", overrides),
        output=race_folder / "results",
        metrics_port=0,
        progress=progress,
    )
    assert done.succeeded, done.problems
    check_race(ledger_of(done))
    assert (CANNOT_PAUSE in progress.events) == (kind == "race")


def test_a_race_whose_driver_is_killed_goes_on(race_folder: Path) -> None:
    folder = race_folder / "results" / "it"

    def is_under_way() -> bool:
        if not (folder / "ledger.sqlite").exists():
            return False
        return len(read(folder).results) >= 8

    kill_at(start(race_folder), is_under_way)
    # Whoever has begun is known to Tune: in its place, another trial would begin, and this one stay open for ever.
    (state_file,) = (folder / "tune").glob("it/experiment_state-*.json")
    state = json.loads(state_file.read_text())
    known = {json.loads(trial)["trial_id"] for trial, _ in state["trial_data"]}
    begun = {row.trial for row in read(folder).trials}
    assert begun <= known
    assert "_stopper" not in state["runner_data"]  # Tune would ask it, and no longer the one that the driver hears
    # The state as a kill leaves it between a pause and the checkpoint for it. Those who go on no longer pause there.
    state["runner_data"]["_cached_trial_decisions"] = dict.fromkeys(known, TrialScheduler.PAUSE)
    state_file.write_text(json.dumps(state))
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    check_race(read_ledger(folder / "ledger.sqlite"))


@pytest.mark.variant
def test_a_cap_begins_in_the_order_of_an_earlier_run_and_keeps_it_when_that_has_gone(
    race_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (*PROGRAM_SWEEP, "scheduler={type: cap, winners: 2}", "max_concurrent_trials=1")
    spec = load_spec(race_folder / "sweep.yaml", overrides)
    reached_at = {0.02: 1, 0.4: 2, 0.05: 3, 0.15: 5}  # as nobody would guess it
    earlier = write_run(
        race_folder / "earlier",
        [Earlier({"rate": rate}, 10.0, [0.1] * (at - 1) + [0.9]) for rate, at in reached_at.items()],
        spec=spec.model_dump(mode="json"),
        objective={"metric": "accuracy", "mode": "max", "target": 0.8, "patience": 1},
    )
    folder = race_folder / "results" / "it"

    def is_under_way() -> bool:
        return (folder / "ledger.sqlite").exists() and in_the_midst_of_a_later_trial(folder)

    kill_at(start(race_folder, *overrides, options=["--from", str(earlier)]), is_under_way)
    shutil.rmtree(earlier)
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    assert f"order: by 4 configurations of {earlier}\n" in capsys.readouterr().err
    data = read_ledger(folder / "ledger.sqlite")
    check_race(data)
    began = sorted((row.started_at or 0.0, row.parameters["rate"]) for row in data.trials if row.seed == 0)
    assert [rate for _, rate in began] == [*reached_at]


@pytest.mark.variant
def test_a_pilot_is_booked_to_the_run_that_goes_on_after_it(
    race_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(race_folder)
    overrides = ["scheduler={type: cap, winners: 2}", "stop={training_iteration: 40}", "budget={energy_joules: 100000}"]
    options = [part for override in overrides for part in ("--set", override)]
    command = ["plan", "sweep.yaml", "--pilot", "2", "--pilot-reports", "2", "--metrics-port", "0", *options, "--json"]
    assert main(command) == 0
    planned = json.loads(capsys.readouterr().out)
    folder = Path(planned["pilot"]["run"])
    before = read_ledger(folder / "ledger.sqlite")
    assert before.run["status"] == "interrupted"
    assert [(row.stage, row.status) for row in before.trials] == [("pilot", "completed")] * 2
    assert {row.iteration for row in before.results} == {1, 2}
    own = next(each for each in planned["plans"] if each["is_own"])
    assert own["energy_joules"]["low"] > planned["pilot"]["energy_joules"] > 0

    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    said = capsys.readouterr()
    assert "order: by 2 configurations of the pilot; 2 of the sweep were never tried" in said.err
    assert "Note: the pilot took " in said.out
    data = read_ledger(folder / "ledger.sqlite")
    summary = summarise(data)
    assert [(each.stage, len(each.trials)) for each in summary.stages] == [("pilot", 2)]
    assert summary.totals.conservation_error_ratio is not None
    assert summary.totals.conservation_error_ratio < 1e-3
    charged, of_pilot = (RunState.of(each).charged_joules for each in (data, before))
    assert charged is not None
    assert of_pilot == pytest.approx(planned["pilot"]["energy_joules"])
    assert charged > of_pilot
    assert summary.forecast is not None
    assert summary.forecast.charged_joules == pytest.approx(charged)
    assert data.run["status"] == "done"
