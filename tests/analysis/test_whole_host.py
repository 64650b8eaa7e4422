"""Hardware side by side with all idle power of the host, on plain trials."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energysweep.analysis import Observation, both_boundaries
from tests.support.table import arrived, censored


def trials(seconds: dict[str, float], to_target: float = 1.0) -> list[Observation]:
    """Two seeds on `half` a host of 2 W and on the `whole`: 10 J active, and 1 W or 2 W of idle power while they run.

    Args:
        seconds: that a trial takes on each.
        to_target: the part of its energy that it had spent when it reached the target.
    """
    found = []
    for hardware, watts in (("half", 1.0), ("whole", 2.0)):
        joules = 10.0 + watts * seconds[hardware]
        found += [
            arrived(
                joules,
                2,
                seed,
                hardware=hardware,
                energy_to_target_joules=joules * to_target,
                active_energy_joules=10.0,
                duration_seconds=seconds[hardware],
            )
            for seed in (0, 1)
        ]
    return found


@pytest.mark.parametrize("to_target", [1.0, 0.5])
def test_each_trial_pays_for_its_whole_host(to_target: float) -> None:
    # counted 10 + 10 = 20 J against 10 + 2 * 6 = 22 J; with all of the host's idle power 10 + 2 * 10 = 30 J
    (both,) = both_boundaries(trials({"half": 10.0, "whole": 6.0}, to_target), 2.0, 32.0)
    assert both.counted.ratio.energy.value == pytest.approx(20 / 22)
    assert both.whole.ratio.energy.value == pytest.approx(30 / 22)
    assert both.whole.ratio.epochs.value == 1.0
    assert (both.counted.cheaper, both.whole.cheaper) == ("half", "whole")
    assert (both.turn, both.weaker) == ("the opposite answer", True)


@pytest.mark.parametrize(
    ("seconds", "turn", "weaker"),
    [
        (4.0, "the same answer", True),  # 14 and 18 J against 22 J
        (6.0, "clear with one boundary only", True),  # 16 and 22 J against 22 J
        (12.0, "clear with one boundary only", True),  # 22 and 34 J
        (18.0, "the same answer", False),  # 28 and 46 J
    ],
)
def test_what_the_boundary_does_is_told_by_rule(seconds: float, turn: str, weaker: bool) -> None:
    (both,) = both_boundaries(trials({"half": seconds, "whole": 6.0}), 2.0, 100.0)
    assert (both.turn, both.weaker) == (turn, weaker)


def test_start_up_is_apart_with_either_boundary() -> None:
    # the same work on both, 10 J active and 10 s at 1 W or 2 W; that on `half` was loaded for 20 s before
    plain = trials({"half": 10.0, "whole": 10.0})
    loaded = [
        replace(trial, duration_seconds=30.0, startup_seconds=20.0) if trial.hardware == "half" else trial
        for trial in plain
    ]
    for given in (plain, loaded):
        (both,) = both_boundaries(given, 2.0, 80.0)
        assert both.counted.ratio.energy.value == pytest.approx(20 / 30)
        assert both.whole.ratio.energy.value == pytest.approx(30 / 30)
    assert both_boundaries(loaded, 2.0, 79.9) == ()  # it held its host while it loaded, too: 2 * 30 + 2 * 10 s
    (both,) = both_boundaries([replace(trial, startup_seconds=0.0) for trial in plain], 2.0, 80.0)
    assert both.whole.ratio.energy.value == pytest.approx(30 / 30)
    assert both_boundaries([replace(plain[0], startup_seconds=10.0), *plain[1:]], 2.0, 80.0) == ()  # no time to work in


def test_one_repeat_gives_no_clear_answer_and_its_value_all_the_same() -> None:
    one = [trial for trial in trials({"half": 10.0, "whole": 6.0}) if trial.seed == 0]
    (both,) = both_boundaries(one, 2.0, 100.0)
    assert both.turn == "no clear answer either way"
    assert (both.counted.cheaper, both.whole.cheaper, both.weaker) == ("half", "whole", True)


def test_trials_at_the_same_time_or_without_their_parts_tell_nothing() -> None:
    known = trials({"half": 10.0, "whole": 6.0})
    assert both_boundaries(known, 2.0, 31.9) == ()  # 2 * 10 + 2 * 6 s of trials
    assert both_boundaries(known, 2.0, None) == ()
    first, *others = known
    for partly in (
        replace(first, active_energy_joules=None),
        replace(first, duration_seconds=None),
        replace(first, energy_joules=None),
    ):
        assert both_boundaries([partly, *others], 2.0, 32.0) == ()


def test_a_censored_trial_leaves_its_setting_out_with_both_boundaries() -> None:
    known = trials({"half": 10.0, "whole": 6.0})
    lost = censored(9.0, 9, hardware="half", parameters={"lr": 9}, active_energy_joules=1.0, duration_seconds=1.0)
    (both,) = both_boundaries([*known, lost], 2.0, 100.0)
    assert len(both.whole.configurations) == len(both.counted.configurations) == 1


def test_a_trial_of_which_nothing_is_left_tells_nothing() -> None:
    known = trials({"half": 10.0, "whole": 6.0})
    other = [replace(trial, parameters={"lr": 9}) for trial in known]
    # 10 s at the host's 2 W are 20 J: as many as its active energy is below zero
    nothing = replace(other[0], active_energy_joules=-20.0)
    assert both_boundaries([*known, nothing, *other[1:]], 2.0, 64.0) == ()
    assert len(both_boundaries([*known, *other], 2.0, 64.0)) == 1


@pytest.mark.parametrize("one_setting", [True, False])
def test_profiles_with_other_settings_on_the_other_boundary_are_left_out(one_setting: bool) -> None:
    known = trials({"half": 10.0, "whole": 6.0})
    other = [replace(trial, parameters={"lr": 9}) for trial in known]
    beyond = replace(other[0], energy_to_target_joules=1.5e308)  # it grows by 30 J / 20 J
    given = [beyond, *other[1:]] if one_setting else [*known, beyond, *other[1:]]
    third = [replace(trial, hardware="third") for trial in known if trial.hardware == "whole"]
    found = both_boundaries([*given, *third], 2.0, 100.0)
    assert [(each.counted.first, each.counted.second) for each in found if "half" in each.counted.first] == (
        [] if one_setting else [("half", "third")]
    )
