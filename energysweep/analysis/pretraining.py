"""After how many reuses does pretraining pay?

A pretraining of E_pretrain joules that lets each later training reach the same target for E_finetuned instead of
E_scratch has paid for itself after

    n* = E_pretrain / (E_scratch - E_finetuned)

reuses. Over repeats with the same seed it is the ratio of two means, and its interval is Fieller's: exact for normal
values, and honest where the saving may be zero, for then it has no upper end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from energysweep.analysis.intervals import fieller, student
from energysweep.analysis.target import (
    Ends,
    Ratio,
    paired_ratio_to_target,
    ratio_to_target,
    report_of,
    uncertainty_of,
    unseen_part,
)
from energysweep.analysis.trials import Observation, TrialLike, decided, grouped, own, rest_of
from energysweep.core.naming import exact_text

PRETRAINED: Final = "pretrained"  # the parameter: null, or {from: STAGE, freeze_encoder: true or false}

Verdict = Literal["pays", "may pay", "never pays", "unknown"]


@dataclass(frozen=True, slots=True)
class BreakEven:
    """One way to use a pretraining, against training from scratch with the same other settings.

    Attributes:
        stage: the pretraining.
        frozen: whether its encoder stays as it is.
        settings: the other parameters, equal on both sides.
        hardware: the profile.
        pretrain_joules: mean energy of the pretraining, with the stages that it went on from.
        scratch_joules, finetuned_joules: mean energy to the target. With ``bound``, of the censored side the mean with
            what a censored trial spent in its place.
        saving_joules: their difference; negative if the finetuned one needs more.
        reuses: n*; None if the saving is not positive, or not known.
        low, high: its interval. ``high`` is None where it has no upper end, both are None where nothing can be told
            (one repeat only, seeds that are not given or do not match, censored trials).
        bound: ``at most`` if trials from scratch were censored, so that the saving is larger; ``at least`` if finetuned
            ones were; empty if all trials reached the target.
        verdict: ``pays`` if the saving's interval is above zero, ``never pays`` if it is below zero, ``may pay`` if it
            holds zero; ``unknown`` without an interval.
        scratch_objective, finetuned_objective: mean last value of the objective.
        ratio: finetuned over scratch, with its epochs and joules per epoch; None if a trial never reached the target.
        trained: how many trials the three means are over.
        repeats: how many seeds all three sides have in common; 0 unless each side has each of them once.
        censored: how many of the trials never reached the target.
    """

    stage: str
    frozen: bool
    settings: Mapping[str, Any]
    hardware: str
    pretrain_joules: float | None
    scratch_joules: float | None
    finetuned_joules: float | None
    reuses: float | None
    low: float | None
    high: float | None
    bound: Literal["", "at most", "at least"]
    verdict: Verdict
    scratch_objective: float | None
    finetuned_objective: float | None
    ratio: Ratio | None
    trained: tuple[int, int, int]
    repeats: int
    censored: int

    @property
    def saving_joules(self) -> float | None:
        """What one reuse saves."""
        if self.scratch_joules is None or self.finetuned_joules is None:
            return None
        return self.scratch_joules - self.finetuned_joules

    @property
    def sums_joules(self) -> tuple[float | None, ...]:
        """What all trials of each of the three sides took together."""
        means = (self.pretrain_joules, self.scratch_joules, self.finetuned_joules)
        return tuple(None if mean is None else mean * count for mean, count in zip(means, self.trained, strict=True))


def pretraining(trials: Sequence[TrialLike]) -> tuple[BreakEven, ...]:
    """Every use of a pretraining stage in a sweep, against its own trials from scratch.

    A search may draw a setting twice, with the same seeds: such a comparison has its means, and no interval.
    """
    found = []
    stages = grouped((trial for trial in trials if trial.stage), lambda trial: (trial.stage, trial.hardware))
    for members in grouped(decided(own(trials)), lambda trial: rest_of(trial, {PRETRAINED})).values():
        scratch = [trial for trial in members if _use_of(trial) is None]
        for use, tuned in grouped((trial for trial in members if _use_of(trial)), _use_of).items():
            if scratch and use is not None:
                stage, frozen = use
                found.append(_break_even(_chained(stages, stage, tuned[0].hardware), scratch, tuned, stage, frozen))
    return tuple(found)


def break_even(
    pretrain: Sequence[TrialLike],
    scratch: Sequence[TrialLike],
    tuned: Sequence[TrialLike],
    *,
    stage: str = "",
    frozen: bool = False,
) -> BreakEven:
    """Set trials that use a pretraining against trials from scratch. Trials with the same seed belong together.

    Means are over all trials of a side, with or without a seed; an interval needs seeds. Without any ``pretrain`` or
    ``scratch``, or if the energy of one of them is not known, the mean of that side and all that follows from it is
    None.

    Raises:
        ValueError: ``tuned`` is empty, or two trials of one side have the same seed.
    """
    if not tuned:
        raise ValueError("tuned is empty: at least one trial must use the pretraining")
    for name, side in (("pretrain", pretrain), ("scratch", scratch), ("tuned", tuned)):
        doubled = [seed for seed, trials in grouped(side, lambda trial: trial.seed).items() if len(trials) > 1]
        for seed in doubled:
            if seed is not None:
                raise ValueError(
                    f"{name} has more than one trial with seed {seed}; give each a seed of its own, or None"
                )
    return _break_even(pretrain, scratch, tuned, stage, frozen)


def _break_even(
    pretrain: Sequence[TrialLike],
    scratch: Sequence[TrialLike],
    tuned: Sequence[TrialLike],
    stage: str,
    frozen: bool,
) -> BreakEven:
    missed_scratch, missed_tuned = (_missed(side) for side in (scratch, tuned))
    means = [
        _mean([_known(trial.energy_joules) for trial in pretrain]),
        *(_mean([_to_target(trial) for trial in side]) for side in (scratch, tuned)),
    ]
    reuses = None
    if None not in means and not (missed_scratch and missed_tuned):
        e_pretrain, e_scratch, e_tuned = (mean or 0.0 for mean in means)
        reuses = e_pretrain / (e_scratch - e_tuned) if e_scratch > e_tuned else None
    pairs = _pairs(pretrain, scratch, tuned)
    low, high, verdict = None, None, "unknown"
    if not missed_scratch and not missed_tuned and pairs:
        joules, saving = _room(pretrain, scratch, tuned)
        low, high, verdict = _interval([one for one, _ in pairs], [each for _, each in pairs], joules, saving)
    bound: Literal["", "at most", "at least"] = ""
    if bool(missed_scratch) != bool(missed_tuned):
        bound = "at most" if missed_scratch else "at least"
    first = tuned[0]
    return BreakEven(
        stage=stage,
        frozen=frozen,
        settings={name: value for name, value in first.parameters.items() if name != PRETRAINED},
        hardware=first.hardware,
        pretrain_joules=means[0],
        scratch_joules=means[1],
        finetuned_joules=means[2],
        reuses=reuses,
        low=low,
        high=high,
        bound=bound,
        verdict=verdict,  # type: ignore[arg-type]  # one of the four
        scratch_objective=_mean([trial.objective for trial in scratch]),
        finetuned_objective=_mean([trial.objective for trial in tuned]),
        ratio=paired_ratio_to_target(tuned, scratch) or ratio_to_target(tuned, scratch),
        trained=(len(pretrain), len(scratch), len(tuned)),
        repeats=len(pairs),
        censored=missed_scratch + missed_tuned,
    )


def _interval(
    pretrain: Sequence[float], savings: Sequence[float], joules: Ends, saving: Ends
) -> tuple[float | None, float | None, Verdict]:
    """The interval of the break-even, and what that of the saving says.

    Args:
        pretrain, savings: of each seed.
        joules: what the pretraining has taken at least, and at most, whatever the repeats say (``_room``).
        saving: the same of the saving.
    """
    n = len(savings)
    if n < 2:
        return None, None, "unknown"
    mean = fmean(savings)
    half_width = student(n - 1) * math.sqrt(math.fsum((each - mean) ** 2 for each in savings) / (n * (n - 1)))
    if max(mean + half_width, saving[1]) < 0:
        return None, None, "never pays"
    verdict: Verdict = "pays" if min(mean - half_width, saving[0]) > 0 else "may pay"
    ends = fieller(pretrain, savings)
    if saving[1] <= 0:
        return *(ends or (None, None)), verdict
    low, high = joules[0] / saving[1], joules[1] / saving[0] if saving[0] > 0 else None
    if ends is None:
        return low, high, verdict
    return min(low, ends[0] or 0.0), None if high is None or ends[1] is None else max(high, ends[1]), verdict


def _room(pretrain: Sequence[TrialLike], scratch: Sequence[TrialLike], tuned: Sequence[TrialLike]) -> tuple[Ends, Ends]:
    """What the pretraining and the saving may be, at least and at most, even if all repeats are the same.

    Nobody looks between two reports, and meters cannot have seen everything, as with every ratio. What a kind of meter
    gets wrong cancels, unless the sides were read by different kinds.
    """
    means = [
        _mean([_known(trial.energy_joules) for trial in pretrain]) or 0.0,
        *(_mean([_to_target(trial) for trial in side]) or 0.0 for side in (scratch, tuned)),
    ]
    sides = (pretrain, scratch, tuned)
    unseen = [1 + unseen_part(side) for side in sides]
    by_meters = [(mean / part, mean * part) for mean, part in zip(means, unseen, strict=True)]
    by_reports = [
        (mean * low, mean * high)
        for mean, (low, high) in zip(means[1:], (report_of("energy", side) for side in sides[1:]), strict=True)
    ]
    joules, from_scratch, with_it = by_meters
    saving = (
        min(one[0] - other[1] for one, other in ((from_scratch, with_it), by_reports)),
        max(one[1] - other[0] for one, other in ((from_scratch, with_it), by_reports)),
    )
    if len({frozenset(trial.source for trial in side) for side in sides}) == 1:
        return joules, saving
    wrong, *others = (uncertainty_of(side) for side in sides)
    off = math.fsum(mean * each for mean, each in zip(means[1:], others, strict=True))
    return (joules[0] / (1 + wrong), joules[1] * (1 + wrong)), (saving[0] - off, saving[1] + off)


def _use_of(trial: TrialLike) -> tuple[str, bool] | None:
    """The pretraining that a trial uses, and whether its encoder is frozen; None from scratch."""
    value = trial.parameters.get(PRETRAINED)
    if not isinstance(value, Mapping) or "from" not in value:
        return None
    return str(value["from"]), bool(value.get("freeze_encoder"))


def _to_target(trial: TrialLike) -> float | None:
    """What it needed; of a censored trial what it spent, which is less than it would have needed."""
    return _known(trial.energy_to_target_joules if trial.reached_target else trial.energy_joules)


def _known(joules: float | None) -> float | None:
    return joules if joules is not None and math.isfinite(joules) else None


def _missed(trials: Sequence[TrialLike]) -> int:
    return sum(trial.reached_target is not True for trial in trials)


def _chained(stages: Mapping[tuple[str, str], Sequence[TrialLike]], stage: str, hardware: str) -> list[TrialLike]:
    """The trials of a stage, each with the energy of the stages that it went on from; in all of them the same seed.

    What is not known stays so: that of a checkpoint from elsewhere, or of a seed that an earlier stage does not have
    exactly once.
    """

    def joules(name: str, seed: int | None, later: tuple[str, ...]) -> float | None:
        before = [trial for trial in stages.get((name, hardware), ()) if trial.seed == seed]
        return total(before[0], later) if len(before) == 1 and name not in later else None

    def total(trial: TrialLike, later: tuple[str, ...]) -> float | None:
        use = _use_of(trial)
        if use is None or trial.energy_joules is None:
            return trial.energy_joules
        earlier = joules(use[0], trial.seed, (*later, trial.stage))
        return None if earlier is None else trial.energy_joules + earlier

    return [
        Observation(
            stage=stage,
            hardware=hardware,
            seed=trial.seed,
            energy_joules=total(trial, ()),
            resolution_joules=trial.resolution_joules,
            relative_uncertainty=trial.relative_uncertainty,
            coverage=trial.coverage,
            source=trial.source,
        )
        for trial in stages.get((stage, hardware), ())
    ]


def _pairs(
    pretrain: Sequence[TrialLike], scratch: Sequence[TrialLike], tuned: Sequence[TrialLike]
) -> list[tuple[float, float]]:
    """Pretraining and saving of each seed; empty unless all sides have the same seeds, once each, all measured."""
    sides = [
        {trial.seed: _known(trial.energy_joules) for trial in pretrain},
        *({trial.seed: _to_target(trial) for trial in side} for side in (scratch, tuned)),
    ]
    seeds = set(sides[0])
    once = all(len(side) == len(trials) for side, trials in zip(sides, (pretrain, scratch, tuned), strict=True))
    if not once or None in seeds or any(set(side) != seeds for side in sides):
        return []
    rows = [tuple(side[seed] for side in sides) for seed in sorted(seeds, key=str)]
    known = [
        (one, two - three) for one, two, three in rows if one is not None and two is not None and three is not None
    ]
    return known if len(known) == len(rows) else []


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


# Frozen or not -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrozenOrNot:
    """Two uses of one pretraining with the same other settings, on the same hardware.

    They share the pretraining and the trials from scratch. So of two that both pay, that one pays sooner which needs
    less to reach the target, whatever the pretraining has cost: the intervals of the break-evens hold what both have in
    common, and may overlap all the same.

    Attributes:
        frozen, unfrozen: each against training from scratch.
        ratio: what the frozen use needs to the target over what the other needs, from repeats paired by seed
            (geometric mean). None unless both have the same seeds and all their trials reached the target.
    """

    frozen: BreakEven
    unfrozen: BreakEven
    ratio: Ratio | None


def frozen_or_not(trials: Sequence[TrialLike]) -> tuple[FrozenOrNot, ...]:
    """Every pretraining of a sweep that was used both ways."""
    sides = grouped(own(trials), lambda trial: (rest_of(trial, {PRETRAINED}), _use_of(trial)))
    uses = {(_rest(each), each.stage, each.frozen): each for each in pretraining(trials)}
    return tuple(
        FrozenOrNot(frozen, other, paired_ratio_to_target(sides[rest, (stage, True)], sides[rest, (stage, False)]))
        for (rest, stage, is_frozen), frozen in uses.items()
        if is_frozen and (other := uses.get((rest, stage, False))) is not None
    )


def _rest(each: BreakEven) -> str:
    return exact_text([each.settings, each.hardware])
