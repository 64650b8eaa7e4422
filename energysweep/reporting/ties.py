"""Which configurations cannot be told from the cheapest one.

The interval of a configuration's energy (to the target; without one, of a whole trial) is its mean, plus and minus the
larger of two half widths:

- over n > 1 repeats, Student's 95 % interval of the mean: t(n - 1) * std / sqrt(n);
- what its own meters cannot have seen: the known steps of their counters, the part of its time without good readings,
  and, of an energy to the target, what a reading of a tenth of a second ago had not seen yet.

Two configurations whose intervals overlap are tied. What a kind of meter gets wrong, it gets wrong for both, so that it
cancels in their comparison; where the kinds differ it does not, and each interval is wider by its own meters' relative
uncertainty (``meters.accuracy``). One repeat tells nothing about the spread between repeats: its interval is only the
meters', and ``note`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from energysweep.analysis.intervals import student
from energysweep.analysis.trials import unseen_joules
from energysweep.objective import Objective
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.ranking import compared_joules, compared_trials, ranked


@dataclass(frozen=True, slots=True)
class Interval:
    """An energy, and how far it may be off to each side."""

    joules: float
    half_width_joules: float

    def overlaps(self, other: Interval) -> bool:
        """Whether one energy can be told from the other."""
        return abs(self.joules - other.joules) <= self.half_width_joules + other.half_width_joules


def with_ties(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> tuple[ConfigurationSummary, ...]:
    """The same configurations, with those marked that are tied with the cheapest."""
    members = [each for _, each in ranked(configurations, objective)]
    if not members:
        return tuple(configurations)
    cheapest = members[0]
    tied = {id(each) for each in members[1:] if _tied(each, cheapest, objective)}
    return tuple(replace(each, tied_with_cheapest=id(each) in tied) for each in configurations)


def note(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> str | None:
    """What a reader has to know about ties in this sweep; None if there is nothing to compare."""
    members = [each for _, each in ranked(configurations, objective)]
    if len(members) < 2:
        return None
    if any(len(compared_trials(each, objective)) == 1 for each in members):
        return (
            "Some configurations have one repeat only: their intervals hold no more than what the meters cannot have"
            " seen, and others may be tied as well. Set repeats to 3 or more."
        )
    return "A tie is called where 95 % intervals over the repeats overlap; few repeats make wide intervals."


def interval(configuration: ConfigurationSummary, objective: Objective | None, *, absolute: bool) -> Interval | None:
    """The interval of a configuration's energy; None without a measured one.

    Args:
        configuration: whose.
        objective: the sweep's.
        absolute: whether it is compared with other kinds of meters, so that their systematic errors count.
    """
    spread = compared_joules(configuration, objective)
    if spread is None:
        return None
    trials = compared_trials(configuration, objective)
    unseen = fmean(unseen_joules(trial) or 0.0 for trial, _ in trials)
    repeats_joules = 0.0
    if spread.std is not None:
        repeats_joules = student(spread.n - 1) * spread.std / math.sqrt(spread.n)
    half_width_joules = max(repeats_joules, unseen)
    if absolute:
        # Of a meter about which nothing is known, nothing can be told apart.
        half_width_joules += fmean(
            math.inf if trial.relative_uncertainty is None else trial.relative_uncertainty * joules
            for trial, joules in trials
        )
    return Interval(spread.mean, half_width_joules)


def _tied(one: ConfigurationSummary, other: ConfigurationSummary, objective: Objective | None) -> bool:
    absolute = one.source != other.source
    intervals = [interval(each, objective, absolute=absolute) for each in (one, other)]
    first, second = intervals
    return first is not None and second is not None and first.overlaps(second)
