"""A workload's module has its own name in the workers, as for a program beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.driver.run import Run

FUNCTION = """
import multiprocessing, pathlib, pickle, tempfile
import torch
from ray import tune
import helper


class Model(torch.nn.Linear):
    pass


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return helper.double(index)


def square(number):
    return number * number


def train(config):
    model = Model(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.pt"
        torch.save(model, path)
        assert type(torch.load(path, weights_only=False)) is Model
        saved = path.read_bytes()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        squares = sum(pool.map(square, [1, 2, 3]))
        assert type(pool.apply(pickle.loads, (pickle.dumps(model),))) is Model
    loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="spawn")
    doubled = sum(int(batch) for batch in loader)
    pathlib.Path(config["out"]).write_bytes(saved)
    tune.report({"score": squares + doubled, "module": Model.__module__})


if __name__ == "__main__":
    raise SystemExit("not to be run by an import")
"""
READ = """
import sys, torch
model = torch.load(sys.argv[1], weights_only=False)
print(type(model).__module__, type(model).__name__)
"""
CLASS = """
from __future__ import annotations
import pathlib
from ray import tune
from .parts import gain


class Trainer(tune.Trainable):
    def setup(self, config):
        self.config = config

    def step(self):
        return {"score": gain() * self.iteration, "module": Trainer.__module__, "done": self.iteration == 2}

    def save_checkpoint(self, folder):
        (pathlib.Path(folder) / "at").write_text(str(self.iteration))

    def load_checkpoint(self, folder):
        pass
"""


@pytest.mark.ray
@pytest.mark.slow
def test_models_pools_and_loaders_of_a_workload_pickle_as_those_of_a_program(
    sweep_folder: Path, run_sweep: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sweep_folder / "with a space"
    folder.mkdir()
    (folder / "train.py").write_text(FUNCTION)
    (folder / "helper.py").write_text("def double(number): return 2 * number")
    # Ray puts the driver's current folder on the workers' path, before others.
    (sweep_folder / "cwd").mkdir()
    (sweep_folder / "cwd" / "train.py").write_text("raise RuntimeError('another train.py')")
    monkeypatch.chdir(sweep_folder / "cwd")
    out = sweep_folder / "model.pt"
    done = run_sweep("workload='with a space/train.py:train'", f"parameters={{out: {out}}}")
    assert done.problems == ()
    [trial] = done.summary.trials
    assert trial.metrics == {"score": 14 + 12, "module": "train"}
    read = subprocess.run(
        [sys.executable, "-c", READ, str(out)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert read.stdout.split() == ["train", "Model"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.variant
def test_a_class_in_a_package_is_imported_as_part_of_it(sweep_folder: Path, run_sweep: Callable[..., Run]) -> None:
    package = sweep_folder / "own_package" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("from .. import __name__ as top\ndef gain(): return len(top)")
    (package / "train.py").write_text(CLASS)
    done = run_sweep("workload=own_package/inner/train.py:Trainer", "parameters={}")
    assert done.problems == ()
    [trial] = done.summary.trials
    assert trial.metrics == {"score": 2 * len("own_package"), "module": "own_package.inner.train"}
    again = run_sweep("workload=own_package.inner.train:Trainer", "parameters={}")
    assert again.summary.trials[0].metrics == trial.metrics


# A module that cannot be pickled by value, whose Ray work needs it and what lies beside it.
ELSEWHERE = """
import pathlib
import threading
import ray
from ray import tune
import helper

LOCK = threading.Lock()


def double(number):
    import late_helper
    with LOCK:
        return helper.double(number) + late_helper.ZERO


class Worker:
    def double(self, number):
        return double(number)


def loop(config):
    pathlib.Path(config["out"]).write_text(str(double(config["number"])))


def work(folder):
    task = ray.get(ray.remote(num_cpus=0)(double).remote(1))
    worker = ray.remote(num_cpus=0)(Worker).remote()
    actor = ray.get(worker.double.remote(10))
    ray.kill(worker)
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    trainer = TorchTrainer(
        loop,
        train_loop_config={"number": 100, "out": f"{folder}-out"},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.1}),
        run_config=RunConfig(storage_path=folder),
    )
    trainer.fit()
    return task + actor + int(pathlib.Path(f"{folder}-out").read_text())


def train(config):
    tune.report({"score": work(config["folder"])})


class Trainer(tune.Trainable):
    def setup(self, config):
        self.folder = config["folder"]

    def step(self):
        return {"score": work(self.folder), "done": True}

    def save_checkpoint(self, folder):
        pass

    def load_checkpoint(self, folder):
        pass
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    "workload",
    [
        "own/mytrain.py:Trainer",
        *(pytest.param(name, marks=pytest.mark.variant) for name in ("own/mytrain.py:train", "mytrain:train")),
    ],
)
def test_ray_work_of_a_trial_finds_the_module_of_the_workload_and_what_lies_beside_it(
    sweep_folder: Path, run_sweep: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, workload: str
) -> None:
    folder = sweep_folder / "own" if "/" in workload else sweep_folder
    folder.mkdir(exist_ok=True)
    (folder / "mytrain.py").write_text(ELSEWHERE)
    (folder / "helper.py").write_text("def double(number): return 2 * number")
    (folder / "late_helper.py").write_text("ZERO = 0")
    (sweep_folder / "cwd").mkdir()  # Ray puts the driver's current folder on the workers' path, before others
    for name in ("mytrain", "helper", "late_helper"):
        (sweep_folder / "cwd" / f"{name}.py").write_text(f"raise RuntimeError('another {name}')")
    monkeypatch.chdir(sweep_folder / "cwd")
    done = run_sweep(f"workload={workload}", f"parameters={{folder: {sweep_folder / 'train'}}}")
    assert done.problems == ()
    [trial] = done.summary.trials
    assert trial.metrics["score"] == 2 * (1 + 10 + 100)


GONE = """
import pathlib
import ray
from ray import tune


def double(number):
    return 2 * number


def train(config):
    doubled = ray.get(ray.remote(num_cpus=0)(double).remote(config["gain"]))
    here = pathlib.Path(config["file"])
    if here.exists():
        here.rename(here.with_suffix(".gone"))  # the trials after this one find no file any more
    tune.report({"score": doubled})
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.variant
def test_ray_work_of_a_trial_runs_what_was_in_a_file_that_has_gone_since(
    sweep_folder: Path, run_sweep: Callable[..., Run]
) -> None:
    (sweep_folder / "vanishing.py").write_text(GONE)
    done = run_sweep(
        "workload=vanishing.py:train",
        f"parameters={{file: {sweep_folder}/vanishing.py, gain: {{grid: [1, 2]}}}}",
        "max_concurrent_trials=1",
        "hardware={one: {resources: {cpu: 1}}}",
    )
    assert done.problems == ()
    assert [trial.metrics["score"] for trial in done.summary.trials] == [2, 4]
