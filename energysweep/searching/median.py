"""Tune's median stopping rule: a trial ends whose best is worse than the median of what others reach in the mean."""

from __future__ import annotations

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler

from energysweep.core.objective import number
from energysweep.searching.schedulers import Pausing, judged
from energysweep.sweepfile import SweepSpec


def make(spec: SweepSpec) -> Median:
    """The rule with the sweep's settings."""
    chosen = spec.scheduler
    return Median(
        time_attr=chosen.resource,
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        grace_period=chosen.grace_period,
        min_samples_required=chosen.min_samples_required,
        # Tune's default is 0: a pause, and another start, at each report as long as others wait.
        min_time_slice=math.inf if chosen.min_time_slice is None else chosen.min_time_slice,
        hard_stop=chosen.hard_stop,
    )


class Median(Pausing, MedianStoppingRule):
    """The rule, which looks at reports that say something only, and knows those of the parts of the run before.

    Attributes:
        pruned: ids of the trials that it stopped.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.pruned: set[str] = set()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook. A trial is new, is known from before the run was interrupted, or is tried again."""
        super().on_trial_add(tune_controller, trial)
        if trial not in self._results:
            for at, report in enumerate(self.reports.get(trial.trial_id, ()), start=1):
                told = {**report.metrics, "training_iteration": at, "energy_joules": report.energy_joules}
                if (known := self._judged(told)) is not None:
                    self._results[trial].append(known)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook."""
        known = self._judged(result)
        if known is None:  # a later report may tell
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result | known)
        if decision == TrialScheduler.STOP:
            self.pruned.add(trial.trial_id)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Tune's hook. The last report may not have come through ``on_trial_result``; no report counts twice."""
        known, before = self._judged(result), self._results.get(trial)
        if known is not None and (not before or known[self._time_attr] > before[-1][self._time_attr]):
            super().on_trial_complete(tune_controller, trial, known)

    def why(self, trial: Trial, decision: str) -> str:
        """Tune lets trials yield, too, as long as too few have told something."""
        return self.kind if decision == TrialScheduler.STOP or trial in self._stopped_trials else "yields"

    def _judged(self, result: dict[str, Any]) -> dict[str, float] | None:
        used, value = number(result.get(self._time_attr)), judged(result.get(self._metric), self._mode)
        return None if used is None or value is None else {self._time_attr: used, self._metric: value}
