"""Stages on a real Ray: what they leave goes to who goes on from it, is paid for once, and survives a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from energysweep.cli import main
from energysweep.core.records import TrialRow, TrialStatus
from energysweep.core.runfolder import LEDGER
from energysweep.driver.run import Run
from energysweep.driver.stages import run_stages
from energysweep.report import summarise
from energysweep.sweepfile import load_spec
from tests.driver.test_resume import kill_at, read, start, wait_for
from tests.support.sweeps import read_ledger, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

# Counts on from the checkpoint that it is given, one each step; a trial of its own goes on from its own checkpoint.
COUNT = """
import json, pathlib, tempfile, time
from ray import tune


def read(checkpoint):
    with checkpoint.as_directory() as folder:
        return json.loads((pathlib.Path(folder) / "state").read_text())


def train(config):
    state = {"count": 0, "steps": 0, "seed": config.get("seed")}
    if config.get("pretrained"):
        state["count"] = read(tune.Checkpoint(config["pretrained"]["from"]))["count"]
        assert read(tune.Checkpoint(config["pretrained"]["from"]))["seed"] == config.get("seed")
    if tune.get_checkpoint():
        state = read(tune.get_checkpoint())
    while state["steps"] < config["steps"]:
        end = time.monotonic() + config.get("seconds", 0.05)
        while time.monotonic() < end:
            pass
        if config.get("fails", -1) == config.get("seed") and state["steps"] == 1:
            raise RuntimeError("fell over")
        state = state | {"count": state["count"] + config["step"], "steps": state["steps"] + 1}
        metrics = {"score": state["count"], "seen": config.get("seed") or 0}
        if not config.get("keep"):
            tune.report(metrics)
            continue
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "state").write_text(json.dumps(state))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))
"""
STAGES = (
    "parameters={step: 1, steps: 3, keep: true, pretrained: {grid: [null, {from: base}, {from: more}]}}",
    "stages={base: {parameters: {step: 100, steps: 2}},"
    " more: {parameters: {pretrained: {from: base}, step: 1000}, objective: {metric: seen, mode: max}}}",
    "repeats=2",
    "name=it",
)


@pytest.fixture
def counting(sweep_folder: Path) -> Path:
    (sweep_folder / "work.py").write_text(dedent(COUNT))
    return sweep_folder


@pytest.mark.slow
def test_a_trial_goes_on_from_its_stage_s_trial_of_the_same_seed(counting: Path, run_sweep: Callable[..., Run]) -> None:
    done = run_sweep(*STAGES, "hardware={a: {resources: {cpu: 1}}, b: {resources: {cpu: 1}}}")
    assert done.problems == ()
    data = read_ledger(done)
    assert len(data.trials) == 2 * 2 * (2 + 3)
    last = {row.trial: row.metrics["score"] for row in data.results}
    found = {(row.stage, row.hardware, row.seed, str(row.parameters["pretrained"])): last[row.trial]
             for row in data.trials if "pretrained" in row.parameters}  # fmt: skip
    for hardware in "ab":
        for seed in (0, 1):
            # From scratch 3; from base 2 x 100 + 3; more: 200 + 3 x 1000, and 3 on top of it.
            assert found["", hardware, seed, "None"] == 3
            assert found["", hardware, seed, "{'from': 'base'}"] == 203
            assert found["more", hardware, seed, "{'from': 'base'}"] == 3200
            assert found["", hardware, seed, "{'from': 'more'}"] == 3203
    summary = summarise(data)
    assert [stage.stage for stage in summary.stages] == ["base", "more"]
    assert [stage.metric for stage in summary.stages] == ["score", "seen"]
    assert len(summary.configurations) == 3 * 2
    # Every joule once: the trials of the configurations, of the stages, and nothing else.
    configured = sum(trial.energy_joules or 0 for each in summary.configurations for trial in each.trials)
    staged = sum(stage.total_energy_joules or 0 for stage in summary.stages)
    assert staged > 0
    assert configured + staged == pytest.approx(summary.totals.trials_energy_joules)
    assert (summary.totals.conservation_error_ratio or 0) < 1e-3


@pytest.mark.slow
def test_a_stage_that_fails_or_leaves_no_checkpoint_ends_the_run_with_the_reasons(
    counting: Path, run_sweep: Callable[..., Run]
) -> None:
    done = run_sweep(
        "parameters={step: 1, steps: 2, pretrained: {from: base}}",
        "stages={base: {parameters: {fails: 1}}}",
        "repeats=2",
    )
    left_nothing, fell_over = sorted(done.summary.stages[0].trials, key=lambda trial: trial.seed or 0)
    assert (left_nothing.status, fell_over.status) == ("completed", "failed")
    [why_nothing] = [problem for problem in done.problems if left_nothing.trial in problem]
    assert "of stage base left no checkpoint" in why_nothing
    [why_failed] = [problem for problem in done.problems if fell_over.trial in problem]
    assert "fell over" in why_failed
    assert sum("the configurations were not run" in problem for problem in done.problems) == 1
    assert done.summary.status == "failed"
    assert done.summary.configurations == ()


@pytest.mark.parametrize(
    ("status", "places", "reasons"),
    [
        ("completed", {"t": "/tune/checkpoint"}, []),
        ("completed", {}, ["trial t of stage base left no checkpoint", "the configurations were not run"]),
        ("failed", {"t": "/tune/checkpoint"}, ["the configurations were not run"]),
        ("interrupted", {"t": "/tune/checkpoint"}, []),  # that the sweep was interrupted is said elsewhere
    ],
)
def test_from_a_stage_goes_on_who_can(
    tmp_path: Path, status: TrialStatus, places: dict[str, str], reasons: list[str]
) -> None:
    write_sweep(tmp_path)
    spec = load_spec(tmp_path / "sweep.yaml", ["parameters={pretrained: {from: base}}", "stages={base: {}}"])
    row = TrialRow("t", {}, None, "", status, 1, 0.0, 1.0, None, "base")
    left, problems = run_stages(spec, lambda part, stage, checkpoints: places, lambda stage: [row])
    assert left == ({("base", "", None): "/tune/checkpoint"} if status == "completed" and places else None)
    assert [reason in problem for reason, problem in zip(reasons, problems, strict=True)] == [True] * len(reasons)


def tune_states(folder: Path, stage: str) -> list[str]:
    """The states of a part's trials, as Tune wrote them down last; none while its file is being copied."""
    files = (folder / "tune" / ("it~" + stage if stage else "it")).glob("experiment_state-*.json")
    try:
        trials = json.loads(max(files, key=lambda file: file.name).read_text())["trial_data"]
    except ValueError:
        return []
    return [json.loads(state)["status"] for state, _ in trials]


@pytest.mark.slow
@pytest.mark.variant
@pytest.mark.parametrize("part", ["base", ""])
def test_a_run_that_is_killed_in_either_part_goes_on_there(counting: Path, part: str) -> None:
    settings = "parameters={step: 1, steps: 20, seconds: 0.25, keep: true, pretrained: {from: base}}"
    stages = "stages={base: {parameters: {step: 100}}}"
    folder = counting / "results" / "it"
    driver = start(counting, settings, stages, "repeats=2", "max_concurrent_trials=1")
    wait_for((folder / LEDGER).exists)

    def deep_in_the_second_trial_of_the_part() -> bool:
        data = read(folder)
        deep = {row.trial for row in data.results if row.iteration >= 7}
        states = {row.seed: row.status for row in data.trials if row.stage == part and row.trial in deep}
        # A stage's trial that Tune does not know to have ended runs again: what comes after needs its checkpoint.
        return states.get(1) == "running" and "TERMINATED" in tune_states(folder, part)

    kill_at(driver, deep_in_the_second_trial_of_the_part)
    before = read(folder)

    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
    after = read(folder)
    assert after.run["status"] == "done"
    attempts = {(row.stage, row.seed): (row.status, row.attempts) for row in after.trials}
    killed = (part, 1)
    assert attempts == {
        (stage, seed): ("completed", 2 if (stage, seed) == killed else 1) for stage in ("base", "") for seed in (0, 1)
    }
    last = {row.trial: row.metrics["score"] for row in after.results}
    scores = {(row.stage, row.seed): last[row.trial] for row in after.trials}
    assert scores == {("base", 0): 2000, ("base", 1): 2000, ("", 0): 2020, ("", 1): 2020}
    now = {row[:-1]: row.joules for row in after.energy}
    assert all(now[row[:-1]] >= row.joules for row in before.energy)
    assert (summarise(after).totals.conservation_error_ratio or 0) < 1e-3
