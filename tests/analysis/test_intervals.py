from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from energysweep.analysis import Estimate, geometric_mean, ratio_of_means
from energysweep.analysis.intervals import exponential, student
from tests.support.found import values_of

positive = st.floats(min_value=1e-3, max_value=1e6)


@pytest.mark.parametrize(
    ("degrees", "factor"), [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (30, 2.042), (120, 1.980)]
)
def test_student_s_factor_is_that_of_the_tables(degrees: int, factor: float) -> None:
    assert student(degrees) == pytest.approx(factor, abs=6e-4)


def test_a_fraction_of_a_degree_counts() -> None:
    assert student(2) > student(2.5) > student(3)
    assert student(2.5) == pytest.approx(stats.t.ppf(0.975, 2.5))
    assert student(math.nextafter(4.0, 0.0)) == pytest.approx(student(4))


def test_a_geometric_mean_and_its_interval() -> None:
    # logs 0, 1, 2: mean 1, variance 1, half width 4.3027 / sqrt(3) = 2.4842
    found = geometric_mean([1.0, math.e, math.e**2])
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(math.e), 3)
    assert (found.low, found.high) == pytest.approx((math.exp(1 - 2.4842), math.exp(3.4842)), rel=1e-4)


def test_one_repeat_has_no_interval() -> None:
    assert values_of(geometric_mean([7.0])) == pytest.approx((7, None, None, 1))
    assert values_of(ratio_of_means([8.0], [2.0, 3.0])) == pytest.approx((8 / 6**0.5, None, None, 1))


def test_nothing_has_no_mean() -> None:
    assert geometric_mean([]) is None
    assert ratio_of_means([], [1.0]) is None


def test_a_ratio_of_unequal_spreads_has_welch_s_degrees() -> None:
    # logs of the first: 0 and 2 (variance 2, error 1), of the second: 1 and 1 (no error): Welch has 1 degree
    found = ratio_of_means([1.0, math.e**2], [math.e, math.e])
    assert found is not None
    assert found.value == pytest.approx(1)
    assert found.high == pytest.approx(math.exp(12.7062), rel=1e-5)


def test_an_interval_turns_round_with_its_ratio() -> None:
    assert Estimate(4.0, 2.0, 8.0, 3).inverse() == Estimate(0.25, 0.125, 0.5, 3)
    assert Estimate(4.0, None, None, 1).inverse() == Estimate(0.25, None, None, 1)


def test_one_repeat_stays_without_an_interval_however_wide_the_meter_s_is() -> None:
    assert Estimate(4.0, None, None, 1).at_least_as_wide(2).contains(4.0) is None
    assert Estimate(4.0, None, None, 1).wider(2).contains(4.0) is None
    assert Estimate(4.0, 3.9, 4.1, 2).at_least_as_wide(2) == Estimate(4.0, 2.0, 8.0, 2)
    assert Estimate(4.0, 3.0, 5.0, 2).wider(2) == Estimate(4.0, 1.5, 10.0, 2)


@given(st.lists(positive, min_size=2, max_size=8), st.floats(min_value=1e-3, max_value=1e3))
def test_another_unit_scales_the_mean_and_its_interval(values: list[float], unit: float) -> None:
    one, other = geometric_mean(values), geometric_mean([value * unit for value in values])
    assert one is not None
    assert other is not None
    assert other.value == pytest.approx(one.value * unit)
    assert other.high == pytest.approx((one.high or 0) * unit)


@given(st.lists(positive, min_size=1, max_size=6), st.lists(positive, min_size=1, max_size=6))
def test_the_value_lies_in_its_interval(first: list[float], second: list[float]) -> None:
    found = ratio_of_means(first, second)
    assert found is not None
    assert found.contains(found.value) in (True, None)
    assert found.has_interval is (min(len(first), len(second)) > 1)


def test_an_interval_beyond_all_floats_ends_at_the_largest_one() -> None:
    found = exponential(-365.77, 4714.7, 2)  # of 1e-320 J and of 1 J, as a damaged ledger may have them
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high < math.inf
