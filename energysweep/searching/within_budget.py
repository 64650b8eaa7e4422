"""A sweep's budget in Tune's terms, around whatever scheduler and search it has: one place for all of them.

Tune starts every trial that is pending. So a trial waits here as paused until the budget holds it; of a search that
learns from results, the next suggestion is not asked for before. What the budget ends is paused, too, and no trial of
Tune's has ended then: a resumed run goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from energysweep.core.objective import number
from energysweep.searching.budget import Group, Spending
from energysweep.searching.schedulers import Decided, Scheduler, has_checkpoint, let_wait
from energysweep.tune.points import KEY, hardware_of, stage_of


class BudgetSpent(Exception):
    """The budget holds no other trial, and none is at work."""


class WithinBudget(TrialScheduler):
    """A scheduler that starts and goes on with what the budget holds.

    Args:
        inner: the sweep's own.
        spending: the budget; None: there is none (any more), and all is the inner one's.
        groups: of the trials that may come, by stage and hardware profile.
    """

    def __init__(self, inner: Scheduler, spending: Spending | None, groups: list[Group]) -> None:
        super().__init__()
        self.inner = inner
        self.spending = spending
        self._groups = groups
        self._known: set[str] = set()
        self._queue: list[str] = []  # trials that wait for the budget, in their order
        self._called: dict[str, Trial | None] = {}  # started here, and not at work yet in Tune
        self._seen: dict[str, int] = {}  # the last report of each trial, by its number in Tune
        self._closed = False
        self._refused = False  # a new trial, which the search was not asked for
        self._controller: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps it for a later restore, which gets a budget of its own."""
        return self.__dict__ | {"spending": None, "_controller": None}

    # Tune's hooks ----------------------------------------------------------------------------------------------------

    @property
    def metric(self) -> Any:
        """Tune's property."""
        return self.inner.metric

    @property
    def supports_buffered_results(self) -> bool:
        """Tune's property."""
        return bool(self.inner.supports_buffered_results)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Tune's hook."""
        return bool(self.inner.set_search_properties(metric, mode, **spec))

    def debug_string(self) -> str:
        """Tune's hook."""
        return str(self.inner.debug_string())

    def save(self, checkpoint_path: str) -> None:
        """Tune's hook."""
        self.inner.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Tune's hook."""
        self.inner.restore(checkpoint_path)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, is known from before the run was interrupted, or is tried again after a failure."""
        self._controller = tune_controller
        self.inner.on_trial_add(tune_controller, trial)
        if self.spending is None:
            return
        is_new = trial.trial_id not in self._known
        self._known.add(trial.trial_id)
        if trial.trial_id in self._called:  # what a search has suggested: the budget holds it
            self._called[trial.trial_id] = trial
        elif trial.status == Trial.PENDING:
            let_wait(tune_controller, trial, is_new=is_new)
            self._queue.append(trial.trial_id)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook."""
        decision = str(self.inner.on_trial_result(tune_controller, trial, result))
        spending = self.spending
        if spending is None:
            return decision
        self._note_report(spending, trial, result)
        if decision == TrialScheduler.PAUSE:
            spending.paused(trial.trial_id)
        elif decision == TrialScheduler.CONTINUE and not spending.may_go_on(
            reserve_joules=self.inner.reserve_joules, is_reserved=self.inner.is_reserved(trial)
        ):
            spending.held(trial.trial_id)
            self.inner.held(trial)
            self.inner.decided.append(Decided(trial.trial_id, "paused", "budget", number(result.get("energy_joules"))))
            self._close(spending)
            if has_checkpoint(trial, result):
                return str(TrialScheduler.PAUSE)
            tune_controller.pause_trial(trial, should_checkpoint=False)
            return str(TrialScheduler.NOOP)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """It has ended; its last report may not have come through ``on_trial_result``."""
        self.inner.on_trial_complete(tune_controller, trial, result)
        if self.spending is not None:
            self._note_report(self.spending, trial, result)
            self.spending.over(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """It failed. If Tune tries it again, it adds it again."""
        self.inner.on_trial_error(tune_controller, trial)
        self._called.pop(trial.trial_id, None)
        if self.spending is not None:
            self.spending.over(trial.trial_id, failed=True)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """It was paused, and nobody needs it any more."""
        self.inner.on_trial_remove(tune_controller, trial)
        self._queue = [name for name in self._queue if name != trial.trial_id]
        if self.spending is not None:
            self.spending.over(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial that is to start or to go on: one that waits here, else the inner scheduler's choice."""
        spending = self.spending
        if spending is None:
            chosen: Trial | None = self.inner.choose_trial_to_run(tune_controller)
            return chosen
        self._note_what_tune_did(spending, tune_controller)
        trial = self._waiting(tune_controller) or self.inner.choose_trial_to_run(tune_controller)
        if trial is not None and (trial.trial_id in spending.at_work or self._start(spending, trial)):
            return trial
        # Nobody goes on: neither who was chosen, nor a new one, which a search would have been asked for before.
        if not spending.at_work and (trial is not None or self._closed or self._is_refused(spending)):
            self._close_or_end(spending)
        return None

    # The search's side -----------------------------------------------------------------------------------------------

    def suggested(self, searcher: Searcher, trial_id: str) -> dict[str, Any] | str | None:
        """What a search suggests, once the budget holds it.

        Args:
            searcher: the sweep's own.
            trial_id: of the trial that would come.
        """
        spending = self.spending
        if spending is None:
            found: dict[str, Any] | str | None = searcher.suggest(trial_id)
            return found
        if self._queue:
            return None
        self._refused = not self._may_start_new(spending)
        if self._refused:
            if not spending.at_work and not self._has_paused():
                self._close_or_end(spending)
            return None
        suggestion = searcher.suggest(trial_id)
        if isinstance(suggestion, dict):
            spending.started(trial_id, _group(suggestion))
            self._called[trial_id] = None
            return suggestion
        if self._closed:
            if not spending.at_work and not self._has_paused():
                self._end(spending)
            return None  # it has not finished: a larger budget goes on
        return suggestion

    def _is_refused(self, spending: Spending) -> bool:
        """Whether a search that would have been asked for a new trial still is not."""
        return self._refused and not self._may_start_new(spending)

    def _may_start_new(self, spending: Spending) -> bool:
        """Nobody knows yet what comes: of several hardware profiles, the dearest has to fit."""
        return all(
            spending.may_start(
                None,
                group,
                pauses=self.inner.pauses,
                reserve_joules=self.inner.reserve_joules,
                is_reserved=self.inner.is_reserved(None),
            )
            for group in self._groups
        )

    # -----------------------------------------------------------------------------------------------------------------

    def _note_report(self, spending: Spending, trial: Trial, result: Mapping[str, Any]) -> None:
        at = result.get(TRAINING_ITERATION, 0)
        if at <= self._seen.get(trial.trial_id, -1) or trial.trial_id not in spending.at_work:
            return
        self._seen[trial.trial_id] = at
        self._called.pop(trial.trial_id, None)
        joules, startup_joules = (number(result.get(name)) for name in ("energy_joules", "startup_joules"))
        spending.reported(trial.trial_id, None if joules is None else joules + (startup_joules or 0.0))

    def _note_what_tune_did(self, spending: Spending, tune_controller: Any) -> None:
        for name, trial in [*self._called.items()]:
            if trial is not None and trial.status == Trial.RUNNING:
                del self._called[name]
                spending.begun(name)
        at_work = set(spending.at_work) - set(self._called)
        for trial in tune_controller.get_trials() if at_work else ():
            if trial.trial_id in at_work and trial.status == Trial.PAUSED:  # some schedulers pause by themselves
                spending.paused(trial.trial_id)

    def _waiting(self, tune_controller: Any) -> Trial | None:
        if not self._queue:
            return None
        trials = {trial.trial_id: trial for trial in tune_controller.get_trials()}
        while self._queue and (self._queue[0] not in trials or trials[self._queue[0]].is_finished()):
            self._queue.pop(0)
        return trials[self._queue[0]] if self._queue else None

    def _start(self, spending: Spending, trial: Trial) -> bool:
        group = _group(trial.config)
        if not spending.may_start(
            trial.trial_id,
            group,
            pauses=self.inner.pauses,
            reserve_joules=self.inner.reserve_joules,
            is_reserved=self.inner.is_reserved(trial),
        ):
            return False
        self._queue = [name for name in self._queue if name != trial.trial_id]
        self._seen.pop(trial.trial_id, None)  # it may go on from an earlier report, its own or another trial's
        spending.started(trial.trial_id, group)
        self._called[trial.trial_id] = trial
        return True

    def _has_paused(self) -> bool:
        trials = () if self._controller is None else self._controller.get_trials()
        return any(trial.status == Trial.PAUSED for trial in trials)

    def _is_saving(self) -> bool:
        """Whether a trial that has to wait is still saving what it will go on from: no run ends in the middle of it."""
        trials = () if self._controller is None else self._controller.get_trials()
        return any(trial.status == Trial.RUNNING for trial in trials)

    def _close_or_end(self, spending: Spending) -> None:
        """Nobody is at work, and the budget holds no other: what was kept for a reserve may go on, if there is one."""
        if self._is_saving():  # Tune asks again
            return
        if self._closed or self.inner.reserve_joules == 0:
            self._end(spending)
        self._close(spending)

    def _close(self, spending: Spending) -> None:
        if not self._closed:
            spending.closing = self._closed = True
            self.inner.close()

    def _end(self, spending: Spending) -> None:
        if self._is_saving():
            return
        spending.closing = spending.stopped = True
        if self._controller is not None:
            self._controller.checkpoint(force=True, wait=True)
        raise BudgetSpent


class AsksWithinBudget(Searcher):
    """A search that is asked for what the budget holds.

    Args:
        searcher: the sweep's own.
        scheduler: knows the budget.
    """

    def __init__(self, searcher: Searcher, scheduler: WithinBudget) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher  # by this name Tune finds the one to save
        self._scheduler = scheduler

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Tune's hook."""
        return bool(self.searcher.set_search_properties(metric, mode, config, **spec))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's hook."""
        return self._scheduler.suggested(self.searcher, trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tune's hook."""
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's hook."""
        self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def get_state(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def save(self, checkpoint_path: str) -> None:
        """That of the inner one."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """That of the inner one."""
        self.searcher.restore(checkpoint_path)


def _group(config: Mapping[str, Any]) -> Group:
    return stage_of(config), hardware_of(config) if KEY in config else ""
