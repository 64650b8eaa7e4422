"""Optuna's search of a sweep, with the sampler that it names."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search.optuna import OptunaSearch

from energysweep.core.errors import SweepError
from energysweep.searching.search import Suggester
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.defined import DefinedSpace
from energysweep.sweepfile.distributions import Distribution
from energysweep.sweepfile.leaves import Space, leaves
from energysweep.sweepfile.model import Constraint
from energysweep.sweepfile.samplers import make_sampler
from energysweep.sweepfile.suggesting import Wrong


def make(spec: SweepSpec) -> Suggester:
    """Suggestions that follow from the results so far."""
    import optuna  # noqa: PLC0415 - an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Tune takes a slow suggestion for training; it may be a sampler that imports SciPy, or a busy host.
    warnings.filterwarnings("ignore", message="Define-by-run function", category=UserWarning)
    metrics = dict(spec.search.metrics or {spec.objective.metric: spec.objective.mode})
    several = len(metrics) > 1
    searcher = _Search(
        spec.search.constraints or {},
        space=_by_function(spec) if spec.space else _DefinedByRun(Space(leaves(spec.parameters))),
        metric=list(metrics) if several else next(iter(metrics)),
        mode=list(metrics.values()) if several else next(iter(metrics.values())),
        sampler=make_sampler(spec, **({"constraints_func": _excess} if spec.search.constraints else {})),
    )
    return Suggester(searcher, tuple(dict.fromkeys([*metrics, *(spec.search.constraints or ())])))


log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log

_ATTEMPTS = 20  # to make a configuration; 200 that were drawn before the run were all right
_EXCESS = "energysweep:excess"  # of a trial in the study


def _excess(trial: Any) -> Sequence[float]:
    """By how much a finished trial is beyond each limit, as Optuna asks for it."""
    found: Sequence[float] = trial.user_attrs[_EXCESS]
    return found


class _Search(OptunaSearch):
    """Tune's search with Optuna, whose study also knows how far each trial is beyond its limits.

    Tune has no way to tell a study more than the values that it optimises.

    Args:
        constraints: limits by metric; of all of them a result has the value.
        optuna: what Tune's takes.
    """

    def __init__(self, constraints: Mapping[str, Constraint], **optuna: Any) -> None:
        super().__init__(**optuna)
        self._constraints = constraints

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next configuration; where the function of the space makes none, of another trial of the study's."""
        from optuna.trial import TrialState  # noqa: PLC0415 - an extra

        failed = 0
        while True:
            try:
                found: dict[str, Any] | None = super().suggest(trial_id)
            except Wrong as error:
                failed += 1
                log.warning("no configuration: the function of the space %s", error)
                self._ot_study.tell(self._ot_trials.pop(trial_id), state=TrialState.FAIL)
                if failed == _ATTEMPTS:
                    raise SweepError(f"{failed} times in a row the function of the space {error}") from None
            else:
                return found

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take note of what a trial has reached."""
        if self._constraints and result:
            excess = [each for name, limits in self._constraints.items() for each in limits.excess(result[name])]
            self._ot_trials[trial_id].set_user_attr(_EXCESS, excess)
        super().on_trial_complete(trial_id, result, error)


def _by_function(spec: SweepSpec) -> _ByFunction:
    return _ByFunction(DefinedSpace.of(spec), {leaf.name: leaf.value for leaf in leaves(spec.parameters)})


@dataclass(frozen=True)
class _ByFunction:
    """Asks the sweep's own function for a configuration.

    Attributes:
        space: the function.
        constants: the parameters beside it.
    """

    space: DefinedSpace
    constants: Mapping[str, Any]

    def __call__(self, trial: Any) -> dict[str, Any]:
        """A configuration, by dotted names.

        Raises:
            Wrong: the function does not make one.
        """
        return {**self.constants, **self.space(trial)}


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
