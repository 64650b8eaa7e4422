"""Values over repeats, whatever values they are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.ledger.balance import Spread, quotient


def test_what_is_infinite_or_no_number_is_not_known() -> None:
    assert Spread.over([math.inf, math.inf]) is None
    assert Spread.over([math.nan, None]) is None
    assert Spread.over([math.inf, 2.0, None, 4.0]) == Spread(3.0, math.sqrt(2), 2)


def test_values_whose_sum_or_deviation_no_float_holds_have_a_mean() -> None:
    largest = Spread.over([1.7e308, 1.7e308, 1.7e308])
    assert largest is not None
    assert largest.mean == pytest.approx(1.7e308)
    assert Spread.over([1.7e308, -1.7e308]) == Spread(0.0, None, 2)


def test_a_quotient_is_known_or_none() -> None:
    assert quotient(6.0, 3.0) == 2.0
    assert quotient(None, 3.0) is None
    assert quotient(6.0, 0.0) is None
    assert quotient(6.0, -1.0) is None
    assert quotient(1e18, 5e-324) is None  # infinite


@pytest.mark.hypothesis
@given(st.lists(st.one_of(st.none(), st.floats()), max_size=8))
def test_any_values_have_a_finite_spread_or_none(values: list[float | None]) -> None:
    spread = Spread.over(values)
    known = [value for value in values if value is not None and math.isfinite(value)]
    assert (spread is None) == (known == [])
    if spread is not None:
        assert spread.n == len(known)
        assert min(known) - 1e-300 <= spread.mean <= max(known) + 1e-300 or spread.mean == pytest.approx(max(known))
        assert spread.std is None or 0 <= spread.std < math.inf
