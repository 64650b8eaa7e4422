"""Energy to target: over repeats, with those that never arrived, and as a product of epochs and joules per epoch.

A trial's joules per epoch are its energy to the target over its epochs to the target, so that for every trial, for
geometric means over trials, and for ratios of such means

    energy to target = epochs to target * joules per epoch

holds exactly. A trial that never reached the target is censored: all that is known is that it would have needed more
than it spent. It enters no mean; ``at_least_joules`` is the bound that it gives. A trial that has not ended, or that
crashed, says nothing: it is in no group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from energysweep.analysis.intervals import Estimate, geometric_mean, ratio_of_means
from energysweep.analysis.trials import TrialLike, decided, paired, unseen_joules

_Over = Callable[[Sequence[float], Sequence[float]], Estimate | None]  # a ratio of two groups of values


@dataclass(frozen=True, slots=True)
class ToTarget:
    """The repeats of one configuration on their way to the target.

    Attributes:
        trials: how many there are that say whether they reached the target.
        reached: how many reached the target.
        energy_joules, epochs, joules_per_epoch: geometric means over those that reached it with a measured energy.
        at_least_joules: the geometric mean of all, with what the censored ones spent in place of what they would have
            needed: a lower bound of their mean. None without a censored one, or if an energy is not known.
    """

    trials: int
    reached: int
    energy_joules: Estimate | None
    epochs: Estimate | None
    joules_per_epoch: Estimate | None
    at_least_joules: float | None

    @property
    def censored(self) -> int:
        """How many never reached the target."""
        return self.trials - self.reached

    @property
    def complete(self) -> bool:
        """Whether every trial reached the target, so that the means are over all of them."""
        return self.trials > 0 and self.reached == self.trials and self.energy_joules is not None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the energy of one group of trials another one needs, and why.

    Attributes:
        energy: the ratio of the energies to the target; equal to ``epochs`` times ``joules_per_epoch``.
        epochs: the ratio of the epochs to the target.
        joules_per_epoch: the ratio of the energies of an epoch.
        tied: whether the two cannot be told apart; None if that is not known (one repeat only).
    """

    energy: Estimate
    epochs: Estimate
    joules_per_epoch: Estimate
    tied: bool | None

    @property
    def epochs_share(self) -> float | None:
        """The part of the energy's ratio, in logarithms, that the epochs explain; None for a ratio of 1.

        Above 1 if the joules per epoch work against it, negative if the epochs do.
        """
        whole = math.log(self.energy.value)
        return math.log(self.epochs.value) / whole if abs(whole) > 1e-12 else None

    def inverse(self) -> Ratio:
        """What the second group needs over what the first needs."""
        return Ratio(self.energy.inverse(), self.epochs.inverse(), self.joules_per_epoch.inverse(), self.tied)


def measured(trials: Sequence[TrialLike]) -> list[tuple[float, int]]:
    """Energy and epochs to the target of the trials that reached it and whose energy is known."""
    return [
        (trial.energy_to_target_joules, trial.iterations_to_target)
        for trial in trials
        if trial.energy_to_target_joules and trial.iterations_to_target and trial.energy_to_target_joules > 0
    ]


def to_target(trials: Sequence[TrialLike]) -> ToTarget:
    """The repeats of one configuration summed up."""
    trials = decided(trials)
    known = measured(trials)
    reached = sum(trial.reached_target is True for trial in trials)
    bound = geometric_mean(needed_at_least(trials) or []) if reached < len(trials) else None
    return ToTarget(
        trials=len(trials),
        reached=reached,
        energy_joules=geometric_mean([joules for joules, _ in known]),
        epochs=geometric_mean([epochs for _, epochs in known]),
        joules_per_epoch=geometric_mean([joules / epochs for joules, epochs in known]),
        at_least_joules=bound.value if bound else None,
    )


def always_arrives(trials: Sequence[TrialLike]) -> bool:
    """Whether every trial that says so reached the target, with a known energy, and there is one."""
    trials = decided(trials)
    return len(measured(trials)) == len(trials) > 0


def needed_at_least(trials: Sequence[TrialLike]) -> list[float] | None:
    """Each trial's energy to the target; of a censored one what it spent, which is less than it would have needed.

    None if any of them is not known: a mean of the others is no bound of the mean of all.
    """
    trials = decided(trials)
    joules = [trial.energy_to_target_joules if trial.reached_target else trial.energy_joules for trial in trials]
    known = [each for each in joules if each is not None and each > 0]
    return known if len(known) == len(joules) else None


def ratio_to_target(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    """What ``first`` needs over what ``second`` needs, from unpaired repeats (Welch's interval of the logarithms).

    None unless all trials of both groups reached the target with a measured energy: a mean of the lucky ones is not
    compared.
    """
    first, second = decided(first), decided(second)
    return _ratio(first, second, ratio_of_means) if _all_arrived(first, second) else None


def paired_ratio_to_target(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    """The same from pairs of trials with the same seed, where the seed explains part of the spread.

    None unless both groups have the same seeds and all trials reached the target.
    """
    first, second = decided(first), decided(second)
    pairs = paired(first, second)
    if not len(pairs) == len(first) == len(second) or not _all_arrived(first, second):
        return None
    return _ratio([one for one, _ in pairs], [other for _, other in pairs], _ratio_of_pairs)


def told_apart_by_meters(ratio: Estimate, first: Sequence[TrialLike], second: Sequence[TrialLike]) -> bool:
    """Whether their meters alone, whatever the repeats say, could tell a ratio from 1."""
    point = replace(ratio, low=ratio.value, high=ratio.value)
    return not with_meters(point, first, second).contains(1.0)


def with_meters(ratio: Estimate, first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Estimate:
    """A ratio of energies with an interval that also has room for what the meters cannot have seen.

    Counters' steps, time without readings and what a report's reading is too
    old for set the least width; what a kind of meter gets wrong cancels, unless the two sides were read by different
    kinds.
    """
    wide = ratio.at_least_as_wide((1 + _unseen(first)) * (1 + _unseen(second)))
    if {trial.source for trial in first} == {trial.source for trial in second}:
        return wide
    return wide.wider((1 + _uncertainty(first)) * (1 + _uncertainty(second)))


def _all_arrived(*groups: Sequence[TrialLike]) -> bool:
    return all(always_arrives(trials) for trials in groups)


def _ratio(first: Sequence[TrialLike], second: Sequence[TrialLike], over: _Over) -> Ratio | None:
    one, other = measured(first), measured(second)
    energy = over([joules for joules, _ in one], [joules for joules, _ in other])
    epochs = over([float(count) for _, count in one], [float(count) for _, count in other])
    per_epoch = over([joules / count for joules, count in one], [joules / count for joules, count in other])
    if energy is None or epochs is None or per_epoch is None:
        return None
    energy = with_meters(energy, first, second)
    return Ratio(energy, epochs, with_meters(per_epoch, first, second), energy.contains(1.0))


def _ratio_of_pairs(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    return geometric_mean([one / other for one, other in zip(first, second, strict=True)])


def _unseen(trials: Sequence[TrialLike]) -> float:
    """The mean part of a trial's energy to the target that its own meters cannot have seen."""
    parts = [
        (unseen_joules(trial) or 0.0) / joules
        for trial in trials
        if (joules := trial.energy_to_target_joules or trial.energy_joules)
    ]
    return fmean(parts) if parts else 0.0


def _uncertainty(trials: Sequence[TrialLike]) -> float:
    """The mean of what their kinds of meters may get wrong; of an unknown meter nothing can be told apart."""
    return fmean(math.inf if trial.relative_uncertainty is None else trial.relative_uncertainty for trial in trials)
