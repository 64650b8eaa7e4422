"""By which energy configurations are compared, and in which order: the one rule of a report's sentence, tables, charts.

Energies to the target are compared by their geometric means, as all ratios of them are; those of whole trials, where
there is no target, by their arithmetic means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from energysweep.analysis.intervals import Estimate, ratio_of_means
from energysweep.analysis.multitask import TASKS
from energysweep.analysis.pretraining import PRETRAINED
from energysweep.analysis.target import always_arrives, canonical, told_apart_by_meters, with_meters
from energysweep.core.objective import Objective
from energysweep.ledger.balance import Spread
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.trials import TrialSummary


def same_work(configurations: Sequence[ConfigurationSummary]) -> bool:
    """Whether the configurations do the same work, so that their energies may be ranked.

    Models for other tasks do other work. A pretrained one has had its pretraining beforehand.
    """
    return all(
        len({canonical(each.parameters.get(name)) for each in configurations}) <= 1 for name in (TASKS, PRETRAINED)
    )


def some_open(configurations: Sequence[ConfigurationSummary]) -> bool:
    """Whether a trial of any of them has not ended well, so that a table has to say which."""
    return any(len(each.ended) < len(each.trials) for each in configurations)


def compared_joules(configuration: ConfigurationSummary, objective: Objective | None) -> Spread | None:
    """Its energy to the target, or that of a whole trial where the sweep has no target."""
    if objective is not None and objective.target is not None:
        return configuration.energy_to_target_joules
    return configuration.energy_joules


def compared_mean(configuration: ConfigurationSummary, objective: Objective | None) -> float | None:
    """The mean by which it is ranked: of energies to the target the geometric one, of whole trials the arithmetic."""
    return shown_mean(compared_joules(configuration, objective), objective)


def shown_mean(spread: Spread | None, objective: Objective | None) -> float | None:
    """The mean of compared energies that people are shown."""
    if spread is None:
        return None
    return spread.geometric_mean if objective is not None and objective.target is not None else spread.mean


def compared_trials(
    configuration: ConfigurationSummary, objective: Objective | None
) -> list[tuple[TrialSummary, float]]:
    """The trials that ``compared_joules`` is over, each with its energy."""
    if objective is not None and objective.target is not None:
        found = [(trial, trial.energy_to_target_joules) for trial in configuration.trials]
    else:
        found = [(trial, trial.energy_joules) for trial in configuration.ended]
    return [(trial, joules) for trial, joules in found if joules is not None]


def ranked(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> list[tuple[float, ConfigurationSummary]]:
    """The configurations that are compared, each with its mean energy, the cheapest first.

    Empty if they do not do the same work: then the least energy is no merit. A configuration that sometimes fails to
    reach the target is cheap only when it is lucky: those that always arrive, as far as their trials have ended, and
    whose energy is known, are compared, if there are any.
    """
    if not same_work(configurations):
        return []
    known = [(compared_mean(each, objective), each) for each in configurations]
    found = [(joules, each) for joules, each in known if joules is not None]
    if objective is not None and objective.target is not None:
        always = [(joules, each) for joules, each in found if always_arrives(each.trials)]
        found = always or found
    return sorted(found, key=lambda pair: pair[0])


# Which configurations cannot be told from the cheapest one: the one rule of a report's sentence, tables and answers ---
#
# Two configurations are tied if the 95 % interval of the ratio of their energies holds 1: Welch's interval of the
# logarithms over the repeats, which is at least as wide as what their own meters cannot have seen (the known steps of
# their counters, the part of their time without good readings, and, of an energy to the target, what a reading of a
# tenth of a second ago had not seen yet). What a kind of meter gets wrong, it gets wrong for both, so that it cancels;
# where the kinds differ the interval is wider by both uncertainties (``meters.accuracy``).
#
# One repeat tells nothing about the spread between repeats: then two are tied if their meters cannot tell them apart,
# and otherwise nobody knows.


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
