"""A pilot: a few of a sweep's configurations for a few reports each, to tell what the whole sweep will cost."""

from __future__ import annotations

from typing import Any, Final

from energysweep.core.errors import InputError
from energysweep.sweepfile.distributions import Choice, Grid
from energysweep.sweepfile.leaves import changed
from energysweep.sweepfile.model import Scheduler, Search, SweepSpec
from energysweep.sweepfile.space import points, trial_count, varying

_TRIED_SEEDS: Final = 50


def pilot_of(spec: SweepSpec, configurations: int, reports: int) -> SweepSpec:
    """The stage that a pilot is.

    Args:
        spec: the sweep.
        configurations: how many of its configurations are tried, if it has so many; drawn, and as different as can be.
        reports: each trial ends after so many.

    Raises:
        InputError: it has stages, which a pilot would have to run whole.
    """
    if spec.stages:
        raise InputError(
            "a sweep with stages has no pilot, which would run them whole; give an earlier run", key="--pilot"
        )
    parameters = {name: changed(parameter, _drawn) for name, parameter in spec.parameters.items()}
    count = min(configurations, trial_count(spec).configurations) if varying(spec) else 1
    drawn = [
        spec.model_copy(
            update={
                "parameters": parameters,
                "search": Search(algorithm="random", num_samples=count, seed=spec.search.seed + more),
                "scheduler": Scheduler(),
                "objective": spec.objective.model_copy(update={"stop_at_target": False}),
                "repeats": 1,
                "stop": {
                    **spec.stop,
                    "training_iteration": min(reports, spec.stop.get("training_iteration", reports)),
                },
            }
        )
        for more in range(_TRIED_SEEDS)
    ]
    return max(drawn, key=_different)  # the first of several


def _drawn(parameter: Any) -> Any:
    return Choice(choice=parameter.grid, when=parameter.when) if isinstance(parameter, Grid) else parameter


def _different(spec: SweepSpec) -> int:
    return sum(len({repr(point.parameters.get(name)) for point in points(spec)}) for name in varying(spec))
