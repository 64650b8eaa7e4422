"""Which configurations are tried, in Tune's terms: those of a search that learns from results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from ray.tune.search import Searcher

from energysweep.core.objective import mean_value, number
from energysweep.sweepfile import SweepSpec, check_search, point, seeds
from energysweep.sweepfile.leaves import leaves
from energysweep.tune.points import KEY, Checkpoints, wrap


class Suggester(NamedTuple):
    """What the module of a search makes.

    Attributes:
        searcher: Tune's; suggests configurations, whole and by dotted names.
        metrics: what it learns from.
    """

    searcher: Searcher
    metrics: tuple[str, ...]


def searcher(spec: SweepSpec, checkpoints: Checkpoints) -> Searcher | None:
    """The sweep's search, each suggestion tried with every seed on every hardware profile.

    Args:
        spec: the sweep.
        checkpoints: what its stages have left.

    Returns:
        None if its configurations are known before the first trial.

    Raises:
        InputError: a package that it needs is not installed.
    """
    check_search(spec)
    if spec.search.kind.made_by is None:
        return None
    suggester: Suggester = made(spec.search.kind.made_by)(spec)
    places = [(hardware, seed) for seed in seeds(spec) for hardware in spec.profiles]

    names = [leaf.name for leaf in leaves(spec.parameters)]

    def points(suggestion: Mapping[str, Any]) -> list[dict[str, Any]]:
        ordered = dict.fromkeys([*names, *suggestion])  # as in the file; then what its function has made
        suggestion = {name: suggestion[name] for name in ordered if name in suggestion}
        tried = (point(spec, suggestion, hardware, seed) for hardware, seed in places)
        return [wrap(each, spec.command is not None, "", checkpoints) for each in tried]

    return RepeatedSearch(suggester.searcher, suggester.metrics, points)


def made(by: str) -> Callable[..., Any]:
    """The function of a row of ``sweepfile.algorithms``, imported when it is needed."""
    module, _, name = by.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


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
                metric: mean_value(values)
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
