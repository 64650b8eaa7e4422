"""Rules of a sweep whose trials are one population: they go on from each other's checkpoints, with other parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from energysweep.sweepfile.algorithms import ALGORITHMS, those
from energysweep.sweepfile.distributions import (
    Choice,
    Distribution,
    Grid,
    LogRandInt,
    LogUniform,
    RandInt,
    Uniform,
    not_nan,
)
from energysweep.sweepfile.leaves import Leaf, leaves
from energysweep.sweepfile.model import SweepSpec
from energysweep.sweepfile.yaml import KeyPath, Problem, did_you_mean, listed, shown

RANGES = (Uniform, LogUniform, RandInt, LogRandInt)
_WHOLE = (RandInt, LogRandInt)
_ALLOWED = f"a list of values, or one of {', '.join(kind.key() for kind in RANGES)}"


def check_population(spec: SweepSpec) -> Iterator[Problem]:
    """What is wrong with a sweep whose scheduler changes its trials' parameters."""
    name = spec.scheduler.type
    if spec.search.kind.made_by is not None:
        known = those([row for row in ALGORITHMS.values() if row.made_by is None])
        text = f"{name} searches by itself: algorithm {known}, not {spec.search.algorithm}, for where its trials begin"
        yield Problem(("scheduler", "type"), text)
    if spec.repeats > 1:
        text = f"trials of {name} go on from each other's checkpoints, so none repeats another; give num_samples"
        yield Problem(("repeats",), text)
    if spec.stages:
        text = f"trials of {name} go on from each other's checkpoints, so nobody knows from which stage's"
        yield Problem(("stages",), text)
    if len(spec.hardware) > 1:
        text = f"trials of {name} go on from each other's checkpoints, so none is of one hardware profile; give one"
        yield Problem(("hardware",), text)
    changed: Mapping[str, Any] = spec.scheduler.hyperparam_mutations or spec.scheduler.hyperparam_bounds or {}
    key = "hyperparam_mutations" if spec.scheduler.hyperparam_mutations else "hyperparam_bounds"
    found = {leaf.name: leaf for leaf in leaves(spec.parameters)}
    named = {each for leaf in found.values() for condition in leaf.conditions for each in condition.values}
    for parameter, given in changed.items():
        path = ("scheduler", key, parameter)
        if parameter not in found:
            hint = did_you_mean(parameter, found)
            yield Problem(path, f"is no parameter of the sweep{hint} (there is {listed(found)})")
        elif found[parameter].conditions or parameter in named:
            yield Problem(path, f"has a when, or stands in one; {name} changes values, not which parameters there are")
        elif key == "hyperparam_bounds":
            yield from _check_bounds(path, given, found[parameter])
        else:
            yield from _check_mutation(path, given, found[parameter])


def _check_bounds(path: KeyPath, bounds: tuple[float, float], leaf: Leaf) -> Iterator[Problem]:
    if bounds[0] >= bounds[1]:
        yield Problem(path, f"must be [low, high] with low below high, not {shown(list(bounds))}")
    yield from _check_begins(path, leaf, whole=False)


def _check_mutation(path: KeyPath, given: Any, leaf: Leaf) -> Iterator[Problem]:
    if isinstance(given, list) and given:
        yield from (Problem((*path, *below), text) for below, text in not_nan((), given))
        return
    if not isinstance(given, RANGES):
        hint = f"; {given.key()} is written as its list" if isinstance(given, Grid | Choice) else ""
        yield Problem(path, f"must be {_ALLOWED}{hint}")
        return
    if given.when is not None:
        yield Problem((*path, "when"), "has no meaning here")
    yield from (Problem((*path, given.key(), *below), text) for below, text in given.wrong())
    yield from _check_begins(path, leaf, whole=isinstance(given, _WHOLE))


def _check_begins(path: KeyPath, leaf: Leaf, *, whole: bool) -> Iterator[Problem]:
    """It changes by arithmetic, so all values that it may begin with are numbers."""
    kinds = (int,) if whole else (int, float)
    for value in _begins(leaf.value):
        if isinstance(value, bool) or not isinstance(value, kinds):
            what = "whole numbers" if whole else "numbers"
            yield Problem(path, f"changes by {what}, and {leaf.name} may begin as {shown(value)}")
            return


def _begins(value: Any) -> Sequence[Any]:
    """Values that a parameter may begin with; of a range one of them."""
    match value:
        case Grid(grid=values) | Choice(choice=values):
            return values
        case Distribution():
            return [0 if value.key().endswith("randint") else 0.5]
        case _:
            return [value]
