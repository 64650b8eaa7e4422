"""What is kept of a trial's results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from energysweep.tuning.results import own_metrics


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        np.float32(0.5),
        np.array(0.5),
        np.array([0.5]),
        torch.tensor(0.5),
        torch.tensor([[0.5]]),
        torch.tensor(0.5, requires_grad=True),
    ],
)
def test_a_scalar_of_any_library_is_a_number(value: object) -> None:
    (kept,) = own_metrics({"loss": value}).values()
    assert (type(kept), kept) == (float, 0.5)


def test_what_tune_and_energysweep_add_and_what_no_column_can_hold_is_left_out() -> None:
    result = {"training_iteration": 3, "energy_joules": 1.0, "images": np.zeros((2, 2)), "steps": [1], "best": True}
    assert own_metrics(result) == {"best": True}
