"""What stop rules, ASHA and Optuna make of what trials report."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from energysweep.core.records import ResultRow
from energysweep.searching.asha import Asha
from energysweep.searching.schedulers import Fifo, StopRule, scheduler
from energysweep.searching.search import RepeatedSearch, searcher
from energysweep.sweepfile import SweepSpec, load_spec, trial_count
from energysweep.tune.points import KEY, hardware_of, unwrap

USELESS = [None, "n/a", "0.99", True, math.nan, 10**400, [0.99], {"a": 0.99}, np.array([0.9, 0.99]), SimpleNamespace()]
SWEEP = """
name: rules
workload: work:train
objective: {metric: accuracy, mode: max, target: 0.9}
"""


def spec_of(tmp_path: Path, *overrides: str) -> SweepSpec:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return load_spec(tmp_path / "sweep.yaml", overrides)


@pytest.mark.parametrize("value", USELESS, ids=str)
@pytest.mark.parametrize("rule", ["stop={accuracy: 0.9}", "objective.stop_at_target=true"])
def test_what_is_no_number_meets_no_stop_rule(tmp_path: Path, rule: str, value: Any) -> None:
    rules = StopRule(spec_of(tmp_path, rule))
    assert rules("t", {"accuracy": value}) is False
    assert rules("t", {}) is False
    assert rules("t", {"accuracy": np.float32(0.95)}) is True


def test_a_report_without_a_number_ends_a_row_that_held_the_target(tmp_path: Path) -> None:
    rules = StopRule(spec_of(tmp_path, "objective.stop_at_target=true", "objective.patience=2"))
    assert [rules("t", {"accuracy": value}) for value in (0.95, None, 0.95, 0.95)] == [False, False, False, True]
    assert rules("another", {"accuracy": 0.95}) is False


def test_a_row_that_held_the_target_goes_on_after_a_resume(tmp_path: Path) -> None:
    rules = StopRule(spec_of(tmp_path, "objective.stop_at_target=true", "objective.patience=3"))
    values = (0.95, 0.1, 0.95, 0.95)
    rules.reports = {"t": [ResultRow("t", at, 0.0, None, None, {"accuracy": v}) for at, v in enumerate(values, 1)]}
    assert rules("another", {"accuracy": 0.95}) is False
    assert rules("t", {"accuracy": 0.95}) is True


def test_a_loss_that_grew_to_infinity_meets_its_limit(tmp_path: Path) -> None:
    assert StopRule(spec_of(tmp_path, "stop={loss: 1000}"))("t", {"loss": math.inf, "accuracy": 0.1}) is True


def test_a_trial_may_have_a_limit_in_joules_or_grams(tmp_path: Path) -> None:
    rules = StopRule(spec_of(tmp_path, "stop={energy_joules: 200, emissions_grams: 5}"))
    told: list[dict[str, Any]] = [
        {"energy_joules": 199.0},
        {"energy_joules": None},
        {"energy_joules": 200.0},
        {"emissions_grams": 5.5},
    ]
    assert [rules("t", result) for result in told] == [False, False, True, True]


def asha(tmp_path: Path, mode: str, *overrides: str) -> Asha:
    chosen = scheduler(
        spec_of(tmp_path, "scheduler={type: asha, max_resource: 9}", f"objective.mode={mode}", *overrides)
    )
    assert isinstance(chosen, Asha)
    for trial in "abcdefgh":
        chosen.on_trial_add(None, SimpleNamespace(trial_id=trial))
    return chosen


def decide(chosen: Asha | Fifo, trial: str, at: Any, value: Any) -> str:
    result = {"training_iteration": at, "accuracy": value}
    return str(chosen.on_trial_result(None, SimpleNamespace(trial_id=trial), result))


@pytest.mark.parametrize("value", [*USELESS, math.inf], ids=str)
def test_asha_goes_on_with_a_trial_that_says_nothing_and_judges_the_others_as_without_it(
    tmp_path: Path, value: Any
) -> None:
    chosen = asha(tmp_path, "max")
    assert decide(chosen, "a", 1, 0.5) == "CONTINUE"
    assert decide(chosen, "b", 1, value) == "CONTINUE"
    assert decide(chosen, "b", value, 0.9) == "CONTINUE" or value is math.inf
    chosen.on_trial_complete(None, SimpleNamespace(trial_id="b"), {"training_iteration": 1, "accuracy": value})
    assert decide(chosen, "c", 1, 0.4) == "STOP"  # worse than the only one that it knows
    assert decide(chosen, "d", 1, 0.6) == "CONTINUE"
    assert decide(chosen, "b", 2, 0.1) == "STOP"  # judged at its first report that says something
    assert chosen.pruned == {"c", "b"}


@pytest.mark.parametrize("value", USELESS, ids=str)
def test_asha_ends_a_trial_that_had_its_share_whatever_it_says(tmp_path: Path, value: Any) -> None:
    chosen = asha(tmp_path, "max")
    assert decide(chosen, "a", 9, value) == "STOP"
    assert chosen.pruned == set()


@pytest.mark.parametrize(("mode", "worst"), [("max", -math.inf), ("min", math.inf)])
def test_asha_takes_a_diverged_trial_for_the_worst(tmp_path: Path, mode: str, worst: float) -> None:
    chosen = asha(tmp_path, mode)
    assert decide(chosen, "a", 1, 0.5) == "CONTINUE"
    assert decide(chosen, "b", 1, worst) == "STOP"
    assert decide(chosen, "c", 1, worst) == "STOP"
    assert decide(chosen, "d", 1, 0.5) == "CONTINUE"


def searching(*metrics: str, repeats: int = 1) -> tuple[RepeatedSearch, optuna.Study]:
    several = len(metrics) > 1
    inner = OptunaSearch(
        space={"x": tune.uniform(0, 1)},
        metric=list(metrics) if several else metrics[0],
        mode=["max"] * len(metrics) if several else "max",
    )
    search = RepeatedSearch(inner, metrics, lambda suggestion: [suggestion] * repeats)
    for number in range(repeats):
        search.suggest(f"t{number}")
    return search, inner._ot_study


@pytest.mark.parametrize("value", [*USELESS, math.inf], ids=str)
@pytest.mark.parametrize("metrics", [("accuracy",), ("accuracy", "joules")])
def test_optuna_is_told_of_a_trial_whose_last_result_says_nothing_that_it_failed(
    metrics: tuple[str, ...], value: Any
) -> None:
    search, study = searching(*metrics)
    search.on_trial_complete("t0", {"accuracy": value, "joules": 5.0})
    assert [(trial.state.name, trial.values) for trial in study.trials] == [("FAIL", None)]
    search.suggest("t1")
    search.on_trial_complete("t1", {"accuracy": 0.5, "joules": 5.0})
    expected = [0.5] if len(metrics) == 1 else [0.5, 5.0]
    assert [(trial.state.name, trial.values) for trial in study.trials][1:] == [("COMPLETE", expected)]


def test_optuna_learns_the_mean_of_the_repeats_that_say_something() -> None:
    search, study = searching("accuracy", repeats=3)
    search.on_trial_complete("t0", {"accuracy": 0.5})
    search.on_trial_complete("t1", {"accuracy": "diverged"})
    search.on_trial_complete("t2", {"accuracy": 0.25})
    assert [trial.values for trial in study.trials] == [[0.375]]


def test_optuna_learns_the_last_value_of_a_metric_that_not_every_report_has() -> None:
    search, study = searching("val/accuracy")
    search.on_trial_result("t0", {"val/accuracy": 0.5, "loss": 1.0})
    search.on_trial_result("t0", {"loss": 0.9})
    search.on_trial_complete("t0", {"loss": 0.9})
    assert [trial.values for trial in study.trials] == [[0.5]]


def test_optuna_repeats_each_suggestion_on_every_profile(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "parameters={x: {uniform: [0, 1]}, y: 3}",
        "search={algorithm: optuna, num_samples: 2, seed: 7}",
        "repeats=2",
        "hardware={one: {resources: {cpu: 1}}, two: {resources: {cpu: 2}}}",
    )
    search = searcher(spec, {})
    assert search is not None
    by_x: dict[float, list[tuple[str, int | None]]] = {}
    for number in range(trial_count(spec).trials):
        config = search.suggest(f"t{number}")
        assert isinstance(config, dict)
        assert unwrap(config) == {"x": unwrap(config)["x"], "y": 3, "seed": config[KEY]["seed"]}
        by_x.setdefault(unwrap(config)["x"], []).append((hardware_of(config), unwrap(config)["seed"]))
    assert len(by_x) == 2
    for places in by_x.values():
        assert sorted(places) == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
