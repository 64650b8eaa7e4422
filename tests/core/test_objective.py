"""Which reported values are numbers, and when a target is reached and held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.objective import FirstHeld, Objective, first_held, mean_value, number, reached_limit, scalar


class Hostile:
    """A value whose every use fails."""

    shape = (1,)

    def item(self) -> float:
        raise RuntimeError("no item")

    def __float__(self) -> float:
        raise RuntimeError("no float")

    def __ge__(self, other: object) -> bool:
        raise RuntimeError("no order")


NUMBERS: list[tuple[Any, float]] = [
    (1, 1.0), (0.5, 0.5), (-0.0, 0.0), (2**63, 2.0**63), (10**308, 1e308), (np.float32(0.5), 0.5), (np.int64(3), 3.0),
    (np.array(0.5), 0.5), (np.array([[0.5]]), 0.5), (torch.tensor(0.5, requires_grad=True), 0.5), (Decimal("0.5"), 0.5),
    (Fraction(1, 2), 0.5),
]  # fmt: skip
NO_NUMBERS: list[Any] = [
    None, True, False, np.bool_(True), torch.tensor(True), "0.9", "high", "n/a", "", "\udcff", b"1", math.nan, math.inf,
    -math.inf, np.float32("nan"), np.float64("inf"), 10**400, -(10**400), 16**5000, Decimal("NaN"), Decimal("sNaN"),
    Decimal("1e400"), Fraction(10**400, 3), 1j, [0.5], (1,), {"a": 1}, {1}, np.array([0.5, 0.6]), torch.zeros(2),
    np.array([]), np.datetime64("2026-01-01"), datetime(2026, 1, 1, tzinfo=UTC), object(), Hostile(), float,
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=[repr(value)[:20] for value, _ in NUMBERS])
def test_numbers_of_every_library_count(value: Any, expected: float) -> None:
    assert (type(number(value)), number(value)) == (float, expected)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=[f"{type(value).__name__}-{n}" for n, value in enumerate(NO_NUMBERS)])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_no_number_has_reached_nothing(value: Any, mode: Any) -> None:
    assert number(value) is None
    assert Objective("accuracy", mode, target=0.0).reached_by(value) is False
    assert Objective("accuracy", mode, target=0.0).value({"accuracy": value}) is None


@pytest.mark.parametrize(
    ("value", "reached"),
    [(0.5, True), (0.49, False), (1, True), (True, False), ("high", False), (None, False), (math.nan, False),
     (math.inf, True), (-math.inf, False), (10**400, False), ([1.0], False)],
)  # fmt: skip
def test_a_stop_rule_is_met_by_numbers_at_its_limit_and_by_infinity(value: Any, reached: bool) -> None:
    assert reached_limit(value, 0.5) is reached


@pytest.mark.parametrize(
    ("mode", "target", "value", "reached"),
    [("max", 0.5, 0.5, True), ("max", 0.5, 0.4, False), ("min", 0.5, 0.5, True), ("min", 0.5, 0.6, False),
     ("min", 0.5, 0.4, True), ("max", None, 9.0, False)],
)  # fmt: skip
def test_the_target_itself_is_reached(mode: Any, target: float | None, value: float, reached: bool) -> None:
    assert Objective("m", mode, target).reached_by(value) is reached


def test_a_mean_is_also_of_values_whose_sum_no_float_holds() -> None:
    assert mean_value([1.0, 2.0, 6.0]) == 3.0
    assert mean_value([1.7e308, 1.7e308]) == 1.7e308
    assert mean_value([-1.7e308, -1.7e308, 1.7e308]) == pytest.approx(-1.7e308 / 3)


def test_the_best_is_the_largest_or_the_smallest_of_what_is_known() -> None:
    assert Objective("m", "max").best([None, 1.0, 3.0, 2.0]) == 3.0
    assert Objective("m", "min").best([None, 1.0, 3.0, 2.0]) == 1.0
    assert Objective("m", "min").best([None]) is None


@pytest.mark.parametrize(
    ("reached", "patience", "place"),
    [("0011", 1, 2), ("0100111", 2, 4), ("0101", 2, None), ("111", 3, 0), ("", 1, None), ("0110", 3, None)],
)
def test_the_target_counts_from_the_first_report_that_is_held(reached: str, patience: int, place: int | None) -> None:
    assert first_held([each == "1" for each in reached], patience) == place


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_report_by_report_or_all_at_once_the_same_one_is_found(reached: Sequence[bool], patience: int) -> None:
    held: FirstHeld[int] = FirstHeld(patience)
    seen = [held.see(at_target, place) for place, at_target in enumerate(reached)]
    runs = [place for place in range(len(reached) - patience + 1) if all(reached[place : place + patience])]
    assert held.report == first_held(reached, patience) == (runs[0] if runs else None)
    assert seen == [bool(runs) and place >= runs[0] + patience - 1 for place in range(len(reached))]


def test_a_report_without_a_known_energy_can_be_the_first_that_held() -> None:
    held: FirstHeld[float | None] = FirstHeld()
    assert held.see(True, None)
    assert held.see(True, 5.0)
    assert (held.found, held.report) == (True, None)


def test_what_is_no_scalar_stays_what_it_is() -> None:
    hostile = Hostile()
    assert scalar(hostile) is hostile
    assert scalar("text") == "text"
    assert scalar(np.int64(3)) == 3
