"""What stopping trials early has saved: an estimate, because nobody knows what they would have used."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from energysweep.core.records import TrialStatus
from energysweep.sweepfile import Scheduler


class Effort(NamedTuple):
    """How far a trial has come: its status, its reports, and its energy so far; None if that is not known."""

    status: TrialStatus
    reports: int
    energy_joules: float | None


def saved_joules(trials: Iterable[Effort], scheduler: Scheduler, *, at_most: bool = False) -> float | None:
    """What the pruned trials would have used to their end, less what they used.

    A pruned trial would have gone on at its own joules per report, for as many reports as the trials that ran to their
    end made on average; but not beyond ``max_resource``, where that is in joules. Its own rate, because configurations
    differ by several times in what a report costs; and never less than nothing.

    Args:
        trials: of the sweep.
        scheduler: of the sweep.
        at_most: by the most reports that a trial made which ran to its end, and not by their mean.

    Returns:
        Joules, an estimate. None if nothing is stopped early by this scheduler, if no trial has run to its end yet
        that could say how long that takes, or if it is not known what a pruned trial used.
    """
    if not scheduler.kind.stops_early:
        return None
    trials = list(trials)
    complete = [trial.reports for trial in trials if trial.status == "completed" and trial.reports]
    full = (max if at_most else statistics.fmean)(complete) if complete else 0.0
    limit = scheduler.max_resource if scheduler.resource == "energy_joules" else None
    saved = 0.0
    for trial in trials:
        if trial.status != "pruned":
            continue
        if trial.energy_joules is None:
            return None
        ends = [] if limit is None else [float(limit)]
        if complete and trial.reports:
            ends.append(trial.energy_joules / trial.reports * full)
        if not ends:
            return None
        saved += max(0.0, min(ends) - trial.energy_joules)
    return saved


# Races to a target: against the grid that stops each trial there -----------------------------------------------------

AGAINST: Final = "the full grid with all repeats, each trial stopped at the target"
_IN_INTERVAL: Final = 0.9


class Tried(NamedTuple):
    """A trial of a sweep that stops at its target, as far as it has come.

    Attributes:
        configuration: what it is a repeat of.
        energy_joules: what it has spent; one that has reached the target was stopped there. None if nobody knows.
        later_report_joules: of a report after the first, in the mean; None before there are two.
    """

    configuration: Hashable
    status: TrialStatus
    reached: bool
    reports: int
    energy_joules: float | None
    later_report_joules: float | None


@dataclass(frozen=True, slots=True)
class Saved:
    """Joules that were not spent: an estimate, with its interval.

    Attributes:
        joules: the estimate; None where nobody knows how long a full run is, so that there is only the lower end.
        low, high: of the 90 % interval; ``high`` is None without an estimate.
        against: the counterfactual.
    """

    joules: float | None
    low: float
    high: float | None
    against: str = AGAINST

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {"joules": self.joules, "low": self.low, "high": self.high, "against": self.against}


class _Need(NamedTuple):
    """What a trial would have spent in the grid: at least, and at most; infinite if nobody knows."""

    least: float
    most: float

    def at(self, part: float) -> float:
        """A quantile, every joule between the two being as likely on a logarithmic scale."""
        return self.least * (self.most / self.least) ** part if 0 < self.least < self.most else self.most

    @property
    def mean(self) -> float:
        if not 0 < self.least < self.most < math.inf:
            return self.most
        return (self.most - self.least) / math.log(self.most / self.least)


def saved_at_target(
    trials: Iterable[Tried], repeats: int, full_reports: float | None = None, *, is_over: bool = True
) -> Saved | None:
    """What a race or cap has not spent, that the grid would have which runs all repeats to the target.

    - A trial that reached the target would have cost the grid the same.
    - One that a rule ended would have needed at least what it has spent, which is a bound, and at most a full run at
      its own joules per report, which is one, too. Between them an assumption is made: each power of ten is as likely.
    - A repeat that never ran would have needed what its configuration's others did, in the mean: an assumption.
    - All configurations may err to the same side: a harder task is harder for all. So the interval is the sum of the
      same quantile of each, and not that of independent ones.

    Args:
        trials: of the sweep; those that are open are in neither sum.
        repeats: of each configuration, in the grid.
        full_reports: of a full run that does not stop at the target; None: of the longest trial that ran to its own end
            without the target, if any did.
        is_over: nobody runs any more; else repeats of configurations that reached the target may yet come.

    Returns:
        None where nothing has been stopped or left out yet, or if it is not known what a trial has spent.
    """
    own: dict[Hashable, list[Tried]] = {}
    for trial in trials:
        own.setdefault(trial.configuration, []).append(trial)
    every = [trial for arm in own.values() for trial in arm]
    if full_reports is None:
        ends = [each.reports for each in every if each.status == "completed" and not each.reached]
        full_reports = max(ends) if ends else None
    needs: list[tuple[_Need, int]] = []  # and of how many trials
    spent = 0.0
    for arm in own.values():
        ended = [each for each in arm if each.status in ("completed", "pruned")]
        if any(each.energy_joules is None for each in ended):
            return None
        known = [_need(each, full_reports) for each in ended]
        pruned = [place for place, each in enumerate(ended) if each.status == "pruned" and not each.reached]
        needs += [(known[place], 1) for place in pruned]
        spent += math.fsum(ended[place].energy_joules or 0.0 for place in pruned)
        if known and (pruned or is_over) and repeats > len(arm):
            needs.append((_mean_need(known), repeats - len(arm)))
    if not needs:
        return None
    lower, upper = (1 - _IN_INTERVAL) / 2, (1 + _IN_INTERVAL) / 2
    least = (number * (each.at(lower) if each.most < math.inf else each.least) for each, number in needs)
    low = max(0.0, math.fsum(least) - spent)
    if any(each.most == math.inf for each, _ in needs):
        return Saved(None, low, None)
    high = math.fsum(number * each.at(upper) for each, number in needs) - spent
    return Saved(math.fsum(number * each.mean for each, number in needs) - spent, low, high)


def _need(trial: Tried, full_reports: float | None) -> _Need:
    spent = trial.energy_joules or 0.0
    if trial.reached or trial.status == "completed":
        return _Need(spent, spent)
    if full_reports is None or not trial.reports:
        return _Need(spent, math.inf)
    rate = spent / trial.reports if trial.later_report_joules is None else trial.later_report_joules
    return _Need(spent, spent + max(0.0, full_reports - trial.reports) * rate)


def _mean_need(known: Sequence[_Need]) -> _Need:
    return _Need(statistics.fmean(each.least for each in known), statistics.fmean(each.most for each in known))
