"""Analyses of sweeps: plain trials in, frozen values out.

A trial is anything that ``TrialLike`` describes: a report's ``TrialSummary``, or an ``Observation`` of one's own table.
"""

from __future__ import annotations

from energysweep.analysis.effects import QUANTITIES, Effect, Effects, Quantity, acts_on, effects
from energysweep.analysis.extremes import Extremes, at_least, worst_to_best
from energysweep.analysis.fieller import fieller
from energysweep.analysis.frozen import FrozenOrNot, frozen_or_not
from energysweep.analysis.hardware import SideBySide, side_by_side
from energysweep.analysis.intervals import Estimate, geometric_mean, ratio_of_means
from energysweep.analysis.multitask import Multitask, multitask
from energysweep.analysis.pretraining import BreakEven, break_even, pretraining
from energysweep.analysis.study import StudyEnergy, TotalsLike, study_energy
from energysweep.analysis.target import (
    Ratio,
    ToTarget,
    paired_ratio_to_target,
    ratio_to_target,
    to_target,
)
from energysweep.analysis.trials import Observation, TrialLike
from energysweep.analysis.whole_host import BothBoundaries, both_boundaries
from energysweep.objective import first_held

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
    "acts_on",
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
