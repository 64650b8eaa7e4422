"""What stopping trials early has saved: an estimate, because nobody knows what they would have used."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from energysweep.core.records import TrialStatus
from energysweep.sweepfile import Scheduler


class Effort(NamedTuple):
    """How far a trial has come: its status, its reports, and its energy so far; None if that is not known."""

    status: TrialStatus
    reports: int
    energy_joules: float | None


def saved_joules(trials: Iterable[Effort], scheduler: Scheduler) -> float | None:
    """What the pruned trials would have used to their end, less what they used.

    A pruned trial would have gone on at its own joules per report, for as many reports as the trials that ran to their
    end made on average; but not beyond ``max_resource``, where that is in joules. Its own rate, because configurations
    differ by several times in what a report costs; and never less than nothing.

    Args:
        trials: of the sweep.
        scheduler: of the sweep.

    Returns:
        Joules, an estimate. None if nothing is stopped early by this scheduler, if no trial has run to its end yet
        that could say how long that takes, or if it is not known what a pruned trial used.
    """
    if not scheduler.kind.stops_early:
        return None
    trials = list(trials)
    complete = [trial.reports for trial in trials if trial.status == "completed" and trial.reports]
    limit = scheduler.max_resource if scheduler.resource == "energy_joules" else None
    saved = 0.0
    for trial in trials:
        if trial.status != "pruned":
            continue
        if trial.energy_joules is None:
            return None
        ends = [] if limit is None else [float(limit)]
        if complete and trial.reports:
            ends.append(trial.energy_joules / trial.reports * statistics.fmean(complete))
        if not ends:
            return None
        saved += max(0.0, min(ends) - trial.energy_joules)
    return saved
