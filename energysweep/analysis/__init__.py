"""Analyses of sweeps: plain trials in, frozen values out.

A trial is anything that ``TrialLike`` describes: a report's ``TrialSummary``, or an ``Observation`` of one's own table.
"""

from __future__ import annotations

from energysweep.analysis.effects import Effect, Effects, acts_by, acts_on, all_effects, effects
from energysweep.analysis.extremes import Extremes, at_least, worst_to_best
from energysweep.analysis.hardware import BothBoundaries, SideBySide, both_boundaries, side_by_side
from energysweep.analysis.intervals import Estimate, fieller, geometric_mean, ratio_of_means
from energysweep.analysis.multitask import Multitask, multitask
from energysweep.analysis.pretraining import BreakEven, FrozenOrNot, break_even, frozen_or_not, pretraining
from energysweep.analysis.study import StudyEnergy, TotalsLike, study_energy
from energysweep.analysis.target import (
    QUANTITIES,
    Quantity,
    Ratio,
    ToTarget,
    paired_ratio_to_target,
    ratio_to_target,
    to_target,
)
from energysweep.analysis.trials import Observation, TrialLike
from energysweep.core.objective import first_held

__all__ = [
    "QUANTITIES",
    "BothBoundaries",
    "BreakEven",
    "Effect",
    "Effects",
    "Estimate",
    "Extremes",
    "FrozenOrNot",
    "Multitask",
    "Observation",
    "Quantity",
    "Ratio",
    "SideBySide",
    "StudyEnergy",
    "ToTarget",
    "TotalsLike",
    "TrialLike",
    "acts_by",
    "acts_on",
    "all_effects",
    "at_least",
    "both_boundaries",
    "break_even",
    "effects",
    "fieller",
    "first_held",
    "frozen_or_not",
    "geometric_mean",
    "multitask",
    "paired_ratio_to_target",
    "pretraining",
    "ratio_of_means",
    "ratio_to_target",
    "side_by_side",
    "study_energy",
    "to_target",
    "worst_to_best",
]
