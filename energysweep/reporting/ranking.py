"""By which energy configurations are compared, and in which order: the one rule of a report's sentence, tables, charts.

Energies to the target are compared by their geometric means, as all ratios of them are; those of whole trials, where
there is no target, by their arithmetic means.
"""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.analysis.multitask import TASKS
from energysweep.analysis.pretraining import PRETRAINED
from energysweep.analysis.target import always_arrives
from energysweep.analysis.trials import canonical
from energysweep.objective import Objective
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.trials import TrialSummary
from energysweep.reporting.values import Spread


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
