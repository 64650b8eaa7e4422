"""Optuna's search of a sweep, with its tree-structured Parzen estimator."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.search.optuna import OptunaSearch

from energysweep.driver.search import Suggester
from energysweep.sweepfile import Choice, LogUniform, RandInt, SweepSpec, Uniform


def make(spec: SweepSpec) -> Suggester:
    """Suggestions that follow from the results so far."""
    import optuna  # noqa: PLC0415 - an extra

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
    return Suggester(searcher, tuple(metrics), constants)


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
