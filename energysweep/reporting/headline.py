"""The sweep in one sentence: what the same target cost at most and at least."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.reporting.model import ConfigurationSummary, Headline
from energysweep.reporting.text import TIMES, energy_text, number_text
from energysweep.reporting.values import Objective


def headline(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> Headline:
    """Compare the configurations at equal target; without a target, their whole energy."""
    if objective is None or objective.target is None:
        return _without_target(configurations, objective)
    return _at_target(configurations, objective, objective.target)


def _at_target(configurations: Sequence[ConfigurationSummary], objective: Objective, target: float) -> Headline:
    goal = f"{objective.metric} {target:g}"
    reached = [each for each in configurations if each.energy_to_target_joules is not None]
    # A configuration that sometimes fails is cheap only when it is lucky: prefer those that always arrive.
    ranked = [each for each in reached if each.reached_target == len(each.trials)] or reached
    ranked = sorted(ranked, key=_energy_to_target)
    if not ranked:
        return Headline(f"No configuration reached {goal}.", None, None, None)
    cheapest, dearest = ranked[0], ranked[-1]
    low = _energy(_energy_to_target(cheapest), cheapest)
    missed = _missed(configurations)
    if len(ranked) == 1:
        always = cheapest.reached_target == len(cheapest.trials)
        how_often = "in every trial" if always else f"in {_k_of_n(cheapest)} trials"
        sentence = f"Only {cheapest.title} reached {goal} {how_often}, for {low}{_remarks(None, ranked)}{missed}."
        return Headline(sentence, None, cheapest, dearest)
    ratio = _ratio(_energy_to_target(dearest), _energy_to_target(cheapest))
    high = _energy(_energy_to_target(dearest), dearest)
    remarks = _remarks(ratio, (cheapest, dearest))
    sentence = f"Reaching {goal} took between {low} and {high}{remarks}; cheapest: {cheapest.title}{missed}."
    return Headline(sentence, ratio, cheapest, dearest)


def _without_target(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> Headline:
    ranked = sorted((each for each in configurations if each.energy_joules is not None), key=_whole_energy)
    best = _best(configurations, objective)
    if not ranked:
        return Headline("No trial has ended with a measured energy yet.", None, None, None)
    cheapest, dearest = ranked[0], ranked[-1]
    sentence = f"A trial took between {_energy(_whole_energy(cheapest), cheapest)} and "
    sentence += f"{_energy(_whole_energy(dearest), dearest)}"
    sentence += _remarks(_ratio(_whole_energy(dearest), _whole_energy(cheapest)), (cheapest, dearest))
    if len(ranked) == 1:
        sentence = f"A trial took {_energy(_whole_energy(cheapest), cheapest)}{_remarks(None, ranked)}"
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


def _energy_to_target(configuration: ConfigurationSummary) -> float:
    spread = configuration.energy_to_target_joules
    return float("inf") if spread is None else spread.mean


def _whole_energy(configuration: ConfigurationSummary) -> float:
    spread = configuration.energy_joules
    return float("inf") if spread is None else spread.mean


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
