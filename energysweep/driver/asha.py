"""ASHA, the asynchronous successive halving of a sweep's trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from energysweep.core.objective import number
from energysweep.driver.schedulers import Decided, Scheduler
from energysweep.sweepfile import SweepSpec

_WORST = 1e300  # less than the largest float, so that Tune can still interpolate


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
        reduction_factor=chosen.reduction_factor,
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
        used, value = number(result.get(self._resource)), self._judged(result)
        if used is not None and used >= self._maximum:
            numbers = {"metric": self._resource, "value": used, "limit": self._maximum}
            joules = number(result.get("energy_joules"))
            self.decided.append(Decided(trial.trial_id, "ended", "enough", joules, numbers=numbers))
            return str(TrialScheduler.STOP)
        if used is None or value is None:  # a later report may tell
            return str(TrialScheduler.CONTINUE)
        decision: str = super().on_trial_result(tune_controller, trial, result | {self._metric: value})
        if decision == TrialScheduler.STOP:
            self.pruned.add(trial.trial_id)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tune's hook."""
        if number(result.get(self._resource)) is not None and (value := self._judged(result)) is not None:
            super().on_trial_complete(tune_controller, trial, result | {self._metric: value})

    def _judged(self, result: Mapping[str, Any]) -> float | None:
        """What a result is compared by; None: it tells nothing. A loss that grew to infinity is worse than others."""
        value = result.get(self._metric)
        if isinstance(value, float) and math.isinf(value) and (value > 0) == (self._mode == "min"):
            return math.copysign(_WORST, value)
        return number(value)
