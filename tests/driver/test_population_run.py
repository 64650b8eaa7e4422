"""A population of real trials on a real Ray: they go on from each other's checkpoints, and pay for their own work."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.driver.run import run
from energysweep.ledger.decisions import told
from energysweep.ledger.run_state import RunState
from energysweep.report import summarise
from energysweep.sweepfile import load_spec
from tests.driver.test_race import Told
from tests.support.sweeps import read_ledger as ledger_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

STEPS = """
import json, pathlib, tempfile, time
from ray import tune


def train(config):
    checkpoint, at, score = tune.get_checkpoint(), 0, 0.0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            at, score = json.loads((pathlib.Path(folder) / "at").read_text())
    while at < 12:
        at, score = at + 1, score + config["net"]["rate"]
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "at").write_text(json.dumps([at, score]))
            report = {"at": at, "accuracy": score, "rate": config["net"]["rate"]}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
"""
SWEEP = """
name: population
workload: steps.py:train
parameters: {net: {rate: {grid: [0.01, 0.02, 0.04, 0.08]}}}
objective: {metric: accuracy, mode: max}
scheduler:
  type: pbt
  perturbation_interval: 2
  resample_probability: 0
  hyperparam_mutations: {net.rate: {uniform: [0.01, 0.1]}}
max_concurrent_trials: 2
meters: ["replay:trace.csv"]
idle_power_watts: {cpu: 20}
carbon: {grams_per_kwh: 360}
"""


def test_trials_take_over_what_others_have_learned_and_keep_their_own_joules(sweep_folder: Path) -> None:
    (sweep_folder / "steps.py").write_text(STEPS)
    (sweep_folder / "sweep.yaml").write_text(SWEEP)
    progress = Told()
    done = run(
        load_spec(sweep_folder / "sweep.yaml"), output=sweep_folder / "results", metrics_port=0, progress=progress
    )
    assert done.succeeded, done.problems
    data = ledger_of(done)
    state = RunState.of(data)
    trials = {trial.row.trial: trial for trial in state.all_trials()}
    assert [trial.row.status for trial in trials.values()] == ["completed"] * 4
    assert sorted(trial.row.parameters["net.rate"] for trial in trials.values()) == [0.01, 0.02, 0.04, 0.08]
    exploited = [row for row in data.decisions if row.why == "exploited"]
    assert exploited
    assert sum("each is shown with those that it began with" in event for event in progress.events) == 1
    for row in exploited:
        assert row.numbers["exploited"] in trials
        assert row.numbers["exploited"] != row.trial
    assert all("exploited trial" in each.sentence for each in told(exploited, estimated=False))
    for row in {each.trial: each for each in exploited}.values():  # the last one of each trial
        rates = [report.metrics["rate"] for report in state.reports_of(row.trial)]
        began = trials[row.trial].row.parameters["net.rate"]
        assert rates[0] == began
        assert rates[-1] != began
        steps = [report.metrics["at"] for report in state.reports_of(row.trial)]
        assert steps[-1] == 12
    for trial in trials:  # a trial's own joules only grow, whoever's checkpoint it goes on from
        joules = [report.energy_joules for report in state.reports_of(trial)]
        assert joules == sorted(joules, key=lambda each: each or 0.0)
    summary = summarise(data)
    assert len(summary.configurations) == 4
    assert summary.totals.conservation_error_ratio is not None
    assert summary.totals.conservation_error_ratio < 1e-3
