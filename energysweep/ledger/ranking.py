"""By which energy configurations are compared, and in which order: the one rule of a report's sentence, tables and
charts, and of what is told of a sweep while it runs.

All energies are compared by their geometric means, as all ratios of them are: those to the target, and those of whole
trials where there is no target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from energysweep.analysis.extremes import Compared
from energysweep.analysis.intervals import Estimate
from energysweep.analysis.multitask import TASKS
from energysweep.analysis.pretraining import PRETRAINED
from energysweep.analysis.target import always_arrives
from energysweep.analysis.trials import TrialLike
from energysweep.core.naming import exact_text
from energysweep.core.objective import Objective
from energysweep.ledger.balance import Spread, joules_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.trials import TrialSummary, order


class Repeats(Protocol):
    """The trials of a configuration: a report's ``ConfigurationSummary``, or what a driver knows so far."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def hardware(self) -> str: ...
    @property
    def trials(self) -> Sequence[TrialLike]: ...
    @property
    def energy_joules(self) -> Spread | None: ...
    @property
    def cut_short(self) -> bool: ...
    @property
    def unconfirmed(self) -> bool: ...
    @property
    def energy_to_target_joules(self) -> Spread | None: ...


_Repeats = TypeVar("_Repeats", bound=Repeats)


def same_work(configurations: Sequence[Repeats]) -> bool:
    """Whether the configurations do the same work, so that their energies may be ranked.

    Models for other tasks do other work. A pretrained one has had its pretraining beforehand.
    """
    return all(
        len({exact_text(each.parameters.get(name)) for each in configurations}) <= 1 for name in (TASKS, PRETRAINED)
    )


def some_open(configurations: Sequence[ConfigurationSummary]) -> bool:
    """Whether a trial of any of them has not ended well, so that a table has to say which."""
    return any(len(each.ended) < len(each.trials) for each in configurations)


def compared_joules(configuration: Repeats, objective: Objective | None) -> Spread | None:
    """Its energy to the target, or that of a whole trial where the sweep has no target."""
    if objective is not None and objective.target is not None:
        return configuration.energy_to_target_joules
    return configuration.energy_joules


def compared_mean(configuration: Repeats, objective: Objective | None) -> float | None:
    """The mean by which it is ranked."""
    return joules_of(compared_joules(configuration, objective))


def _compared_trials(
    configuration: ConfigurationSummary, objective: Objective | None
) -> list[tuple[TrialSummary, float]]:
    """The trials that ``compared_joules`` is over, each with its energy."""
    if objective is not None and objective.target is not None:
        found = [(trial, trial.energy_to_target_joules) for trial in configuration.trials]
    else:
        found = [(trial, trial.energy_joules) for trial in configuration.ended]
    return [(trial, joules) for trial, joules in found if joules is not None]


def ranked(configurations: Sequence[_Repeats], objective: Objective | None) -> list[tuple[float, _Repeats]]:
    """The configurations that are compared, each with its mean energy, the cheapest first.

    Empty if they do not do the same work: then the least energy is no merit. A configuration that sometimes fails to
    reach the target is cheap only when it is lucky: those that always arrive, as far as their trials have ended, and
    whose energy is known, are compared, if there are any. Nor is one cheap because a trial of it was stopped early:
    without a target, those that were not are compared, if there are any. Where only winners are repeated, these are
    compared. Of equal ones the first by parameters and
    hardware comes first, in whichever order they were found.
    """
    if not same_work(configurations):
        return []
    known = [(compared_mean(each, objective), each) for each in configurations]
    found = [(joules, each) for joules, each in known if joules is not None]
    if objective is not None and objective.target is not None:
        always = [(joules, each) for joules, each in found if always_arrives(each.trials)]
        found = always or found
    else:
        found = [(joules, each) for joules, each in found if not each.cut_short] or found
    found = [(joules, each) for joules, each in found if not each.unconfirmed] or found
    return sorted(found, key=lambda pair: (pair[0], *_place(pair[1])))


def _place(each: Repeats) -> tuple[object, ...]:
    return order(each.parameters, sorted(each.parameters)), exact_text(each.parameters), each.hardware


# Which configurations cannot be told from the cheapest one (``Compared``) ---------------------------------------------


def with_ties(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> tuple[ConfigurationSummary, ...]:
    """The same configurations, with those marked that are tied with the cheapest."""
    members = [each for _, each in ranked(configurations, objective)]
    if not members:
        return tuple(configurations)
    runs = [_compared_trials(each, objective) for each in members]
    compared = Compared(runs)
    tied = {id(each): compared.tied(own, runs[0]) for each, own in zip(members[1:], runs[1:], strict=True)}
    return tuple(replace(each, tied_with_cheapest=tied.get(id(each), False)) for each in configurations)


def note(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None, changed_by: str = ""
) -> str | None:
    """What a reader has to know about ties in this sweep; None if there is nothing to compare.

    Args:
        configurations: of the sweep.
        objective: of the sweep.
        changed_by: the scheduler that changes the parameters of trials while they run, if one does.
    """
    if changed_by:
        return (
            f"{changed_by} changed the parameters of trials while they ran, which went on from each other's work. Each"
            " stands here with the parameters that it began with and the energy that it spent itself; explain tells"
            " what changed."
        )
    members = [each for _, each in ranked(configurations, objective)]
    if len(members) < 2:
        return None
    if any(each.tied_with_cheapest is None for each in members):
        return (
            "Some configurations have one repeat only: whether they are tied with the cheapest is not known, unless"
            " their meters cannot tell them apart. Set repeats to 3 or more."
        )
    return (
        "A tie is called where the 95 % interval of a ratio holds 1. It is corrected for having looked at all"
        f" {len(members)} configurations; few repeats make it wide."
    )


def ratio_to_cheapest(
    configuration: ConfigurationSummary, configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> Estimate | None:
    """What one of these needs over what the cheapest of them needs; None if an energy is not known, or not above 0."""
    runs = [_compared_trials(each, objective) for _, each in ranked(configurations, objective)]
    return Compared(runs).ratio(_compared_trials(configuration, objective), runs[0]) if runs else None
