"""The configurations of a sweep: which trials it makes, and how many."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from energysweep.core.naming import exact_text
from energysweep.sweepfile.defined import made
from energysweep.sweepfile.defined import nested as nested_of
from energysweep.sweepfile.distributions import Distribution, Grid
from energysweep.sweepfile.leaves import Leaf, Space, is_nested, leaves, together
from energysweep.sweepfile.model import SweepSpec

_MOST_STEPS = 500_000  # of combining grids under conditions; 100,000 configurations take fewer


@dataclass(frozen=True, slots=True)
class Point:
    """One trial to run.

    Attributes:
        parameters: the configuration by names (``optimizer.lr``), without ``seed``.
        hardware: the name of its hardware profile, empty if the sweep names none.
        seed: the number of the repeat; None if the sweep has one repeat only.
        nested: the configuration as the sweep has written it, if that is nested; None: as it is in ``parameters``.
    """

    parameters: dict[str, Any]
    hardware: str
    seed: int | None
    nested: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What the workload gets, without ``seed``."""
        return self.parameters if self.nested is None else self.nested


@dataclass(frozen=True, slots=True)
class Count:
    """How many trials a sweep makes.

    Attributes:
        repeated: so many configurations are, the winners; None: all.
    """

    configurations: int
    repeats: int
    hardware: int
    stages: int = 0
    repeated: int | None = None

    @property
    def trials(self) -> int:
        """All that the sweep makes, if it repeats all."""
        return self.configured_trials + self.stage_trials

    @property
    def expected_trials(self) -> int:
        """All that it makes, unless a winner has to be replaced."""
        if self.repeated is None:
            return self.trials
        first = self.configurations * self.hardware
        return self.stage_trials + first + min(self.repeated, first) * (self.repeats - 1)

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
    return [
        point(spec, parameters, hardware, seed)
        for seed, parameters, hardware in product(seeds(spec), list(_configurations(spec)), spec.profiles)
    ]


def seeds(spec: SweepSpec) -> list[int | None]:
    """Those of the repeats; of a single one None."""
    return [None] if spec.repeats == 1 else list(range(spec.repeats))


def point(spec: SweepSpec, parameters: Mapping[str, Any], hardware: str, seed: int | None) -> Point:
    """A trial of a configuration."""
    if spec.space is not None:
        nested = nested_of(parameters)
    else:
        nested = together(spec.parameters, parameters) if any(map(is_nested, spec.parameters.values())) else None
    return Point(dict(parameters), hardware, seed, nested)


def trial_count(spec: SweepSpec) -> Count:
    """How many trials the sweep makes, without making them.

    Raises:
        TooMany: its conditions make more combinations than can be followed.
        InputError: the function that makes its grid does what it may not.
    """
    if spec.space is not None and not spec.search.kind.draws:
        return _count(spec, len(made(spec).configurations))
    space = Space(leaves(spec.parameters))
    grids = [leaf for leaf in space.ordered if isinstance(leaf.value, Grid)]
    if any(leaf.conditions for leaf in grids):
        combinations = len(_combinations(space))
    else:
        combinations = math.prod(len(leaf.value.grid) for leaf in grids)
    return _count(spec, combinations * (spec.search.num_samples or 1))


def _count(spec: SweepSpec, configurations: int) -> Count:
    winners = spec.scheduler.winners if spec.scheduler.kind.needs_all else None
    return Count(configurations, spec.repeats, len(spec.profiles), len(spec.stages), winners)


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
    if count.expected_trials < count.trials:
        text += f", of which about {count.expected_trials} run: only the winners are repeated"
    if not count.stages:
        return text
    stages = " x ".join([_counted(count.stages, "stage"), *factors])
    return f"{stages} = {_counted(count.stage_trials, 'trial')}, then {text}; {_counted(count.trials, 'trial')} in all"


def varying(spec: SweepSpec) -> tuple[str, ...]:
    """The names of the parameters that may differ between configurations, in the order of the file."""
    return tuple(leaf.name for leaf in all_leaves(spec) if leaf.varies)


def all_leaves(spec: SweepSpec) -> list[Leaf]:
    """The parameters of the file, and those that its function makes, with the values that it gives them."""
    own = leaves(spec.parameters)
    return own if spec.space is None else [*own, *made(spec).leaves]


class TooMany(ValueError):
    """More combinations than a sweep may have."""


def _configurations(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """Every combination of the grids, with the rest drawn anew for each, ``num_samples`` times over (as Tune does).

    What does not exist beside the others is drawn, too: so a condition changes nothing else.
    """
    if spec.space is not None:  # beside it there are constants only
        constants = {leaf.name: leaf.value for leaf in leaves(spec.parameters)}
        yield from ({**constants, **each} for each in made(spec).configurations)
        return
    rng = random.Random(spec.search.seed)  # noqa: S311  repeatable, not secret
    space = Space(leaves(spec.parameters))
    combinations = _combinations(space)
    for _ in range(spec.search.num_samples or 1):
        for combination in combinations:
            yield space.existing({leaf.name: _value(leaf, combination, rng) for leaf in space.leaves})


def _value(leaf: Leaf, combination: Mapping[str, Any], rng: random.Random) -> Any:
    match leaf.value:
        case Grid():
            return combination.get(leaf.name)  # of one that does not exist, nothing
        case Distribution() as drawn:
            return drawn.draw(rng)
        case constant:
            return constant


def _combinations(space: Space) -> list[dict[str, Any]]:
    """Every combination of the grids, by name: the last in the file changes fastest.

    Raises:
        TooMany: with conditions, it takes more steps than can be waited for.
    """
    grids = {leaf.name: leaf.value.grid for leaf in space.ordered if isinstance(leaf.value, Grid)}
    if not any(leaf.conditions for leaf in space.leaves if leaf.name in grids):
        return [dict(zip(grids, values, strict=True)) for values in product(*grids.values())]
    values = {
        leaf.name: {exact_text(value): value for value in grids.get(leaf.name, [leaf.value])}
        for leaf in space.ordered
        if leaf.name in grids or not isinstance(leaf.value, Distribution)  # no grid depends on what is drawn
    }
    found: list[dict[str, str]] = [{}]
    steps = 0
    for leaf in space.ordered:
        texts = list(values.get(leaf.name, ()))
        longer: list[dict[str, str]] = []
        for combination in found:
            steps += 1
            if not texts or not space.exists_beside(leaf, combination):
                longer.append(combination)
            elif len(texts) == 1:
                combination[leaf.name] = texts[0]
                longer.append(combination)
            else:
                steps += len(combination) * len(texts)
                longer += [{**combination, leaf.name: text} for text in texts]
            if steps > _MOST_STEPS:
                raise TooMany("its conditions make more combinations than can be followed")
        found = longer
    return [{name: values[name][text] for name, text in texts.items() if name in grids} for texts in found]


def large_text(number: int) -> str:
    """A count: its digits, or from 10^15 on how many there are about."""
    return str(number) if number < 10**15 else f"about 10^{math.floor(number.bit_length() * math.log10(2))}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{large_text(number)} {noun}s"
