"""The same work on different hardware."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from energysweep.analysis.intervals import Estimate, exp, geometric_mean, mean_of_ratios
from energysweep.analysis.target import Ratio, measured, paired_ratio_to_target, ratio_to_target, with_meters
from energysweep.analysis.trials import TrialLike, canonical, decided, grouped, own, paired

_Sides = tuple[Sequence[TrialLike], Sequence[TrialLike]]  # one configuration's repeats on the two profiles
_Quantity = Callable[[float, int], float]  # of a trial's joules and epochs to the target


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two hardware profiles over the configurations that always reached the target on both.

    Attributes:
        first, second: the profiles' names; all ratios are what ``first`` needs over what ``second`` needs.
        ratio: over all common configurations (geometric mean). They are given, not drawn: its interval is from the
            repeats alone, and has room for what the meters get wrong.
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
    found = [_pair(first, second, by_hardware) for first, second in combinations(by_hardware, 2)]
    return tuple(each for each in found if each is not None)


def _pair(first: str, second: str, by_hardware: Mapping[str, Sequence[TrialLike]]) -> SideBySide | None:
    one, other = (
        grouped(by_hardware[hardware], lambda trial: canonical(trial.parameters)) for hardware in (first, second)
    )
    common = [(one[key], other[key]) for key in one if key in other]
    ratios = [(sides, _ratio(*sides)) for sides in common]
    known = [(sides, ratio) for sides, ratio in ratios if ratio is not None]
    if not known:
        return None
    overall = known[0][1] if len(known) == 1 else _overall([sides for sides, _ in known])
    configurations = tuple((sides[0][0].parameters, ratio) for sides, ratio in known)
    return SideBySide(first, second, overall, configurations, len(common) - len(known))


def _ratio(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    return paired_ratio_to_target(first, second) or ratio_to_target(first, second)


def _overall(configurations: Sequence[_Sides]) -> Ratio:
    over = _by_seed if _have_the_same_seeds(configurations) else _by_configuration
    energy = over(configurations, lambda joules, _: joules)
    epochs = over(configurations, lambda _, count: float(count))
    per_epoch = over(configurations, lambda joules, count: joules / count)
    first, second = ([trial for sides in configurations for trial in sides[side]] for side in (0, 1))
    energy = with_meters(energy, first, second)
    return Ratio(energy, epochs, with_meters(per_epoch, first, second), energy.contains(1.0))


def _have_the_same_seeds(configurations: Sequence[_Sides]) -> bool:
    """Whether every seed ran once on each profile in each configuration, so that a seed is one independent value."""
    sides = [trials for both in configurations for trials in both]
    seeds = {trial.seed for trial in sides[0]}
    return None not in seeds and all(
        len(trials) == len(seeds) and {trial.seed for trial in trials} == seeds for trials in sides
    )


def _by_seed(configurations: Sequence[_Sides], quantity: _Quantity) -> Estimate:
    """Each seed's mean logarithm over the configurations is one value: what a seed does to all of them is in it."""
    logs: dict[int | None, list[float]] = {}
    for first, second in configurations:
        for one, other in paired(first, second):
            logs.setdefault(one.seed, []).append(
                math.log(_values([one], quantity)[0]) - math.log(_values([other], quantity)[0])
            )
    found = geometric_mean([exp(fmean(each)) for each in logs.values()])
    assert found is not None  # noqa: S101  a configuration without trials has no ratio
    return found


def _by_configuration(configurations: Sequence[_Sides], quantity: _Quantity) -> Estimate:
    """Without common seeds each configuration's repeats are taken as independent, of each other and of the others."""
    return mean_of_ratios([(_values(first, quantity), _values(second, quantity)) for first, second in configurations])


def _values(trials: Sequence[TrialLike], quantity: _Quantity) -> list[float]:
    return [quantity(joules, count) for joules, count in measured(trials)]
