"""A workload's module has its own name in the workers, as for a program beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.tuning.run import Run

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
