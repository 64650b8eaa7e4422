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
from typing import Final, Literal, get_args

from energysweep.analysis.family import Family
from energysweep.analysis.intervals import CONFIDENCE, Estimate, geometric_mean, is_positive, ratio_of_means
from energysweep.analysis.trials import TrialLike, decided, measured, paired
from energysweep.core.naming import exact_text
from energysweep.core.records import READ_AT_MOST_EVERY_SECONDS

# The three quantities that are compared: everything that differs between them is here --------------------------------

Quantity = Literal["energy", "epochs", "joules_per_epoch"]
QUANTITIES: Final[tuple[Quantity, ...]] = get_args(Quantity)
Ends = tuple[float, float]  # of an interval, as factors of its value
Sides = tuple[Sequence[TrialLike], Sequence[TrialLike]]  # two groups of which the first is set over the second


def value_of(quantity: Quantity, joules: float, epochs: int) -> float:
    """A quantity of a trial that took so many joules and epochs to the target."""
    if quantity == "energy":
        return joules
    return float(epochs) if quantity == "epochs" else joules / epochs


def values_of(quantity: Quantity, trials: Sequence[TrialLike]) -> list[float]:
    """The same of each trial that reached the target and whose energy is known."""
    return [value_of(quantity, *run) for run in measured(trials)]


def _one_report(quantity: Quantity, epochs: Sequence[int]) -> Ends:
    """How far off a mean over repeats may be, as factors, where all of them need the same number of reports.

    A target is seen at a report, and nobody looks between two. Repeats that all need 5 do not need exactly 5, without
    any spread: they would from 4.5 on. Where they differ, their own spread says what is known, and of one nothing is:
    no room. What comes with the first report cannot be had for less energy, and an epoch's joules do not depend on
    when somebody looks.

    Args:
        quantity: what the mean is of.
        epochs: the number of reports of each repeat.
    """
    if len(epochs) < 2 or len(set(epochs)) > 1:
        return 1.0, 1.0
    if quantity == "joules_per_epoch" or (quantity == "energy" and epochs[0] == 1):
        return 1.0, 1.0
    half = 0.5 / epochs[0]
    return 1 - half, 1 + half


def with_room(
    ratio: Estimate, quantity: Quantity, reports: Ends, first: Sequence[TrialLike], second: Sequence[TrialLike]
) -> Estimate:
    """A ratio of two sides with room for what reports and meters cannot have seen.

    Args:
        ratio: what the repeats alone say.
        quantity: of what it is a ratio.
        reports: how far off it may be because nobody looks between two reports (``reports_apart``).
        first, second: the trials of both sides; meters have a say only where joules are compared.
    """
    wide = ratio.at_least_from(*reports)
    return wide if quantity == "epochs" else with_meters(wide, first, second)


# Energy to target: over repeats, with those that never arrived, and as a product of epochs and joules per epoch ------


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
        """Whether every trial reached the target with a measured energy, so that the means are over all of them."""
        return self.energy_joules is not None and self.energy_joules.n == self.reached == self.trials


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


def to_target(trials: Sequence[TrialLike]) -> ToTarget:
    """The repeats of one configuration summed up."""
    trials = decided(trials)
    counts = [count for _, count in measured(trials)]

    def mean(quantity: Quantity) -> Estimate | None:
        found = geometric_mean(values_of(quantity, trials))
        return found and found.at_least_from(*_one_report(quantity, counts))

    reached = sum(trial.reached_target is True for trial in trials)
    bound = geometric_mean(needed_at_least(trials) or []) if reached < len(trials) else None
    return ToTarget(
        trials=len(trials),
        reached=reached,
        energy_joules=mean("energy"),
        epochs=mean("epochs"),
        joules_per_epoch=mean("joules_per_epoch"),
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
    known = [each for each in joules if each is not None and is_positive(each)]
    return known if len(known) == len(joules) else None


def ratio_to_target(
    first: Sequence[TrialLike], second: Sequence[TrialLike], confidence: float = CONFIDENCE
) -> Ratio | None:
    """What ``first`` needs over what ``second`` needs, from unpaired repeats (Welch's interval of the logarithms).

    None unless all trials of both groups reached the target with a measured energy: a mean of the lucky ones is not
    compared.
    """
    first, second = decided(first), decided(second)
    return _ratio(
        first, second, lambda each: ratio_of_means(values_of(each, first), values_of(each, second), confidence)
    )


def picked_ratio_to_target(
    first: Sequence[TrialLike], second: Sequence[TrialLike], groups: Sequence[Sequence[TrialLike]]
) -> Ratio | None:
    """The same of two that were picked out of ``groups``, such as the dearest and the cheapest: see ``Family``."""
    first, second = decided(first), decided(second)
    looked_at = [decided(trials) for trials in groups]

    def over(quantity: Quantity) -> Estimate | None:
        family = Family.of([values_of(quantity, trials) for trials in looked_at])
        return family.ratio(values_of(quantity, first), values_of(quantity, second))

    return _ratio(first, second, over)


def paired_ratio_to_target(
    first: Sequence[TrialLike], second: Sequence[TrialLike], confidence: float = CONFIDENCE
) -> Ratio | None:
    """The same from pairs of trials with the same seed, where the seed explains part of the spread.

    None unless both groups have the same seeds and all trials reached the target.
    """
    pairs = paired(decided(first), decided(second))
    if not len(pairs) == len(decided(first)) == len(decided(second)):
        return None
    one, other = [trial for trial, _ in pairs], [trial for _, trial in pairs]

    def over(quantity: Quantity) -> Estimate | None:
        values = zip(values_of(quantity, one), values_of(quantity, other), strict=True)
        return geometric_mean([each / divisor for each, divisor in values], confidence)

    return _ratio(one, other, over)


def _ratio(
    first: Sequence[TrialLike], second: Sequence[TrialLike], over: Callable[[Quantity], Estimate | None]
) -> Ratio | None:
    """A ratio of two groups in which everything has arrived."""
    if not always_arrives(first) or not always_arrives(second):
        return None
    return ratio_by(over, lambda each: reports_apart(each, first, second), first, second)


def ratio_by(
    over: Callable[[Quantity], Estimate | None],
    reports: Callable[[Quantity], Ends],
    first: Sequence[TrialLike],
    second: Sequence[TrialLike],
) -> Ratio | None:
    """A ratio and its parts, with room for what reports and meters cannot have seen; None if a part is not known.

    Args:
        over: what the repeats alone say of each quantity.
        reports: how far off that may be because nobody looks between two reports.
        first, second: all trials of both sides.
    """
    parts: dict[Quantity, Estimate] = {}
    for each in QUANTITIES:
        alone = over(each)
        if alone is None:
            return None
        parts[each] = with_room(alone, each, reports(each), first, second)
    return Ratio(**parts, tied=parts["energy"].contains(1.0))


def told_apart_by_meters(ratio: Estimate, first: Sequence[TrialLike], second: Sequence[TrialLike]) -> bool:
    """Whether their meters alone, whatever the repeats say, could tell a ratio from 1."""
    point = replace(ratio, low=ratio.value, high=ratio.value)
    return not with_meters(point, first, second).contains(1.0)


def with_meters(ratio: Estimate, first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Estimate:
    """A ratio of energies with an interval that also has room for what the meters cannot have seen.

    Counters' steps, time without readings and what a report's reading is too old for set the least width; what a kind
    of meter gets wrong cancels, unless the two sides were read by different kinds.
    """
    wide = ratio.at_least_as_wide((1 + unseen_part(first)) * (1 + unseen_part(second)))
    if {trial.source for trial in first} == {trial.source for trial in second}:
        return wide
    return wide.wider((1 + uncertainty_of(first)) * (1 + uncertainty_of(second)))


# What reports and meters cannot have seen -----------------------------------------------------------------------------


def reports_apart(quantity: Quantity, first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ends:
    """``_one_report`` for the ratio of two groups; no room where both are the same training runs on other hardware."""
    if _same_runs(first, second):
        return 1.0, 1.0
    (low, high), (other_low, other_high) = (report_of(quantity, trials) for trials in (first, second))
    return low / other_high, high / other_low


def report_of(quantity: Quantity, trials: Sequence[TrialLike]) -> Ends:
    """``_one_report`` for the mean over a group."""
    return _one_report(quantity, [epochs for _, epochs in measured(trials)])


def _same_runs(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> bool:
    """Whether both sides are the same training runs on other hardware: what no report has seen is the same in both."""
    if not {trial.hardware for trial in first}.isdisjoint(trial.hardware for trial in second):
        return False
    runs, others = ({(trial.seed, exact_text(trial.parameters)) for trial in side} for side in (first, second))
    return runs == others and len(runs) == len(first) == len(second) and all(seed is not None for seed, _ in runs)


def unseen_joules(trial: TrialLike) -> float | None:
    """What its own meters cannot have seen of its energy to the target, or of all its energy if it has no such.

    That is its energy in the part of its time without good readings; the known steps of its counters; and, of an energy
    to the target, what it drew since the reading that the report's energy is from. None without an energy.
    """
    joules = trial.energy_joules if trial.energy_to_target_joules is None else trial.energy_to_target_joules
    if joules is None:
        return None
    uncovered = 0.0 if trial.coverage is None else max(0.0, 1.0 - trial.coverage)
    # A closing lease is always read; a report may get the energy of a reading a moment ago.
    unread_seconds = 0.0 if trial.energy_to_target_joules is None else READ_AT_MOST_EVERY_SECONDS
    return joules * uncovered + (trial.resolution_joules or 0.0) + unread_seconds * (trial.power_watts or 0.0)


def unseen_part(trials: Sequence[TrialLike]) -> float:
    """The mean part of a trial's energy to the target that its own meters cannot have seen."""
    parts = [
        (unseen_joules(trial) or 0.0) / joules
        for trial in trials
        if (joules := trial.energy_to_target_joules or trial.energy_joules)
    ]
    return fmean(parts) if parts else 0.0


def uncertainty_of(trials: Sequence[TrialLike]) -> float:
    """The mean of what their kinds of meters may get wrong; of an unknown meter nothing can be told apart."""
    return fmean(math.inf if trial.relative_uncertainty is None else trial.relative_uncertainty for trial in trials)
