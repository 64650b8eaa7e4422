"""Which configurations are tried, and which trials are stopped early, in Tune's terms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from energysweep.core.objective import FirstHeld, number, reached_limit
from energysweep.sweepfile import Choice, LogUniform, Point, RandInt, SweepSpec, Uniform, check_search
from energysweep.tune.points import KEY, Checkpoints, wrap

_WORST = 1e300  # less than the largest float, so that Tune can still interpolate


def optuna_search(spec: SweepSpec, checkpoints: Checkpoints) -> Searcher:
    """Optuna's suggestions, each tried with every seed on every hardware profile.

    Args:
        spec: the sweep.
        checkpoints: what its stages have left.

    Raises:
        InputError: optuna is not installed.
    """
    check_search(spec)
    import optuna  # noqa: PLC0415 - an extra
    from ray.tune.search.optuna import OptunaSearch  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    metrics = dict(spec.search.metrics or {spec.objective.metric: spec.objective.mode})
    space, constants = {}, {}
    for name, parameter in spec.parameters.items():
        domain = _domain(parameter)
        if domain is None:
            constants[name] = parameter
        else:
            space[name] = domain
    several = len(metrics) > 1
    searcher = OptunaSearch(
        space=space,
        metric=list(metrics) if several else next(iter(metrics)),
        mode=list(metrics.values()) if several else next(iter(metrics.values())),
        sampler=optuna.samplers.TPESampler(seed=spec.search.seed),
    )
    seeds: list[int | None] = [None] if spec.repeats == 1 else list(range(spec.repeats))
    places = [(hardware, seed) for seed in seeds for hardware in spec.profiles]
    return RepeatedSearch(
        searcher,
        tuple(metrics),
        lambda suggestion: [
            wrap(Point({**constants, **suggestion}, hardware, seed), spec.command is not None, "", checkpoints)
            for hardware, seed in places
        ],
    )


def _domain(parameter: Any) -> Any:
    match parameter:
        case Choice(choice=values):
            return tune.choice(list(values))
        case Uniform(uniform=(low, high)):
            return tune.uniform(low, high)
        case LogUniform(loguniform=(low, high)):
            return tune.loguniform(low, high)
        case RandInt(randint=(low, high)):
            return tune.randint(low, high)
    return None


class RepeatedSearch(Searcher):
    """Tries each suggestion of another searcher at several points, and tells it the mean of what they reached.

    Tune's own Repeater does this for one metric; this one also for several.

    Args:
        searcher: makes the suggestions.
        metrics: what it learns from.
        points: the wrapped points of a suggestion, at least one.
    """

    def __init__(
        self, searcher: Searcher, metrics: tuple[str, ...], points: Callable[[dict[str, Any]], list[dict[str, Any]]]
    ) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self._searcher = searcher
        self._metrics = metrics
        self._points = points
        self._waiting: list[tuple[str, dict[str, Any]]] = []  # first trial of the suggestion, point
        self._suggestion_of: dict[str, str] = {}
        self._missing: dict[str, int] = {}
        self._reached: dict[str, list[Mapping[str, Any]]] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial."""
        if not self._waiting:
            suggestion = self._searcher.suggest(trial_id)
            if suggestion is None or suggestion == Searcher.FINISHED:
                return suggestion
            points = self._points(suggestion)
            self._waiting = [(trial_id, point) for point in points]
            self._missing[trial_id], self._reached[trial_id] = len(points), []
        first, point = self._waiting.pop(0)
        self._suggestion_of[trial_id] = first
        return {KEY: point}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Remember the last value of each metric: not every report has all of them."""
        known = {metric: result[metric] for metric in self._metrics if metric in result}
        self._last[trial_id] = self._last.get(trial_id, {}) | known

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take note of what a trial has reached."""
        first = self._suggestion_of.pop(trial_id, None)
        if first is None:
            return
        self._missing[first] -= 1
        last = self._last.pop(trial_id, {})
        if result is not None and not error:
            self._reached[first].append(last | result)
        if self._missing[first] == 0:
            reached = self._reached.pop(first)
            means = {
                metric: statistics.fmean(values)
                for metric in self._metrics
                if (values := [value for result in reached if (value := number(result.get(metric))) is not None])
            }
            # Optuna can learn nothing from a part of what it asked for.
            is_known = len(means) == len(self._metrics)
            self._searcher.on_trial_complete(first, means if is_known else None, error=not is_known)

    def save(self, checkpoint_path: str) -> None:
        """Save the inner searcher; Tune saves the rest by ``get_state``."""
        self._searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the inner searcher."""
        self._searcher.restore(checkpoint_path)


class _KnowsEnded(TrialScheduler):
    """What a scheduler of a resumed run knows: trials may have ended since Tune last wrote down its state.

    Tune would run them again, from their last checkpoint that it had noted, and they would be paid for twice.

    Attributes:
        ended: by trial id, the last result of each that has ended, as far as the ledger knows; None if it failed.
    """

    ended: Mapping[str, Mapping[str, Any] | None] = MappingProxyType({})

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook, called before it queues the trial by its status."""
        if trial.trial_id in self.ended and not trial.is_finished():
            trial.set_status(Trial.TERMINATED)
            result = self.ended[trial.trial_id]
            tune_controller.search_alg.on_trial_complete(trial.trial_id, result, error=result is None)
        super().on_trial_add(tune_controller, trial)


class Fifo(_KnowsEnded, FIFOScheduler):
    """Runs every trial to its end, in the order in which they come."""


class Asha(_KnowsEnded, ASHAScheduler):
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


def scheduler(spec: SweepSpec) -> Fifo | Asha:
    """The sweep's scheduler."""
    chosen = spec.scheduler
    if chosen.type == "fifo":
        return Fifo()
    return Asha(
        time_attr=chosen.resource,
        # Without an end of its own ASHA needs one; a sweep's stop and the workload's own end still hold.
        max_t=chosen.max_resource or (100 if chosen.resource == "training_iteration" else float("inf")),
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        grace_period=chosen.grace_period,
        reduction_factor=chosen.reduction_factor,
    )


class StopRule(Stopper):
    """Ends a trial when a metric of ``stop`` has reached its number (Tune's rule), or when it holds the target.

    Args:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._stop = dict(spec.stop)
        self._objective = spec.objective.rule
        self._stops_at_target = spec.objective.stop_at_target
        self._held: dict[str, FirstHeld[None]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this result."""
        if any(reached_limit(result.get(metric), limit) for metric, limit in self._stop.items()):
            return True
        if not self._stops_at_target:
            return False
        held = self._held.setdefault(trial_id, FirstHeld(self._objective.patience))
        return held.see(self._objective.reached_by(self._objective.value(result)), None)

    def stop_all(self) -> bool:
        """Never all at once."""
        return False
