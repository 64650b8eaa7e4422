"""ASHA, the asynchronous successive halving of a sweep's trials."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from energysweep.core.objective import number
from energysweep.searching.schedulers import Scheduler, had_enough, judged
from energysweep.sweepfile import SweepSpec


def make(spec: SweepSpec) -> Asha:
    """ASHA with the sweep's settings."""
    chosen = spec.scheduler
    return Asha(
        time_attr=chosen.resource,
        # Without an end of its own ASHA needs one; a sweep's stop and the workload's own end still hold.
        max_t=chosen.max_resource or (100 if chosen.resource == "training_iteration" else float("inf")),
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        grace_period=chosen.grace_period,
        reduction_factor=chosen.reduction_factor or 4,
    )


class Asha(Scheduler, ASHAScheduler):
    """ASHA that remembers which trials it stopped for being worse, and not for having had enough.

    Attributes:
        pruned: their ids.
    """

    def __init__(self, time_attr: str, max_t: float, **settings: Any) -> None:
        super().__init__(time_attr=time_attr, max_t=max_t, **settings)
        self.pruned: set[str] = set()
        self._resource, self._maximum = time_attr, max_t

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune's hook."""
        used, value = number(result.get(self._resource)), judged(result.get(self._metric), self._mode)
        if used is not None and used >= self._maximum:
            self.decided.append(had_enough(trial, result, self._resource, self._maximum))
            return str(TrialScheduler.STOP)
        if used is None or value is None:  # a later report may tell
            return str(TrialScheduler.CONTINUE)
        decision: str = super().on_trial_result(tune_controller, trial, result | {self._metric: value})
        if decision == TrialScheduler.STOP:
            self.pruned.add(trial.trial_id)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tune's hook."""
        value = judged(result.get(self._metric), self._mode)
        if number(result.get(self._resource)) is not None and value is not None:
            super().on_trial_complete(tune_controller, trial, result | {self._metric: value})
