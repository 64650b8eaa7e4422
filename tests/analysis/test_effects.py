"""Main effects and interaction of the invented table."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module

import pytest

from energysweep.analysis import QUANTITIES, Observation, acts_on, effects
from tests.support.table import arrived, censored, grid


def test_each_parameter_acts_on_its_own_quantity() -> None:
    trials = grid()
    ranges = {
        quantity: {each.parameter: each.range.value for each in found.main}
        for quantity in QUANTITIES
        if (found := effects(trials, quantity)) is not None
    }
    assert ranges == {
        "energy": {"learning_rate": pytest.approx(8), "batch_size": pytest.approx(3)},
        "epochs": {"learning_rate": pytest.approx(8), "batch_size": pytest.approx(1)},
        "joules_per_epoch": {"learning_rate": pytest.approx(1), "batch_size": pytest.approx(3)},
    }


def test_levels_are_factors_to_their_mean() -> None:
    found = effects(grid(), "energy")
    assert found is not None
    rate = found.of("learning_rate")
    assert rate is not None
    # epochs 32, 8, 4: their geometric mean is 1024^(1/3) = 10.079
    assert [value for value, _ in rate.levels] == [0.001, 0.01, 0.1]
    assert [factor for _, factor in rate.levels] == pytest.approx([32 / 10.0794, 8 / 10.0794, 4 / 10.0794], rel=1e-4)
    assert (rate.best, rate.worst) == (0.1, 0.001)


def test_an_additive_table_has_no_interaction_and_shares_that_add_up() -> None:
    found = effects(grid(), "energy")
    assert found is not None
    assert found.interaction_share == pytest.approx(0, abs=1e-12)
    assert sum(each.share for each in found.main) == pytest.approx(1)
    assert found.cells == 6
    assert found.of("epochs") is None  # it does not vary


def test_an_interaction_is_found_and_its_cell_named() -> None:
    # 2 x 2 with energies 1, 1, 1, 16: in log2 0 0 0 4; the mean is 1, the effects are 1 and 1, residuals +-1.
    trials = [
        arrived(joules, 1, parameters={"a": a, "b": b})
        for a, b, joules in [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 16)]
    ]
    found = effects(trials, "energy")
    assert found is not None
    assert [each.range.value for each in found.main] == pytest.approx([4, 4])  # 2^2
    # squares: whole 3 * 1 + 9 = 12, each parameter 4, left 4
    assert [each.share for each in found.main] == pytest.approx([1 / 3, 1 / 3])
    assert found.interaction_share == pytest.approx(1 / 3)
    assert found.largest_departure is not None
    assert found.largest_departure[1] in (pytest.approx(2), pytest.approx(0.5))
    assert found.noise_share is None


def test_the_interval_is_that_of_the_repeats() -> None:
    # noise e^0.1 up and down: variance within a cell 0.02, 6 cells of 2: 6 degrees, t = 2.4469.
    # A level of batch size has 3 cells: its mean log has the variance 0.02 / 6, the difference 0.02 / 3.
    found = effects(grid(noise=math.exp(0.1)), "energy")
    assert found is not None
    batch = found.of("batch_size")
    assert batch is not None
    assert batch.range.value == pytest.approx(3)
    assert batch.range.high == pytest.approx(3 * math.exp(2.4469 * (0.02 / 3) ** 0.5), rel=1e-4)
    # the noise of 2 repeats leaves 2 free cells * 0.02 / 2 of the squares
    assert found.noise_share == pytest.approx(0.02 / _squares(), rel=1e-6)


def _squares() -> float:
    """The squares of the table's log energies around their mean, from the two effects: 2 * rates + 3 * batches."""
    rates = [math.log(each) for each in (32, 8, 4)]
    batches = [math.log(each) for each in (2, 6)]
    around = [sum((x - sum(logs) / len(logs)) ** 2 for x in logs) for logs in (rates, batches)]
    return 2 * around[0] + 3 * around[1]


def test_one_repeat_has_effects_without_intervals() -> None:
    found = effects(grid(repeats=1), "energy")
    assert found is not None
    assert [each.range.low for each in found.main] == [None, None]
    assert [each.range.value for each in found.main] == pytest.approx([8, 3])


def test_censored_cells_are_left_out_counted_and_leave_the_others_effects_alone() -> None:
    trials = grid()
    trials[0] = censored(100.0, 40, parameters=trials[0].parameters)
    found = effects(trials, "energy")
    assert found is not None
    assert found.cells == 5
    assert found.censored == ({"learning_rate": 0.1, "batch_size": 64},)
    assert [each.range.value for each in found.main] == pytest.approx([8, 3])  # least squares on a grid with a hole


def test_unmeasured_cells_are_counted() -> None:
    trials = grid()
    trials[0] = replace(trials[0], energy_to_target_joules=None)
    found = effects(trials, "energy")
    assert found is not None
    assert (found.cells, found.unmeasured) == (5, 1)


def test_parameters_that_always_move_together_have_no_effects_of_their_own() -> None:
    trials = [arrived(float(2**each), 1, parameters={"a": each, "b": each}) for each in range(3)]
    assert effects(trials, "energy") is None


def test_hardware_counts_as_a_parameter() -> None:
    trials = [replace(trial, hardware="one") for trial in grid()]
    trials += [
        replace(trial, hardware="two", energy_to_target_joules=2 * (trial.energy_to_target_joules or 0))
        for trial in grid()
    ]
    found = effects(trials, "joules_per_epoch")
    assert found is not None
    hardware = found.of("hardware")
    assert hardware is not None
    assert (hardware.range.value, hardware.best) == (pytest.approx(2), "one")


def test_the_effect_of_hardware_that_other_meters_read_has_room_for_both() -> None:
    # A model (100 %) beside a counter (10 %) may be off by 2 * 1.1 = 2.2 either way; the repeats are without spread.
    trials = [replace(trial, hardware="one") for trial in grid()]
    trials += [
        replace(
            trial,
            hardware="two",
            energy_to_target_joules=3 * (trial.energy_to_target_joules or 0),
            source="estimate",
            relative_uncertainty=1.0,
        )
        for trial in grid()
    ]
    for quantity, value, factor in (("energy", 3, 2.2), ("joules_per_epoch", 3, 2.2), ("epochs", 1, 1)):
        found = effects(trials, quantity)  # type: ignore[arg-type]  # one of the three
        assert found is not None
        hardware, batch = found.of("hardware"), found.of("batch_size")
        assert hardware is not None
        assert (hardware.range.low, hardware.range.high) == (
            pytest.approx(value / factor),
            pytest.approx(value * factor),
        )
        # each batch size was read by both kinds; epochs of 4, 8 and 32 may be half a report off at either batch size
        assert batch is not None
        room = 1.0 if quantity == "joules_per_epoch" else ((4.5 * 8.5 * 32.5) / (3.5 * 7.5 * 31.5)) ** (1 / 3)
        assert batch.range.high == pytest.approx(batch.range.value * room)
    assert acts_on(trials, "hardware") == "joules_per_epoch"


def test_a_hole_in_the_grid_takes_no_meter_from_a_level_of_another_parameter() -> None:
    # Only a counter read learning rate 0.1, because "two" did not run it; the effect is told where both rates ran.
    trials = [replace(trial, hardware="one") for trial in grid()]
    trials += [
        replace(trial, hardware="two", source="estimate", relative_uncertainty=1.0)
        for trial in grid()
        if trial.parameters["learning_rate"] != 0.1
    ]
    found = effects(trials, "energy")
    rate = found.of("learning_rate") if found else None
    assert rate is not None
    # 32 and 4 epochs may be half a report off
    assert (rate.range.value, rate.range.high) == (pytest.approx(8), pytest.approx(32.5 / 3.5))


def test_an_effect_is_not_told_more_exactly_than_the_meters_saw() -> None:
    # A tenth of the time without readings on both sides: 3 may be 3 * 1.1 * 1.1 as well.
    found = effects([replace(trial, coverage=0.9) for trial in grid()], "energy")
    batch = found.of("batch_size") if found else None
    assert batch is not None
    assert (batch.range.value, batch.range.high) == (pytest.approx(3), pytest.approx(3 * 1.21))


def test_nothing_to_compare() -> None:
    assert effects([], "energy") is None
    assert effects([arrived(1.0, 1)], "energy") is None
    stage = Observation(stage="pretraining", parameters={"a": 1})
    assert effects([stage, replace(stage, parameters={"a": 2})], "energy") is None


def on_both(
    logs: dict[str, list[float]], second: float, noise: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> list[Observation]:
    """Three seeds of two settings, each on both profiles: the same epochs, and ``second`` times the joules on "two"."""
    return [
        arrived(factor * math.exp(log), 1, seed, parameters={"rate": rate}, hardware=hardware)
        for rate, of_seeds in logs.items()
        for seed, log in enumerate(of_seeds)
        for hardware, factor in (("one", 1.0), ("two", second * math.exp(noise[seed])))
    ]


def test_trials_that_differ_only_in_hardware_are_one_training_run() -> None:
    # Logarithms of 0.0, 0.1, 0.2 and 1.0, 1.1, 1.2: a variance of 0.01 with 2 * 2 degrees, however many profiles ran
    # them: 2.7764 * sqrt(2 * 0.01 / 3) = 0.2267. Counted twice it would be 2.3060 * sqrt(2 * 0.01 / 6) = 0.1331.
    trials = on_both({"a": [0.0, 0.1, 0.2], "b": [1.0, 1.1, 1.2]}, 2.0)
    for some in (trials, [trial for trial in trials if trial.hardware == "one"]):
        found = effects(some, "energy")
        rate = found.of("rate") if found else None
        assert rate is not None
        assert rate.range.value == pytest.approx(math.e)
        assert rate.range.high == pytest.approx(math.exp(1 + 2.7764 * math.sqrt(0.02 / 3)), rel=1e-4)


def test_the_effect_of_hardware_is_told_within_training_runs() -> None:
    # What a seed does is in both profiles: ratios of 2 * exp(-0.1), 2 and 2 * exp(0.1), a variance of 0.01 between 3
    # seeds in each of 2 settings: 2.7764 * sqrt(0.01 / 6) = 0.1133 for 4 degrees.
    trials = on_both({"a": [0.0, 1.0, 2.0], "b": [1.0, 2.0, 3.0]}, 2.0, (-0.1, 0.0, 0.1))
    found = effects(trials, "energy")
    hardware = found.of("hardware") if found else None
    assert hardware is not None
    assert hardware.range.value == pytest.approx(2)
    assert hardware.range.high == pytest.approx(2 * math.exp(2.7764 * math.sqrt(0.01 / 6)), rel=1e-4)


def test_other_seeds_on_the_other_hardware_are_other_training_runs() -> None:
    trials = on_both({"a": [0.0, 0.1, 0.2], "b": [1.0, 1.1, 1.2]}, 2.0)
    apart = [replace(trial, seed=(trial.seed or 0) + 10 * (trial.hardware == "two")) for trial in trials]
    found = effects(apart, "energy")
    rate = found.of("rate") if found else None
    assert rate is not None
    assert rate.range.high == pytest.approx(math.exp(1 + 2.3060 * math.sqrt(0.02 / 6)), rel=1e-4)


def test_more_levels_than_settings_are_refused_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("energysweep.analysis.effects"), "Model", None)
    parameters = [{"a": place, "b": place, "c": place % 2} for place in range(4)]
    assert effects([arrived(1.0 + each["a"], 1, parameters=each) for each in parameters], "energy") is None


def test_a_range_is_corrected_for_having_picked_two_of_several_levels() -> None:
    # 3 levels with 3 repeats of variance 0.01: 6 degrees, 4.339 of the studentised range over sqrt(2) standard errors
    trials = [
        arrived(math.exp(level + x), 1, seed, parameters={"rate": level})
        for level in (0, 1, 2)
        for seed, x in enumerate((0.0, 0.1, 0.2))
    ]
    found = effects(trials, "energy")
    rate = found.of("rate") if found else None
    assert rate is not None
    assert rate.range.high == pytest.approx(math.exp(2 + 4.339 / math.sqrt(2) * math.sqrt(0.02 / 3)), rel=1e-3)
