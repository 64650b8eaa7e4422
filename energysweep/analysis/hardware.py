"""The same work on different hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from statistics import fmean
from typing import Any, Literal, Protocol, TypeVar

from energysweep.analysis.intervals import (
    Estimate,
    confidence_of_each,
    exp,
    geometric_mean,
    is_positive,
    mean_of_ratios,
)
from energysweep.analysis.target import (
    Ends,
    Quantity,
    Ratio,
    Sides,
    paired_ratio_to_target,
    ratio_by,
    ratio_to_target,
    reports_apart,
    values_of,
)
from energysweep.analysis.trials import Observation, TrialLike, decided, grouped, own, paired
from energysweep.core.naming import exact_text


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two hardware profiles over the configurations that always reached the target on both.

    Attributes:
        first, second: the profiles' names; all ratios are what ``first`` needs over what ``second`` needs.
        ratio: over all common configurations (geometric mean). They are given, not drawn: its interval is from the
            repeats alone, and has room for what the meters get wrong. Of a sweep with more than two profiles it is
            corrected for having looked at every two of them, as are those of the configurations.
        configurations: each common configuration's parameters and ratio, from repeats paired by seed.
        left_out: how many configurations ran on both, but not always to the target.
    """

    first: str
    second: str
    ratio: Ratio
    configurations: tuple[tuple[Mapping[str, Any], Ratio], ...]
    left_out: int

    @property
    def cheaper(self) -> str | None:
        """The profile that needs less, by the value alone where there is no interval; None if they are tied."""
        if self.ratio.tied:
            return None
        return self.second if self.ratio.energy.value > 1 else self.first

    @property
    def of_the_dearer(self) -> tuple[str, str, Ratio]:
        """The profile that takes more, the other one, and what it takes over that."""
        if self.ratio.energy.value >= 1:
            return self.first, self.second, self.ratio
        return self.second, self.first, self.ratio.inverse()


def side_by_side(trials: Sequence[TrialLike]) -> tuple[SideBySide, ...]:
    """Every two hardware profiles that a sweep's own trials ran on, in the order in which they first appear."""
    by_hardware = grouped(decided(own(trials)), lambda trial: trial.hardware)
    in_common = {
        (first, second): common
        for first, second in combinations(by_hardware, 2)
        if (common := _common(by_hardware[first], by_hardware[second]))
    }
    confidence = confidence_of_each(len(in_common))
    found = [_pair(*names, common, confidence) for names, common in in_common.items()]
    return tuple(each for each in found if each is not None)


def _common(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> list[Sides]:
    """The trials of each configuration that ran on both profiles."""
    one, other = (grouped(side, lambda trial: exact_text(trial.parameters)) for side in (first, second))
    return [(one[key], other[key]) for key in one if key in other]


def _pair(first: str, second: str, common: Sequence[Sides], confidence: float) -> SideBySide | None:
    ratios = [(sides, _ratio(*sides, confidence)) for sides in common]
    known = [(sides, ratio) for sides, ratio in ratios if ratio is not None]
    overall = known[0][1] if len(known) == 1 else _overall([sides for sides, _ in known], confidence)
    if overall is None:
        return None
    configurations = tuple((sides[0][0].parameters, ratio) for sides, ratio in known)
    return SideBySide(first, second, overall, configurations, len(common) - len(known))


def _ratio(first: Sequence[TrialLike], second: Sequence[TrialLike], confidence: float) -> Ratio | None:
    return paired_ratio_to_target(first, second, confidence) or ratio_to_target(first, second, confidence)


def _overall(configurations: Sequence[Sides], confidence: float) -> Ratio | None:
    if not configurations:
        return None
    over = _by_seed if _have_the_same_seeds(configurations) else _by_configuration
    first, second = ([trial for sides in configurations for trial in sides[side]] for side in (0, 1))
    return ratio_by(
        lambda quantity: over(configurations, quantity, confidence),
        lambda quantity: _reports_apart(quantity, configurations),
        first,
        second,
    )


def _reports_apart(quantity: Quantity, configurations: Sequence[Sides]) -> Ends:
    """The mean of theirs, as the ratio is the mean of theirs."""
    ends = [reports_apart(quantity, *sides) for sides in configurations]
    low, high = (fmean(math.log(each[end]) for each in ends) for end in (0, 1))
    return math.exp(low), math.exp(high)


def _have_the_same_seeds(configurations: Sequence[Sides]) -> bool:
    """Whether every seed ran once on each profile in each configuration, so that a seed is one independent value."""
    sides = [trials for both in configurations for trials in both]
    seeds = {trial.seed for trial in sides[0]}
    return None not in seeds and all(
        len(trials) == len(seeds) and {trial.seed for trial in trials} == seeds for trials in sides
    )


def _by_seed(configurations: Sequence[Sides], quantity: Quantity, confidence: float) -> Estimate | None:
    """Each seed's mean logarithm over the configurations is one value: what a seed does to all of them is in it."""
    logs: dict[int | None, list[float]] = {}
    for first, second in configurations:
        for pair in paired(first, second):
            (one,), (other,) = (values_of(quantity, [trial]) for trial in pair)
            logs.setdefault(pair[0].seed, []).append(math.log(one) - math.log(other))
    return geometric_mean([exp(fmean(each)) for each in logs.values()], confidence)


def _by_configuration(configurations: Sequence[Sides], quantity: Quantity, confidence: float) -> Estimate | None:
    """Without common seeds each configuration's repeats are taken as independent, of each other and of the others."""
    values = [(values_of(quantity, first), values_of(quantity, second)) for first, second in configurations]
    return mean_of_ratios(values, confidence)


# Hardware side by side if each trial pays for all idle power of its host, and not only for what it has reserved ------
#
# The rest of a host idles as well, for as long as a trial runs there, and is booked to nobody: a boundary that favours
# the profile that reserves little. It is right if others use the rest meanwhile. If nobody does, this is the other
# one.

Turn = Literal["the same answer", "the opposite answer", "clear with one boundary only", "no clear answer either way"]


class HostTrialLike(TrialLike, Protocol):
    """A trial with its active energy, its time and its start-up; see ``Observation``."""

    @property
    def active_energy_joules(self) -> float | None: ...
    @property
    def duration_seconds(self) -> float | None: ...
    @property
    def startup_seconds(self) -> float | None: ...


_Trial = TypeVar("_Trial", bound=HostTrialLike)


@dataclass(frozen=True, slots=True)
class BothBoundaries:
    """Two hardware profiles over the same configurations: as counted, and with all idle power of the host."""

    counted: SideBySide
    whole: SideBySide

    @property
    def turn(self) -> Turn:
        """Whether the boundary turns the answer; one that is a tie, or has no interval, is not clear."""
        cheaper = [each.cheaper if each.ratio.tied is False else None for each in (self.counted, self.whole)]
        if None not in cheaper:
            return "the same answer" if cheaper[0] == cheaper[1] else "the opposite answer"
        return "no clear answer either way" if cheaper == [None, None] else "clear with one boundary only"

    @property
    def weaker(self) -> bool:
        """Whether less is left of the answer, or nothing, or its opposite, if each trial pays for its whole host."""
        if self.counted.cheaper != self.whole.cheaper:
            return True
        logs = [abs(math.log(each.ratio.energy.value)) for each in (self.counted, self.whole)]
        return logs[1] < logs[0] * (1 - 1e-6)


def both_boundaries(
    trials: Sequence[_Trial], idle_watts: float, run_seconds: float | None
) -> tuple[BothBoundaries, ...]:
    """Every two profiles that a sweep's own trials ran on, all on one host and one after the other.

    A trial's whole energy is then its active energy, and the idle power of the host for as long as it worked: start-up
    is apart with either boundary. Its energy to the target is taken to grow by the same factor.

    Args:
        trials: all of the sweep, those of its stages included.
        idle_watts: of the whole host.
        run_seconds: how long the sweep took.

    Returns:
        Nothing where it cannot be told: a trial without its parts, or of which nothing is left with the other boundary,
        or trials that ran at the same time, because their times add up to more than the sweep's. Two profiles are left
        out if the configurations that can be compared are not the same with both boundaries.
    """
    if math.fsum(trial.duration_seconds or 0.0 for trial in trials) > (run_seconds or 0.0):
        return ()
    found = [_with_idle_host(trial, idle_watts) for trial in trials]
    whole = [trial for trial in found if trial is not None]
    if len(whole) < len(found):
        return ()
    others = {_compared(each): each for each in side_by_side(whole)}
    pairs = [(counted, others.get(_compared(counted))) for counted in side_by_side(trials)]
    return tuple(BothBoundaries(counted, other) for counted, other in pairs if other is not None)


def _compared(each: SideBySide) -> tuple[str, ...]:
    return each.first, each.second, *(exact_text(parameters) for parameters, _ in each.configurations)


def _with_idle_host(trial: HostTrialLike, idle_watts: float) -> Observation | None:
    worked_seconds = (trial.duration_seconds or 0.0) - (trial.startup_seconds or 0.0)
    if trial.active_energy_joules is None or worked_seconds <= 0 or not trial.energy_joules:
        return None
    joules = trial.active_energy_joules + idle_watts * worked_seconds
    if not is_positive(joules):
        return None
    to_target = trial.energy_to_target_joules
    said = {each.name: getattr(trial, each.name) for each in fields(Observation)}
    return Observation(
        **said
        | {
            "energy_joules": joules,
            "energy_to_target_joules": None if to_target is None else to_target * joules / trial.energy_joules,
        }
    )
