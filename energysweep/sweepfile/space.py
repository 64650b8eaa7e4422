"""The configurations of a sweep: which trials it makes, and how many."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from energysweep.sweepfile.model import Choice, Grid, LogUniform, Parameter, RandInt, SweepSpec, Uniform


@dataclass(frozen=True, slots=True)
class Point:
    """One trial to run.

    Attributes:
        parameters: the configuration, without ``seed``.
        hardware: the name of its hardware profile, empty if the sweep names none.
        seed: the number of the repeat; None if the sweep has one repeat only.
    """

    parameters: dict[str, Any]
    hardware: str
    seed: int | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many trials a sweep makes."""

    configurations: int
    repeats: int
    hardware: int
    stages: int = 0

    @property
    def trials(self) -> int:
        """All that the sweep makes."""
        return self.configured_trials + self.stage_trials

    @property
    def configured_trials(self) -> int:
        """Those of its configurations."""
        return self.configurations * self.repeats * self.hardware

    @property
    def stage_trials(self) -> int:
        """Those of its stages."""
        return self.stages * self.repeats * self.hardware


def points(spec: SweepSpec) -> list[Point]:
    """All trials of a grid or random sweep: by repeat, then configuration, then hardware. The same on every call.

    Repeat 0 of everything comes first, then repeat 1 of everything: what drifts while the sweep runs (load, heat) then
    parts the repeats of one configuration, where an interval shows it, and not the configurations.

    Raises:
        ValueError: a sweep whose search learns, whose configurations follow from its results.
    """
    if spec.search.kind.made_by is not None:
        raise ValueError(f"{spec.search.algorithm} chooses its configurations while the sweep runs")
    configurations = list(_configurations(spec))
    seeds = [None] if spec.repeats == 1 else range(spec.repeats)
    return [
        Point(dict(parameters), hardware, seed)
        for seed, parameters, hardware in product(seeds, configurations, spec.profiles)
    ]


def trial_count(spec: SweepSpec) -> Count:
    """How many trials the sweep makes, without making them."""
    grids = (len(values.grid) for values in spec.parameters.values() if isinstance(values, Grid))
    configurations = math.prod(grids) * (spec.search.num_samples or 1)
    return Count(configurations, spec.repeats, len(spec.profiles), len(spec.stages))


def count_sentence(spec: SweepSpec) -> str:
    """``9 configurations x 3 repeats x 2 hardware profiles = 54 trials``; factors of 1 are left out.

    Stages come first: ``1 stage x 3 repeats = 3 trials, then 4 configurations x 3 repeats = 12 trials; 15 trials in
    all``.
    """
    count = trial_count(spec)
    factors = [_counted(count.repeats, "repeat")] if count.repeats > 1 else []
    factors += [_counted(count.hardware, "hardware profile")] if count.hardware > 1 else []
    text = " x ".join([_counted(count.configurations, "configuration"), *factors])
    text += f" = {_counted(count.configured_trials, 'trial')}"
    if not count.stages:
        return text
    stages = " x ".join([_counted(count.stages, "stage"), *factors])
    return f"{stages} = {_counted(count.stage_trials, 'trial')}, then {text}; {_counted(count.trials, 'trial')} in all"


def varying(spec: SweepSpec) -> tuple[str, ...]:
    """The names of the parameters that differ between configurations, in the order of the file."""
    return tuple(name for name, parameter in spec.parameters.items() if _varies(parameter))


def _configurations(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """Every combination of the grids, with the rest drawn anew for each, ``num_samples`` times over (as Tune does)."""
    rng = random.Random(spec.search.seed)  # noqa: S311  repeatable, not secret
    grids = {name: values.grid for name, values in spec.parameters.items() if isinstance(values, Grid)}
    for _ in range(spec.search.num_samples or 1):
        for combination in product(*grids.values()):
            fixed = dict(zip(grids, combination, strict=True))
            yield {
                name: fixed[name] if name in fixed else _draw(parameter, rng)
                for name, parameter in spec.parameters.items()
            }


def _draw(parameter: Parameter, rng: random.Random) -> Any:
    match parameter:
        case Choice(choice=values):
            return rng.choice(values)
        case Uniform(uniform=(low, high)):
            return rng.uniform(low, high)
        case LogUniform(loguniform=(low, high)):
            # exp(log(x)) may miss x by a rounding error.
            return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)
        case RandInt(randint=(low, high)):
            return rng.randrange(low, high)
        case constant:
            return constant


def _varies(parameter: Parameter) -> bool:
    match parameter:
        case Grid(grid=values) | Choice(choice=values):
            return len(values) > 1
        case RandInt(randint=(low, high)):
            return high - low > 1
        case _:
            return isinstance(parameter, Uniform | LogUniform)


def large_text(number: int) -> str:
    """A count: its digits, or from 10^15 on how many there are about."""
    return str(number) if number < 10**15 else f"about 10^{math.floor(number.bit_length() * math.log10(2))}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{large_text(number)} {noun}s"
