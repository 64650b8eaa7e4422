"""Learning curves drawn to their ends: what must hold of any, and figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis.forecast import Curve, Forecast, Known, forecast_of, worlds

JOULES = st.lists(st.just(0.0) | st.floats(1e-6, 1e15), min_size=1, max_size=8).map(
    lambda steps: [math.fsum(steps[: n + 1]) for n in range(len(steps))]
)
VALUE = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def known(draw: st.DrawFn) -> Known:
    joules = draw(JOULES)
    values = draw(st.lists(VALUE, min_size=len(joules), max_size=len(joules)))
    return Known(joules, values, len(joules) + draw(st.integers(0, 5)))


CONFIGURATIONS = st.lists(st.dictionaries(st.integers(0, 2), known(), max_size=3), min_size=1, max_size=4).filter(any)


@given(CONFIGURATIONS, st.booleans())
def test_every_trial_of_a_world_has_joules_that_never_fall_and_a_finite_value_where_it_has_one(
    configurations: list[dict[int, Known]], again: bool
) -> None:
    for world in worlds(configurations, 3, 2, again=again):
        assert [len(curves) for curves in world] == [3] * len(configurations)
        for curve in (curve for curves in world for curve in curves):
            assert len(curve.joules) == len(curve.values) > 0
            assert all(a <= b < math.inf for a, b in zip([0.0, *curve.joules], curve.joules, strict=False))
            assert all(value is None or math.isfinite(value) for value in curve.values)


def test_the_smallest_joules_are_drawn_on_without_a_warning() -> None:
    trial = Known([1e-300, 2e-300, 4e-300], [0.1, 0.2, 0.3], 5)
    for [[curve]] in worlds([{0: trial}], 1, 3, again=False):
        assert list(curve.joules) == sorted(curve.joules)
        assert 4e-300 < curve.joules[-1] < 1e-298


@given(CONFIGURATIONS)
def test_what_a_run_has_told_of_a_trial_is_so_in_every_world(configurations: list[dict[int, Known]]) -> None:
    for world in worlds(configurations, 3, 2, again=False):
        for own, curves in zip(configurations, world, strict=True):
            for seed, trial in own.items():
                assert list(curves[seed].joules[: len(trial.joules)]) == trial.joules
                assert list(curves[seed].values[: len(trial.values)]) == trial.values
                assert len(curves[seed].joules) == trial.length


@given(CONFIGURATIONS, st.integers(-20, 20))
def test_joules_in_another_unit_make_the_same_worlds_in_that_unit(
    configurations: list[dict[int, Known]], power: int
) -> None:
    factor = 2.0**power  # exact
    other = [
        {seed: Known([factor * j for j in trial.joules], trial.values, trial.length) for seed, trial in own.items()}
        for own in configurations
    ]
    for ours, theirs in zip(worlds(configurations, 2, 2, again=False), worlds(other, 2, 2, again=False), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            for one, two in zip(a, b, strict=True):
                assert [factor * j for j in one.joules] == pytest.approx(list(two.joules), rel=1e-9, abs=1e-290)


@given(st.lists(st.floats(0, 1e18), min_size=1, max_size=200))
def test_an_interval_holds_the_middle_and_lies_within_what_was_drawn(samples: list[float]) -> None:
    found = forecast_of(samples)
    slack = 1e-9 * max(samples)
    assert min(samples) - slack <= found.low <= found.value + slack
    assert found.value <= found.high + slack <= max(samples) + 2 * slack


def test_the_interval_leaves_out_one_in_twenty_at_each_end() -> None:
    found = forecast_of([float(n) for n in range(101)])
    assert (found.value, found.low, found.high) == pytest.approx((50.0, 5.0, 95.0))
    assert forecast_of([7.0]) == Forecast(7.0, 7.0, 7.0)


def test_what_has_been_spent_already_is_spent() -> None:
    assert Forecast(50.0, 5.0, 95.0).at_least(20.0) == Forecast(50.0, 20.0, 95.0)
    assert Forecast(50.0, 5.0, 95.0).at_least(100.0) == Forecast(100.0, 100.0, 100.0)
    assert Forecast(50.0, 5.0, 95.0).times(0.5) == Forecast(25.0, 2.5, 47.5)


def test_what_is_wholly_known_of_a_run_needs_no_drawing() -> None:
    whole = {0: Known([1.0, 2.0], [0.1, 0.2], 2)}
    assert list(worlds([whole], 1, 3, again=False)) == [[[Curve([1.0, 2.0], [0.1, 0.2])]]] * 3


def test_of_an_earlier_run_the_joules_come_anew_and_the_values_stay() -> None:
    drawn = [world[0][0] for world in worlds([{0: Known([1.0, 2.0], [0.1, 0.2], 2)}], 1, 200, again=True)]
    assert {tuple(curve.values) for curve in drawn} == {(0.1, 0.2)}
    spread = forecast_of([curve.joules[-1] for curve in drawn])
    assert spread.low == pytest.approx(2.0 * math.exp(-0.1645), rel=0.1)  # one run in ten is off by 16 % or more
    assert spread.high == pytest.approx(2.0 * math.exp(0.1645), rel=0.1)


def test_seeds_that_differ_in_joules_tell_how_far_another_run_may_be_off() -> None:
    near = {0: Known([10.0], [0.5], 1), 1: Known([11.0], [0.5], 1)}
    far = {0: Known([10.0], [0.5], 1), 1: Known([30.0], [0.5], 1)}
    narrow, wide = (
        forecast_of([curves[0][0].joules[0] for curves in worlds([own], 2, 300, again=True)]) for own in (near, far)
    )
    assert wide.high / wide.low > 3 * narrow.high / narrow.low


def unseen(known: list[Known], count: int = 600) -> list[Curve]:
    """What becomes of a configuration that nobody has seen, beside some that are known."""
    others = [{0: trial} for trial in known]
    return [world[0][0] for world in worlds([{}], 1, count, others=others, again=False)]


def test_a_configuration_that_nobody_has_seen_is_like_one_of_the_others() -> None:
    a, b = Known([1.0], [0.1], 1), Known([100.0], [0.9], 1)
    found = [curve.joules[0] for curve in unseen([a, b] * 40)]
    near_a, near_b = (sum(abs(math.log(joules / of)) < 2.0 for joules in found) for of in (1.0, 100.0))
    assert near_a + near_b > 590
    assert 200 < near_a < 400
    low = [value < 0.5 for curve in unseen([a, b] * 40) for value in curve.values if value is not None]
    assert 200 < sum(low) < 400


def test_the_fewer_are_known_the_further_others_may_be_off() -> None:
    a, b = Known([1.0], [0.1], 1), Known([2.0], [0.3], 1)
    widths, best = [], []
    for number in (1, 4, 40):
        found = unseen([a, b] * number)
        spread = forecast_of([curve.joules[0] for curve in found])
        widths.append(spread.high / spread.low)
        best.append(max(value for curve in found for value in curve.values if value is not None))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[2] > 4  # 1 to 2 J are known
    assert best == sorted(best, reverse=True)
    assert best[0] > 0.5  # better than any that is known


def test_one_that_is_known_alone_says_little_of_others() -> None:
    spread = forecast_of([curve.joules[0] for curve in unseen([Known([1.0], [0.5], 1)])])
    assert spread.low < 0.5
    assert spread.high > 2.0


def test_a_curve_that_has_come_to_rest_stays_and_one_that_climbs_goes_on() -> None:
    joules = [float(n) for n in range(1, 9)]
    rested = Known(joules, [0.2, 0.6, 0.75, 0.79, 0.8, 0.801, 0.8, 0.8], 30)
    climbing = Known(joules, [0.1 * n for n in range(1, 9)], 30)
    ends = [
        (world[0][0].values[-1], world[1][0].values[-1])
        for world in worlds([{0: rested}, {0: climbing}], 1, 200, again=False)
    ]
    of_rested = forecast_of([a for a, _ in ends if a is not None])
    of_climbing = forecast_of([b for _, b in ends if b is not None])
    assert of_rested.contains(0.8)
    assert of_rested.high < 1.1
    assert of_climbing.low > 0.85


def test_nothing_known_makes_no_world() -> None:
    with pytest.raises(ValueError, match="no trial is known"):
        next(worlds([{}, {}], 1, 1, again=True))
