"""Trainables that nobody here wrote, and hosts that are not as one would wish."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from ray import tune

import energysweep
from energysweep.agent.lifecycle import connect
from energysweep.agent.protocol import Hello
from energysweep.core.records import EnergyRow
from energysweep.driver.run import Run
from energysweep.tune.metering import Metering
from energysweep.tune.trial import metered_class
from tests.support.sweeps import plain_ray
from tests.support.web import get

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

EXAMPLES = {
    "function": (
        "ray.tune.examples.async_hyperband_example:easy_objective",
        "{steps: 5, width: {grid: [10, 20]}, height: 1}",
        "mean_loss",
        "{}",
    ),
    "function with checkpoints": (
        "ray.tune.examples.custom_func_checkpointing:train_func",
        "{steps: 5, width: {grid: [10, 20]}, height: 1}",
        "mean_loss",
        "{}",
    ),
    "class": (
        "ray.tune.examples.pbt_example:PBTBenchmarkExample",
        "{lr: {grid: [1e-4, 1e-2]}, some_other_factor: 1}",
        "mean_accuracy",
        "{training_iteration: 20}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.variant if name == "function" else []) for name in EXAMPLES]
)
def test_an_example_of_ray_runs_unchanged_and_gets_its_energy(name: str, run_sweep: Callable[..., Run]) -> None:
    workload, parameters, metric, stop = EXAMPLES[name]
    done = run_sweep(
        f"workload={workload}", f"parameters={parameters}", f"objective={{metric: {metric}, mode: min}}", f"stop={stop}"
    )

    assert done.succeeded, done.problems
    assert len(done.summary.trials) == 2
    for trial in done.summary.trials:
        assert trial.energy_joules > 0
        assert metric in trial.metrics


def test_what_tune_cannot_run_is_refused_at_once() -> None:
    with pytest.raises(energysweep.core.errors.InputError, match="nothing that Ray Tune can run"):
        energysweep.metered(42)  # type: ignore[arg-type]
    with pytest.raises(energysweep.core.errors.InputError, match="must take one argument"):
        energysweep.metered(lambda: None)


def report_once(config: dict[str, float]) -> None:
    tune.report({"score": 1})


@pytest.mark.slow
def test_a_trial_that_finds_no_agent_goes_on_and_its_energy_is_missing_not_0(
    agent_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_SOCKET", "/proc/no/folder/agent.sock")
    with plain_ray():
        (result,) = tune.Tuner(
            energysweep.metered(report_once),
            run_config=tune.RunConfig(storage_path=str(agent_home / "results"), verbose=0),
        ).fit()

    assert result.error is None
    assert result.metrics["score"] == 1
    assert math.isnan(result.metrics["energy_joules"])


BOARD = "GPU-11111111-2222-3333-4444-555555555555"


def three_reports(config: dict[str, float]) -> None:
    import time

    for _ in range(3):
        time.sleep(0.5)
        tune.report({"score": 1})


@pytest.mark.slow
@pytest.mark.parametrize("visible", [BOARD, pytest.param("0", marks=pytest.mark.variant)])
def test_the_gpu_that_ray_gives_a_trial_is_charged_by_its_uuid_and_no_number_is(
    agent_home: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    trace = agent_home / "trace.csv"
    boards = "".join(f"{at},{name},gpu,{watts}\n" for at in (0, 1) for name, watts in (("GPU-x", 900), (BOARD, 200)))
    trace.write_text(f"time_seconds,device,component,power_watts\n{boards}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    metering = Metering(meters=(f"replay:{trace}",))
    watching = connect(Hello(run="watching"), metering.meters, port=0)  # keeps the agent until its books are read
    with plain_ray(num_gpus=1):
        (result,) = tune.Tuner(
            metered_class(tune.with_resources(three_reports, {"cpu": 1, "gpu": 1}), metering),
            run_config=tune.RunConfig(name="boards", storage_path=str(agent_home / "results"), verbose=0),
        ).fit()
    url = f"{watching.agent['url']}/v1/totals?run=boards"
    totals = json.loads(get(url, Authorization=f"Bearer {metering.key}"))
    watching.close()
    charged: dict[str, float] = {}
    for row in map(EnergyRow._make, totals["energy"]):
        if row.lease:
            charged[row.device] = charged.get(row.device, 0.0) + row.joules
    joules = [row[0] for row in result.metrics_dataframe[["energy_joules"]].values.tolist()]
    if visible == BOARD:
        assert {device for device, booked in charged.items() if booked} == {BOARD}
        assert 0 < joules[-1] <= charged[BOARD]
    else:
        assert sum(charged.values()) == 0
        assert set(joules) == {0}
