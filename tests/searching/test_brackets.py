"""HyperBand and the median stopping rule, as Tune has them: whom they stop, and that nobody waits for ever."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.experiment import Trial

from energysweep.core.objective import Objective
from energysweep.core.records import ResultRow
from energysweep.searching.curves import Curves, Report
from energysweep.searching.hyperband import Hyperband
from energysweep.searching.median import Median
from energysweep.searching.rehearsal import _Stage, rehearse
from energysweep.searching.schedulers import Scheduler, scheduler
from energysweep.sweepfile import SweepSpec

ACCURACY = Objective("accuracy", "max")
USELESS = [None, "n/a", True, math.nan, -math.inf, 10**400, [0.9]]


def level(*values: float, reports: int = 12, joules: float = 1.0) -> Curves:
    """Configurations whose accuracy stays as it is."""
    steps = range(1, reports + 1)
    names = [f"c{number:02d}" for number in range(len(values))]
    return Curves(
        "level",
        {(name, 0): [Report(joules * at, value) for at in steps] for name, value in zip(names, values, strict=True)},
    )


def spec_of(parameters: Any = None, **settings: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "brackets",
            "workload": "work:train",
            "parameters": parameters or {},
            "objective": {"metric": "accuracy", "mode": "max"},
            "scheduler": settings,
        }
    )


class OneTrial:
    def __init__(self, name: str) -> None:
        self.trial_id, self.status, self.is_saving = name, Trial.PENDING, False
        self.last_result: dict[str, Any] = {}

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_status(self, status: str) -> None:
        self.status = status

    def get_trainable_cls(self) -> None:
        return None


class Controller:
    """As much of Tune's as these two talk to."""

    def __init__(self, made: Scheduler, *names: str) -> None:
        self.made, self.trials = made, [OneTrial(name) for name in names]
        self.told: list[str] = []  # ids of trials that are stopped, with whether they count as pruned by then
        for trial in self.trials:
            made.on_trial_add(self, trial)
            if not trial.is_finished():
                trial.status = Trial.RUNNING

    def get_live_trials(self) -> list[OneTrial]:
        return [trial for trial in self.trials if not trial.is_finished()]

    get_trials = get_live_trials

    def stop_trial(self, trial: OneTrial) -> None:
        if trial.status == Trial.RUNNING:
            self.made.on_trial_complete(self, trial, trial.last_result)
        else:
            self.made.on_trial_remove(self, trial)
        self.told.append(f"{trial.trial_id}{' pruned' if trial.trial_id in self.made.pruned else ''}")
        trial.status = Trial.TERMINATED

    def report(self, name: str, at: Any, value: Any, *, checkpoint: bool = True) -> str:
        trial = next(each for each in self.trials if each.trial_id == name)
        trial.status = Trial.RUNNING
        trial.last_result = {"training_iteration": at, "accuracy": value, "should_checkpoint": checkpoint}
        decision = str(self.made.on_trial_result(self, trial, trial.last_result))
        if decision == "PAUSE":
            trial.status = Trial.PAUSED
        elif decision == "STOP":
            self.stop_trial(trial)
        return decision

    def next(self) -> str | None:
        chosen = self.made.choose_trial_to_run(self)
        return None if chosen is None else chosen.trial_id


def hyperband(*names: str, **settings: Any) -> Controller:
    return Controller(scheduler(spec_of(type="hyperband", max_resource=9, **settings)), *names)


# HyperBand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_hyperband_halves_each_bracket_at_its_rungs(at_once: int) -> None:
    # At most 9, by thirds: a bracket of 3 trials without a rung, then one of 5 with a rung at 3 of which 2 go on.
    curves = level(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    found = rehearse(curves, ACCURACY, "hyperband", at_once=at_once, settings={"max_resource": 9})
    assert [trial.reports for trial in found.tried] == [9, 9, 9, 3, 3, 3, 9, 9]
    assert [trial.status for trial in found.tried] == [*["completed"] * 3, *["pruned"] * 3, *["completed"] * 2]
    assert found.energy_joules == 3 * 9 + 3 * 3 + 2 * 9
    assert found.chosen == "c07"
    ends = {(decided.trial, decided.why) for decided in found.decided if decided.what == "ended"}
    assert ends == {*((str(place), "hyperband") for place in (3, 4, 5)), *((str(p), "enough") for p in (0, 1, 2, 6, 7))}


def test_hyperband_goes_by_joules_too_and_by_small_objectives() -> None:
    curves = level(*(0.05 * number for number in range(13)), joules=10.0)
    settings = {"resource": "energy_joules", "max_resource": 90}
    # By thirds, 90 J make five kinds of brackets: 5 trials to 90 J, then 8 with a rung at 30 J, where 3 go on.
    found = rehearse(curves, Objective("accuracy", "min"), "hyperband", at_once=2, settings=settings)
    assert {trial.status for trial in found.tried[:5]} == {"completed"}
    assert all(trial.energy_joules <= 90.0 for trial in found.tried)
    assert [trial.reports for trial in found.tried[5:]] == [9] * 3 + [3] * 5


@given(
    values=st.lists(st.sampled_from([0.1, 0.2, 0.3, None, math.inf, -math.inf, math.nan]), min_size=1, max_size=25),
    joules=st.sampled_from([0.0, 0.3, 1.0, 7.0, 40.0]),
    reports=st.integers(0, 12),
    at_once=st.integers(1, 6),
    resource=st.sampled_from(["training_iteration", "energy_joules"]),
    most=st.sampled_from([1, 2, 5, 9, 81, 100.5]),
    factor=st.sampled_from([1.5, 2, 3, 100]),
)
def test_nobody_waits_for_ever_and_the_best_of_all_is_not_dropped(
    values: list[float | None],
    joules: float,
    reports: int,
    at_once: int,
    resource: str,
    most: float,
    factor: float,
) -> None:
    drawn = level(*[0.0] * len(values), reports=reports, joules=joules).by_trial
    curves = {key: [one._replace(value=value) for one in drawn[key]] for key, value in zip(drawn, values, strict=True)}
    curves["best", 0] = [Report(joules * at, 0.9) for at in range(1, reports + 1)]
    spec = spec_of(
        {"configuration": {"grid": [name for name, _ in curves]}},
        type="hyperband",
        resource=resource,
        max_resource=most,
        reduction_factor=factor,
    )
    stage = _Stage(spec, Curves("drawn", curves), scheduler(spec), at_once, 0.0, 0.0)
    stage.play()
    assert {trial.status for trial in stage.trials} == {Trial.TERMINATED}
    assert len(stage.trials) == len(curves)
    assert str(len(values)) not in stage._scheduler.pruned
    for trial in stage.trials:  # the last report may be the one that goes beyond
        used = trial.done if resource == "training_iteration" else trial.done * joules
        assert trial.done == 0 or used - (1 if resource == "training_iteration" else joules) < most


def test_the_last_one_of_a_rung_may_end_by_itself_and_the_others_go_on() -> None:
    # Nine trials come to the bracket that has rungs at 1 and 3, after two full ones.
    field = hyperband(*(f"old{number}" for number in range(8)), *"abcdefghi")
    for number in range(8):
        field.stop_trial(field.trials[number])
    decisions = [field.report(name, 1, value / 10) for value, name in enumerate("abcdefghi")]
    assert decisions == ["PAUSE"] * 8 + ["CONTINUE"]  # the last one is the best, and goes on at once
    assert field.told[8:] == [f"{name} pruned" for name in "abcdef"]
    assert field.next() == "g"
    assert field.report("g", 3, 0.6) == "PAUSE"
    assert field.report("i", 3, 0.8) == "PAUSE"
    assert field.next() == "h"
    trial = next(each for each in field.trials if each.trial_id == "h")
    trial.status = Trial.RUNNING
    field.stop_trial(trial)  # it has returned; so a third of the three places is left, for the best of two
    assert field.told[-2:] == ["g pruned", "h"]
    assert field.next() == "i"


@pytest.mark.parametrize("value", USELESS, ids=str)
def test_hyperband_waits_for_a_report_that_says_something(value: Any) -> None:
    field = hyperband(*"abcdefgh")  # d to h are a bracket whose rung is at 3
    for name in "defg":
        assert field.report(name, 3, 0.5) == "PAUSE"
    if value != -math.inf:  # nobody is worse than that, and it is told
        assert field.report("h", 3, value) == "CONTINUE"
        assert field.report("h", value, 0.1) == "CONTINUE"
    assert field.report("h", 4, 0.1) == "STOP"
    assert "h" in field.made.pruned
    assert field.report("a", 9, value) == "STOP"
    assert "a" not in field.made.pruned


def test_hyperband_goes_by_no_report_without_a_checkpoint_and_says_so_once() -> None:
    field = hyperband(*"abcd")
    assert field.report("d", 3, 0.5, checkpoint=False) == "CONTINUE"
    assert field.report("d", 4, 0.5, checkpoint=False) == "CONTINUE"
    (note,) = field.made.notes
    assert "without a checkpoint: hyperband goes by no such report" in note
    assert field.report("d", 9, 0.5, checkpoint=False) == "STOP"  # it has had enough


class Waiting(Controller):
    """It has Tune's list of those that are pending, all of whom Tune would start."""

    def _set_trial_status(self, trial: OneTrial, status: str) -> None:
        trial.status = status


def test_brackets_are_filled_by_all_trials_however_few_may_run_at_once() -> None:
    made = scheduler(spec_of(type="hyperband", max_resource=9).model_copy(update={"max_concurrent_trials": 2}))
    field = Waiting(made)
    field.trials = [OneTrial(name) for name in "abcdefgh"]
    for trial in field.trials:
        made.on_trial_add(field, trial)
    assert {trial.status for trial in field.trials} == {Trial.PAUSED}  # else Tune would start them all
    assert field.next() == "a"
    assert field.next() == "a"  # as long as Tune has not done it: a budget may not hold it
    field.trials[0].status = Trial.PENDING
    assert field.next() == "b"
    field.trials[1].status = Trial.PENDING
    field.trials[0].status = Trial.RUNNING
    assert field.next() == "b"  # two are called
    field.trials[1].status = Trial.RUNNING
    assert field.next() is None
    made.on_trial_error(field, field.trials[0])
    field.trials[0].status = Trial.PENDING
    made.on_trial_add(field, field.trials[0])  # it is tried again
    assert field.trials[0].status == Trial.PAUSED
    assert field.next() == "a"
    for name in "defgh":
        field.report(name, 3, 0.5)
    assert len([one for one in made.decided if one.what == "ended"]) == 3


def test_a_trial_that_is_being_saved_when_its_bracket_is_halved_is_dropped_as_the_others() -> None:
    field = hyperband(*"abcdefgh")
    for value, name in enumerate("defg"):
        assert field.report(name, 3, value / 10) == "PAUSE"
        saved = next(each for each in field.trials if each.trial_id == name)
        saved.status, saved.is_saving = Trial.RUNNING, True  # Tune pauses it when that is done
    assert field.report("h", 3, 0.5) == "CONTINUE"
    assert field.told == ["d pruned", "e pruned", "f pruned"]
    next(each for each in field.trials if each.trial_id == "g").status = Trial.PAUSED
    assert field.next() == "g"


def test_who_ended_before_the_run_was_interrupted_takes_no_place_in_a_bracket() -> None:
    made = scheduler(spec_of(type="hyperband", max_resource=9))
    made.ended, made.were_pruned = {"a": {"accuracy": 0.5}}, {"a"}
    search = type("Told", (), {"on_trial_complete": lambda *_told, **_also: None})()
    Controller.search_alg = search  # type: ignore[attr-defined]
    field = Controller(made, "a", "b", "c", "d", "e")
    assert field.trials[0].status == Trial.TERMINATED
    assert isinstance(made, Hyperband)
    assert [trial.trial_id for trial in made._hyperbands[0][0].current_trials()] == ["b", "c", "d"]
    assert [field.report(name, 9, 0.5) for name in "bcd"] == ["STOP"] * 3


# The median ----------------------------------------------------------------------------------------------------------


def test_who_is_worse_than_the_median_of_three_others_ends() -> None:
    # The first three have nobody to be compared with; the fourth has 0.9, 0.8 and 0.7, the fifth also 0.6.
    found = rehearse(level(0.9, 0.8, 0.7, 0.6, 0.1), ACCURACY, "median", at_once=5)
    assert [trial.reports for trial in found.tried] == [12, 12, 12, 1, 1]
    assert [trial.status for trial in found.tried] == ["completed"] * 3 + ["pruned"] * 2
    assert [(one.trial, one.what, one.why) for one in found.decided] == [
        ("3", "ended", "median"),
        ("4", "ended", "median"),
    ]
    later = rehearse(level(0.9, 0.8, 0.7, 0.6, 0.1), ACCURACY, "median", at_once=5, settings={"grace_period": 4})
    assert [trial.reports for trial in later.tried] == [12, 12, 12, 4, 4]
    few = rehearse(level(0.9, 0.8, 0.7), ACCURACY, "median", at_once=3, settings={"min_samples_required": 2})
    assert [trial.reports for trial in few.tried] == [12, 12, 1]


def median(*names: str, **settings: Any) -> Controller:
    return Controller(scheduler(spec_of(type="median", min_samples_required=1, **settings)), *names)


@pytest.mark.parametrize("value", [each for each in USELESS if each != -math.inf], ids=str)
def test_what_says_nothing_is_no_sample_and_no_reason(value: Any) -> None:
    field = median(*"abc")
    assert field.report("a", 1, value) == "CONTINUE"
    assert field.report("a", value, 0.9) == "CONTINUE"
    field.made.on_trial_complete(field, field.trials[0], {"training_iteration": 1, "accuracy": value})
    assert field.report("b", 1, 0.5) == "CONTINUE"
    assert field.report("c", 1, 0.4) == "STOP"
    assert field.made.pruned == {"c"}


def test_the_last_report_of_a_trial_counts_once() -> None:
    field = median(*"ab")
    for at, value in ((1, 0.2), (2, 0.8)):
        assert field.report("a", at, value) == "CONTINUE"
    field.stop_trial(field.trials[0])  # Tune tells its last result again
    assert field.report("b", 2, 0.5) == "CONTINUE"  # 0.5 in the mean, and not 0.6


def test_a_resumed_median_knows_what_was_reported_before() -> None:
    made = scheduler(spec_of(type="median", min_samples_required=1))
    made.reports = {"a": [ResultRow("a", at, 1.0, 5.0, 5.0, {"accuracy": 0.9}) for at in (1, 2)]}
    field = Controller(made, "a", "b")
    assert field.report("b", 2, 0.5) == "STOP"


def test_a_median_that_pauses_does_so_at_checkpoints_only() -> None:
    field = median(*"abc", hard_stop=False)
    assert field.report("a", 1, 0.9) == "CONTINUE"
    assert field.report("b", 1, 0.5) == "PAUSE"
    assert field.report("c", 1, 0.5, checkpoint=False) == "CONTINUE"
    assert "median goes by no such report" in field.made.notes[0]
    assert field.made.pruned == set()
    assert [(one.trial, one.what, one.why) for one in field.made.decided] == [("b", "paused", "median")]
    assert isinstance(field.made, Median)


def test_trials_yield_while_too_few_have_told_something() -> None:
    field = Controller(scheduler(spec_of(type="median", min_time_slice=0)), "a", "b")
    field.trials[1].status = Trial.PENDING
    assert field.report("a", 1, 0.9) == "PAUSE"
    assert [(one.what, one.why) for one in field.made.decided] == [("paused", "yields")]
    patient = Controller(scheduler(spec_of(type="median")), "a", "b")  # another start would cost joules
    patient.trials[1].status = Trial.PENDING
    assert [patient.report("a", at, 0.9) for at in (1, 2)] == ["CONTINUE", "CONTINUE"]
