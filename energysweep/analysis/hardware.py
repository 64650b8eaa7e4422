"""The same work on different hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance
from typing import Any

from energysweep.analysis.intervals import Estimate, exponential, student
from energysweep.analysis.target import Ratio, paired_ratio_to_target, ratio_to_target
from energysweep.analysis.trials import TrialLike, canonical, grouped, own


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two hardware profiles over the configurations that always reached the target on both.

    Attributes:
        first, second: the profiles' names; all ratios are what ``first`` needs over what ``second`` needs.
        ratio: over all common configurations (geometric mean). Its interval is from the spread between configurations,
            or, with a single one, from its repeats.
        configurations: each common configuration's parameters and ratio, from repeats paired by seed.
        left_out: how many configurations ran on both, but not always to the target.
    """

    first: str
    second: str
    ratio: Ratio
    configurations: tuple[tuple[Mapping[str, Any], Ratio], ...]
    left_out: int


def side_by_side(trials: Sequence[TrialLike]) -> tuple[SideBySide, ...]:
    """Every two hardware profiles that a sweep's own trials ran on, in the order in which they first appear."""
    by_hardware = grouped(own(trials), lambda trial: trial.hardware)
    found = [_pair(first, second, by_hardware) for first, second in combinations(by_hardware, 2)]
    return tuple(each for each in found if each is not None)


def _pair(first: str, second: str, by_hardware: Mapping[str, Sequence[TrialLike]]) -> SideBySide | None:
    one, other = (
        grouped(by_hardware[hardware], lambda trial: canonical(trial.parameters)) for hardware in (first, second)
    )
    common = [(one[key], other[key]) for key in one if key in other]
    ratios = [(mine[0].parameters, _ratio(mine, theirs)) for mine, theirs in common]
    known = [(parameters, ratio) for parameters, ratio in ratios if ratio is not None]
    if not known:
        return None
    return SideBySide(first, second, _overall([ratio for _, ratio in known]), tuple(known), len(common) - len(known))


def _ratio(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    return paired_ratio_to_target(first, second) or ratio_to_target(first, second)


def _overall(ratios: Sequence[Ratio]) -> Ratio:
    if len(ratios) == 1:
        return ratios[0]
    energy = _mean([ratio.energy for ratio in ratios])
    epochs = _mean([ratio.epochs for ratio in ratios])
    per_epoch = _mean([ratio.joules_per_epoch for ratio in ratios])
    return Ratio(energy, epochs, per_epoch, energy.contains(1.0))


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The geometric mean over configurations; one configuration counts as one value, however many repeats it has."""
    logs = [math.log(each.value) for each in estimates]
    return exponential(fmean(logs), student(len(logs) - 1) * math.sqrt(variance(logs) / len(logs)), len(logs))
