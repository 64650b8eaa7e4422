"""The same pretraining used with a frozen encoder and with one that goes on learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energysweep.analysis.pretraining import PRETRAINED, BreakEven, pretraining, use_of
from energysweep.analysis.target import Ratio, paired_ratio_to_target
from energysweep.analysis.trials import TrialLike, canonical, grouped, own, rest_of


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
    sides = grouped(own(trials), lambda trial: (rest_of(trial, {PRETRAINED}), use_of(trial)))
    uses = {(_rest(each), each.stage, each.frozen): each for each in pretraining(trials)}
    return tuple(
        FrozenOrNot(frozen, other, paired_ratio_to_target(sides[rest, (stage, True)], sides[rest, (stage, False)]))
        for (rest, stage, is_frozen), frozen in uses.items()
        if is_frozen and (other := uses.get((rest, stage, False))) is not None
    )


def _rest(each: BreakEven) -> str:
    return canonical([each.settings, each.hardware])
