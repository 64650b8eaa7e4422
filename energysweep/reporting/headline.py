"""The sweep in one sentence: what the same target cost at most and at least."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.objective import Objective
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.model import Headline
from energysweep.reporting.ranking import ranked, same_work
from energysweep.reporting.text import TIMES, energy_text, number_text


def headline(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> Headline:
    """Compare the configurations at equal target; without a target, their whole energy; other work, not at all."""
    if not same_work(configurations):
        return _of_other_work(configurations, objective)
    if objective is None or objective.target is None:
        return _without_target(configurations, objective)
    return _at_target(configurations, objective, objective.target)


def _at_target(configurations: Sequence[ConfigurationSummary], objective: Objective, target: float) -> Headline:
    goal = f"{objective.metric} {target:g}"
    members = ranked(configurations, objective)
    if not members:
        return Headline(f"No configuration reached {goal}.", None, None, None)
    (low_joules, cheapest), (high_joules, dearest) = members[0], members[-1]
    low = _energy(low_joules, cheapest)
    missed = _missed(configurations)
    if len(members) == 1:
        always = cheapest.reached_target == len(cheapest.trials)
        how_often = "in every trial" if always else f"in {_k_of_n(cheapest)} trials"
        sentence = f"Only {cheapest.title} reached {goal} {how_often}, for {low}{_remarks(None, [cheapest])}{missed}."
        return Headline(sentence, None, cheapest, dearest)
    ratio = _ratio(high_joules, low_joules)
    high = _energy(high_joules, dearest)
    remarks = _remarks(ratio, (cheapest, dearest))
    ties = _ties(members)
    sentence = f"Reaching {goal} took between {low} and {high}{remarks}; cheapest: {cheapest.title}{ties}{missed}."
    return Headline(sentence, ratio, cheapest, dearest)


def _of_other_work(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> Headline:
    why = "They differ in their tasks or in a pretraining of their own, so their energies are not ranked."
    count = len(configurations)
    if objective is None or objective.target is None:
        return Headline(f"{count} configurations ran. {why}", None, None, None)
    always = sum(1 for each in configurations if each.reached_target == len(each.trials))
    goal = f"{objective.metric} {objective.target:g}"
    return Headline(f"{always} of {count} configurations reached {goal} in every trial. {why}", None, None, None)


def _without_target(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> Headline:
    members = ranked(configurations, objective)
    best = _best(configurations, objective)
    if not members:
        return Headline("No trial has ended with a measured energy yet.", None, None, None)
    (low_joules, cheapest), (high_joules, dearest) = members[0], members[-1]
    if len(members) == 1:
        sentence = f"A trial took {_energy(low_joules, cheapest)}{_remarks(None, [cheapest])}"
    else:
        sentence = f"A trial took between {_energy(low_joules, cheapest)} and {_energy(high_joules, dearest)}"
        sentence += _remarks(_ratio(high_joules, low_joules), (cheapest, dearest))
        sentence += f"; cheapest: {cheapest.title}{_ties(members)}"
    if best is not None and best.objective is not None and objective is not None:
        sentence += f"; best {objective.metric}: {number_text(best.objective.mean)} with {best.title}"
    return Headline(f"{sentence}.", None, cheapest, dearest)


def _best(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> ConfigurationSummary | None:
    if objective is None:
        return None
    sign = 1.0 if objective.mode == "max" else -1.0
    known = [(sign * each.objective.mean, each) for each in configurations if each.objective is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _missed(configurations: Sequence[ConfigurationSummary]) -> str:
    count = sum(1 for each in configurations if each.reached_target != len(each.trials))
    if not count:
        return ""
    return f"; {count} of {len(configurations)} configurations did not reach it in every trial"


def _ties(members: Sequence[tuple[float, ConfigurationSummary]]) -> str:
    """Which of them cannot be told from the cheapest: by name, if they are few."""
    tied = [each.title for _, each in members if each.tied_with_cheapest]
    if not tied:
        return ""
    if len(tied) == len(members) - 1 and len(tied) > 2:
        return f", tied with all {len(tied)} others"
    if len(tied) > 2:
        return f", tied with {len(tied)} others"
    return f", tied with {' and '.join(tied)}"


def _energy(joules: float, configuration: ConfigurationSummary) -> str:
    return energy_text(joules, estimated=configuration.estimated, brief=True)


def _ratio(high: float, low: float) -> float | None:
    return high / low if low > 0 else None


def _remarks(ratio: float | None, members: Sequence[ConfigurationSummary]) -> str:
    """What stands in brackets after the energies: how many times, and whether they are estimates."""
    remarks = [] if ratio is None else [f"{TIMES}{ratio:.1f}"]
    if any(each.estimated for each in members):
        remarks.append("estimated")
    return f" ({', '.join(remarks)})" if remarks else ""


def _k_of_n(configuration: ConfigurationSummary) -> str:
    return f"{configuration.reached_target} of {len(configuration.trials)}"
