"""Hardware, pretraining, multitask, and the study's own energy, on numbers that can be worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis import Observation, break_even, fieller, multitask, pretraining, side_by_side, study_energy
from tests.support.table import Known, arrived, censored, grid


def test_hardware_is_compared_by_configuration_and_seed() -> None:
    # the second needs half the energy for each epoch, everywhere
    trials = [replace(trial, hardware="slow") for trial in grid(noise=1.5)]
    trials += [
        replace(trial, hardware="fast", energy_to_target_joules=(trial.energy_to_target_joules or 0) / 2)
        for trial in grid(noise=1.5)
    ]
    (found,) = side_by_side(trials)
    assert (found.first, found.second, found.left_out) == ("slow", "fast", 0)
    assert len(found.configurations) == 6
    assert found.ratio.energy.value == pytest.approx(2)
    assert found.ratio.epochs.value == pytest.approx(1)
    assert (found.ratio.energy.low, found.ratio.energy.n) == (pytest.approx(2), 2)  # two seeds
    assert found.ratio.tied is False


def on_two(
    logs: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[int | None]], **rest: Unpack[Known]
) -> list[Observation]:
    """For each setting trials on `one` whose logarithms are given, and trials of 1 J on `two`."""
    return [
        trial
        for setting, values in logs.items()
        for log, seed in zip(values, seeds[setting], strict=True)
        for trial in (
            replace(arrived(math.exp(log), 1, **rest), parameters={"a": setting}, hardware="one", seed=seed),
            replace(arrived(1.0, 1, parameters={"a": setting}, hardware="two"), seed=seed),
        )
    ]


def test_two_settings_that_are_each_clear_are_clear_together() -> None:
    # The settings differ by 2 in the logarithm, and are given; the seeds are the sample. Seed by seed the mean over the
    # settings is 2.9, 3.0, 3.1: 3 +- 4.3027 * 0.1 / sqrt(3) = 3 +- 0.24842
    logs = {"small": [1.9, 2.0, 2.1], "large": [3.9, 4.0, 4.1]}
    (found,) = side_by_side(on_two(logs, {"small": [0, 1, 2], "large": [0, 1, 2]}))
    energy = found.ratio.energy
    assert (math.log(energy.value), energy.n, found.ratio.tied) == (pytest.approx(3), 3, False)
    assert math.log(energy.low or 0) == pytest.approx(3 - 0.24842, abs=1e-4)
    assert math.log(energy.high or 0) == pytest.approx(3 + 0.24842, abs=1e-4)
    # every epoch costs what the trial costs, so all of it is in the joules per epoch
    assert (found.ratio.epochs.value, found.ratio.epochs.high) == (1, 1)
    assert found.ratio.joules_per_epoch.value == pytest.approx(energy.value)


def test_a_seed_that_moves_all_settings_is_one_value_not_several() -> None:
    # What seed 1 saves in the one setting it loses in the other: the means over the settings are all 3.
    logs = {"small": [2.0, 1.0, 2.0], "large": [4.0, 5.0, 4.0]}
    (found,) = side_by_side(on_two(logs, {"small": [0, 1, 2], "large": [0, 1, 2]}))
    assert math.log(found.ratio.energy.high or 0) == pytest.approx(3)


def test_without_common_seeds_the_settings_variances_add_up() -> None:
    # Each setting's variance is 0.01 / 3 on `one` and 0 on `two`; of the mean of the two it is 2 * 0.01 / 3 / 4 = 1/600
    # with (1/600)^2 / (2 * (1/1200)^2 / 2) = 4 degrees of freedom: 3 +- 2.7764 * sqrt(1/600) = 3 +- 0.11335
    logs = {"small": [1.9, 2.0, 2.1], "large": [3.9, 4.0, 4.1]}
    apart: list[dict[str, list[int | None]]] = [
        {"small": [0, 1, 2], "large": [3, 4, 5]},
        {name: [None] * 3 for name in logs},
    ]
    for seeds in apart:
        (found,) = side_by_side(on_two(logs, seeds))
        assert (math.log(found.ratio.energy.value), found.ratio.energy.n) == (pytest.approx(3), 3)
        assert math.log(found.ratio.energy.high or 0) == pytest.approx(3 + 0.11335, abs=1e-4)


def test_one_seed_of_several_settings_has_no_interval() -> None:
    for seed in (0, None):
        (found,) = side_by_side(on_two({"small": [2.0], "large": [4.0]}, {"small": [seed], "large": [seed]}))
        assert (math.log(found.ratio.energy.value), found.ratio.energy.high) == (pytest.approx(3), None)
        assert found.ratio.tied is None


def test_each_of_several_pairs_of_profiles_is_corrected_for_all_that_were_looked_at() -> None:
    # logs of 2.9, 3.0, 3.1 on `one`. Beside a third profile there are three pairs, each with 0.95^(1/3): Student's
    # factor for 2 degrees is then 7.5819 instead of 4.3027.
    two = on_two({"small": [2.9, 3.0, 3.1]}, {"small": [0, 1, 2]})
    three = [*two, *(replace(trial, hardware="three") for trial in two if trial.hardware == "two")]
    for trials, factor in ((two, 4.3027), (three, 7.5819)):
        found = next(each for each in side_by_side(trials) if (each.first, each.second) == ("one", "two"))
        for ratio in (found.ratio, found.configurations[0][1]):
            assert math.log(ratio.energy.high or 0) == pytest.approx(3 + factor * 0.1 / math.sqrt(3), abs=1e-4)
    # Without common seeds, and over several settings, too
    logs = {"small": [1.9, 2.0, 2.1], "large": [3.9, 4.0, 4.1]}
    other = on_two(logs, {"small": [0, 1, 2], "large": [3, 4, 5]})
    more = [*other, *(replace(trial, hardware="three") for trial in other if trial.hardware == "two")]
    widths = [math.log(side_by_side(trials)[0].ratio.energy.high or 0) - 3 for trials in (other, more)]
    assert widths[1] / widths[0] == pytest.approx(3.9405 / 2.7764, rel=1e-3)
    # A profile that has no setting in common with the others is in no comparison.
    alone = arrived(1.0, 1, parameters={"a": "other"}, hardware="four")
    assert side_by_side([*two, alone]) == side_by_side(two)


@pytest.mark.parametrize("profiles", [2, 3, 5])
def test_equal_profiles_are_seldom_told_apart(profiles: int, chance: random.Random) -> None:
    # 5 % of sweeps at most; 40 of 400 are 4.6 standard deviations more. Without a correction it is about 9 % of three
    # profiles, 20 % of five.
    apart = 0
    for _ in range(400):
        trials = [
            arrived(chance.lognormvariate(3, 0.2), 1, seed, hardware=f"profile-{name}")
            for name in range(profiles)
            for seed in range(3)
        ]
        apart += any(each.ratio.tied is False for each in side_by_side(trials))
    assert apart < 40


def test_the_overall_ratio_of_two_kinds_of_meters_has_room_for_both() -> None:
    # Without spread x e is exact, but a model (100 %) beside a counter (10 %) may be off by 2 * 1.1 = 2.2 either way.
    logs = {"small": [1.0, 1.0], "large": [1.0, 1.0]}
    seeds: dict[str, list[int | None]] = {"small": [0, 1], "large": [0, 1]}
    (found,) = side_by_side(on_two(logs, seeds, source="estimate", relative_uncertainty=1.0))
    for ratio in (found.ratio.energy, found.ratio.joules_per_epoch, found.configurations[0][1].energy):
        assert (ratio.low, ratio.high) == (pytest.approx(math.e / 2.2), pytest.approx(math.e * 2.2))
    assert found.ratio.epochs.high == 1
    (same,) = side_by_side(on_two(logs, seeds))
    assert same.ratio.energy.high == pytest.approx(math.e)


def test_an_overall_ratio_is_no_surer_of_reports_than_its_configurations() -> None:
    # One seed crashed on "gpu", so that the two are not the same training runs; all others need 5 reports.
    trials = [
        arrived(joules + 0.01 * seed, 5, seed, parameters={"a": a}, hardware=hardware)
        for a in (0, 1)
        for hardware, joules in (("cpu", 10.0), ("gpu", 9.5))
        for seed in range(3)
    ]
    crashed = [
        replace(trial, reached_target=None) if trial.hardware == "gpu" and trial.seed == 2 else trial
        for trial in trials
    ]
    (found,) = side_by_side(crashed)
    assert [ratio.tied for _, ratio in found.configurations] == [True, True]
    assert (found.ratio.tied, found.cheaper) == (True, None)
    value, reports = found.ratio.energy.value, 5.5 / 4.5
    assert (found.ratio.energy.low, found.ratio.energy.high) == (
        pytest.approx(value / reports), pytest.approx(value * reports)
    )  # fmt: skip
    assert found.ratio.epochs.high == pytest.approx(reports)
    # In one of the two configurations only: the other's runs are the same on both, and it is half of the mean.
    (found,) = side_by_side([*trials[:6], *crashed[6:]])
    assert found.ratio.epochs.high == pytest.approx(reports**0.5)
    (found,) = side_by_side(trials)
    assert (found.ratio.epochs.high, found.cheaper) == (1.0, "gpu")


def test_a_configuration_that_did_not_always_arrive_is_left_out() -> None:
    trials = [arrived(1.0, 1, parameters={"a": a}, hardware=h) for a in (0, 1) for h in ("one", "two")]
    trials[0] = censored(1.0, 1, parameters={"a": 0}, hardware="one")
    (found,) = side_by_side(trials)
    assert (len(found.configurations), found.left_out) == (1, 1)
    assert found.ratio.tied is None
    assert side_by_side(grid()) == ()


@pytest.mark.parametrize(
    ("log", "cheaper", "dearer", "other"),
    [(2.0, "two", "one", "two"), (-2.0, "one", "two", "one"), (0.0, None, "one", "two")],
)
def test_what_the_dearer_profile_takes_over_the_other_is_never_below_one(
    log: float, cheaper: str | None, dearer: str, other: str
) -> None:
    (found,) = side_by_side(on_two({"small": [log, log]}, {"small": [0, 1]}))
    *names, ratio = found.of_the_dearer
    assert (found.cheaper, names) == (cheaper, [dearer, other])
    assert ratio.energy.value == pytest.approx(math.exp(abs(log)))
    assert ratio.joules_per_epoch.value == pytest.approx(math.exp(abs(log)))  # of one epoch on both
    assert (ratio.epochs.value, ratio.tied) == (1.0, cheaper is None)


PRETRAIN = (90.0, 100.0, 110.0)
SCRATCH = (18.0, 20.0, 22.0)
TUNED = (8.0, 10.0, 12.0)


def stage(joules: float, seed: int) -> Observation:
    return Observation(
        stage="pretraining", seed=seed, energy_joules=joules, iterations=10, source="rapl", relative_uncertainty=0.1
    )


def sweep(frozen: tuple[float, ...] = TUNED, hardware: str = "") -> list[Observation]:
    """A pretraining and its uses, seed by seed."""
    trials = []
    for seed in range(3):
        trials.append(replace(stage(PRETRAIN[seed], seed), hardware=hardware))
        trials.append(arrived(SCRATCH[seed], 10, seed, parameters={"lr": 0.1, "pretrained": None}, hardware=hardware))
        use = {"from": "pretraining", "freeze_encoder": True}
        trials.append(arrived(frozen[seed], 5, seed, parameters={"lr": 0.1, "pretrained": use}, hardware=hardware))
    return trials


def test_pretraining_pays_after_its_energy_over_what_a_reuse_saves() -> None:
    (found,) = pretraining(sweep())
    assert (found.stage, found.frozen, found.settings, found.repeats) == ("pretraining", True, {"lr": 0.1}, 3)
    assert (found.pretrain_joules, found.scratch_joules, found.finetuned_joules) == (100, 20, 10)
    assert found.saving_joules == 10
    assert found.reuses == pytest.approx(10)
    # The saving is 10 J for every seed, so the interval is that of the pretraining alone: 100 +- 4.3027 * 10 / sqrt(3).
    # As every use needs 5 reports and every training from scratch 10, each is known to half of one: the saving is
    # between 19 - 11 and 21 - 9 J, the break-even between 100 / 12 and 100 / 8 at least.
    assert found.low == pytest.approx((100 - 24.842) / 10, rel=1e-3)
    assert found.high == pytest.approx(100 / 8)
    assert found.verdict == "pays"
    assert found.ratio is not None
    assert found.ratio.epochs.value == pytest.approx(0.5)


def break_even_of(
    scratch: list[Observation], tuned: list[Observation], **of_stage: Unpack[Known]
) -> tuple[float | None, float | None, str]:
    """Of a pretraining that took 100 J with every seed."""
    costs = [replace(stage(100, seed), **of_stage) for seed in range(len(tuned))]
    found = break_even(costs, scratch, tuned)
    return found.low, found.high, found.verdict


def test_a_break_even_without_any_spread_is_known_to_one_report() -> None:
    # Uses and trainings from scratch take 2 J a report. 20 and 30 reports: 40 J +- 1 and 60 J +- 1 save 18 to 22 J.
    scratch, tuned = ([arrived(2.0 * epochs, epochs, seed) for seed in range(3)] for epochs in (30, 20))
    assert break_even_of(scratch, tuned) == (pytest.approx(100 / 22), pytest.approx(100 / 18), "pays")
    # 5 and 6 reports: 10 J +- 1 against 12 J +- 1 may be no saving at all
    scratch, tuned = ([arrived(2.0 * epochs, epochs, seed) for seed in range(3)] for epochs in (6, 5))
    assert break_even_of(scratch, tuned) == (pytest.approx(100 / 4), None, "may pay")
    # more of them need one: 12 J +- 1 against 10 J +- 1 may be a saving of none
    assert break_even_of(tuned, scratch) == (None, None, "may pay")
    # where they differ their own spread tells, and with the first report nothing comes for less
    scratch, tuned = [arrived(60.0, 30, 0), arrived(60.0, 31, 1)], [arrived(40.0, 1, 0), arrived(40.0, 1, 1)]
    assert break_even_of(scratch, tuned) == (pytest.approx(5), pytest.approx(5), "pays")


def test_a_break_even_has_room_for_what_the_meters_cannot_have_seen() -> None:
    # A quarter of the time of a training from scratch was not seen: 60 / 1.25 to 60 * 1.25 J, against 40 J.
    scratch = [arrived(60.0, 30 + seed, seed, coverage=0.75) for seed in range(2)]
    tuned = [arrived(40.0, 20 + seed, seed) for seed in range(2)]
    assert break_even_of(scratch, tuned) == (pytest.approx(100 / 35), pytest.approx(100 / 8), "pays")
    # Other kinds of meters do not err alike: 10 % of 60 J and of 40 J, and half of the pretraining's 100 J.
    scratch = [replace(trial, coverage=1.0) for trial in scratch]
    low, high, verdict = break_even_of(scratch, tuned, source="estimate", relative_uncertainty=0.5)
    assert (low, high, verdict) == (pytest.approx(100 / 1.5 / 30), pytest.approx(150 / 10), "pays")


def test_an_energy_without_a_finite_number_has_no_break_even() -> None:
    for joules in (math.inf, math.nan):
        found = break_even([stage(100, 0)], *_sides((joules,), (10,)))
        assert (found.scratch_joules, found.reuses, found.verdict) == (None, None, "unknown")
        assert break_even([stage(joules, 0)], *_sides((20,), (10,))).reuses is None


def test_fieller_s_interval_of_a_textbook_case() -> None:
    # x = (90, 100, 110), y = (8, 10, 12): x - r y has the mean 100 - 10 r and the deviations -10 + 2 r, 0, 10 - 2 r.
    # |100 - 10 r| = 4.3027 / sqrt(3) * |10 - 2 r|, so r = (100 -+ 24.842) / (10 -+ 4.9683):
    ends = fieller(PRETRAIN, TUNED)
    factor = 4.3027 / 3**0.5
    expected = sorted(((100 - 10 * factor) / (10 - 2 * factor), (100 + 10 * factor) / (10 + 2 * factor)))
    assert ends == (pytest.approx(expected[0], rel=1e-4), pytest.approx(expected[1], rel=1e-4))


def test_a_saving_that_may_be_zero_has_no_upper_end() -> None:
    found = break_even([stage(each, seed) for seed, each in enumerate(PRETRAIN)], *_sides((20, 20, 20), (5, 18, 30)))
    assert found.saving_joules == pytest.approx(20 - 53 / 3)
    assert found.verdict == "may pay"
    assert found.low is not None
    assert found.high is None


def test_finetuning_that_costs_more_never_pays() -> None:
    found = break_even([stage(each, seed) for seed, each in enumerate(PRETRAIN)], *_sides((10, 11, 10), (30, 31, 30)))
    assert (found.reuses, found.low, found.high, found.verdict) == (None, None, None, "never pays")


def test_one_repeat_only_has_a_value_and_no_interval() -> None:
    found = break_even([stage(100, 0)], *_sides((20,), (10,)))
    assert (found.reuses, found.low, found.high, found.verdict) == (10, None, None, "unknown")


def test_censored_trials_from_scratch_make_it_an_upper_bound() -> None:
    scratch = [arrived(20.0, 10, 0), censored(40.0, 20, 1)]
    tuned = [arrived(10.0, 5, 0), arrived(10.0, 5, 1)]
    found = break_even([stage(100, 0), stage(100, 1)], scratch, tuned)
    assert (found.scratch_joules, found.reuses, found.bound, found.censored) == (30, 5, "at most", 1)
    assert (found.low, found.verdict, found.ratio) == (None, "unknown", None)


def test_censored_trials_on_both_sides_tell_nothing() -> None:
    found = break_even([stage(100, 0)], [censored(20.0, 1)], [censored(10.0, 1)])
    assert (found.reuses, found.bound, found.censored) == (None, "", 2)


def test_a_pretraining_without_measured_energy_tells_nothing() -> None:
    assert break_even([], *_sides((20,), (10,))).reuses is None
    assert break_even([replace(stage(1, 0), energy_joules=None)], *_sides((20,), (10,))).reuses is None


def test_each_hardware_has_its_own_pretraining() -> None:
    found = pretraining([*sweep(hardware="one"), *sweep(frozen=(6.0, 8.0, 10.0), hardware="two")])
    assert [(each.hardware, each.saving_joules) for each in found] == [("one", 10), ("two", 12)]


GENERAL = {"from": "general", "freeze_encoder": False}


def chained(general: tuple[float, ...], seeds: tuple[int, ...] = (0, 1, 2)) -> list[Observation]:
    """The pretraining of `sweep` as a second stage that goes on from a first one, `general`."""
    first = [
        Observation(stage="general", seed=seed, energy_joules=each) for seed, each in zip(seeds, general, strict=True)
    ]
    return [
        *first,
        *(replace(trial, parameters={"pretrained": GENERAL}) if trial.stage else trial for trial in sweep()),
    ]


def test_a_stage_that_goes_on_from_another_costs_both() -> None:
    (found,) = pretraining(chained((900.0, 900.0, 900.0)))
    # 900 J + 90, 100, 110 J, for a saving of 10 J
    assert (found.stage, found.pretrain_joules, found.reuses) == ("pretraining", 1000, pytest.approx(100))
    assert (found.low, found.high) == (pytest.approx(1000 / 12), pytest.approx(1000 / 8))  # half a report on both sides


def test_chained_stages_are_added_up_by_seed() -> None:
    # 910 + 90, 900 + 100, 890 + 110: 1000 J for each seed, so without any spread
    trials = chained((890.0, 910.0, 900.0), seeds=(2, 0, 1))
    (found,) = pretraining(trials)
    assert (found.pretrain_joules, found.low, found.high) == (1000, pytest.approx(1000 / 12), pytest.approx(1000 / 8))
    # a third stage before them
    before = [
        replace(trial, parameters={"pretrained": {"from": "words"}}) if trial.stage == "general" else trial
        for trial in trials
    ]
    words = [Observation(stage="words", seed=seed, energy_joules=500.0) for seed in range(3)]
    (found,) = pretraining([*words, *before])
    assert found.pretrain_joules == 1500


def test_a_stage_from_a_checkpoint_of_unknown_energy_has_none_itself() -> None:
    for trials in (
        chained((900.0, 900.0), seeds=(0, 1)),  # no general stage with seed 2
        [trial for trial in chained((900.0,) * 3) if trial.stage != "general"],  # a checkpoint from elsewhere
        [replace(trial, hardware="other") if trial.stage == "general" else trial for trial in chained((900.0,) * 3)],
    ):
        (found,) = pretraining(trials)
        assert (found.pretrain_joules, found.reuses, found.verdict) == (None, None, "unknown")


def test_means_are_over_all_trials_where_seeds_are_not_given() -> None:
    sides = [[replace(arrived(each, 10), seed=None) for each in side] for side in (SCRATCH, TUNED)]
    costs = [Observation(stage="pretraining", energy_joules=each) for each in (90.0, 100.0, 200.0)]
    found = break_even(costs, *sides)
    assert (found.pretrain_joules, found.scratch_joules, found.finetuned_joules) == (130, 20, 10)
    assert (found.reuses, found.repeats, found.low, found.verdict) == (13, 0, None, "unknown")


def test_a_seed_that_comes_twice_is_refused_and_named() -> None:
    scratch, tuned = _sides((20, 20), (10, 10))
    with pytest.raises(ValueError, match="scratch has more than one trial with seed 1"):
        break_even([stage(100, 0)], [*scratch, scratch[1]], tuned)
    with pytest.raises(ValueError, match="pretrain has more than one trial with seed 0"):
        break_even([stage(100, 0), stage(90, 0)], scratch, tuned)


def test_without_a_trial_that_uses_the_pretraining_there_is_nothing_to_say() -> None:
    scratch, tuned = _sides((20, 20), (10, 10))
    with pytest.raises(ValueError, match="tuned is empty"):
        break_even([stage(100, 0)], scratch, [])
    found = break_even([stage(100, 0)], [], tuned)
    assert (found.scratch_joules, found.saving_joules, found.reuses, found.verdict) == (None, None, None, "unknown")


def test_a_setting_that_a_search_drew_twice_has_means_and_no_interval() -> None:
    trials = sweep()
    twice = [*trials, *(trial for trial in trials if not trial.stage)]
    (found,) = pretraining(twice)
    assert (found.reuses, found.repeats, found.low, found.verdict) == (10, 0, None, "unknown")


def _sides(scratch: tuple[float, ...], tuned: tuple[float, ...]) -> tuple[list[Observation], list[Observation]]:
    first, second = ([arrived(float(each), 10, seed) for seed, each in enumerate(side)] for side in (scratch, tuned))
    return first, second


joules = st.floats(min_value=1.0, max_value=1e4)
rows = st.lists(st.tuples(joules, joules, joules), min_size=2, max_size=6)


@given(rows, st.integers(-10, 10).map(lambda power: 2.0**power))  # exact, so that no case lies on another side
def test_another_unit_changes_no_break_even(values: list[tuple[float, float, float]], unit: float) -> None:
    def found(factor: float) -> tuple[float | None, float | None, float | None, str]:
        sides = [[arrived(row[side] * factor, 3, seed) for seed, row in enumerate(values)] for side in (1, 2)]
        each = break_even([stage(row[0] * factor, seed) for seed, row in enumerate(values)], *sides)
        return each.reuses, each.low, each.high, each.verdict

    one, other = found(1.0), found(unit)
    assert one[3] == other[3]
    for mine, theirs in zip(one[:3], other[:3], strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert mine == pytest.approx(theirs)


@given(rows)
def test_the_break_even_lies_in_its_interval(values: list[tuple[float, float, float]]) -> None:
    sides = [[arrived(row[side], 3, seed) for seed, row in enumerate(values)] for side in (1, 2)]
    each = break_even([stage(row[0], seed) for seed, row in enumerate(values)], *sides)
    if each.reuses is not None and each.low is not None:
        assert each.low <= each.reuses * (1 + 1e-9)
        assert each.high is None or each.reuses <= each.high * (1 + 1e-9)


def model(tasks: list[str], joules: float, epochs: int, seed: int = 0) -> Observation:
    return arrived(joules, epochs, seed, parameters={"lr": 0.1, "tasks": tasks})


def test_a_shared_model_against_the_sum_of_the_separate_ones() -> None:
    trials = [
        trial
        for seed in (0, 1)
        for trial in (
            model(["digit"], 30.0, 10, seed),
            model(["parity"], 10.0, 10, seed),
            model(["digit", "parity"], 24.0, 8, seed),
        )
    ]
    (found,) = multitask(trials)
    assert (found.tasks, found.settings) == (("digit", "parity"), {"lr": 0.1})
    assert (found.shared_joules, found.separate_joules) == (pytest.approx(24), pytest.approx(40))
    assert found.by_task == {"digit": pytest.approx(30), "parity": pytest.approx(10)}
    assert found.ratio is not None
    assert found.ratio.energy.value == pytest.approx(0.6)
    assert found.ratio.epochs.value == pytest.approx(0.4)  # 8 of 20 epochs
    assert found.ratio.joules_per_epoch.value == pytest.approx(1.5)  # 3 J against 2 J
    assert found.ratio.tied is False


def test_a_shared_model_s_ratio_is_known_to_one_report_of_each_side() -> None:
    # 8 reports against 10 and 10, without any spread: 7.5 to 8.5 against 19 to 21; and 24 J +- 1.5 against 30 J +- 1.5
    # and 10 J +- 0.5
    trials = [
        model(tasks, joules, epochs, seed)
        for seed in (0, 1)
        for tasks, joules, epochs in ((["digit"], 30.0, 10), (["parity"], 10.0, 10), (["digit", "parity"], 24.0, 8))
    ]
    (found,) = multitask(trials)
    assert found.ratio is not None
    assert found.ratio.epochs.low == pytest.approx(7.5 / 21)
    assert found.ratio.epochs.high == pytest.approx(8.5 / 19)
    assert found.ratio.energy.low == pytest.approx(22.5 / 42)
    assert found.ratio.energy.high == pytest.approx(25.5 / 38)
    assert found.ratio.joules_per_epoch.high == pytest.approx(1.5)


def test_a_separate_model_that_never_arrived_leaves_no_ratio() -> None:
    single = {"lr": 0.1, "tasks": ["parity"]}
    trials = [model(["digit"], 30.0, 10), censored(9.0, 9, parameters=single), model(["digit", "parity"], 24.0, 8)]
    (found,) = multitask(trials)
    assert (found.ratio, found.censored, found.separate_joules) == (None, 1, None)


def test_tasks_without_separate_models_have_nothing_to_be_set_against() -> None:
    assert multitask([model(["digit"], 30.0, 10), model(["digit", "parity"], 24.0, 8)]) == ()
    assert multitask(grid()) == ()


@dataclass(frozen=True)
class Totals:
    energy_joules: float | None = None
    trials_energy_joules: float | None = None
    buckets: Mapping[str, float | None] = field(default_factory=dict)
    emissions_grams: float | None = None


def test_a_study_s_own_energy_is_the_sum_of_its_runs() -> None:
    found = study_energy(
        [
            Totals(100, 60, {"active": 50, "idle": 10, "overhead": 10, "background": 30}, 0.5),
            Totals(50, 30, {"active": 30, "overhead": 5, "other_sweeps": 15, "startup": None}, 0.25),
            Totals(),
        ]
    )
    assert (found.energy_joules, found.trials_energy_joules, found.buckets["overhead"]) == (150, 90, 15)
    assert (found.buckets["idle"], found.buckets["other_sweeps"], found.buckets["startup"]) == (10, 15, None)
    assert (found.emissions_grams, found.runs, found.unknown) == (0.75, 3, 1)
    assert study_energy([]).energy_joules is None
