"""Which configurations cannot be told from the cheapest one: the one rule of a report's sentence, tables and answers.

Two configurations are tied if the 95 % interval of the ratio of their energies holds 1: Welch's interval of the
logarithms over the repeats, which is at least as wide as what their own meters cannot have seen (the known steps of
their counters, the part of their time without good readings, and, of an energy to the target, what a reading of a
tenth of a second ago had not seen yet). What a kind of meter gets wrong, it gets wrong for both, so that it cancels;
where the kinds differ the interval is wider by both uncertainties (``meters.accuracy``).

One repeat tells nothing about the spread between repeats: then two are tied if their meters cannot tell them apart, and
otherwise nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from energysweep.analysis.intervals import Estimate, ratio_of_means
from energysweep.analysis.target import told_apart_by_meters, with_meters
from energysweep.objective import Objective
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.ranking import compared_trials, ranked


def with_ties(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> tuple[ConfigurationSummary, ...]:
    """The same configurations, with those marked that are tied with the cheapest."""
    members = [each for _, each in ranked(configurations, objective)]
    if not members:
        return tuple(configurations)
    tied = {id(each): _tied(each, members[0], objective) for each in members[1:]}
    return tuple(replace(each, tied_with_cheapest=tied.get(id(each), False)) for each in configurations)


def note(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> str | None:
    """What a reader has to know about ties in this sweep; None if there is nothing to compare."""
    members = [each for _, each in ranked(configurations, objective)]
    if len(members) < 2:
        return None
    if any(each.tied_with_cheapest is None for each in members):
        return (
            "Some configurations have one repeat only: whether they are tied with the cheapest is not known, unless"
            " their meters cannot tell them apart. Set repeats to 3 or more."
        )
    return "A tie is called where the 95 % interval of a ratio over the repeats holds 1; few repeats make wide ones."


def ratio_to_cheapest(
    configuration: ConfigurationSummary, cheapest: ConfigurationSummary, objective: Objective | None
) -> Estimate | None:
    """What it needs over what the cheapest needs; None if an energy is not known, or not above 0."""
    sides = [compared_trials(each, objective) for each in (configuration, cheapest)]
    first, second = ([joules for _, joules in side] for side in sides)
    if not first or not second or min(*first, *second) <= 0:
        return None
    ratio = ratio_of_means(first, second)
    return None if ratio is None else with_meters(ratio, *([trial for trial, _ in side] for side in sides))


def _tied(one: ConfigurationSummary, other: ConfigurationSummary, objective: Objective | None) -> bool | None:
    ratio = ratio_to_cheapest(one, other, objective)
    if ratio is None or ratio.has_interval:
        return None if ratio is None else ratio.contains(1.0)
    sides = ([trial for trial, _ in compared_trials(each, objective)] for each in (one, other))
    return None if told_apart_by_meters(ratio, *sides) else True
