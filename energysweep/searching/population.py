"""Population based training: the worst trials go on from the best ones' checkpoints, with other parameters.

A trial keeps the parameters that it began with: by them it is known in the ledger, in the report and on dashboards.
What it has now travels beside them (``_NOW``), and each change is a decision. Its joules are its own, whoever's
checkpoint it goes on from.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from energysweep.core.naming import exact_text, value_text
from energysweep.core.objective import OUR_NAMES, number
from energysweep.searching.schedulers import Decided, Pausing, Scheduler, judged
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.distributions import Distribution
from energysweep.sweepfile.leaves import together
from energysweep.tune.points import KEY

logging.getLogger(PopulationBasedTraining.__module__).setLevel(logging.WARNING)  # what it tells is a decision here

_NOW: Final = "now"
_CHANGES: Final = (
    "this {kind} changes the parameters of trials while they run: each is shown with those that it began with, and"
    " energysweep explain tells the changes"
)


def make(spec: SweepSpec) -> Scheduler:
    """Population based training with the sweep's settings."""
    chosen = spec.scheduler
    given = chosen.hyperparam_mutations or {}
    return _Pbt(
        spec,
        {name: _Drawn(value) if isinstance(value, Distribution) else value for name, value in given.items()},
        burn_in_period=chosen.burn_in_period,
        resample_probability=chosen.resample_probability,
        perturbation_factors=chosen.perturbation_factors,
    )


class _Drawn:
    """A distribution as Tune calls one."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution
        low, high = distribution.given
        self.is_whole = isinstance(low, int) and distribution.key().endswith("randint")
        self.low, self.high = low, high - 1 if self.is_whole else high

    def __call__(self) -> Any:
        return self._distribution.draw(random)  # type: ignore[arg-type]  # Tune's own source of chance

    def within(self, value: Any) -> Any:
        """The value, or the end of the range that it lies beyond."""
        return min(max(value, self.low), self.high)


class Population(Pausing, PopulationBasedTraining):
    """What both have in common, between a sweep and Tune's class.

    Args:
        spec: the sweep.
        changed: what changes, by parameter, as Tune's class takes it.
        named: settings of Tune's class.
    """

    CHANGED: str  # Tune's name of what changes

    def __init__(self, spec: SweepSpec, changed: Mapping[str, Any], **named: Any) -> None:
        chosen = spec.scheduler
        super().__init__(
            time_attr=chosen.resource,
            metric=spec.objective.metric,
            mode=spec.objective.mode,
            perturbation_interval=chosen.perturbation_interval,
            quantile_fraction=chosen.quantile_fraction,
            log_config=False,  # the ledger has the changes
            **{self.CHANGED: {KEY: {_NOW: dict(changed)}}},
            **named,
        )
        self._parameters = spec.parameters
        self.changed = dict(changed)
        self._reported: dict[str, Any] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook. A trial has the parameters that it began with, unless a run before has changed them."""
        point = trial.config[KEY]
        if _NOW not in point:
            trial.set_config({**trial.config, KEY: {**point, _NOW: self._as_changed(point["parameters"])}})
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook. Only reports with a number and a checkpoint, from which others can go on, are compared."""
        used, value = number(result.get(self._time_attr)), judged(result.get(self._metric), self._mode)
        if used is None or value is None or not self.can_pause(trial, result):  # a later report may tell
            return str(TrialScheduler.CONTINUE)
        self._reported = result
        return super().on_trial_result(tune_controller, trial, result | {self._metric: value})

    def _save_trial_state(self, state: Any, time: Any, result: dict[str, Any], trial: Trial) -> Any:
        score = super()._save_trial_state(state, time, result, trial)
        state.last_result = self._reported  # what is saved with a checkpoint is what the trial said
        return score

    def why(self, _trial: Trial, _decision: str) -> str:
        """It pauses for those that wait."""
        return "yields"

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        explored = self.explored(trial, trial_to_clone)
        now = dict(trial_to_clone.config[KEY][_NOW])
        for name in self.changed:
            now[name] = self.within_range(name, explored[name])
        point = {**trial.config[KEY], _NOW: now, "given": together(self._parameters, now)}
        return {**trial.config, KEY: point}, {}

    def explored(self, trial: Trial, trial_to_clone: Trial) -> Mapping[str, Any]:
        """The parameters of the one to go on from, some of them changed by Tune's class."""
        found: dict[str, Any] = super()._get_new_config(trial, trial_to_clone)[0][KEY][_NOW]
        return found

    def _exploit(self, tune_controller: Any, trial: Trial, trial_to_clone: Trial) -> None:
        state = self._trial_state[trial]
        own = state.last_perturbation_time, state.last_train_time
        before, joules = trial.config[KEY][_NOW], number((state.last_result or {}).get("energy_joules"))
        super()._exploit(tune_controller, trial, trial_to_clone)
        if self._time_attr in OUR_NAMES:  # what a trial has spent stays its own, whoever's checkpoint it has
            state.last_perturbation_time, state.last_train_time = own
        now = trial.config[KEY][_NOW]
        changes = [
            f"{name} {value_text(before.get(name))} → {value_text(value)}"
            for name, value in now.items()
            if exact_text(before.get(name)) != exact_text(value)
        ]
        report = (self._trial_state[trial_to_clone].last_result or {}).get(TRAINING_ITERATION)
        numbers = {"exploited": trial_to_clone.trial_id, "report": report, "changes": ", ".join(changes) or "nothing"}
        self.decided.append(Decided(trial.trial_id, "paused", "exploited", joules, numbers=numbers))
        note = _CHANGES.format(kind=self.kind)
        if note not in self.notes:
            self.notes.append(note)

    def _as_changed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters as arithmetic needs them: Tune rounds what begins as a whole number."""
        return {
            name: float(value) if name in self.changed and self.is_number(name) else value
            for name, value in parameters.items()
        }

    def is_number(self, name: str) -> bool:
        """Whether it may become a number with decimals."""
        drawn = self.changed[name]
        return not (drawn.is_whole if isinstance(drawn, _Drawn) else isinstance(drawn, list))

    def within_range(self, name: str, value: Any) -> Any:
        """A changed value, within its range."""
        drawn = self.changed[name]
        return drawn.within(value) if isinstance(drawn, _Drawn) else value


class _Pbt(Population):
    """Population based training."""

    CHANGED = "hyperparam_mutations"
