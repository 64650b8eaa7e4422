"""Which of several configurations cannot be told from the cheapest, and what the dearest takes over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from energysweep.analysis.family import Family
from energysweep.analysis.intervals import Estimate, is_positive
from energysweep.analysis.target import (
    Ratio,
    ToTarget,
    always_arrives,
    needed_at_least,
    picked_ratio_to_target,
    report_of,
    reports_apart,
    to_target,
    told_apart_by_meters,
    values_of,
    with_meters,
    with_room,
)
from energysweep.analysis.trials import TrialLike, decided

_Name = TypeVar("_Name")


# Ties: the one rule of a report's sentence, tables and answers --------------------------------------------------------
#
# Two configurations are tied if the 95 % interval of the ratio of their mean energies holds 1. It is corrected for all
# configurations that were looked at (``Family``), because the cheapest is picked for being the cheapest. It is at least
# as wide as one report, where all repeats need the same number, and as what their own meters cannot have seen (the
# known steps of their counters, the part of their time without good readings, and, of an energy to the target, what a
# reading of a tenth of a second ago had not seen yet). What a kind of meter gets wrong, it gets wrong for both, so that
# it cancels; where the kinds differ the interval is wider by both uncertainties (``meters.accuracy``).
#
# One repeat tells nothing about the spread between repeats: then two are tied if their meters cannot tell them apart,
# and otherwise nobody knows.

_Runs = Sequence[tuple[TrialLike, float]]  # the repeats of a configuration, each with the energy that is compared


class Compared:
    """Configurations whose energies are compared.

    Args:
        configurations: all that are looked at, each as its repeats with their energies in joules.
    """

    def __init__(self, configurations: Sequence[_Runs]) -> None:
        known = [_joules(runs) for runs in configurations]
        self._family = Family.of([joules for joules in known if _positive(joules)], len(known))

    def ratio(self, first: _Runs, second: _Runs) -> Estimate | None:
        """What ``first`` needs over what ``second`` needs; None if an energy is not known: finite, and above 0."""
        if not _positive(_joules(first)) or not _positive(_joules(second)):
            return None
        ratio = self._family.ratio(_joules(first), _joules(second))
        return ratio and _as_seen(ratio, first, second)

    def tied(self, first: _Runs, second: _Runs) -> bool | None:
        """Whether the two cannot be told apart; None if nobody knows."""
        if not _positive(_joules(first)) or not _positive(_joules(second)):
            return None
        if min(len(first), len(second)) > 1:
            return self._family.tied(_joules(first), _joules(second), lambda each: _as_seen(each, first, second))
        ratio = self._family.ratio(_joules(first), _joules(second))
        return None if ratio is None or told_apart_by_meters(ratio, _trials(first), _trials(second)) else True


def _as_seen(ratio: Estimate, first: _Runs, second: _Runs) -> Estimate:
    one, other = _trials(first), _trials(second)
    return with_room(ratio, "energy", reports_apart("energy", one, other), one, other)


def _joules(runs: _Runs) -> list[float]:
    return [joules for _, joules in runs]


def _trials(runs: _Runs) -> list[TrialLike]:
    return [trial for trial, _ in runs]


def _positive(joules: Sequence[float]) -> bool:
    return bool(joules) and all(map(is_positive, joules))


# The extremes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extremes(Generic[_Name]):
    """The cheapest and the dearest of the configurations in which every trial reached the target.

    Attributes:
        cheapest, dearest: as they were named; by the geometric mean, as the ratio is.
        ratio: what the dearest needs over what the cheapest needs, and why. Its interval holds for the widest gap of
            so many configurations, because the extremes of equal ones would differ, too.
        censored: the configurations that had a trial without the target.
        at_least: what one of them needs over what the cheapest needs, as ``at_least`` gives it: the one whose interval
            begins highest, of those with a value above ``ratio``; None if there is no such.
    """

    cheapest: _Name
    dearest: _Name
    ratio: Ratio
    censored: tuple[_Name, ...]
    at_least: Estimate | None


def worst_to_best(groups: Sequence[tuple[_Name, Sequence[TrialLike]]]) -> Extremes[_Name] | None:
    """Compare configurations, given as pairs of a name and its repeats; None if fewer than two always arrived."""
    known = [(name, decided(trials)) for name, trials in groups]
    summed = [(name, trials, to_target(trials)) for name, trials in known]
    always = [each for each in summed if always_arrives(each[1])]
    if len(always) < 2:
        return None
    always.sort(key=lambda each: _mean(each[2]))
    (cheapest, cheapest_trials, _), (dearest, dearest_trials, _) = always[0], always[-1]
    arrived = [trials for _, trials, _ in always]
    ratio = picked_ratio_to_target(dearest_trials, cheapest_trials, arrived)
    if ratio is None:
        return None
    missed = [(name, trials, each) for name, trials, each in summed if each.censored]
    family = Family.of([values_of("energy", trials) for trials in arrived], len(always) + len(missed))
    # A bound takes a moment, as a ratio does: only where what was spent is more than what the dearest needs.
    bounds = [
        at_least(trials, cheapest_trials, family)
        for _, trials, each in missed
        if (each.at_least_joules or 0.0) > _mean(always[-1][2])
    ]
    dearer = [bound for bound in bounds if bound is not None]
    return Extremes(
        cheapest=cheapest,
        dearest=dearest,
        ratio=ratio,
        censored=tuple(name for name, _, _ in missed),
        at_least=max(dearer, key=lambda bound: (bound.low or 0.0, bound.value), default=None),
    )


def at_least(
    censored: Sequence[TrialLike], cheapest: Sequence[TrialLike], family: Family | None = None
) -> Estimate | None:
    """What a configuration with censored trials needs over what the cheapest needs, at least.

    Each censored trial counts with what it spent, so the value is an estimate of a lower bound. Its interval has
    only a lower end, from the spread of both sides: ``high`` is infinity. As what the trials would have needed is no
    less than what they count with, the lower end of the bound is one of the ratio, too.

    Args:
        censored: its repeats.
        cheapest: those of the cheapest.
        family: all configurations that the two were picked from; without it they were given.

    Returns:
        None if an energy is not known, or if a trial of ``cheapest`` did not arrive; no ends with one repeat only.
    """
    spent, needed = needed_at_least(censored), values_of("energy", cheapest)
    if spent is None or len(needed) < len(cheapest):
        return None
    ratio = (family or Family.of([], 2)).ratio(spent, needed)
    if ratio is None or not ratio.has_interval:
        return ratio
    # What was spent until a report was not enough; only the cheapest may have arrived between two.
    _, latest = report_of("energy", cheapest)
    return replace(with_meters(ratio.at_least_from(1 / latest, 1.0), censored, cheapest), high=math.inf)


def stands_out(bound: Estimate | None) -> bool:
    """Whether there is a bound that can be told from 1, or one repeat only, of which nobody knows."""
    return bound is not None and (bound.low is None or bound.low > 1)


def _mean(each: ToTarget) -> float:
    return each.energy_joules.value if each.energy_joules else float("inf")
