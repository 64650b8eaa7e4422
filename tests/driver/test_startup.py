"""Start-up is told apart from work, and Ray work elsewhere is said, in real trials on a real Ray.

The estimate's active energy of the CPU is so many joules a CPU second, whatever else the machine does: its joules are
CPU time. Each trial measures its own work's CPU time as well, which load on the machine moves alike.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.driver.run import Run
from energysweep.report.not_measured import not_measured
from tests.support.sweeps import read_ledger

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

RunSweep = Callable[..., Run]

ONE_AFTER_THE_OTHER = ("meters=[estimate]", "idle_power_watts={}", "max_concurrent_trials=1")

BURN = """
import time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
"""

IMPORTS = (
    BURN
    + """
from ray import tune

def train(config):
    import heavy_to_load
    burn(1.0)
    import heavy_too  # in the middle of its work
    burn(1.0)
    tune.report({"score": 1})
"""
)

BLOCKS = (
    BURN
    + """
import energysweep
from ray import tune

class Trainable(tune.Trainable):
    def setup(self, config):
        burn(2.0)

    def step(self):
        burn(1.0)
        with energysweep.startup():
            burn(1.0)
        return {"score": 1, "done": True}
"""
)

LIGHTNING = """
def train(config):
    import time
    import pytorch_lightning as lightning
    import torch
    from ray import tune

    torch.set_num_threads(1)
    torch.manual_seed(0)
    began = time.process_time()

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))

        def training_step(self, batch, _):
            return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    data = torch.utils.data.TensorDataset(torch.randn(8192, 64), torch.randint(10, (8192,)))
    trainer = lightning.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(data, batch_size=32))
    tune.report({"score": 1, "own_cpu_seconds": time.process_time() - began})
"""

ELSEWHERE = (
    BURN
    + """
import ray
from ray import tune

class Helper:
    def work(self):
        burn(0.2)

def train(config):
    kind = config["kind"]
    if kind == "task":
        ray.get(ray.remote(num_cpus=0)(burn).remote(0.2))
    elif kind == "actor":
        helper = ray.remote(num_cpus=0)(Helper).remote()
        ray.get(helper.work.remote())
        ray.kill(helper)
    elif kind == "train":
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.1})
        run = RunConfig(storage_path=config["folder"])
        TorchTrainer(lambda: burn(0.2), scaling_config=scaling, run_config=run).fit()
    elif kind == "object":
        assert ray.get(ray.put(1)) == 1
    tune.report({"score": 1})
"""
)


def cpu_joules(done: Run, *buckets: str) -> dict[str, float]:
    """Active joules of the CPU by trial, in the order in which they ran; what is in these buckets."""
    data = read_ledger(done)
    joules = {lease.trial: 0.0 for lease in data.leases}
    trial_of = {lease.lease: lease.trial for lease in data.leases}
    for row in data.energy:
        if row.lease and row.component == "cpu" and row.bucket in buckets:
            joules[trial_of[row.lease]] += row.joules
    return joules


def joules_per_cpu_second(done: Run) -> float:
    """By the estimate: nine tenths of the rated power, over all CPUs."""
    (meter,) = [meter for meter in read_ledger(done).meters if meter.component == "cpu"]
    assert meter.idle_floor_watts is not None
    return 9 * meter.idle_floor_watts / (os.cpu_count() or 1)


def rows_of(done: Run) -> list[dict[str, str]]:
    with (done.folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_first_trial_of_a_process_does_not_pay_for_its_imports(run_sweep: RunSweep, tmp_path: Path) -> None:
    for name in ("heavy_to_load", "heavy_too"):
        (tmp_path / f"{name}.py").write_text(f"{BURN}\nburn(1.5)\n")
    (tmp_path / "work.py").write_text(IMPORTS)
    done = run_sweep(*ONE_AFTER_THE_OTHER, "parameters={x: 1}", "repeats=2")
    assert len({lease.pid for lease in read_ledger(done).leases}) == 1
    second = joules_per_cpu_second(done)
    first_work, next_work = cpu_joules(done, "active").values()
    first_startup, next_startup = cpu_joules(done, "startup").values()
    assert first_work == pytest.approx(2.0 * second, rel=0.1)
    assert next_work == pytest.approx(first_work, rel=0.1)
    assert first_startup > 3.0 * second
    assert next_startup < 0.5 * second + 0.1 * first_startup
    totals = done.summary.totals
    assert totals.buckets["startup"] == pytest.approx(sum(float(row["startup_joules"]) for row in rows_of(done)))
    assert totals.conservation_error_ratio < 1e-3


def test_a_class_s_setup_and_blocks_are_start_up(run_sweep: RunSweep, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(BLOCKS)
    done = run_sweep(*ONE_AFTER_THE_OTHER, "workload=work.py:Trainable", "parameters={x: 1}", "repeats=2")
    second = joules_per_cpu_second(done)
    assert list(cpu_joules(done, "active").values()) == pytest.approx([1.0 * second] * 2, rel=0.15)
    first, later = cpu_joules(done, "startup").values()
    assert min(first, later) > 2.9 * second
    assert max(first, later) < 5.8 * second  # what Ray does in the process meanwhile is in it, but nothing twice


@pytest.mark.variant
def test_a_lightning_trial_costs_the_same_first_and_second_in_its_process(run_sweep: RunSweep, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(LIGHTNING)
    done = run_sweep(*ONE_AFTER_THE_OTHER, "parameters={x: 1}", "repeats=2")
    data = read_ledger(done)
    assert len({lease.pid for lease in data.leases}) == 1
    own = {row.trial: row.metrics["own_cpu_seconds"] for row in data.results}
    work = cpu_joules(done, "active")
    # what another program does to the speed of this machine's CPUs, it does to the trial's own clock as well
    first, second = (work[lease.trial] / own[lease.trial] for lease in data.leases)
    assert first == pytest.approx(second, rel=0.1)
    first_startup, second_startup = cpu_joules(done, "startup").values()
    assert first_startup > 5 * second_startup


@pytest.mark.variant
def test_a_trial_that_has_ray_work_elsewhere_says_so(run_sweep: RunSweep, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(ELSEWHERE)
    kinds = "parameters.kind={grid: [alone, object, task, actor, train]}"
    done = run_sweep(*ONE_AFTER_THE_OTHER, kinds, f"parameters.folder={tmp_path / 'train'}")
    said = {row["param.kind"]: row["unmetered_ray_work"] for row in rows_of(done)}
    assert said == {"alone": "false", "object": "false", "task": "true", "actor": "true", "train": "true"}
    assert {row["status"] for row in rows_of(done)} == {"completed"}
    (sentence,) = [each for each in not_measured(done.summary) if "Ray" in each]
    assert sentence.startswith("Only part of 3 trials was measured: ")
