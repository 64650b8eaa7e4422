"""Trials under Ray Tune, metered and not: how long 200 trials that do nothing take, and how long a training loop."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray import tune

import energysweep
from benchmarks.rows import Row, paired
from energysweep.workloads import images
from energysweep.workloads.images import load_mnist
from energysweep.workloads.training import Training

Function = Callable[[dict[str, Any]], None]
Trainable = Function | type[tune.Trainable]


def do_nothing(config: dict[str, Any]) -> None:
    """The shortest trial there is."""
    tune.report({"number": config["number"]})


def train_and_time(config: dict[str, Any]) -> None:
    """Train for some epochs with a report after each, and report how long the whole loop took."""
    torch.set_num_threads(1)
    settings = images.Settings(learning_rate=0.01, batch_size=64, epochs=config["epochs"])
    data = load_mnist()
    training = Training(settings, data, lambda used: images.encoder(settings, used), torch.device("cpu"))
    training.run_epoch()  # the first one reads the data and warms up
    began = time.perf_counter()
    for _ in range(config["epochs"]):
        tune.report(training.run_epoch() | {"loop_seconds": time.perf_counter() - began})


def bench_trials(trials: int = 200, pairs: int = 5) -> list[Row]:
    """``trials`` trials that do nothing, through ``energysweep.metered`` and through plain Ray Tune, in turn."""
    space = {"number": tune.grid_search(list(range(trials)))}

    def fit_seconds(trainable: Trainable) -> float:
        began = time.perf_counter()
        _fit(trainable, space)
        return time.perf_counter() - began

    ours, theirs = _in_turn(pairs, do_nothing, fit_seconds)
    return [paired(f"{trials} trials that do nothing, against plain Ray Tune", ours, theirs, "s", goal=1.05)]


def bench_loop(epochs: int = 40, pairs: int = 7) -> list[Row]:
    """A training loop in a metered trial and in one that is not, in turn."""

    def loop_seconds(trainable: Trainable) -> float:
        results = _fit(trainable, {"epochs": epochs})
        return float(results[0].metrics["loop_seconds"])

    ours, theirs = _in_turn(pairs, train_and_time, loop_seconds)
    return [paired(f"a training loop of {epochs} epochs, against the same unmetered", ours, theirs, "s", goal=1.005)]


def _in_turn(pairs: int, function: Function, measure: Callable[[Trainable], float]) -> tuple[list[float], list[float]]:
    """Measure the function metered and plain, one after the other, ``pairs`` times; the first pair only warms up."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        times = [(measure(energysweep.metered(function)), measure(function)) for _ in range(pairs + 1)]
    finally:
        ray.shutdown()
    ours, theirs = zip(*times[1:], strict=True)
    return list(ours), list(theirs)


def _fit(trainable: Trainable, space: dict[str, Any]) -> tune.ResultGrid:
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=2),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        with contextlib.redirect_stdout(sys.stderr):  # Tune's own tables; stdout is for the figures
            results = tuner.fit()
        if results.num_errors:
            raise results.errors[0]
        return results
