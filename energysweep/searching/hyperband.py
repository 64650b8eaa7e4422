"""HyperBand, the synchronous successive halving of a sweep's trials: they pause at each rung until all are there."""

from __future__ import annotations

from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.schedulers import HyperBandScheduler, TrialScheduler

from energysweep.core.objective import number
from energysweep.searching.schedulers import Decided, Pausing, had_enough, judged
from energysweep.sweepfile import SweepSpec

_ITERATIONS: Final = 81  # Tune's


def make(spec: SweepSpec) -> Hyperband:
    """HyperBand with the sweep's settings."""
    chosen = spec.scheduler
    return Hyperband(
        time_attr=chosen.resource,
        max_t=chosen.max_resource or _ITERATIONS,
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        reduction_factor=chosen.reduction_factor or 3,
    )


class _Brackets(HyperBandScheduler):
    """Tune's, whose brackets never wait for who does not come.

    Tune's own (2.60) halves a bracket when the last of its trials reports. Where that one ends or fails instead, in a
    rung that is not the first, or where all that go on have used more than the next rung already, as it is with joules,
    the others would stay paused for ever.
    """

    _halving = False  # now, and whoever ends is one whom a bracket stops

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook. Who ended in a part of the run before takes nobody's place."""
        if not trial.is_finished():
            super().on_trial_add(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook, for every end of a trial."""
        if trial in self._trial_info:
            super().on_trial_remove(tune_controller, trial)

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        self._halving = True
        action = self._halve(tune_controller, bracket)
        while bracket.current_trials() and not bracket.finished() and bracket.cur_iter_done():
            again = self._halve(tune_controller, bracket)
            action = again if action == TrialScheduler.PAUSE else action
        self._halving = False
        return action

    def _halve(self, tune_controller: Any, bracket: Any) -> str:
        action: str = super()._process_bracket(tune_controller, bracket)
        bracket.is_being_processed = False
        return action


class Hyperband(Pausing, _Brackets):
    """HyperBand that is told of reports with a checkpoint only, at which a trial can pause.

    Attributes:
        pruned: ids of the trials that it stopped for being worse, and not for having had enough.
    """

    def __init__(self, time_attr: str, max_t: float, **settings: Any) -> None:
        super().__init__(time_attr=time_attr, max_t=max_t, **settings)
        self.pruned: set[str] = set()
        self._used: dict[str, float] = {}  # as of the last report that Tune was told of

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook."""
        used, value = number(result.get(self._time_attr)), judged(result.get(self._metric), self._mode)
        if used is not None and used >= self._max_t_attr:
            self.decided.append(had_enough(trial, result, self._time_attr, self._max_t_attr))
            return str(TrialScheduler.STOP)
        if used is None or used < 0 or value is None or not self.can_pause(trial, result):  # a later one may tell
            return str(TrialScheduler.CONTINUE)
        self._used[trial.trial_id] = used
        told = result | {self._time_attr: used, self._metric: value}
        decision = super().on_trial_result(tune_controller, trial, told)
        if decision == TrialScheduler.STOP:
            self.decided.pop()  # told by what it was stopped for
            self._tell_end(trial, result)
        return decision

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook, for every end of a trial. The recorder is told of one that its bracket stops right after."""
        if self._halving:
            self._tell_end(trial, trial.last_result or {})
        super().on_trial_remove(tune_controller, trial)

    def _tell_end(self, trial: Trial, result: dict[str, Any]) -> None:
        bracket, _ = self._trial_info[trial]
        rung = bracket._cumul_r  # noqa: SLF001 - Tune has no public way
        if bracket._halves == 0 and self._used.get(trial.trial_id, 0.0) >= rung:  # noqa: SLF001
            self.decided.append(had_enough(trial, result, self._time_attr, rung))
        else:
            self.pruned.add(trial.trial_id)
            self.decided.append(Decided(trial.trial_id, "ended", self.kind, number(result.get("energy_joules"))))
