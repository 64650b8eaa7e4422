"""Energy to target, and the energy ratio as epochs times joules per epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis import (
    Estimate,
    Observation,
    at_least,
    effects,
    extremes,
    paired_ratio_to_target,
    ratio_to_target,
    to_target,
    worst_to_best,
)
from energysweep.analysis.extremes import Compared
from energysweep.analysis.family import Family
from energysweep.analysis.target import needed_at_least, unseen_joules
from energysweep.analysis.trials import TrialLike, grouped, varying
from energysweep.core.naming import exact_text
from tests.support.found import values_of
from tests.support.table import arrived, censored, grid


def test_three_means_over_the_trials_that_arrived() -> None:
    found = to_target([arrived(8.0, 4), arrived(32.0, 16, seed=1)])
    assert (found.trials, found.reached, found.censored, found.complete) == (2, 2, 0, True)
    assert found.energy_joules is not None
    assert found.energy_joules.value == pytest.approx(16)
    assert found.epochs is not None
    assert found.epochs.value == pytest.approx(8)
    assert found.joules_per_epoch is not None
    assert found.joules_per_epoch.value == pytest.approx(2)
    assert found.at_least_joules is None


def test_a_censored_trial_is_counted_and_gives_a_bound_but_enters_no_mean() -> None:
    found = to_target([arrived(8.0, 4), censored(32.0, 40, seed=1)])
    assert (found.reached, found.censored, found.complete) == (1, 1, False)
    assert found.energy_joules is not None
    assert (found.energy_joules.value, found.energy_joules.n) == (pytest.approx(8), 1)
    assert found.at_least_joules == pytest.approx(16)  # the geometric mean of 8 and at least 32


def test_nobody_arrived() -> None:
    found = to_target([censored(32.0, 40), censored(8.0, 40, seed=1)])
    assert found.energy_joules is None
    assert found.at_least_joules == pytest.approx(16)


def test_a_trial_whose_spending_is_not_known_gives_no_bound() -> None:
    assert to_target([censored(32.0, 40), censored(0.0, 40, energy_joules=None)]).at_least_joules is None


def test_energy_that_was_not_measured_is_not_zero() -> None:
    found = to_target([arrived(8.0, 4, energy_to_target_joules=None)])
    assert (found.reached, found.energy_joules, found.complete) == (1, None, False)


@pytest.mark.parametrize("joules", [math.inf, math.nan, -1.0, 0.0])
def test_an_energy_that_is_no_finite_number_above_zero_is_not_known(joules: float) -> None:
    odd, known = arrived(joules, 4), arrived(8.0, 4, seed=1)
    found = to_target([odd, known])
    assert found.energy_joules is not None
    assert (found.reached, found.energy_joules.value) == (2, 8.0)
    assert ratio_to_target([odd, known], [known, known]) is None
    assert worst_to_best([("odd", [odd, known]), ("known", [known, known])]) is None
    assert needed_at_least([odd, known]) is None
    assert needed_at_least([censored(joules, 9), known]) is None


def test_means_are_not_complete_if_the_energy_of_one_that_arrived_is_not_known() -> None:
    known = [arrived(8.0, 4), arrived(32.0, 4, 1)]
    assert to_target(known).complete
    for unknown in (None, math.inf, math.nan):
        found = to_target([*known, arrived(8.0, 4, 2, energy_to_target_joules=unknown)])
        assert (found.reached, found.trials, found.complete) == (3, 3, False)
    assert not to_target([]).complete
    assert not to_target([*known, censored(9.0, 9, 2)]).complete


@pytest.mark.parametrize("joules", [0.0, -1.0, math.inf, math.nan])
def test_an_energy_that_is_no_finite_number_above_zero_is_compared_with_none(joules: float) -> None:
    odd, plain = ([(arrived(each, 1, seed), each) for seed in range(2)] for each in (joules, 10.0))
    compared = Compared([plain, odd, plain])
    assert (compared.ratio(odd, plain), compared.tied(odd, plain)) == (None, None)
    assert (compared.ratio(plain, odd), compared.tied(plain, odd)) == (None, None)
    assert compared.ratio(plain, plain) is not None


def test_equal_values_have_one_key_however_they_are_held() -> None:
    # what a configuration's text says is equal is one configuration, and what it tells apart are several
    equal = [{"a": 1, "b": (2.5, None)}, {"b": [2.5, None], "a": np.int64(1)}]
    assert len({exact_text(each) for each in equal}) == 1
    assert len({exact_text(each) for each in (1, 1.0, "1", True, "true", None, "null", [1], "[1]")}) == 9
    assert exact_text({1: "x", "y": {"z": 0}}) == "{1:x,y:{z:0}}"  # names of two types, which JSON cannot sort
    assert exact_text("x" * 1000) != exact_text("x" * 999 + "y")
    trials = [arrived(10.0, 5, seed, parameters={"layers": each}) for seed, each in enumerate([[64, 32], (64, 32)])]
    assert effects([*trials, arrived(20.0, 5, parameters={"layers": [8]})], "energy") is not None
    assert varying([{"rate": np.float64(0.1)}, {"rate": 0.1}]) == ()


def test_a_ratio_is_that_of_the_epochs_times_that_of_the_joules_per_epoch() -> None:
    # 8 J in 4 epochs of 2 J against 36 J in 6 epochs of 6 J
    found = ratio_to_target([arrived(36.0, 6)], [arrived(8.0, 4)])
    assert found is not None
    assert found.energy.value == pytest.approx(4.5)
    assert (found.epochs.value, found.joules_per_epoch.value) == (pytest.approx(1.5), pytest.approx(3))
    assert found.epochs_share == pytest.approx(math.log(1.5) / math.log(4.5))
    assert found.tied is None  # one repeat tells no tie
    assert found.energy.low is None


def test_lucky_trials_are_not_compared() -> None:
    assert ratio_to_target([arrived(8.0, 4), censored(8.0, 4, seed=1)], [arrived(8.0, 4)]) is None


def test_a_tie_is_an_interval_that_holds_one() -> None:
    # logs: mean 0 against mean 0.1, both with variance 0.02: half width 4.3027 * sqrt(0.02) = 0.61 for 2 degrees
    first = [arrived(math.exp(x), 1, seed) for seed, x in enumerate((-0.1, 0.1))]
    second = [arrived(math.exp(0.1 + x), 1, seed) for seed, x in enumerate((-0.1, 0.1))]
    far = [arrived(math.exp(0.7 + x), 1, seed) for seed, x in enumerate((-0.1, 0.1))]
    tie, difference = ratio_to_target(second, first), ratio_to_target(far, first)
    assert tie is not None
    assert tie.energy.high == pytest.approx(math.exp(0.1 + 4.3027 * 0.02**0.5), rel=1e-4)
    assert tie.tied is True
    assert difference is not None
    assert difference.tied is False


def test_what_the_meters_cannot_have_seen_widens_the_interval() -> None:
    first = [arrived(10.0, 1, seed, coverage=0.9) for seed in (0, 1)]
    second = [arrived(12.0, 1, seed, resolution_joules=1.2) for seed in (0, 1)]
    found = ratio_to_target(second, first)
    assert found is not None
    assert found.energy.high == pytest.approx(1.2 * 1.1 * 1.1)  # a tenth of each side
    assert found.tied is True


def test_what_a_report_s_reading_is_too_old_for_widens_the_interval() -> None:
    # 0.1 s of 20 W are 2 J: a fifth of 10 J. Of a whole trial nothing is unread: its last reading is that of its end.
    first = [arrived(10.0, 1, seed, power_watts=20.0) for seed in (0, 1)]
    second = [arrived(11.0, 1, seed) for seed in (0, 1)]
    found = ratio_to_target(second, first)
    assert found is not None
    assert found.energy.high == pytest.approx(1.1 * 1.2)
    assert found.tied is True
    assert unseen_joules(first[0]) == pytest.approx(2.0)
    assert unseen_joules(censored(10.0, 1, power_watts=20.0)) == 0.0


def test_other_meters_widen_it_by_their_own_uncertainty() -> None:
    first = [arrived(10.0, 1, seed, source="rapl", relative_uncertainty=0.1) for seed in (0, 1)]
    second = [arrived(15.0, 1, seed, source="estimate", relative_uncertainty=1.0) for seed in (0, 1)]
    found = ratio_to_target(second, first)
    assert found is not None
    assert (found.energy.low, found.energy.high) == (pytest.approx(1.5 / 2.2), pytest.approx(1.5 * 2.2))
    assert found.tied is True


def test_pairs_of_a_seed_cancel_what_the_seed_explains() -> None:
    first = [arrived(2.0 * factor, 2, seed) for seed, factor in enumerate((1, 10))]
    second = [arrived(1.0 * factor, 2, seed) for seed, factor in enumerate((1, 10))]
    paired, unpaired = paired_ratio_to_target(first, second), ratio_to_target(first, second)
    assert paired is not None
    # 2 reports on both sides, each half a report off: 1.5 / 2.5 to 2.5 / 1.5
    assert (paired.energy.low, paired.energy.high) == (pytest.approx(2 * 0.6), pytest.approx(2 / 0.6))
    assert (paired.joules_per_epoch.low, paired.tied) == (pytest.approx(2), False)
    assert unpaired is not None
    assert unpaired.tied is True
    assert paired_ratio_to_target(first, second[:1]) is None


def test_the_worst_to_best_ratio_of_the_invented_table() -> None:
    groups = list(grouped(grid(), lambda trial: exact_text(trial.parameters)).values())
    found = worst_to_best([(dict(group[0].parameters), group) for group in groups])
    assert found is not None
    assert (found.cheapest["learning_rate"], found.cheapest["batch_size"]) == (0.1, 64)
    assert (found.dearest["learning_rate"], found.dearest["batch_size"]) == (0.001, 16)
    assert found.ratio.energy.value == pytest.approx(24)
    assert (found.ratio.epochs.value, found.ratio.joules_per_epoch.value) == (pytest.approx(8), pytest.approx(3))
    assert found.ratio.epochs_share == pytest.approx(math.log(8) / math.log(24))
    assert found.censored == ()
    assert found.at_least is None


def test_a_censored_configuration_is_counted_and_may_raise_the_ratio() -> None:
    found = worst_to_best(
        [
            ("a", [arrived(8.0, 4)]),
            ("b", [arrived(16.0, 4)]),
            ("lucky", [arrived(4.0, 4), censored(400.0, 40, seed=1)]),
            ("lost", [censored(12.0, 40)]),
        ]
    )
    assert found is not None
    assert (found.cheapest, found.dearest, found.ratio.energy.value) == ("a", "b", pytest.approx(2))
    assert found.censored == ("lucky", "lost")
    assert found.at_least is not None
    assert found.at_least.value == pytest.approx(5)  # "lucky" needs at least the mean of 4 and 400, 40 J, on average
    assert found.at_least.low is None  # of one repeat of the cheapest nobody knows the spread


def test_a_bound_has_the_lower_end_of_the_interval_of_both_sides() -> None:
    # logs: 3.1, 3.3 and 3.2 against -0.1, 0.1 and 0: variances of 0.01, so 2.7764 * sqrt(0.02 / 3) for 4 degrees
    cheapest = [arrived(math.exp(x), 1, seed) for seed, x in enumerate((-0.1, 0.1, 0.0))]
    missed = [censored(math.exp(3.2 + x), 9, seed) for seed, x in enumerate((-0.1, 0.1))]
    lucky = arrived(math.exp(3.2), 9, 2)
    bound = at_least([*missed, lucky], cheapest)
    assert bound is not None
    assert bound.value == pytest.approx(math.exp(3.2))
    assert bound.low == pytest.approx(math.exp(3.2 - 2.7764 * math.sqrt(0.02 / 3)), rel=1e-4)
    assert bound.high == math.inf


def test_a_bound_is_no_surer_than_what_the_meters_have_seen() -> None:
    cheapest = [arrived(1.0, 1, seed) for seed in (0, 1)]
    missed = [censored(10.0, 9, seed, coverage=0.75) for seed in (0, 1)]
    bound = at_least(missed, cheapest)
    assert bound is not None
    assert (bound.value, bound.low) == (pytest.approx(10), pytest.approx(8))  # a quarter of it was not seen
    other = [replace(trial, source="estimate", relative_uncertainty=1.0) for trial in missed]
    bound = at_least(other, cheapest)
    assert bound is not None
    assert bound.low == pytest.approx(8 / (2 * 1.1))


def test_what_is_not_known_gives_no_bound() -> None:
    cheapest = [arrived(1.0, 1), arrived(1.0, 1, 1)]
    lost = censored(10.0, 9)
    assert at_least([lost, arrived(5.0, 5, 1, energy_to_target_joules=None)], cheapest) is None
    assert at_least([lost, censored(0.0, 9, 1, energy_joules=None)], cheapest) is None
    assert at_least([lost], [*cheapest, censored(9.0, 9, 2)]) is None
    assert needed_at_least([lost, *cheapest]) == [10.0, 1.0, 1.0]


def test_of_several_bounds_the_surest_is_taken() -> None:
    def missed(*joules: float) -> list[Observation]:
        return [censored(each, 9, seed) for seed, each in enumerate(joules)]

    pairs = [("a", [arrived(1.0, 1), arrived(1.0, 1, 1)]), ("b", [arrived(2.0, 1), arrived(2.0, 1, 1)])]
    # 12 times with a wide interval, 9 times for sure, and 1.5 times, less than the dearest that always arrived
    found = worst_to_best([*pairs, ("wide", missed(4.0, 36.0)), ("sure", missed(9.0, 9.0)), ("low", missed(1.5, 1.5))])
    assert found is not None
    assert values_of(found.at_least) == pytest.approx((9, 9, math.inf, 2))
    assert found.censored == ("wide", "sure", "low")


def test_the_family_is_worked_out_once_and_no_bound_below_the_dearest(monkeypatch: pytest.MonkeyPatch) -> None:
    families: list[int | None] = []
    bounds: list[float] = []

    def family_of(groups: Sequence[Sequence[float]], looked_at: int | None = None) -> Family:
        families.append(looked_at)
        return Family(looked_at or len(groups), 0.0, 2)

    def bound(spent: Sequence[TrialLike], *rest: Any) -> Estimate | None:
        bounds.append(spent[0].energy_joules or 0.0)
        return at_least(spent, *rest)

    monkeypatch.setattr(extremes, "Family", SimpleNamespace(of=family_of))
    monkeypatch.setattr(extremes, "at_least", bound)
    arrive = [(name, [arrived(joules, 1, seed) for seed in (0, 1)]) for name, joules in (("a", 1.0), ("b", 4.0))]
    miss = [(str(joules), [censored(joules, 9, seed) for seed in (0, 1)]) for joules in (2.0, 4.0, 9.0, 6.0)]
    found = worst_to_best([*arrive, *miss])
    assert found is not None
    assert found.at_least is not None
    assert found.at_least.value == pytest.approx(9)
    assert (families, bounds) == ([6], [9.0, 6.0])


def test_the_extremes_are_those_of_the_geometric_means() -> None:
    # "wild" has the lower geometric mean (6 J) and the higher arithmetic one (10 J); the ratio of the two is 8 / 6.
    wild, steady = [arrived(2.0, 4, 0), arrived(18.0, 4, 1)], [arrived(8.0, 4, 0), arrived(8.0, 4, 1)]
    found = worst_to_best([("steady", steady), ("wild", wild)])
    assert found is not None
    assert (found.cheapest, found.dearest) == ("wild", "steady")
    assert found.ratio.energy.value == pytest.approx(8 / 6)


def test_one_configuration_has_no_ratio() -> None:
    assert worst_to_best([("a", [arrived(8.0, 4)]), ("b", [censored(8.0, 4)])]) is None


runs = st.lists(st.tuples(st.floats(min_value=1e-2, max_value=1e6), st.integers(1, 500)), min_size=1, max_size=5)


@given(runs, runs)
def test_the_two_parts_multiply_to_the_ratio(first: list[tuple[float, int]], second: list[tuple[float, int]]) -> None:
    one, other = (
        [arrived(joules, epochs, seed) for seed, (joules, epochs) in enumerate(each)] for each in (first, second)
    )
    for found in (ratio_to_target(one, other), paired_ratio_to_target(one, other)):
        if found is not None:
            assert found.energy.value == pytest.approx(found.epochs.value * found.joules_per_epoch.value)


@given(runs, runs)
def test_turning_the_groups_round_turns_the_ratio_round(
    first: list[tuple[float, int]], second: list[tuple[float, int]]
) -> None:
    one, other = (
        [arrived(joules, epochs, seed) for seed, (joules, epochs) in enumerate(each)] for each in (first, second)
    )
    found, inverse = ratio_to_target(one, other), ratio_to_target(other, one)
    assert found is not None
    assert inverse is not None
    assert found.energy.value * inverse.energy.value == pytest.approx(1)
    assert found.tied is inverse.tied


@given(runs, st.lists(st.floats(min_value=1e-2, max_value=1e6), min_size=1, max_size=3))
def test_the_bound_is_one_whatever_the_censored_trials_would_have_needed(
    reached: list[tuple[float, int]], spent: list[float]
) -> None:
    trials = [arrived(joules, epochs, seed) for seed, (joules, epochs) in enumerate(reached)]
    bound = to_target([*trials, *(censored(joules, 9, 100 + seed) for seed, joules in enumerate(spent))])
    truth = to_target([*trials, *(arrived(2 * joules, 9, 100 + seed) for seed, joules in enumerate(spent))])
    assert bound.at_least_joules is not None
    assert truth.energy_joules is not None
    assert bound.at_least_joules < truth.energy_joules.value


def test_where_all_repeats_need_the_same_number_of_reports_the_interval_is_one_report() -> None:
    found = to_target([arrived(10.0, 5, seed) for seed in range(3)])
    assert found.epochs is not None
    assert (found.epochs.low, found.epochs.high) == (pytest.approx(4.5), pytest.approx(5.5))
    assert found.energy_joules is not None
    assert (found.energy_joules.low, found.energy_joules.high) == (pytest.approx(9), pytest.approx(11))
    six, five = ([arrived(2.0 * count, count, seed) for seed in range(3)] for count in (6, 5))
    ratio = ratio_to_target(six, five)
    assert ratio is not None
    assert (ratio.epochs.low, ratio.epochs.high) == (pytest.approx(5.5 / 5.5), pytest.approx(6.5 / 4.5))
    assert ratio.joules_per_epoch.high == pytest.approx(1)
    alone = to_target([arrived(10.0, 5)]).epochs
    assert alone is not None
    assert alone.low is None


def test_a_bound_over_a_cheapest_without_any_spread_begins_one_report_lower() -> None:
    # All of the cheapest need 5 reports, which may have been 5.5: 40 J over 10 J is surely more than 40 / 11.
    cheapest = [arrived(10.0, 5, seed) for seed in range(3)]
    bound = at_least([censored(40.0, 20, seed) for seed in range(3)], cheapest)
    assert bound is not None
    assert (bound.value, bound.low) == (pytest.approx(4), pytest.approx(40 / 11))


def test_the_energy_of_the_first_report_cannot_be_less() -> None:
    found = to_target([arrived(10.0, 1, seed) for seed in range(3)])
    assert found.energy_joules is not None
    assert found.energy_joules.low == pytest.approx(10)


def test_the_same_training_run_on_other_hardware_needs_the_same_reports_exactly() -> None:
    one, two = ([arrived(joules, 5, seed, hardware=name) for seed in range(3)] for name, joules in (("a", 9), ("b", 6)))
    found = paired_ratio_to_target(one, two)
    assert found is not None
    assert (found.epochs.low, found.epochs.high) == (pytest.approx(1), pytest.approx(1))


def test_ties_and_extremes_give_the_same_runs_on_two_profiles_one_interval() -> None:
    cheap, dear = (
        [arrived(joules + 0.01 * seed, 5, seed, hardware=name) for seed in range(3)]
        for name, joules in (("gpu", 9.5), ("cpu", 10.0))
    )
    found = worst_to_best([("gpu", cheap), ("cpu", dear)])
    assert found is not None
    runs = [[(trial, trial.energy_to_target_joules or 0.0) for trial in trials] for trials in (cheap, dear)]
    compared = Compared(runs)
    assert compared.ratio(runs[1], runs[0]) == found.ratio.energy
    assert compared.tied(runs[1], runs[0]) is found.ratio.tied is False
