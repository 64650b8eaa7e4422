"""The dearest setting over the cheapest one at equal accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from energysweep.analysis.target import Ratio, ToTarget, measured, ratio_to_target, to_target
from energysweep.analysis.trials import TrialLike

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Extremes(Generic[_Name]):
    """The cheapest and the dearest of the configurations in which every trial reached the target.

    Attributes:
        cheapest, dearest: as they were named; by the geometric mean, as the ratio is.
        ratio: what the dearest needs over what the cheapest needs, and why. Its interval takes the two as given: the
            extremes of many equal configurations would differ, too.
        tied: the others that cannot be told from the cheapest; of those with one repeat that is not known.
        censored: the configurations that had a trial without the target.
        at_least: their highest lower bound over the energy of the cheapest, where it is above ``ratio``; None if no
            censored configuration is known to be dearer than the dearest.
    """

    cheapest: _Name
    dearest: _Name
    ratio: Ratio
    tied: tuple[_Name, ...]
    censored: tuple[_Name, ...]
    at_least: float | None


def worst_to_best(groups: Sequence[tuple[_Name, Sequence[TrialLike]]]) -> Extremes[_Name] | None:
    """Compare configurations, given as pairs of a name and its repeats; None if fewer than two always arrived."""
    summed = [(name, trials, to_target(trials)) for name, trials in groups]
    always = [each for each in summed if each[2].complete and len(measured(each[1])) == len(each[1])]
    if len(always) < 2:
        return None
    always.sort(key=lambda each: _joules(each[2]))
    (cheapest, cheapest_trials, _), (dearest, dearest_trials, _) = always[0], always[-1]
    ratio = ratio_to_target(dearest_trials, cheapest_trials)
    if ratio is None:
        return None
    others = [(name, ratio_to_target(trials, cheapest_trials)) for name, trials, _ in always[1:]]
    missed = [(name, trials) for name, trials, each in summed if each.censored]
    bound = at_least([trials for _, trials in missed], cheapest_trials)
    return Extremes(
        cheapest=cheapest,
        dearest=dearest,
        ratio=ratio,
        tied=tuple(name for name, other in others if other is not None and other.tied),
        censored=tuple(name for name, _ in missed),
        at_least=bound if bound is not None and bound > ratio.energy.value else None,
    )


def at_least(censored: Sequence[Sequence[TrialLike]], cheapest: Sequence[TrialLike]) -> float | None:
    """The highest lower bound of configurations with censored trials over the energy of the cheapest.

    None if none of them gives a bound.
    """
    bounds = [joules for trials in censored if (joules := to_target(trials).at_least_joules) is not None]
    return max(bounds) / _joules(to_target(cheapest)) if bounds else None


def _joules(each: ToTarget) -> float:
    return each.energy_joules.value if each.energy_joules else float("inf")
