"""Which configurations are tried, and which trials are stopped early, in Tune's terms."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from energysweep.errors import InputError
from energysweep.spec import Choice, LogUniform, Point, RandInt, SweepSpec, Uniform
from energysweep.tuning.points import KEY, Checkpoints, wrap


def optuna_search(spec: SweepSpec, checkpoints: Checkpoints) -> Searcher:
    """Optuna's suggestions, each tried with every seed on every hardware profile.

    Args:
        spec: the sweep.
        checkpoints: what its stages have left.

    Raises:
        InputError: optuna is not installed.
    """
    try:
        import optuna  # noqa: PLC0415 - an extra
        from ray.tune.search.optuna import OptunaSearch  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "optuna is not installed: pip install 'energysweep[optuna]'", key="search.algorithm"
        ) from error
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

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take note of what a trial has reached."""
        first = self._suggestion_of.pop(trial_id, None)
        if first is None:
            return
        self._missing[first] -= 1
        if result is not None and not error:
            self._reached[first].append(result)
        if self._missing[first] == 0:
            reached = self._reached.pop(first)
            means = {
                metric: statistics.fmean(values)
                for metric in self._metrics
                if (values := [result[metric] for result in reached if metric in result])
            }
            self._searcher.on_trial_complete(first, means or None, error=not means)

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
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP and result.get(self._resource, 0) < self._maximum:
            self.pruned.add(trial.trial_id)
        return decision


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
        self._objective = spec.objective
        self._in_a_row: dict[str, int] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this result."""
        if any(result.get(metric, float("-inf")) >= limit for metric, limit in self._stop.items()):
            return True
        objective = self._objective
        value = result.get(objective.metric)
        if not objective.stop_at_target or objective.target is None or value is None:
            return False
        reached = value >= objective.target if objective.mode == "max" else value <= objective.target
        self._in_a_row[trial_id] = self._in_a_row.get(trial_id, 0) + 1 if reached else 0
        return self._in_a_row[trial_id] >= objective.patience

    def stop_all(self) -> bool:
        """Never all at once."""
        return False
