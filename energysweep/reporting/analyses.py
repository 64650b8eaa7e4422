"""The analyses of a run as plain values, for summary.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from energysweep.analysis import QUANTITIES, TrialLike, effects, multitask, pretraining, side_by_side


def analyses(trials: Sequence[TrialLike], *, comparable: bool) -> dict[str, Any]:
    """Effects, pretraining, multitask and hardware; what the run does not have is null or empty.

    Args:
        trials: all of the run, those of its stages included.
        comparable: whether its configurations do the same work, so that effects mean something.
    """
    fitted = {quantity: effects(trials, quantity) for quantity in QUANTITIES} if comparable else {}
    return {
        "effects": {quantity: asdict(each) for quantity, each in fitted.items() if each is not None} or None,
        "pretraining": [asdict(each) for each in pretraining(trials)],
        "multitask": [asdict(each) for each in multitask(trials)],
        "hardware": [asdict(each) for each in side_by_side(trials)],
    }
