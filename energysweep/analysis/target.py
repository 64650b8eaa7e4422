"""Energy to target: over repeats, with those that never arrived, and as a product of epochs and joules per epoch.

A trial's joules per epoch are its energy to the target over its epochs to the target, so that for every trial, for
geometric means over trials, and for ratios of such means

    energy to target = epochs to target * joules per epoch

holds exactly. A trial that never reached the target is censored: all that is known is that it would have needed more
than it spent. It enters no mean; ``at_least_joules`` is the bound that it gives. A trial that has not ended, or that
crashed, says nothing: it is in no group.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Final, Protocol, TypeVar

from energysweep.analysis.family import Family
from energysweep.analysis.intervals import Estimate, geometric_mean, ratio_of_means
from energysweep.core.objective import number
from energysweep.core.records import READ_AT_MOST_EVERY_SECONDS

# What the analyses know of a trial, and trials in groups -------------------------------------------------------------


class TrialLike(Protocol):
    """A trial with its energy. A report's ``TrialSummary`` is one; an ``Observation`` is one of one's own.

    Attributes:
        stage: the stage of the sweep that it belongs to; empty for the sweep's own trials.
        energy_joules: what it spent in all.
        iterations: how many epochs (reports) that were.
        reached_target: None if there was no target, or if it is not known: it has not ended, or crashed.
        energy_to_target_joules: what it had spent when it reached the target; None if it did not.
        iterations_to_target: how many epochs that were.
        objective: its last value of the objective.
        resolution_joules: steps of the counters behind it, as far as they are known; None if none is.
        power_watts: mean power of its work, None if unknown.
        relative_uncertainty: what its kinds of meters may get wrong, None if unknown.
        coverage: part of its time with good readings, None if unknown.
        source: the kinds of meters, joined by ``+``.
    """

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def hardware(self) -> str: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def stage(self) -> str: ...
    @property
    def energy_joules(self) -> float | None: ...
    @property
    def iterations(self) -> int | None: ...
    @property
    def reached_target(self) -> bool | None: ...
    @property
    def energy_to_target_joules(self) -> float | None: ...
    @property
    def iterations_to_target(self) -> int | None: ...
    @property
    def objective(self) -> float | None: ...
    @property
    def resolution_joules(self) -> float | None: ...
    @property
    def power_watts(self) -> float | None: ...
    @property
    def relative_uncertainty(self) -> float | None: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def source(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial from one's own table; the attributes are those of ``TrialLike``, and three that only whole hosts need.

    Attributes:
        active_energy_joules: its energy without its share of idle power.
        duration_seconds: for how long it held its lease, start-up included.
        startup_seconds: the part of it that was start-up, whose energy is in none of the others; None if its energy
            includes it.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = ""
    seed: int | None = None
    stage: str = ""
    energy_joules: float | None = None
    iterations: int | None = None
    reached_target: bool | None = None
    energy_to_target_joules: float | None = None
    iterations_to_target: int | None = None
    objective: float | None = None
    resolution_joules: float | None = None
    power_watts: float | None = None
    relative_uncertainty: float | None = None
    coverage: float | None = None
    source: str | None = None
    active_energy_joules: float | None = None
    duration_seconds: float | None = None
    startup_seconds: float | None = None


_Row = TypeVar("_Row")
_Key = TypeVar("_Key", bound=Hashable)
_Trial = TypeVar("_Trial", bound=TrialLike)


def grouped(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    """Rows by a key, each group in the order in which its rows came."""
    groups: dict[_Key, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def own(trials: Sequence[_Trial]) -> list[_Trial]:
    """The sweep's own trials, without those of its stages."""
    return [trial for trial in trials if not trial.stage]


def decided(trials: Iterable[_Trial]) -> list[_Trial]:
    """Those of which is known whether they reached the target: the others say nothing of their configuration."""
    return [trial for trial in trials if trial.reached_target is not None]


def varying(trials: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The parameters that are not the same in all of these trials, in the order in which they first appear.

    Args:
        trials: the parameters of each.
    """
    trials = list(trials)
    names = dict.fromkeys(name for parameters in trials for name in parameters)
    return tuple(name for name in names if len({canonical(parameters.get(name)) for parameters in trials}) > 1)


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


def rest_of(trial: TrialLike, without: Collection[str]) -> str:
    """A text that is the same for trials whose other parameters and hardware are equal."""
    rest = {name: value for name, value in trial.parameters.items() if name not in without}
    return canonical([rest, trial.hardware])


def paired(first: Sequence[_Trial], second: Sequence[_Trial]) -> list[tuple[_Trial, _Trial]]:
    """The trials of two groups that have the same seed, if that is clear; the order of ``first``."""
    by_seed = grouped(second, lambda trial: trial.seed)
    alone = {seed: trials[0] for seed, trials in by_seed.items() if len(trials) == 1}
    seeds = [trial.seed for trial in first]
    return [(trial, alone[trial.seed]) for trial in first if trial.seed in alone and seeds.count(trial.seed) == 1]


def canonical(value: Any) -> str:
    """A text that is the same for equal parameters."""
    return json.dumps(value, sort_keys=True, default=str)


def value_order(value: Any) -> tuple[int, float, str]:
    """A sort key over parameter values of any type: numbers by size, then everything else by its text."""
    size = number(value)
    text = value if isinstance(value, str) else canonical(value)
    return (1, 0.0, text) if size is None else (0, size, text)


# Energy to target: over repeats, with those that never arrived, and as a product of epochs and joules per epoch ------

Sides = tuple[Sequence[TrialLike], Sequence[TrialLike]]  # two groups of which the first is set over the second
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
    """Energy and epochs to the target of the trials that reached it and whose energy is known: finite and above 0."""
    return [
        (joules, trial.iterations_to_target)
        for trial in trials
        if (joules := trial.energy_to_target_joules) is not None
        and 0 < joules < math.inf
        and trial.iterations_to_target
    ]


def to_target(trials: Sequence[TrialLike]) -> ToTarget:
    """The repeats of one configuration summed up."""
    trials = decided(trials)
    known = measured(trials)
    counts = [count for _, count in known]
    energy, epochs = geometric_mean([joules for joules, _ in known]), geometric_mean(counts)
    reached = sum(trial.reached_target is True for trial in trials)
    bound = geometric_mean(needed_at_least(trials) or []) if reached < len(trials) else None
    return ToTarget(
        trials=len(trials),
        reached=reached,
        energy_joules=energy and energy.at_least_from(*one_report(counts, of_energy=True)),
        epochs=epochs and epochs.at_least_from(*one_report(counts)),
        joules_per_epoch=geometric_mean([joules / count for joules, count in known]),
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
    known = [each for each in joules if each is not None and 0 < each < math.inf]
    return known if len(known) == len(joules) else None


def ratio_to_target(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    """What ``first`` needs over what ``second`` needs, from unpaired repeats (Welch's interval of the logarithms).

    None unless all trials of both groups reached the target with a measured energy: a mean of the lucky ones is not
    compared.
    """
    first, second = decided(first), decided(second)
    return _ratio(first, second, [ratio_of_means] * 3) if _all_arrived(first, second) else None


def picked_ratio_to_target(
    first: Sequence[TrialLike], second: Sequence[TrialLike], groups: Sequence[Sequence[TrialLike]]
) -> Ratio | None:
    """The same of two that were picked out of ``groups``, such as the dearest and the cheapest: see ``Family``."""
    first, second = decided(first), decided(second)
    if not _all_arrived(first, second):
        return None
    runs = [measured(decided(trials)) for trials in groups]
    families = [Family.of([[quantity(*run) for run in group] for group in runs]) for quantity in _PARTS]
    return _ratio(first, second, [family.ratio for family in families])


def paired_ratio_to_target(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> Ratio | None:
    """The same from pairs of trials with the same seed, where the seed explains part of the spread.

    None unless both groups have the same seeds and all trials reached the target.
    """
    first, second = decided(first), decided(second)
    pairs = paired(first, second)
    if not len(pairs) == len(first) == len(second) or not _all_arrived(first, second):
        return None
    return _ratio([one for one, _ in pairs], [other for _, other in pairs], [_ratio_of_pairs] * 3)


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


def _ratio(first: Sequence[TrialLike], second: Sequence[TrialLike], over: Sequence[_Over]) -> Ratio | None:
    """A ratio and its parts, each by its own way to compare two groups of values."""
    one, other = measured(first), measured(second)
    found = [
        compare([part(*run) for run in one], [part(*run) for run in other])
        for part, compare in zip(_PARTS, over, strict=True)
    ]
    energy, epochs, per_epoch = found
    if energy is None or epochs is None or per_epoch is None:
        return None
    return as_seen(energy, epochs, per_epoch, [(first, second)])


def as_seen(energy: Estimate, epochs: Estimate, per_epoch: Estimate, over: Sequence[Sides]) -> Ratio:
    """A ratio of these parts, with room for what reports and meters cannot have seen.

    Args:
        energy, epochs, per_epoch: what the repeats alone say.
        over: what it is the ratio of; of several pairs of groups it is the geometric mean of theirs, and so is the
            room for reports.
    """
    first, second = ([trial for sides in over for trial in sides[side]] for side in (0, 1))
    energy = with_meters(energy.at_least_from(*_mean_apart(over, of_energy=True)), first, second)
    epochs = epochs.at_least_from(*_mean_apart(over))
    return Ratio(energy, epochs, with_meters(per_epoch, first, second), energy.contains(1.0))


def _mean_apart(over: Sequence[Sides], *, of_energy: bool = False) -> tuple[float, float]:
    ends = [reports_apart(first, second, of_energy=of_energy) for first, second in over]
    low, high = (fmean(math.log(each[end]) for each in ends) for end in (0, 1))
    return math.exp(low), math.exp(high)


_PARTS: Final[tuple[Callable[[float, int], float], ...]] = (
    lambda joules, _: joules,
    lambda _, epochs: float(epochs),
    lambda joules, epochs: joules / epochs,
)


def _ratio_of_pairs(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    return geometric_mean([one / other for one, other in zip(first, second, strict=True)])


# A target is seen at a report, and between two reports nobody looks --------------------------------------------------


def one_report(epochs: Sequence[int], *, of_energy: bool = False) -> tuple[float, float]:
    """How far off the mean of such numbers of reports may be, as factors, where all repeats need the same number.

    Nobody looks between two reports. Repeats that all need 5 do not need exactly 5, without any spread: they would from
    4.5 on. Where they differ, their own spread says what is known, and of one nothing is: no room.

    Args:
        epochs: the number of reports of each repeat.
        of_energy: the mean is that of their energies. What comes with the first report cannot be had for less.
    """
    if len(epochs) < 2 or len(set(epochs)) > 1 or (of_energy and epochs[0] == 1):
        return 1.0, 1.0
    half = 0.5 / epochs[0]
    return 1 - half, 1 + half


def reports_apart(
    first: Sequence[TrialLike], second: Sequence[TrialLike], *, of_energy: bool = False
) -> tuple[float, float]:
    """The same for the ratio of two groups; no room where both are the same training runs on other hardware."""
    if _same_runs(first, second):
        return 1.0, 1.0
    ends = [one_report([epochs for _, epochs in measured(each)], of_energy=of_energy) for each in (first, second)]
    (low, high), (other_low, other_high) = ends
    return low / other_high, high / other_low


def _same_runs(first: Sequence[TrialLike], second: Sequence[TrialLike]) -> bool:
    """Whether both sides are the same training runs on other hardware: what no report has seen is the same in both."""
    if not {trial.hardware for trial in first}.isdisjoint(trial.hardware for trial in second):
        return False
    runs, others = ({(trial.seed, canonical(trial.parameters)) for trial in side} for side in (first, second))
    return runs == others and len(runs) == len(first) == len(second) and all(seed is not None for seed, _ in runs)


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
