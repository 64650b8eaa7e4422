"""Which of a trial's metrics are shown."""

from __future__ import annotations

import math
from typing import Any

import pytest

from energysweep.accounting.accounts import LONGEST_METRIC, SHOWN_RESULTS, ShownMetrics

NINE = {f"m{number}": float(number) for number in range(9)}


@pytest.mark.parametrize(
    ("first", "report", "shown"),
    [
        ((), {"loss": 0.5, "steps": 3}, {"loss": 0.5, "steps": 3.0}),
        (("accuracy",), {"loss": 0.5, "accuracy": 0.9}, {"accuracy": 0.9, "loss": 0.5}),
        ((), {"phase": "warm-up", "is_last": True, "weights": [1.0], "loss": 0.5}, {"loss": 0.5}),
        (("solved",), {"solved": True}, {}),
        ((), {"loss": math.nan, "bound": math.inf, "huge": 10**400}, {}),
        ((), {"x" * (LONGEST_METRIC + 1): 1.0, "": 2.0, "loss": 0.5}, {"loss": 0.5}),
        ((), NINE, {f"m{number}": float(number) for number in range(8)}),
        (("m8",), NINE, {"m8": 8.0} | {f"m{number}": float(number) for number in range(7)}),
        (tuple(NINE), {"m8": 8.0, "m0": 0.0}, {"m0": 0.0}),
    ],
    ids=[
        "numbers as they come", "those asked for first", "nothing but numbers", "a truth value is no number",
        "finite ones", "short names", "no more than eight", "what was asked for keeps its place", "eight at most",
    ],
)  # fmt: skip
def test_a_few_numbers_of_a_report_are_shown(
    first: tuple[str, ...], report: dict[str, Any], shown: dict[str, float]
) -> None:
    assert list(ShownMetrics(first).of(report).items()) == list(shown.items())


def test_what_was_asked_for_has_its_place_however_late_it_comes() -> None:
    metrics = ShownMetrics(("accuracy",))
    assert list(metrics.of(NINE)) == [f"m{number}" for number in range(7)]
    assert metrics.of({"accuracy": 0.9, "m7": 7.0}) == {"accuracy": 0.9}


def test_the_first_ones_stay() -> None:
    metrics = ShownMetrics()
    metrics.of({f"a{number}": 1.0 for number in range(SHOWN_RESULTS)})
    assert metrics.of({"late": 1.0, "a3": 2.0}) == {"a3": 2.0}


def test_a_metric_that_was_not_finite_at_first_is_shown_once_it_is() -> None:
    metrics = ShownMetrics()
    assert metrics.of({"loss": math.nan}) == {}
    assert metrics.of({"loss": 2.0}) == {"loss": 2.0}
