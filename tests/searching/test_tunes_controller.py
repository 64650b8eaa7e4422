"""Tune's controller without its faults: a worker that dies while it is handed a trial, what a killed driver leaves."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ActorDiedError
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchGenerator

from energysweep.searching.schedulers import mend


class OneTrial:
    def __init__(self, status: str) -> None:
        self.status = status
        self.trial_id = "one"


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> TuneController:
    """Tune's own, with as much state as an answer to a failure looks at; what it fails stands in ``failures``."""
    made: Any = object.__new__(TuneController)
    made._resetting_trials, made._staged_trials, made.failures = set(), set(), []
    made._trial_to_actor, made._actor_to_trial = {}, {}
    made._queued_trial_decisions, made._cached_trial_decisions = {}, {}
    added: Any = OneTrial(Trial.PENDING)

    def failed(self: Any, trial: Any, exception: Exception) -> None:
        self.failures.append((trial, trial.status))

    monkeypatch.setattr(TuneController, "_process_trial_failure", failed)
    monkeypatch.setattr(TuneController, "_set_trial_status", lambda _, trial, status: setattr(trial, "status", status))
    unstage = "_unstage_trial_with_resources"
    monkeypatch.setattr(TuneController, unstage, lambda self, trial: self._staged_trials.remove(trial))
    made._fail_fast = made._print_trial_errors = False
    for _ in range(2):  # Tune wraps it anew for each call of a scheduler
        mend(TrialRunnerWrapper(made, None, set()), added)
    return made


@pytest.mark.parametrize("status", [Trial.PENDING, Trial.PAUSED])
@pytest.mark.parametrize("is_staged", [True, False])
def test_one_that_was_being_handed_over_counts_as_running(controller: Any, status: str, is_staged: bool) -> None:
    lost = OneTrial(status)
    controller._trial_to_actor[lost] = "worker"
    controller._resetting_trials.add(lost)
    if is_staged:
        controller._staged_trials.add(lost)
    controller._trial_task_failure(lost, RuntimeError("gone"))
    assert controller.failures == [(lost, Trial.RUNNING)]
    assert controller._resetting_trials == controller._staged_trials == set()


def test_all_others_fail_as_they_are(controller: Any) -> None:
    other, running = OneTrial(Trial.PENDING), OneTrial(Trial.RUNNING)
    controller._trial_to_actor[other] = "worker"
    for trial in (other, running):  # of one that runs, Tune has put the worker away by then
        controller._trial_task_failure(trial, RuntimeError("gone"))
    assert controller.failures == [(other, Trial.PENDING), (running, Trial.RUNNING)]


@pytest.mark.parametrize("status", [Trial.PENDING, Trial.PAUSED])
def test_ray_tells_of_a_lost_worker_twice_and_the_trial_fails_once(
    controller: Any, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, worker = OneTrial(status), TrackedActor("worker", on_error=controller._actor_failed)
    controller._trial_to_actor[lost], controller._actor_to_trial[worker] = worker, lost
    controller._resetting_trials.add(lost)
    controller._staged_trials.add(lost)
    controller._pending_trials, controller._paused_trials = {lost}, set()
    controller._stopping_actors, controller._started_actors = {}, {worker}
    ignored = SimpleNamespace(clear_actor_task_futures=lambda _: None, remove_actor=lambda *_, **__: None)
    controller._actor_manager = ignored

    def tried_again(self: Any, trial: Any, exception: Exception) -> None:
        self.failures.append((trial, trial.status))
        trial.status = Trial.PENDING
        del self._actor_to_trial[self._trial_to_actor.pop(trial)]

    monkeypatch.setattr(TuneController, "_process_trial_failure", tried_again)
    manager: Any = object.__new__(RayActorManager)
    manager._failed_actor_ids, manager._cleanup_actor = set(), lambda tracked_actor: None
    reset = TrackedActorTask(worker, on_error=lambda _, exception: controller._trial_task_failure(lost, exception))
    manager._actor_task_failed(reset, ActorDiedError())
    assert controller.failures == [(lost, Trial.RUNNING)]
    assert lost.status == Trial.PENDING


def test_what_tune_writes_down_of_its_controller_is_its_own_alone(controller: Any) -> None:
    assert set(vars(controller)) == {
        *("_resetting_trials", "_staged_trials", "_trial_to_actor", "_actor_to_trial", "failures"),
        *("_fail_fast", "_print_trial_errors", "_queued_trial_decisions", "_cached_trial_decisions"),
    }


@pytest.mark.parametrize("kept", ["_queued_trial_decisions", "_cached_trial_decisions"])
def test_nothing_is_decided_of_who_is_added(controller: Any, kept: str) -> None:
    getattr(controller, kept).update({"one": TrialScheduler.PAUSE, "another": TrialScheduler.STOP})
    mend(controller, cast("Trial", OneTrial(Trial.PENDING)))
    assert getattr(controller, kept) == {"another": TrialScheduler.STOP}


@pytest.mark.parametrize("search", [SearchGenerator, BasicVariantGenerator])
def test_a_new_trial_of_a_search_is_written_down_before_it_begins(
    controller: Any, search: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(TuneController, "_schedule_trial_actor", lambda _, trial: told.append(trial.trial_id))
    monkeypatch.setattr(TuneController, "checkpoint", lambda _, **how: told.append(how))
    controller._search_alg, controller._trial_metadata = object.__new__(search), {}
    trial = cast("Trial", OneTrial(Trial.PENDING))
    controller._schedule_trial_actor(trial)
    controller._trial_metadata["one"] = "as it was written down"
    controller._schedule_trial_actor(trial)  # it goes on from a pause
    written = [{"force": True, "wait": True}] if search is SearchGenerator else []
    assert told == ["one", *written, "one"]


def test_a_stand_in_is_left_alone() -> None:
    stand_in = SimpleNamespace()
    mend(stand_in, cast("Trial", OneTrial(Trial.PENDING)))
    assert type(stand_in) is SimpleNamespace


def test_ray_s_own_controller_is_still_such_a_one() -> None:
    source = inspect.getsource(TuneController)
    assert "self._resetting_trials: Set[Trial] = set()" in source
    assert "on_error=self._trial_task_failure" in inspect.getsource(TuneController._schedule_trial_reset)
    assert "trial.status == Trial.RUNNING and trial.should_recover()" in inspect.getsource(
        TuneController._process_trial_failure
    )
    assert "self._staged_trials" in source
    assert "self._trial_to_actor: Dict[Trial, TrackedActor] = {}" in source
    assert "self._queued_trial_decisions = {}" in source
    assert "self._cached_trial_decisions = {}" in source
    assert "self._trial_metadata[trial.trial_id] = trial.get_json_state()" in source
    assert "self._schedule_trial_actor(trial_to_run)" in source
