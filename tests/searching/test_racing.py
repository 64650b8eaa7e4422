"""Who runs next in a race, and who no longer, by rules worked out by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from energysweep.core.objective import Objective
from energysweep.core.records import ResultRow
from energysweep.searching.arms import Runner
from energysweep.searching.curves import Curves, Report
from energysweep.searching.race import Racing
from energysweep.searching.racing import SLACK, Race
from energysweep.searching.rehearsal import rehearse
from energysweep.searching.schedulers import scheduler
from energysweep.sweepfile import SweepSpec, points
from energysweep.tune.points import KEY, wrap

ACCURACY = Objective("accuracy", "max", 0.9)


def race(arms: int, repeats: int = 1, **settings: int | bool) -> Race:
    return Race(ACCURACY, arms, repeats, **settings)  # type: ignore[arg-type]


def begin(race: Race, *runners: Runner) -> None:
    for runner in runners:
        race.started(runner)


def one(arm: int, repeat: int = 0) -> Runner:
    return Runner(arm, repeat)


def test_all_begin_in_their_order_then_whoever_has_spent_the_least_goes_on() -> None:
    field = race(3)
    for arm, joules in enumerate((30.0, 10.0, 20.0)):
        assert field.next() == one(arm)
        begin(field, one(arm))
        # A report is a turn where starting costs nothing: somebody waits who has spent less.
        assert field.reported(one(arm), 0.5, joules).what == "pause"
    assert field.next() == one(1)
    begin(field, one(1))
    assert field.reported(one(1), 0.6, 15.0).what == "go on"
    assert field.reported(one(1), 0.6, 21.0).what == "pause"
    assert field.next() == one(2)


def test_a_trial_that_costs_much_to_start_is_not_paused_soon() -> None:
    field = race(2)
    begin(field, one(0))
    # 8 J for its start: a turn is max(8, sqrt(2 * 8 * e)) J, which 8 J are not (11.3), nor 15 J (15.5), but 16 J are.
    assert field.reported(one(0), 0.5, 8.0, 8.0).what == "go on"
    assert field.reported(one(0), 0.5, 15.0, 8.0).what == "go on"
    assert field.reported(one(0), 0.5, 16.0, 8.0).what == "pause"
    # What others have needed to start stands for a trial that has not told.
    begin(field, one(1))
    assert field.reported(one(1), 0.5, 9.0).what == "go on"
    # Its second start cost 2 J more, and is what counts from now on.
    begin(field, one(0))
    assert field.reported(one(0), 0.5, 17.0, 10.0).what == "go on"
    assert field.reported(one(0), 0.5, 25.0, 10.0).what == "go on"  # nobody waits who has spent less


def test_without_a_checkpoint_nobody_is_paused() -> None:
    field = race(2)
    begin(field, one(0))
    assert field.reported(one(0), 0.5, 50.0, can_pause=False).what == "go on"


def test_the_winners_energy_caps_the_others() -> None:
    field = race(4, winners=2, pauses=False)
    begin(field, *(one(arm) for arm in range(4)))
    assert field.reported(one(0), 0.95, 10.0) == ("end", "reached", 10.0, None)
    assert field.reported(one(2), 0.5, 25.0).what == "go on"  # there is one winner of two
    assert field.cap_joules == math.inf
    assert field.reported(one(1), 0.95, 30.0).why == "reached"
    assert field.cap_joules == 30.0
    assert field.reported(one(2), 0.6, 31.0) == ("end", "capped", 31.0, 30.0)
    # Its reports take 12 J at the least, the first one apart: another one would end at 32 J.
    assert field.reported(one(3), 0.5, 4.0).what == "go on"
    assert field.reported(one(3), 0.6, 20.0).why == "capped"
    assert field.is_over
    assert field.answer == 0


def test_who_holds_the_target_for_the_first_time_is_not_capped_while_that_is_confirmed() -> None:
    field = Race(Objective("accuracy", "max", 0.9, patience=3), 2, winners=1, pauses=False)
    begin(field, one(0), one(1))
    for joules in (10.0, 20.0, 30.0):
        decision = field.reported(one(0), 0.95, joules)
    assert decision == ("end", "reached", 10.0, None)
    assert field.reported(one(1), 0.95, 9.0).what == "go on"
    assert field.reported(one(1), 0.95, 18.0).what == "go on"
    assert field.reported(one(1), 0.95, 27.0) == ("end", "reached", 9.0, None)
    assert field.answer == 1


def test_who_has_needed_four_times_what_the_winners_did_to_where_it_is_is_ended() -> None:
    field = race(4, winners=3, pauses=False)
    begin(field, *(one(arm) for arm in range(4)))
    for arm, joules in ((0, 10.0), (1, 11.0), (2, 12.0)):
        assert field.reported(one(arm), 0.6, joules).what == "go on"
    assert field.reported(one(3), 0.5, SLACK * 12.0).what == "go on"  # not more than four times
    assert field.reported(one(3), 0.5, 49.0) == ("end", "slower", 49.0, 48.0)


def test_equal_values_are_no_reason_to_end_anyone() -> None:
    field = race(4, winners=1, pauses=False)
    begin(field, *(one(arm) for arm in range(4)))
    for arm, joules in enumerate((1.0, 10.0, 100.0, 1000.0)):
        assert field.reported(one(arm), 0.6, joules).what == "go on"


def test_a_trial_that_reports_no_value_is_not_called_slower() -> None:
    field = race(2, winners=1, pauses=False)
    begin(field, one(0), one(1))
    field.reported(one(0), 0.8, 1.0)
    assert field.reported(one(1), None, 500.0).what == "go on"


def test_small_values_race_as_large_ones_do() -> None:
    field = Race(Objective("loss", "min", 0.1), 2, winners=1, pauses=False)
    begin(field, one(0), one(1))
    assert field.reported(one(0), 0.5, 1.0).what == "go on"
    assert field.reported(one(1), 0.6, 5.0).why == "slower"
    assert field.reported(one(0), 0.1, 2.0).why == "reached"


def test_trials_that_nobody_meters_race_on() -> None:
    field = race(2, winners=1)
    begin(field, one(0), one(1))
    for _ in range(5):
        assert field.reported(one(0), 0.5, None).what == "go on"
        assert field.reported(one(1), 0.7, None).what == "go on"


def confirmed_race() -> Race:
    """Three arms, two of which win with their first repeat, for 10 and 20 J."""
    field = race(3, repeats=2, winners=2)
    begin(field, *(one(arm) for arm in range(3)))
    field.reported(one(0), 0.95, 10.0)
    field.reported(one(1), 0.95, 20.0)
    assert field.reported(one(2), 0.8, 21.0).what == "pause"  # it may be needed yet
    return field


def test_the_winners_are_repeated_and_the_answer_is_the_cheapest_of_them() -> None:
    field = confirmed_race()
    assert field.next() == one(0, 1)
    begin(field, one(0, 1))
    assert field.next() == one(1, 1)
    begin(field, one(1, 1))
    assert field.next() is None
    assert not field.is_over
    assert field.reported(one(0, 1), 0.95, 39.0).why == "reached"  # 19.7 J in the mean, by which reports compare
    assert field.reported(one(1, 1), 0.95, 19.0).why == "reached"  # 19.5 J
    assert field.is_over
    assert field.answer == 1


def test_a_winner_that_does_not_reach_it_again_is_replaced_if_no_other_is_confirmed() -> None:
    field = confirmed_race()
    begin(field, one(0, 1))
    assert field.reported(one(0, 1), 0.8, SLACK * 20.0).what == "go on"
    assert field.reported(one(0, 1), 0.8, 81.0) == ("end", "capped", 81.0, 80.0)
    assert field.next() == one(1, 1)
    begin(field, one(1, 1))
    assert field.next() == one(2)  # 21 J are not over any cap now, with one winner of two
    field.reported(one(1, 1), 0.95, 20.0)
    # Arm 1 is confirmed: arm 0 keeps its place, and arm 2 is over the cap again.
    assert field.next() is None
    assert field.is_over
    assert field.answer == 1


def test_a_winner_whose_repeat_ended_without_the_target_is_no_answer() -> None:
    field = confirmed_race()
    begin(field, one(0, 1))
    field.ended(one(0, 1))
    begin(field, one(1, 1))
    assert field.next() == one(2)
    assert field.answer is None


def test_a_crash_says_nothing_of_a_winner() -> None:
    field = confirmed_race()
    begin(field, one(0, 1), one(1, 1))
    field.ended(one(0, 1), failed=True)
    field.ended(one(1, 1), failed=True)
    assert field.is_over
    assert field.answer == 0  # by its first repeat


def test_who_reached_the_target_for_nobody_knows_how_much_wins_nothing_and_caps_nobody() -> None:
    field = race(3, winners=1, pauses=False)
    begin(field, *(one(arm) for arm in range(3)))
    assert field.reported(one(0), 0.95, None).why == "reached"
    assert field.cap_joules == math.inf
    assert field.reported(one(1), 0.5, 5.0).what == "go on"
    assert field.reported(one(1), 0.95, 10.0).why == "reached"
    assert field.answer == 1
    # One that was measured before, and was not when it arrived, is not taken for what it had spent by then.
    assert field.reported(one(2), 0.5, 1.0).what == "go on"
    assert field.reported(one(2), 0.95, None).why == "reached"
    assert field.answer == 1


class Controller:
    """What Tune's controller is to a scheduler."""

    def __init__(self) -> None:
        self.live: list[SimpleNamespace] = []
        self.stopped: list[str] = []

    def get_live_trials(self) -> list[SimpleNamespace]:
        return self.live

    def stop_trial(self, trial: SimpleNamespace) -> None:
        self.stopped.append(trial.trial_id)
        self.live.remove(trial)


def sweep_of(arms: int, at_once: int = 2) -> SweepSpec:
    content = {
        "name": "race",
        "workload": "work:train",
        "parameters": {"size": {"grid": list(range(arms))}},
        "objective": {"metric": "accuracy", "mode": "max", "target": 0.9},
        "scheduler": {"type": "race", "winners": 1},
        "max_concurrent_trials": at_once,
    }
    return SweepSpec.model_validate(content)


def wrapped(arms: int) -> list[dict[str, Any]]:
    return [wrap(point, is_command=False) for point in points(sweep_of(arms))]


def racing(arms: int, at_once: int = 2) -> tuple[Racing, Searcher]:
    made = scheduler(sweep_of(arms, at_once))
    assert isinstance(made, Racing)
    return made, made.search(wrapped(arms))


def trial_of(name: str, config: Any, last_result: dict[str, Any] | None = None) -> SimpleNamespace:
    trial = SimpleNamespace(trial_id=name, config=config, status=Trial.PENDING, last_result=last_result or {})
    trial.is_finished = lambda: False
    trial.set_status = functools.partial(setattr, trial, "status")
    return trial


def added(made: Racing, search: Searcher, controller: Controller, name: str) -> SimpleNamespace:
    """Tune asks for a trial, adds it, and starts it."""
    config = search.suggest(name)
    trial = trial_of(name, config)
    controller.live.append(trial)
    made.on_trial_add(controller, trial)
    assert search.suggest("another") is None  # one after the other
    assert made.choose_trial_to_run(controller) is trial
    trial.status = Trial.RUNNING
    return trial


def report(made: Racing, controller: Controller, trial: SimpleNamespace, joules: float, value: float = 0.5) -> str:
    result = {"accuracy": value, "energy_joules": joules, "training_iteration": joules, "should_checkpoint": True}
    return made.on_trial_result(controller, trial, result)


def test_a_trial_that_failed_and_is_tried_again_stays_in_the_race() -> None:
    made, search = racing(2)
    controller = Controller()
    a, b = (added(made, search, controller, name) for name in "ab")
    assert report(made, controller, b, 5.0) == "CONTINUE"
    made.on_trial_error(controller, a)  # Tune tells of the failure, then adds it again
    a.status = Trial.PENDING
    made.on_trial_add(controller, a)
    assert search.suggest("c") is None
    assert report(made, controller, b, 6.0) == "PAUSE"  # the other one waits, and is behind
    b.status = Trial.PAUSED
    assert made.choose_trial_to_run(controller) is a
    a.status = Trial.RUNNING
    assert report(made, controller, a, 4.0, 0.95) == "STOP"
    made.on_trial_complete(controller, a, {"training_iteration": 4})
    controller.live.remove(a)
    # Its one winner is known: who is paused, and over the cap, is ended, and the search with it.
    assert made.choose_trial_to_run(controller) is None
    assert controller.stopped == ["b"]
    made.on_trial_remove(controller, b)
    assert made.pruned == {"b"}
    assert search.suggest("c") == Searcher.FINISHED
    assert made.answer == {"size": 0}


def test_beside_one_whose_worker_is_being_started_another_takes_the_one_that_is_free() -> None:
    made, search = racing(3, at_once=3)
    controller = Controller()
    a = added(made, search, controller, "a")
    b = trial_of("b", search.suggest("b"))
    controller.live.append(b)
    made.on_trial_add(controller, b)
    assert report(made, controller, a, 1.0) == "PAUSE"  # it gives way
    assert made.choose_trial_to_run(controller) is b  # who waits for a worker, and so
    assert search.suggest("c") is None
    # Now Ray has found a place for a worker of b's own: it keeps that, and a gets back the one that is free.
    vars(controller).update(
        _actor_manager=SimpleNamespace(live_actors=["of a", "of b"]),
        _trial_to_actor=SimpleNamespace(get=lambda trial: "of b" if trial is b else "of a"),
        _started_actors={"of a"},
    )
    assert made.choose_trial_to_run(controller) is None
    config = search.suggest("c")
    assert isinstance(config, dict)  # it has spent less than a
    c = trial_of("c", config)
    made.on_trial_add(controller, c)
    a.status = Trial.PAUSED
    c.status = Trial.RUNNING
    assert report(made, controller, c, 0.5) == "CONTINUE"  # b is getting a worker, and a has spent more


def test_a_configuration_that_was_drawn_twice_runs_once() -> None:
    content = {
        "name": "race",
        "workload": "work:train",
        "parameters": {"size": {"choice": [1, 1.0]}},
        "search": {"algorithm": "random", "num_samples": 12},
        "objective": {"metric": "accuracy", "mode": "max", "target": 0.9},
        "repeats": 2,
        "scheduler": {"type": "race", "winners": 1},
    }
    spec = SweepSpec.model_validate(content)
    made = scheduler(spec)
    assert isinstance(made, Racing)
    search = made.search([wrap(point, is_command=False) for point in points(spec)])
    controller = Controller()
    a, b = (added(made, search, controller, name) for name in "ab")
    assert {repr(trial.config[KEY]["parameters"]["size"]) for trial in (a, b)} == {"1", "1.0"}
    assert {trial.config[KEY]["seed"] for trial in (a, b)} == {0}
    assert search.suggest("c") is None  # there is no third one
    assert report(made, controller, a, 3.0, 0.95) == "STOP"
    controller.live.remove(a)
    again = added(made, search, controller, "c")
    assert (again.config[KEY]["parameters"], again.config[KEY]["seed"]) == (a.config[KEY]["parameters"], 1)


def test_no_more_trials_run_than_the_sweep_allows() -> None:
    made, search = racing(3, at_once=1)
    controller = Controller()
    a = added(made, search, controller, "a")
    assert search.suggest("b") is None
    assert report(made, controller, a, 1.0) == "PAUSE"
    a.status = Trial.PAUSED
    added(made, search, controller, "b")


def test_a_report_that_tune_s_own_rules_ended_is_judged_when_the_trial_is_complete() -> None:
    made, search = racing(2)
    controller = Controller()
    a, b = (added(made, search, controller, name) for name in "ab")
    made.on_trial_complete(controller, a, {"accuracy": 0.95, "energy_joules": 3.0, "training_iteration": 1})
    assert isinstance(made.race, Race)
    assert made.race.cap_joules == 3.0
    assert made.answer == {"size": 0}
    assert made.pruned == set()
    assert report(made, controller, b, 4.0) == "PAUSE"


def test_a_resumed_race_knows_what_was_reported_before() -> None:
    made, _ = racing(3)
    controller = Controller()
    trials = [
        trial_of(name, {KEY: point}, {"training_iteration": 1}) for name, point in zip("abc", wrapped(3), strict=True)
    ]
    made.reports = {
        "a": [ResultRow("a", 1, 1.0, 8.0, 8.0, {"accuracy": 0.5})],
        "b": [
            ResultRow("b", 1, 1.0, 2.0, 2.0, {"accuracy": 0.5}),
            ResultRow("b", 2, 2.0, 6.0, 6.0, {"accuracy": 0.95}),
        ],
        "c": [ResultRow("c", 1, 1.0, 5.0, 5.0, {"accuracy": 0.5})],
    }
    for trial in trials:
        made.on_trial_add(controller, trial)
        controller.live.append(trial)
    assert [trial.status for trial in trials] == [Trial.PAUSED] * 3  # nobody runs unless the race calls it
    # b had reached it, for 6 J, when its driver was killed: c, at 5 J, may still be cheaper; a may not.
    assert made.choose_trial_to_run(controller) is trials[2]
    # What ends without another report has said nothing new.
    made.on_trial_complete(controller, trials[2], {"accuracy": 0.95, "energy_joules": 5.0, "training_iteration": 1})
    assert made.answer == {"size": 1}


@pytest.mark.hypothesis
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.5, 50.0), st.floats(0.0, 1.0)), min_size=1, max_size=8), min_size=3, max_size=24
    ),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["race", "cap"]),
    st.sampled_from([0.0, 3.0]),
)
def test_nobody_spends_more_than_a_report_beyond_the_cap_and_the_grid_is_never_cheaper(
    steps: Sequence[Sequence[tuple[float, float]]], winners: int, at_once: int, kind: str, startup: float
) -> None:
    curves = {}
    seeds = 1 + len(steps) % 3
    for number, trial in enumerate(steps[: len(steps) // seeds * seeds]):
        joules, reports = 0.0, []
        for more, value in trial:
            joules += more
            reports.append(Report(joules, value))
        curves[str(number // seeds), number % seeds] = reports
    table = Curves("drawn", curves)
    found = rehearse(table, ACCURACY, kind, winners=winners, at_once=at_once, startup_joules=startup)
    # Repeats of those that did not win are saved; only pausing costs, a start each.
    assert found.energy_joules <= found.grid_joules + startup * found.pauses + 1e-6
    assert found.trials <= len(curves)
    if found.chosen is not None:
        assert table.joules_to(ACCURACY, found.chosen) < math.inf
