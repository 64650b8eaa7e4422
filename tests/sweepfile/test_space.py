"""Which trials a sweep makes, and what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.sweepfile import (
    Count,
    Objective,
    Point,
    SweepSpec,
    count_sentence,
    load_spec,
    points,
    trial_count,
    varying,
)
from energysweep.sweepfile.reports import full_reports
from tests.support.broken_specs import Broken, good


def sweep(**keys: object) -> SweepSpec:
    return SweepSpec.model_validate(
        {"name": "x", "command": ["ls"], "objective": Objective(metric="loss", mode="min"), **keys}
    )


def test_a_grid_has_every_combination_with_hardware_fastest_and_repeats_slowest() -> None:
    spec = sweep(
        parameters={"a": {"grid": [1, 2]}, "b": {"grid": ["x", "y"]}, "c": 5},
        repeats=2,
        hardware={"small": {}, "large": {"resources": {"cpu": 2}}},
    )
    found = points(spec)
    assert found[:3] == [
        Point({"a": 1, "b": "x", "c": 5}, "small", 0),
        Point({"a": 1, "b": "x", "c": 5}, "large", 0),
        Point({"a": 1, "b": "y", "c": 5}, "small", 0),
    ]
    # All of repeat 0, then all of repeat 1: a load that grows during the sweep parts repeats, not configurations.
    assert [point.seed for point in found] == [0] * 8 + [1] * 8
    assert found[-1] == Point({"a": 2, "b": "y", "c": 5}, "large", 1)
    assert len(found) == trial_count(spec).trials == 16


def test_a_sweep_without_repeats_sets_no_seed() -> None:
    assert points(sweep(parameters={"a": 1})) == [Point({"a": 1}, "", None)]


def test_random_draws_anew_for_each_point_of_its_grids() -> None:
    spec = sweep(
        parameters={"a": {"grid": [1, 2]}, "b": {"uniform": [0, 1]}},
        search={"algorithm": "random", "num_samples": 3},
    )
    found = [point.parameters for point in points(spec)]
    assert [parameters["a"] for parameters in found] == [1, 2, 1, 2, 1, 2]
    assert len({parameters["b"] for parameters in found}) == 6
    assert trial_count(spec) == Count(configurations=6, repeats=1, hardware=1)


def test_a_random_sweep_is_the_same_on_every_call_and_another_with_another_seed() -> None:
    def drawn(seed: int) -> list[Point]:
        parameters = {"a": {"loguniform": [1e-4, 1]}, "b": {"choice": ["x", "y"]}, "c": {"randint": [0, 9]}}
        search = {"algorithm": "random", "num_samples": 5, "seed": seed}
        return points(sweep(parameters=parameters, search=search))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@given(st.integers(), st.floats(1e-9, 1e3), st.floats(1.1, 1e6), st.integers(-9, 9), st.integers(1, 9))
def test_what_is_drawn_lies_in_its_range(seed: int, low: float, factor: float, least: int, width: int) -> None:
    spec = sweep(
        parameters={
            "log": {"loguniform": [low, low * factor]},
            "even": {"uniform": [low, low * factor]},
            "whole": {"randint": [least, least + width]},
            "one": {"choice": ["x", "y"]},
        },
        search={"algorithm": "random", "num_samples": 4, "seed": seed},
    )
    for point in points(spec):
        assert low <= point.parameters["log"] <= low * factor
        assert low <= point.parameters["even"] <= low * factor
        assert least <= point.parameters["whole"] < least + width
        assert point.parameters["one"] in ("x", "y")


def test_more_samples_keep_the_first_ones() -> None:
    def drawn(number: int) -> list[Point]:
        search = {"algorithm": "random", "num_samples": number}
        return points(sweep(parameters={"a": {"uniform": [0, 1]}}, search=search))

    assert drawn(5)[:3] == drawn(3)


def test_optuna_has_a_count_but_no_points() -> None:
    spec = sweep(parameters={"a": {"uniform": [0, 1]}}, repeats=2, search={"algorithm": "optuna", "num_samples": 10})
    assert trial_count(spec).trials == 20
    with pytest.raises(ValueError, match="while the sweep runs"):
        points(spec)


def test_the_sentence_of_the_good_sweep_says_how_many_trials(tmp_path: Path) -> None:
    path = Broken("", good("batch_size: {grid: [16, 64, 256]}"), None, "").write(tmp_path)
    assert count_sentence(load_spec(path)) == "2 configurations x 3 repeats x 2 hardware profiles = 12 trials"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "1 configuration = 1 trial"),
        ({"parameters": {"a": {"grid": [1, 2, 3]}}}, "3 configurations = 3 trials"),
        ({"repeats": 3}, "1 configuration x 3 repeats = 3 trials"),
        (
            {"repeats": 3, "parameters": {"a": {"grid": [1, 2, 3, 4]}}, "scheduler": {"type": "race", "winners": 2}},
            "4 configurations x 3 repeats = 12 trials, of which about 8 run: only the winners are repeated",
        ),
        (
            {"repeats": 3, "parameters": {"a": {"grid": [1, 2]}}, "scheduler": {"type": "race", "winners": 3}},
            "2 configurations x 3 repeats = 6 trials",
        ),
    ],
)
def test_the_sentence_leaves_out_factors_of_one(keys: dict[str, object], sentence: str) -> None:
    assert count_sentence(sweep(**keys)) == sentence


def test_only_what_takes_several_values_varies() -> None:
    spec = sweep(
        parameters={
            "learning_rate": {"grid": [1e-3, 0.1]},
            "epochs": 20,
            "batch_size": {"grid": [16, 64]},
            "fixed": {"grid": [7]},
            "steps": {"randint": [3, 4]},
        },
    )
    assert varying(spec) == ("learning_rate", "batch_size")


@pytest.mark.parametrize(
    ("workload", "epochs", "stop", "reports"),
    [
        ("energysweep.workloads.images:train", 8, {}, 8),
        ("energysweep.workloads.images:train", 8, {"training_iteration": 5}, 5),
        ("energysweep.workloads.images:train", {"grid": [8]}, {"training_iteration": 9}, 8),
        ("energysweep.workloads.images:train", {"grid": [4, 8]}, {}, None),  # that depends on the configuration
        ("own.py:train", 8, {}, None),  # nobody knows what its epochs are
        ("own.py:train", 8, {"training_iteration": 3}, 3),
    ],
)
def test_a_sweep_says_how_many_reports_a_full_trial_makes(
    workload: str, epochs: Any, stop: dict[str, int], reports: int | None
) -> None:
    parameters = {"lr": {"grid": [1, 2]}, "epochs": epochs}
    spec = sweep(command=None, workload=workload, parameters=parameters, stop=stop)
    assert full_reports(spec) == reports
    # Only where it varies does a configuration tell more.
    assert full_reports(spec, {"epochs": 4}) == (4 if epochs == {"grid": [4, 8]} else reports)
