"""Short texts for trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from energysweep.tune.points import own_label


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"lr": 1e-3, "batch_size": 16}, "lr=0.001 batch_size=16"),
        ({"lr": 1 / 3, "seed": 7}, "lr=0.333333"),
        ({"optimizer": "adam", "nesterov": True}, "optimizer=adam nesterov=true"),
        ({"name": "two words"}, 'name="two words"'),
        ({"layers": np.int64(3), "lr": np.float32(0.5)}, "layers=3 lr=0.5"),
        ({"model": {"width": 3}, "layers": [1, 2], "loss": print, "none": None, "lr": 0.1}, "lr=0.1"),
        ({"data": 31 * "x", "name": 30 * "x", "lr": 0.1}, f"name={30 * 'x'} lr=0.1"),
        ({}, "default"),
        ({"seed": 1}, "default"),
    ],
)
def test_a_trial_of_ones_own_tuner_is_named_by_the_plain_values_of_its_config(
    config: dict[str, Any], text: str
) -> None:
    assert own_label(config) == text


def test_the_name_of_a_trial_of_ones_own_tuner_is_short() -> None:
    text = own_label({f"parameter_{number:02}": number for number in range(50)})
    # "parameter_00=0 " has 15 characters, "parameter_10=10 " 16: 10 x 15 + 3 x 16 = 198 of 200.
    assert len(text) == 198 + 1
    assert text.endswith(" parameter_12=12 …")
