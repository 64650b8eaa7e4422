"""A race without a target, by rules worked out by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.objective import Objective
from energysweep.searching.arms import Runner
from energysweep.searching.curves import Curves, Report
from energysweep.searching.halving import Halving
from energysweep.searching.race import WITHOUT_TARGET, Racing
from energysweep.searching.racing import Race
from energysweep.searching.rehearsal import rehearse
from energysweep.sweepfile import SweepSpec

ACCURACY = Objective("accuracy", "max")
LOSS = Objective("loss", "min")


def flat(values: list[float], reports: int = 10, joules: float = 1.0, seeds: int = 1) -> Curves:
    """Each configuration reports its value, each report for as many joules."""
    return Curves(
        "flat",
        {
            (f"{place}", seed): [Report(joules * n, value) for n in range(1, reports + 1)]
            for seed in range(seeds)
            for place, value in enumerate(values)
        },
    )


NINE = flat([9.0 - place for place in range(9)])


def test_a_third_goes_on_from_each_rung_and_only_the_winner_runs_to_its_end() -> None:
    found = rehearse(NINE, ACCURACY, "race", winners=1)
    # All spend 1 J; three of them 3 J, and one of these the 10 J of its end. Each is paused at each rung it comes to.
    assert found.energy_joules == 9 * 1 + 3 * 2 + 7
    assert (found.grid_joules, found.trials, found.pauses) == (90.0, 9, 9 + 3)
    assert (found.chosen, found.regret, found.simple_regret) == ("0", None, 0.0)


def test_a_loss_is_to_be_small() -> None:
    assert rehearse(NINE, LOSS, "race", winners=1).chosen == "8"


def test_nobody_is_paused_before_it_has_done_more_than_start() -> None:
    found = rehearse(NINE, ACCURACY, "race", winners=1, startup_joules=2.0)
    # The first rung is at 2 J, the second at 6 J; 9 + 3 + 1 starts.
    assert found.energy_joules == 9 * 2 + 3 * 4 + 4 + 13 * 2


def test_who_needs_more_for_a_report_has_come_with_that() -> None:
    curves = dict(NINE.by_trial) | {("9", 0): [Report(5.0 * n, 20.0) for n in (1, 2)]}
    found = rehearse(Curves("ten", curves), ACCURACY, "race", winners=1)
    assert found.chosen == "9"


def test_winners_are_repeated_with_the_other_seeds_and_the_best_mean_is_the_answer() -> None:
    curves = dict(flat([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], seeds=2).by_trial)
    curves["0", 1] = [Report(float(n), 1.0) for n in range(1, 11)]  # it was luck
    found = rehearse(Curves("six", curves), ACCURACY, "race", winners=2)
    assert (found.chosen, found.trials) == ("1", 6 + 2)
    assert found.simple_regret == 0.0


@pytest.mark.parametrize("scheduler", ["race", "fifo"])
def test_the_mean_of_huge_values_is_no_error(scheduler: str) -> None:
    found = rehearse(flat([1.6e308, 1.7e308, -1.7e308], seeds=2), ACCURACY, scheduler, winners=1)
    assert (found.chosen, found.simple_regret) == ("1", 0.0)
    assert rehearse(flat([-1.7e308], seeds=2), LOSS, scheduler, winners=1).chosen == "0"


def test_without_pausing_who_is_not_among_the_best_so_far_ends_at_its_rung() -> None:
    field = Halving(ACCURACY, 9, winners=1, pauses=False)
    for arm, value, goes_on in [(0, 5.0, True), (1, 6.0, True), (2, 4.0, False), (3, 5.5, True), (4, 5.0, False)]:
        field.started(Runner(arm, 0))
        # One third of those that have come, rounded up: 1, 1, 1, 2, 2.
        decision = field.reported(Runner(arm, 0), value, 1.0)
        assert (decision.what == "go on", decision.why) == (goes_on, None if goes_on else "halved")
    assert decision.limit_joules == 1.0


def test_a_report_that_left_no_checkpoint_does_not_pause() -> None:
    field = Halving(ACCURACY, 9, winners=1)
    field.started(Runner(0, 0))
    assert field.reported(Runner(0, 0), 5.0, 1.0, can_pause=False).what == "go on"


def test_joules_that_nobody_knows_decide_nothing() -> None:
    field = Halving(ACCURACY, 9, winners=1)
    field.started(Runner(0, 0))
    assert field.reported(Runner(0, 0), 5.0, None).what == "go on"


def test_a_crash_leaves_the_place_to_the_next_best() -> None:
    field = Halving(ACCURACY, 4, winners=1)
    for arm in range(4):
        field.started(Runner(arm, 0))
        field.reported(Runner(arm, 0), 4.0 - arm, 1.0)
    assert field.next() == Runner(0, 0)  # kept: two of four, then one
    field.started(Runner(0, 0))
    field.ended(Runner(0, 0), failed=True)
    assert field.next() == Runner(1, 0)


def test_who_was_interrupted_on_its_way_to_a_rung_goes_on_there() -> None:
    field = Halving(ACCURACY, 4, winners=1)
    for arm in range(4):
        field.started(Runner(arm, 0))
        field.reported(Runner(arm, 0), 4.0 - arm, 1.0)
    for arm in (0, 1):  # two of four are kept
        assert field.next() == Runner(arm, 0)
        field.started(Runner(arm, 0))
        assert field.reported(Runner(arm, 0), 4.0 - arm, 2.0).what == "go on"  # the second rung is at 3 J
        field.paused(Runner(arm, 0))
    assert field.next() == Runner(0, 0)


@pytest.mark.parametrize("target", [None, 0.9])
def test_a_sweep_s_race_is_one_without_target_if_it_has_none_and_says_so(target: float | None) -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "race",
            "workload": "x.py:train",
            "parameters": {"size": {"grid": [1, 2]}},
            "objective": {"metric": "accuracy", "mode": "max", "target": target},
            "scheduler": {"type": "race"},
        }
    )
    made = Racing(spec, pauses=True)
    assert isinstance(made.race, Halving if target is None else Race)
    assert made.notes == ([WITHOUT_TARGET] if target is None else [])


@given(
    chance=st.randoms(use_true_random=False),
    arms=st.integers(1, 30),
    repeats=st.integers(1, 3),
    winners=st.integers(1, 4),
    at_once=st.integers(1, 9),
    pauses=st.booleans(),
    fails=st.sampled_from([0.0, 0.0, 0.1]),
)
def test_every_race_ends_with_its_winners_and_the_best_at_all_times_is_the_answer(
    chance: random.Random, arms: int, repeats: int, winners: int, at_once: int, pauses: bool, fails: float
) -> None:
    field = Halving(ACCURACY, arms, repeats, winners=winners, pauses=pauses)
    best = chance.randrange(arms)
    each_takes = [chance.uniform(0.5, 5.0) for _ in range(arms)]
    values = [2.0 if arm == best else chance.random() for arm in range(arms)]
    done: dict[Runner, int] = {}
    running: list[Runner] = []
    over: set[Runner] = set()
    failed: set[Runner] = set()
    pruned: set[Runner] = set()
    for _ in range(20_000):
        while len(running) < at_once and (runner := field.next()) is not None:
            assert runner not in running
            assert runner not in over
            field.started(runner)
            running.append(runner)
        if not running:
            break
        runner = chance.choice(running)
        if chance.random() < fails and runner.arm != best:
            failed.add(runner)
            field.ended(runner, failed=True)
        else:
            done[runner] = done.get(runner, 0) + 1
            decision = field.reported(runner, values[runner.arm], done[runner] * each_takes[runner.arm])
            if decision.what == "pause":
                assert pauses
                running.remove(runner)
                continue
            if decision.what == "end":
                assert not pauses
                pruned.add(runner)
            elif done[runner] < 10:
                continue
            field.ended(runner, pruned=decision.what == "end")
        running.remove(runner)
        over.add(runner)
    assert field.is_over
    ended_well = {runner.arm for runner in over - failed - pruned if runner.repeat == 0}
    healthy = [arm for arm in range(arms) if Runner(arm, 0) not in failed]
    if pauses:
        assert len(ended_well) >= min(winners, len(healthy))
    assert best in ended_well
    assert all(Runner(best, repeat) in over for repeat in range(repeats))
    assert field.answer == best
