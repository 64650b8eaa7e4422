"""Optuna's search of a sweep, with the sampler that it names."""

from __future__ import annotations

import warnings
from typing import Any

from ray.tune.search.optuna import OptunaSearch

from energysweep.driver.search import Suggester
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.distributions import Distribution
from energysweep.sweepfile.leaves import Space, leaves
from energysweep.sweepfile.samplers import make_sampler


def make(spec: SweepSpec) -> Suggester:
    """Suggestions that follow from the results so far."""
    import optuna  # noqa: PLC0415 - an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Tune takes a slow suggestion for training; it may be a sampler that imports SciPy, or a busy host.
    warnings.filterwarnings("ignore", message="Define-by-run function", category=UserWarning)
    metrics = dict(spec.search.metrics or {spec.objective.metric: spec.objective.mode})
    several = len(metrics) > 1
    searcher = OptunaSearch(
        space=_DefinedByRun(Space(leaves(spec.parameters))),
        metric=list(metrics) if several else next(iter(metrics)),
        mode=list(metrics.values()) if several else next(iter(metrics.values())),
        sampler=make_sampler(spec),
    )
    return Suggester(searcher, tuple(metrics))


class _DefinedByRun:
    """Asks a trial of Optuna's for one parameter after the other: for those that exist beside the values so far.

    Args:
        space: the parameters.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, trial: Any) -> dict[str, Any]:
        """A configuration, by dotted names."""
        found: dict[str, Any] = {}
        for leaf in self._space.ordered:
            if self._space.exists(leaf, found):
                is_drawn = isinstance(leaf.value, Distribution)
                found[leaf.name] = leaf.value.suggest(trial, leaf.name) if is_drawn else leaf.value
        return {leaf.name: found[leaf.name] for leaf in self._space.leaves if leaf.name in found}
