"""By which energy configurations are compared, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.analysis.multitask import TASKS
from energysweep.analysis.pretraining import PRETRAINED
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


def compared_joules(configuration: ConfigurationSummary, objective: Objective | None) -> Spread | None:
    """Its energy to the target, or that of a whole trial where the sweep has no target."""
    if objective is not None and objective.target is not None:
        return configuration.energy_to_target_joules
    return configuration.energy_joules


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
    reach the target is cheap only when it is lucky: those that always arrive are compared, if there are any.
    """
    if not same_work(configurations):
        return []
    known = [(compared_joules(each, objective), each) for each in configurations]
    found = [(spread.mean, each) for spread, each in known if spread is not None]
    if objective is not None and objective.target is not None:
        always = [(joules, each) for joules, each in found if each.reached_target == len(each.trials)]
        found = always or found
    return sorted(found, key=lambda pair: pair[0])
