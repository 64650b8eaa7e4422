"""Short texts for trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from energysweep.sweepfile import Point
from energysweep.tune.points import KEY, config_text, wrap


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"lr": 1e-3, "batch_size": 16}, "lr=0.001 batch_size=16"),
        ({"lr": 1 / 4, "seed": 7}, "lr=0.25"),
        ({"optimizer": "adam", "nesterov": True, "clip": None}, "optimizer=adam nesterov=true clip=null"),
        ({"name": "two words"}, 'name="two words"'),
        ({"layers": np.int64(3), "lr": np.float32(0.5)}, "layers=3 lr=0.5"),
        ({"model": {"width": 3}, "layers": [1, (2, "a")]}, "model={width:3} layers=[1,[2,a]]"),
        ({"loss": print, "array": np.zeros(3), "losses": [print], "lr": 0.1}, "lr=0.1"),
        ({"data": 31 * "x", "name": 30 * "x", "key": {"secret": [31 * "x"]}, "lr": 0.1}, f"name={30 * 'x'} lr=0.1"),
        ({"deep": [[[["value"]]]], "deeper": [[[[["value"]]]]]}, "deep=[[[[value]]]]"),
        ({1: 2, None: "a", "lr": 0.1}, "1=2 None=a lr=0.1"),  # Tune takes whatever is a key
        ({}, "default"),
        ({"seed": 1}, "default"),
    ],
)
def test_a_trial_of_ones_own_tuner_is_named_by_the_plain_values_of_its_config(
    config: dict[Any, Any], text: str
) -> None:
    assert config_text(config) == text


def test_a_list_that_contains_itself_is_left_out() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    assert config_text({"lr": 0.1, "endless": endless}) == "lr=0.1"


def test_a_sweep_s_trial_is_named_by_what_varies_and_a_stage_s_by_its_stage() -> None:
    point = Point({"lr": 1.0, "epochs": 3}, "gpu", 2)
    assert config_text({KEY: wrap(point, is_command=False)}, ["lr"]) == "lr=1.0"
    assert config_text({KEY: wrap(point, is_command=False, stage="base")}, ["lr"]) == "stage=base"


def test_what_tune_puts_into_the_config_of_a_class_is_no_setting() -> None:
    assert (
        config_text({"lr": 0.1, "__stdout_file__": None, "__stderr_file__": "err", "__trial_info__": None}) == "lr=0.1"
    )
