"""A distribution where nobody would draw from it, or in another tool's words, is refused; an honest constant is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.core.errors import InputError
from energysweep.sweepfile import load_spec, points

HEAD = "name: a\nworkload: w.py:train\nobjective: {metric: s, mode: max}\n"


def load(folder: Path, parameters: str, more: str = "") -> object:
    path = folder / "sweep.yaml"
    path.write_text(f"{HEAD}{more}parameters:\n  {parameters}\n")
    return load_spec(path)


@pytest.mark.parametrize(
    ("parameters", "key", "instead"),
    [
        # half of one of ours
        ("o: {grid: x, other: y}", "o", "exactly one of grid"),
        ("o: {inner: {randint: 5, other: y}}", "o.inner", "exactly one of grid"),
        # Ray Tune
        ("train: {wd: {grid_search: [0, 0.1]}}", "train.wd", "wd: {grid: [0, 0.1]}"),
        ("lr: tune.loguniform(1e-4, 1e-1)", "lr", "here it is written lr: {loguniform: [1e-4, 1e-1]}"),
        ("w: 'tune.qlograndint(8, 64, 8)'", "w", "w: {qlograndint: [8, 64, 8]}"),
        ("w: tune.randn(0, 1)", "w", "w: {normal: [0, 1]}"),
        ("w: 'tune.sample_from(lambda spec: spec.config.x)'", "w", "a call"),
        ("o: {lr: 'ray.tune.choice([1, 2])'}", "o.lr", "lr: {choice: [1, 2]}"),
        # W&B
        ("momentum: {distribution: normal, mu: 0.9, sigma: 0.01}", "momentum", "momentum: {normal: [0.9, 0.01]}"),
        ("n: {distribution: q_log_uniform_values, min: 8, max: 64, q: 8}", "n", "{qloguniform: [8, 64, 8]}"),
        ("n: {distribution: int_uniform, min: 1, max: 4}", "n", "{randint: [1, 5]}"),
        ("d: {distribution: q_uniform, min: 0, max: 1, q: 0.25}", "d", "{quniform: [0, 1, 0.25]}"),
        ("o: {lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}}", "o.lr", "{loguniform: [0.0001, 0.1]}"),
        ("o: {lr: {min: 0, max: 0.1}}", "o.lr", "lr: {uniform: [0, 0.1]}"),
        ("o: {lr: {values: [1, 2]}}", "o.lr", "lr: {grid: [1, 2]}"),
        ("model: {parameters: {lr: {min: 0, max: 1}}}", "model", "nested search space"),
        # Hydra
        ("dropout: interval(0, 0.5)", "dropout", "a call"),
        ("batch: choice(16,32)", "batch", "a call"),
        ("epochs: 'range(1, 10)'", "epochs", "a call"),
        ("batch: 16,32,64", "batch", "batch: {grid: [16,32,64]}"),
        ("lr: 0,001", "lr", "a decimal has a point"),
        # Optuna, Ax, NNI, Katib
        ("lr: {type: float, low: 1e-5, high: 0.1, log: true}", "lr", "{loguniform: [1e-05, 0.1]}"),
        ("o: {lr: {type: range, bounds: [0, 1]}}", "o.lr", "other tools"),
        ("o: {lr: {_type: choice, _value: [1, 2]}}", "o.lr", "other tools"),
        ("lr: trial.suggest_float('lr', 0, 1)", "lr", "lr: {uniform: [0, 1]}"),
        ("n: trial.suggest_int('n', 1, 4)", "n", "{randint: [1, 5]}"),
        ("n: {type: int, low: 1, high: 4}", "n", "{randint: [1, 5]}"),
        ("n: {type: int, low: 16, high: 64, step: 16}", "n", "{qrandint: [16, 64, 16]}"),
        ("n: {type: int, low: 1, high: 64, step: 8}", "n", "{grid: [1, 2]}, or with choice, "),  # 1, 9, 17, ...
        ("n: {type: float, low: 0, high: 1, step: x}", "n", "{grid: [1, 2]}, or with choice, "),
        ("n: {_type: quniform, _value: [0, 1, 0.5]}", "n", "{quniform: [0, 1, 0.5]}"),
        # among several values of a grid
        (
            "o: {grid: [{name: adam, lr: {loguniform: [1, 2]}}, {name: sgd}]}",
            "o.grid[0].lr",
            "when: {o.name: a}, logun",
        ),
        ("o: {grid: [adam, 'tune.uniform(0, 1)']}", "o.grid[1]", "a call"),
    ],
)
def test_what_looks_like_a_distribution_is_refused_at_its_key(
    parameters: str, key: str, instead: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, parameters)
    assert caught.value.key == f"parameters.{key}"
    assert caught.value.line == 5
    assert instead in str(caught.value)
    assert "{grid: [" in str(caught.value)  # how to write it here


@pytest.mark.parametrize(
    "constant",
    [
        *(
            "[64, 32]",
            "{sizes: [64, 64], name: cnn}",
            "{hidden: {sizes: [64, 64]}}",
            "{name: adam, betas: [0.9, 0.99]}",
        ),
        *("{mean: 0.5, std: 0.2}", "{type: resnet, depth: 18}", "{step: 10, gamma: 0.1}", "{inner: {value: 5}}"),
        *(
            "hello, world",
            "relu (leaky)",
            "f(x)",
            "a,b",
            "1",
            '"5"',
            "min",
            "{min_lr: 0.1, warmup: 3}",
            "{x: {normal: 0.5}}",
        ),
    ],
)
def test_an_honest_constant_stays_one(constant: str, tmp_path: Path) -> None:
    spec = load(tmp_path, f"x: {constant}")
    assert len(points(spec)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("constant", ["{values: [1, 2]}", "{lr: {loguniform: [1, 2]}}", "'choice(1,2)'", "'1,2'"])
def test_a_grid_of_one_value_gives_it_as_it_is(constant: str, tmp_path: Path) -> None:
    written = load(tmp_path, f"x: {{grid: [{constant}]}}")
    [point] = points(written)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        load(tmp_path, f"x: {constant}")
    assert isinstance(point.parameters["x"], dict | str)


def test_values_that_only_a_search_could_mean_are_told_from_values_that_both_could(tmp_path: Path) -> None:
    spec = load(tmp_path, "clip: {grid: [{min: 0, max: 1}, {min: 0, max: 2}]}")
    assert [point.parameters["clip"]["max"] for point in points(spec)] == [1, 2]  # type: ignore[arg-type]


def test_a_stage_s_parameters_are_looked_into_too(tmp_path: Path) -> None:
    stages = "stages: {base: {parameters: {o: {lr: {uniform: [0, 1]}}}}}\n"
    with pytest.raises(InputError, match=r"stages\.base\.parameters\.o: a stage is one configuration"):
        load(tmp_path, "pretrained: {from: base}", stages)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("method: bayes", "W&B's method is search.algorithm here"),
        ("metric: {name: loss, goal: minimize}", "the metric is objective.metric here"),
        ("hydra: {sweeper: {params: {lr: 'range(1,2)'}}}", "Hydra's hydra.sweeper.params are parameters here"),
        ("param_space: {}", "Tune's param_space is parameters here"),
        ("n_trials: 10", "Optuna's n_trials is search.num_samples here"),
    ],
)
def test_other_tools_keys_are_told_what_they_are_here(line: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, "x: 1", f"{line}\n")
    assert hint in str(caught.value)
    assert caught.value.key == line.partition(":")[0]
