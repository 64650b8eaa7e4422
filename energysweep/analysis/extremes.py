"""The dearest setting over the cheapest one at equal accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from energysweep.analysis.intervals import Estimate, ratio_of_means
from energysweep.analysis.target import (
    Ratio,
    ToTarget,
    TrialLike,
    always_arrives,
    decided,
    measured,
    needed_at_least,
    ratio_to_target,
    to_target,
    with_meters,
)

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
        at_least: what one of them needs over what the cheapest needs, as ``at_least`` gives it: the one whose interval
            begins highest, of those with a value above ``ratio``, and as that takes the two as given; None if there is
            no such.
    """

    cheapest: _Name
    dearest: _Name
    ratio: Ratio
    tied: tuple[_Name, ...]
    censored: tuple[_Name, ...]
    at_least: Estimate | None


def worst_to_best(groups: Sequence[tuple[_Name, Sequence[TrialLike]]]) -> Extremes[_Name] | None:
    """Compare configurations, given as pairs of a name and its repeats; None if fewer than two always arrived."""
    known = [(name, decided(trials)) for name, trials in groups]
    summed = [(name, trials, to_target(trials)) for name, trials in known]
    always = [each for each in summed if always_arrives(each[1])]
    if len(always) < 2:
        return None
    always.sort(key=lambda each: _joules(each[2]))
    (cheapest, cheapest_trials, _), (dearest, dearest_trials, _) = always[0], always[-1]
    ratio = ratio_to_target(dearest_trials, cheapest_trials)
    if ratio is None:
        return None
    others = [(name, ratio_to_target(trials, cheapest_trials)) for name, trials, _ in always[1:]]
    missed = [(name, trials) for name, trials, each in summed if each.censored]
    bounds = [bound for _, trials in missed if (bound := at_least(trials, cheapest_trials)) is not None]
    dearer = [bound for bound in bounds if bound.value > ratio.energy.value]
    return Extremes(
        cheapest=cheapest,
        dearest=dearest,
        ratio=ratio,
        tied=tuple(name for name, other in others if other is not None and other.tied),
        censored=tuple(name for name, _ in missed),
        at_least=max(dearer, key=lambda bound: (bound.low or 0.0, bound.value), default=None),
    )


def at_least(censored: Sequence[TrialLike], cheapest: Sequence[TrialLike]) -> Estimate | None:
    """What a configuration with censored trials needs over what the cheapest needs, at least.

    Each censored trial counts with what it spent, so the value is an estimate of a lower bound. Its interval has
    only a lower end, from the spread of both sides (Welch's): ``high`` is infinity. As what the trials would have
    needed is no less than what they count with, the lower end of the bound is one of the ratio, too.

    Returns:
        None if an energy is not known, or if a trial of ``cheapest`` did not arrive; no ends with one repeat only.
    """
    spent, needed = needed_at_least(censored), [joules for joules, _ in measured(cheapest)]
    if spent is None or len(needed) < len(cheapest):
        return None
    ratio = ratio_of_means(spent, needed)
    if ratio is None or not ratio.has_interval:
        return ratio
    return replace(with_meters(ratio, censored, cheapest), high=math.inf)


def stands_out(bound: Estimate | None) -> bool:
    """Whether there is a bound that can be told from 1, or one repeat only, of which nobody knows."""
    return bound is not None and (bound.low is None or bound.low > 1)


def _joules(each: ToTarget) -> float:
    return each.energy_joules.value if each.energy_joules else float("inf")
