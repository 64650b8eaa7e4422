"""Intervals of groups that were picked out of many hold for all of them; statistics beside SciPy's."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from energysweep.analysis import Estimate, geometric_mean, ratio_of_means, worst_to_best
from energysweep.analysis.extremes import Compared
from energysweep.analysis.family import Family, _studentised_at, independent, studentised
from energysweep.analysis.intervals import student, welch_degrees
from tests.support.table import arrived

logs = st.lists(st.floats(min_value=-3, max_value=3), min_size=2, max_size=6).filter(lambda x: max(x) - min(x) > 1e-3)


def exps(values: Sequence[float]) -> list[float]:
    return [math.exp(value) for value in values]


def log_ends(found: Estimate | None) -> tuple[float, float]:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return math.log(found.low), math.log(found.high)


@given(logs)
def test_a_mean_s_interval_is_scipy_s_of_the_logarithms(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert log_ends(geometric_mean(exps(values))) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(logs, logs)
def test_a_ratio_s_interval_is_scipy_s_welch(first: list[float], second: list[float]) -> None:
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    for found in (ratio_of_means(exps(first), exps(second)), Family(2, 0.0, 0).ratio(exps(first), exps(second))):
        assert log_ends(found) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_of_several_groups_it_is_scipy_s_games_and_howell() -> None:
    groups = [[0.1, 0.3, 0.2], [0.5, 0.4, 0.9], [1.0, 1.4, 1.3, 1.1]]
    expected = stats.tukey_hsd(*groups, equal_var=False).confidence_interval(0.95)
    found = Family(3, 0.0, 0).ratio(exps(groups[2]), exps(groups[0]))
    assert log_ends(found) == pytest.approx((expected.low[2, 0], expected.high[2, 0]), abs=1e-4)


def test_where_all_spread_alike_it_is_scipy_s_tukey_of_the_typical_spread() -> None:
    # three groups of the same variance 0.01: their median over that of a variance with 2 degrees, ln 2
    groups = [[0.0, 0.1, 0.2], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2]]
    expected = stats.tukey_hsd(*groups).confidence_interval(0.95)
    family = Family.of([exps(group) for group in groups])
    assert family.variance == pytest.approx(0.01 / math.log(2))
    half_width = (expected.high[1, 0] - expected.low[1, 0]) / 2
    of_tukey = studentised(6, 3) * math.sqrt(0.01 * 2 / 3)
    assert of_tukey == pytest.approx(half_width, abs=1e-4)
    of_the_two = studentised(4, 3) * math.sqrt(0.01 * 2 / 3)
    low, high = log_ends(family.ratio(exps(groups[1]), exps(groups[0])))
    assert (high - low) / 2 == pytest.approx(max(of_tukey / math.sqrt(math.log(2)), of_the_two))


@pytest.mark.parametrize(("groups", "degrees"), [(3, 2.0), (9, 3.7), (16, 32.0)])
def test_a_studentised_range_lies_between_one_comparison_and_as_many_independent_ones(
    groups: int, degrees: float
) -> None:
    assert student(degrees) < studentised(degrees, groups) < independent(degrees, groups)
    assert studentised(degrees, 2) == student(degrees)


@pytest.mark.parametrize("groups", [3, 9, 300])
@pytest.mark.parametrize("degrees", [1.03, 2.0, 2.037, 4.74, 18.2, 250.0])
def test_a_studentised_range_is_scipy_s_between_its_steps_too(degrees: float, groups: int) -> None:
    exact = stats.studentized_range.ppf(0.95, groups, degrees) / math.sqrt(2)
    assert studentised(degrees, groups) == pytest.approx(exact, rel=1e-3)


def test_many_pairs_share_few_quantiles(chance: random.Random) -> None:
    groups = [exps([chance.gauss(0.0, 0.2) for _ in range(3)]) for _ in range(40)]
    family = Family.of(groups)
    before = _studentised_at.cache_info().misses
    for group in groups[1:]:
        assert family.ratio(group, groups[0]) is not None
        assert family.tied(group, groups[0], lambda each: each) is not None
    # Of three repeats each there are 2 to 4 degrees, from 1/4 to 1/2 in hundredths; and two for the spread of all.
    assert _studentised_at.cache_info().misses - before <= 28


@given(st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1, max_size=5), st.integers(1, 9))
def test_welch_s_degrees_lie_between_the_fewest_and_all(errors: list[float], free: int) -> None:
    degrees = [free + place for place in range(len(errors))]
    assert free - 1e-9 <= welch_degrees(errors, degrees) <= sum(degrees) + 1e-9


@given(st.lists(logs, min_size=2, max_size=4), st.floats(min_value=0, max_value=1))
def test_a_tie_is_what_the_shown_interval_says(groups: list[list[float]], room: float) -> None:
    values = [exps(group) for group in groups]
    family = Family.of(values)
    shown = family.ratio(values[0], values[1])
    assert shown is not None
    wide = shown.wider(1 + room)
    assert family.tied(values[0], values[1], lambda each: each.wider(1 + room)) is wide.contains(1.0)


def test_a_wild_configuration_hides_no_difference_between_the_others() -> None:
    steady = [[factor * joules for factor in (1.0, 1.01, 1.02)] for joules in (10.0, 20.0, 30.0, 40.0)]
    wild = [15.0, 150.0, 1500.0]
    runs = [[(arrived(joules, 1, seed), joules) for seed, joules in enumerate(each)] for each in (*steady, wild)]
    compared = Compared(runs)
    assert [compared.tied(each, runs[0]) for each in runs[1:]] == [False, False, False, True]


def called_different(sweeps: int, chance: random.Random, spreads: Sequence[float], repeats: int) -> int:
    """How many sweeps of equal configurations name one that is not tied with the cheapest."""
    found = 0
    for _ in range(sweeps):
        energies = [[math.exp(chance.gauss(4.0, spread)) for _ in range(repeats)] for spread in spreads]
        energies.sort(key=lambda each: math.fsum(math.log(joules) for joules in each))
        family = Family.of(energies)
        found += any(family.tied(each, energies[0], lambda ratio: ratio) is False for each in energies[1:])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweeps", "most", "spreads", "repeats"),
    [
        (2000, 100, [0.2] * 9, 3), (2000, 100, [0.2] * 9, 2), (2000, 100, [0.2] * 16, 5),
        # Slower to work out: four standard deviations of the count itself above 5 %
        (500, 45, [0.1] * 5 + [0.4] * 4, 3), (500, 45, [0.02 * 1.5**n for n in range(9)], 3),
    ],
    ids=["nine alike", "two repeats", "sixteen", "two kinds", "all kinds"],
)  # fmt: skip
def test_equal_configurations_are_called_different_in_at_most_5_percent_of_sweeps(
    sweeps: int, most: int, spreads: list[float], repeats: int, chance: random.Random
) -> None:
    # Without any correction it would be about 600 of nine alike, of which 350 have extremes that are called different.
    found = called_different(sweeps, chance, spreads, repeats)
    assert found <= most, f"{found} of {sweeps} sweeps"


def test_nine_equal_configurations_are_seldom_called_different(chance: random.Random) -> None:
    # 1.2 % of sweeps, so that 15 of 100 come in less than one run of 10^9
    assert called_different(100, chance, [0.2] * 9, 3) <= 15


def test_the_extremes_of_equal_configurations_are_a_tie(chance: random.Random) -> None:
    apart = 0
    for _ in range(8):
        groups = [
            (name, [arrived(chance.lognormvariate(4, 0.2), 1, seed) for seed in range(3)]) for name in "abcdefghi"
        ]
        found = worst_to_best(groups)
        assert found is not None
        known = dict(groups)
        runs = {name: [(each, each.energy_to_target_joules or 0.0) for each in known[name]] for name in known}
        compared = Compared(list(runs.values()))
        assert found.ratio.tied is compared.tied(runs[found.dearest], runs[found.cheapest])
        apart += not found.ratio.tied
    assert apart <= 3
