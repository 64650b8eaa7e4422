"""A worker that dies while it is handed a trial: Tune tries that trial again, as any other."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial

from energysweep.driver.schedulers import retry_lost_starts


class Controller:
    """As much of Tune's as an answer to a failure looks at."""

    def __init__(self) -> None:
        self._resetting_trials: set[Any] = set()
        self._staged_trials: set[Any] = set()
        self.failures: list[tuple[Any, str]] = []  # with the status that the trial had then

    def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
        self.failures.append((trial, trial.status))

    def _set_trial_status(self, trial: Any, status: str) -> None:
        trial.status = status

    def _unstage_trial_with_resources(self, trial: Any) -> None:
        self._staged_trials.remove(trial)


class OneTrial:
    def __init__(self, status: str) -> None:
        self.status = status


@pytest.mark.parametrize("status", [Trial.PENDING, Trial.PAUSED])
@pytest.mark.parametrize("is_staged", [True, False])
def test_one_that_was_being_handed_over_counts_as_running(status: str, is_staged: bool) -> None:
    controller, lost = Controller(), OneTrial(status)
    controller._resetting_trials.add(lost)
    if is_staged:
        controller._staged_trials.add(lost)
    retry_lost_starts(controller)
    controller._trial_task_failure(lost, RuntimeError("gone"))
    assert controller.failures == [(lost, Trial.RUNNING)]
    assert controller._resetting_trials == controller._staged_trials == set()


def test_all_others_fail_as_they_are() -> None:
    controller, other = Controller(), OneTrial(Trial.PENDING)
    retry_lost_starts(controller)
    retry_lost_starts(controller)  # once is enough
    controller._trial_task_failure(other, RuntimeError("gone"))
    assert controller.failures == [(other, Trial.PENDING)]


def test_a_controller_that_resets_no_workers_is_left_alone() -> None:
    stand_in = SimpleNamespace()
    retry_lost_starts(stand_in)
    assert vars(stand_in) == {}


def test_ray_s_own_controller_is_still_such_a_one() -> None:
    source = inspect.getsource(TuneController)
    assert "self._resetting_trials: Set[Trial] = set()" in source
    assert "on_error=self._trial_task_failure" in inspect.getsource(TuneController._schedule_trial_reset)
    assert "trial.status == Trial.RUNNING and trial.should_recover()" in inspect.getsource(
        TuneController._process_trial_failure
    )
    for name in ("_set_trial_status", "_unstage_trial_with_resources"):
        assert callable(getattr(TuneController, name))
    assert "self._staged_trials" in source


def test_tune_s_own_controller_is_the_one_that_tries_again_and_not_its_wrapper() -> None:
    tune = Controller()
    for _ in range(2):  # Tune wraps it anew for each call
        retry_lost_starts(TrialRunnerWrapper(tune, None, set()))
    trial = OneTrial(Trial.PENDING)
    tune._resetting_trials.add(trial)
    tune._trial_task_failure(trial, RuntimeError("gone"))
    assert tune.failures == [(trial, Trial.RUNNING)]
