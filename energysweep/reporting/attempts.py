"""The attempts of a trial: what each has spent, and what was lost with it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from energysweep.records import TRIAL_BUCKETS, AttemptRow, EnergyRow, LeaseRow


def spent_by_attempt(booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]]) -> dict[int, float]:
    """The joules that each attempt that held a lease worked with, by its number; start-up is apart."""
    spent: dict[int, float] = defaultdict(float)
    for lease, rows in booked:
        spent[lease.attempt] += math.fsum(energy.joules for energy in rows if energy.bucket in TRIAL_BUCKETS)
    return dict(spent)


def lost_by_attempt(
    trial_status: str, spent_joules: Mapping[int, float], attempts: Sequence[AttemptRow]
) -> dict[int, float]:
    """What each attempt that did not end well spent after its last checkpoint, by its number.

    An attempt without a checkpoint of its own starts from an earlier one and loses all of its energy; what came
    between that earlier checkpoint and this attempt was lost by the attempts before it and is not counted twice.

    Args:
        trial_status: how the trial ended, for attempts of which nobody noted the end.
        spent_joules: the energy of each attempt.
        attempts: what the driver noted.
    """
    noted = {attempt.number: attempt for attempt in attempts}
    numbers = sorted({*spent_joules, *noted})
    lost_joules = {}
    cumulative_joules = 0.0
    for each in numbers:
        attempt = noted.get(each)
        spent = spent_joules.get(each, 0.0)
        cumulative_joules += spent
        if not _ended_badly(attempt, is_last=each == numbers[-1], trial_status=trial_status):
            continue
        checkpoint_joules = (attempt.checkpoint_joules if attempt else None) or 0.0
        # Both bounds guard against a checkpoint noted a moment before the meters' last word, or in an earlier attempt.
        lost_joules[each] = min(spent, max(0.0, cumulative_joules - checkpoint_joules))
    return lost_joules


def _ended_badly(attempt: AttemptRow | None, *, is_last: bool, trial_status: str) -> bool:
    if attempt is not None and attempt.outcome in ("failed", "interrupted"):
        return True
    if attempt is not None and attempt.outcome == "completed":
        return False
    # Nobody wrote down how it ended: if another attempt followed, or the trial gave up, then badly.
    return not is_last or trial_status in ("failed", "interrupted")
