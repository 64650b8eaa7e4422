"""Hardware, pretraining, multitask, and the study's own energy, on numbers that can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis import Observation, break_even, fieller, multitask, pretraining, side_by_side, study_energy
from tests.analysis.table import arrived, censored, grid


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
    assert (found.ratio.energy.low, found.ratio.energy.n) == (pytest.approx(2), 6)
    assert found.ratio.tied is False


def test_the_interval_over_configurations_is_theirs_not_their_repeats() -> None:
    # ratios e^0, e^1, e^2 over three configurations: as in test_intervals, half width 2.4842
    trials = []
    for setting, log in enumerate((0.0, 1.0, 2.0)):
        for seed in (0, 1):
            trials.append(arrived(math.exp(log), 1, seed, parameters={"a": setting}, hardware="one"))
            trials.append(arrived(1.0, 1, seed, parameters={"a": setting}, hardware="two"))
    (found,) = side_by_side(trials)
    assert found.ratio.energy.value == pytest.approx(math.e)
    assert found.ratio.energy.high == pytest.approx(math.exp(3.4842), rel=1e-4)


def test_a_configuration_that_did_not_always_arrive_is_left_out() -> None:
    trials = [arrived(1.0, 1, parameters={"a": a}, hardware=h) for a in (0, 1) for h in ("one", "two")]
    trials[0] = censored(1.0, 1, parameters={"a": 0}, hardware="one")
    (found,) = side_by_side(trials)
    assert (len(found.configurations), found.left_out) == (1, 1)
    assert found.ratio.tied is None
    assert side_by_side(grid()) == ()


PRETRAIN = (90.0, 100.0, 110.0)
SCRATCH = (18.0, 20.0, 22.0)
TUNED = (8.0, 10.0, 12.0)


def stage(joules: float, seed: int) -> Observation:
    return Observation(stage="pretraining", seed=seed, energy_joules=joules, iterations=10)


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
    # The saving is 10 J for every seed, so the interval is that of the pretraining alone: 100 +- 4.3027 * 10 / sqrt(3)
    assert found.low == pytest.approx((100 - 24.842) / 10, rel=1e-3)
    assert found.high == pytest.approx((100 + 24.842) / 10, rel=1e-3)
    assert found.verdict == "pays"
    assert found.ratio is not None
    assert found.ratio.epochs.value == pytest.approx(0.5)


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
    overhead_joules: float | None = None
    other_sweeps_joules: float | None = None
    background_joules: float | None = None
    unreserved_idle_joules: float | None = None
    emissions_grams: float | None = None


def test_a_study_s_own_energy_is_the_sum_of_its_runs() -> None:
    found = study_energy([Totals(100, 60, 10, 0, 20, 10, 0.5), Totals(50, 30, 5, 5, 5, 5, 0.25), Totals()])
    assert (found.energy_joules, found.trials_energy_joules, found.overhead_joules) == (150, 90, 15)
    assert (found.emissions_grams, found.runs, found.unknown) == (0.75, 3, 1)
    assert study_energy([]).energy_joules is None
