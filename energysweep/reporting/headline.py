"""The sweep in one sentence: what the same target cost at most and at least."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.analysis.extremes import stands_out, worst_to_best
from energysweep.objective import Objective
from energysweep.reporting.extent import Extent, open_text
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.model import Headline
from energysweep.reporting.ranking import ranked, same_work
from energysweep.reporting.text import TIMES, count_text, energy_text, number_text, or_more_text


def headline(configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent) -> Headline:
    """Compare the configurations at equal target; without a target, their whole energy; other work, not at all.

    Args:
        configurations: of the sweep.
        objective: its.
        extent: how far it has come; what is open is said.
    """
    if not same_work(configurations):
        found = _of_other_work(configurations, objective, extent)
    elif objective is None or objective.target is None:
        found = _without_target(configurations, objective, extent)
    else:
        found = _at_target(configurations, objective, objective.target, extent)
    sentence, ratio, cheapest, dearest = found
    return Headline(f"{sentence} {open_text(extent)}".rstrip(), ratio, cheapest, dearest)


_Found = tuple[str, float | None, ConfigurationSummary | None, ConfigurationSummary | None]


def _at_target(
    configurations: Sequence[ConfigurationSummary], objective: Objective, target: float, extent: Extent
) -> _Found:
    goal = f"{objective.metric} {target:g}"
    members = ranked(configurations, objective)
    failed = _failed(configurations)
    if not members:
        if any(each.reached_target for each in configurations):
            return f"{goal} was reached, but no energy was measured on the way{failed}.", None, None, None
        tried = any(each.missed_target for each in configurations)
        so_far = " so far" if extent.open else ""
        text = f"No configuration reached {goal}{so_far}" if tried else f"No trial has ended that could reach {goal}"
        return f"{text}{failed}.", None, None, None
    (low_joules, cheapest), (high_joules, dearest) = members[0], members[-1]
    low = _energy(low_joules, cheapest)
    missed = _missed(configurations)
    if len(members) == 1:
        only = "So far only" if extent.open else "Only"
        how_often = "in every trial" if cheapest.arrives and not _undecided(cheapest) else f"in {_k_of_n(cheapest)}"
        remarks = _remarks(None, [cheapest])
        sentence = f"{only} {cheapest.title} reached {goal} {how_often}, for {low}{remarks}{missed}{failed}."
        return sentence, None, cheapest, dearest
    ratio = _ratio(high_joules, low_joules)
    high = _energy(high_joules, dearest)
    remarks = _remarks(ratio, (cheapest, dearest))
    begin = f"So far, reaching {goal}" if extent.open else f"Reaching {goal}"
    sentence = f"{begin} took between {low} and {high}{remarks}; cheapest: {cheapest.title}{_ties(members)}"
    return f"{sentence}{missed}{_bound(configurations)}{failed}.", ratio, cheapest, dearest


def _of_other_work(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent
) -> _Found:
    why = "They differ in their tasks or in a pretraining of their own, so their energies are not ranked."
    count = len(configurations)
    if objective is None or objective.target is None:
        return f"{count} configurations ran. {why}", None, None, None
    always = sum(1 for each in configurations if each.arrives)
    goal = f"{objective.metric} {objective.target:g}"
    begin = "So far, " if extent.open else ""
    return f"{begin}{always} of {count} configurations reached {goal} in every trial. {why}", None, None, None


def _without_target(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent
) -> _Found:
    members = ranked(configurations, objective)
    best = _best(configurations, objective)
    failed = _failed(configurations)
    if not members:
        return f"No trial has ended with a measured energy yet{failed}.", None, None, None
    (low_joules, cheapest), (high_joules, dearest) = members[0], members[-1]
    begin = "So far, a trial" if extent.open else "A trial"
    if len(members) == 1:
        sentence = f"{begin} took {_energy(low_joules, cheapest)}{_remarks(None, [cheapest])}"
    else:
        sentence = f"{begin} took between {_energy(low_joules, cheapest)} and {_energy(high_joules, dearest)}"
        sentence += _remarks(_ratio(high_joules, low_joules), (cheapest, dearest))
        sentence += f"; cheapest: {cheapest.title}{_ties(members)}"
    if best is not None and best.objective is not None and objective is not None:
        sentence += f"; best {objective.metric}: {number_text(best.objective.mean)} with {best.title}"
    return f"{sentence}{failed}.", None, cheapest, dearest


def _best(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> ConfigurationSummary | None:
    if objective is None:
        return None
    sign = 1.0 if objective.mode == "max" else -1.0
    known = [(sign * each.objective.mean, each) for each in configurations if each.objective is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _missed(configurations: Sequence[ConfigurationSummary]) -> str:
    """Only what ran to its end, and did not arrive, has missed the target."""
    count = sum(1 for each in configurations if each.missed_target)
    if not count:
        return ""
    return f"; {count} of {len(configurations)} configurations did not reach it in every trial"


def _bound(configurations: Sequence[ConfigurationSummary]) -> str:
    """What one of those that missed it takes at least, where that is more than the dearest; as the answers say it."""
    found = worst_to_best([(each, each.trials) for each in configurations])
    if found is None or found.at_least is None or not stands_out(found.at_least):
        return ""
    estimated = any(each.estimated for each in configurations)
    return f", one of them takes {or_more_text(found.at_least, estimated=estimated)}"


def _failed(configurations: Sequence[ConfigurationSummary]) -> str:
    count = sum(each.failed for each in configurations)
    return f"; {count_text(count, 'trial')} failed" if count else ""


def _undecided(configuration: ConfigurationSummary) -> bool:
    return any(trial.reached_target is None for trial in configuration.trials)


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
    remarks = [] if ratio is None else [f"{TIMES}{number_text(ratio)}"]
    if any(each.estimated for each in members):
        remarks.append("estimated")
    return f" ({', '.join(remarks)})" if remarks else ""


def _k_of_n(configuration: ConfigurationSummary) -> str:
    known = (configuration.reached_target or 0) + (configuration.missed_target or 0)
    rest = f" of {len(configuration.trials)}" if known < len(configuration.trials) else ""
    if not configuration.missed_target:
        return f"{configuration.reached_target}{rest} trials"
    return f"{configuration.reached_target} of {known} trials"
