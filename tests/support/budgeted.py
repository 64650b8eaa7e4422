"""A sweep with a budget in simulated time: the real rules and hooks, a controller that stands in for Tune's, and what
goes wrong by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from energysweep.searching.within_budget import BudgetSpent, WithinBudget
from tests.support.simulated_sweep import SimulatedSweep


class Killed(BaseException):
    """The driver is gone in this moment."""


@dataclass(eq=False)
class StandIn:
    """A trial as Tune's schedulers see it: so many reports, each after so many seconds."""

    trial_id: str
    config: dict[str, Any]
    reports: int
    seconds: int
    status: str = Trial.PENDING
    done: int = 0
    waited: int = 0
    last_result: dict[str, Any] = field(default_factory=dict)

    def set_status(self, status: str) -> None:
        self.status = status

    def get_trainable_cls(self) -> None:
        """A function, which cannot be asked for a checkpoint."""

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


class StandInTune:
    """Tune's controller, as far as budgets and schedulers talk to it."""

    def __init__(self, driver: SimulatedSweep, scheduler: WithinBudget, chance: Random, at_once: int) -> None:
        self.driver, self.scheduler = driver, scheduler
        self.trials: list[StandIn] = []
        self._chance, self._at_once = chance, at_once

    # What a scheduler may ask ----------------------------------------------------------------------------------------

    def get_trials(self) -> list[StandIn]:
        return self.trials

    def get_live_trials(self) -> list[StandIn]:
        return [trial for trial in self.trials if not trial.is_finished()]

    def checkpoint(self, **_: Any) -> None:
        """Tune's state is written."""

    def pause_trial(self, trial: StandIn, *, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        self._leave(trial)
        trial.done = 0

    def _set_trial_status(self, trial: StandIn, status: str) -> None:
        trial.status = status

    # The play --------------------------------------------------------------------------------------------------------

    def add(self, trial: StandIn) -> None:
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)

    def play(self, fail: float = 0.0, kill: float = 0.0, lose: float = 0.0) -> None:
        """Until all have ended, or the budget has; with these chances of a fault in each second."""
        nodes = [node for node in self.driver.world.nodes if not node.is_lost]
        while self.get_live_trials():
            try:
                self._start(nodes)
            except BudgetSpent:
                return
            running = self._running()
            assert running, "nobody is at work, and nobody is called"
            self.driver.wait(1)
            if self._chance.random() < kill:
                for trial in running:
                    self.driver.world.leave(trial.trial_id)
                raise Killed
            for trial in running:
                self._second(trial, fail)
            if len(nodes) > 1 and self._chance.random() < lose:
                node = nodes.pop()
                for trial in self._running():
                    if self.driver.world.workers[trial.trial_id][0] is node:
                        self.driver.report(trial.trial_id, 0.1)
                        self.driver.lose(trial.trial_id)
                        self._again(trial)
                node.is_lost = True

    def _running(self) -> list[StandIn]:
        return [trial for trial in self.trials if trial.status == Trial.RUNNING]

    def _start(self, nodes: Sequence[Any]) -> None:
        while len(self._running()) < self._at_once:
            chosen: Any = self.scheduler.choose_trial_to_run(self)
            if chosen is None:
                return
            chosen.status, chosen.waited = Trial.RUNNING, 0
            self.driver.begin(chosen.trial_id, self._chance.choice(nodes))

    def _second(self, trial: StandIn, fail: float) -> None:
        if self._chance.random() < fail:
            self.driver.fail(trial.trial_id)
            self._again(trial)
            return
        trial.waited += 1
        if trial.waited < trial.seconds:
            return
        trial.waited, trial.done = 0, trial.done + 1
        joules = self.driver.report(trial.trial_id, trial.done / 100)
        saves = trial.config.get("saves", True)
        if saves:
            self.driver.checkpoint(trial.trial_id)
        result = {TRAINING_ITERATION: trial.done, "energy_joules": joules, SHOULD_CHECKPOINT: saves}
        trial.last_result = result
        if trial.done >= trial.reports:
            self.scheduler.on_trial_complete(self, trial, result)
            self.driver.complete(trial.trial_id)
            trial.status = Trial.TERMINATED
            return
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == TrialScheduler.PAUSE:
            self._leave(trial)

    def _again(self, trial: StandIn) -> None:
        self.scheduler.on_trial_error(self, trial)
        trial.status = Trial.PENDING
        self.scheduler.on_trial_add(self, trial)

    def _leave(self, trial: StandIn) -> None:
        self.driver.world.leave(trial.trial_id)
        trial.status = Trial.PAUSED
