"""The first screen of a run's report: what to take, what that saves, and how sure it is, a line each."""

from __future__ import annotations

import statistics

from energysweep.core.carbon import JOULES_PER_KWH
from energysweep.core.text import count_text, emissions_text, energy_text, number_text, percent_text, ratio_text
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import compared_mean, ranked, same_work
from energysweep.report.answers import sentence
from energysweep.report.answers.settings import Line

_Members = list[tuple[float, ConfigurationSummary]]  # those that are compared, with their joules, the cheapest first


def choice(summary: Summary) -> tuple[tuple[str, Line], ...]:
    """The three lines, each under its name.

    With a target the cheapest configuration that reaches it is taken, without one the best by the objective, and
    without an objective the cheapest. Of configurations that do not do the same work none is.
    """
    members = ranked(summary.configurations, summary.objective)
    taken = _best(summary) if summary.objective is not None and not summary.has_target else _first(members)
    if taken is None:
        nothing = Line("n/a.", "There is nothing to compare yet." if summary.extent.open else "Nothing was compared.")
        return (("Take", _nothing(summary)), ("It saves", nothing), ("How sure", _how_sure(summary, None, members)))
    return (
        ("Take", _take(summary, taken)),
        ("It saves", _saving(summary, taken, members)),
        ("How sure", _how_sure(summary, taken, members)),
    )


def _first(members: _Members) -> ConfigurationSummary | None:
    return members[0][1] if members else None


def _best(summary: Summary) -> ConfigurationSummary | None:
    """The best by the objective; of equal ones the cheapest, which alone is on the front."""
    found = [each for each in summary.configurations if each.pareto and each.objective is not None]
    return max(found, key=lambda each: _worth(summary, each), default=None)


def _worth(summary: Summary, each: ConfigurationSummary) -> float:
    if each.objective is None or summary.objective is None:
        return float("-inf")
    return each.objective.mean if summary.objective.mode == "max" else -each.objective.mean


def _nothing(summary: Summary) -> Line:
    if not same_work(summary.configurations):
        return Line("It depends.", sentence(summary))
    objective = summary.objective
    if objective is None or objective.target is None:
        return Line("Nothing yet.", "No trial has ended with a measured energy.")
    goal = f"{objective.metric} {objective.target:g}"
    known = [each for each in summary.configurations if each.objective is not None]
    nearest = max(known, key=lambda each: _worth(summary, each), default=None)
    if nearest is None or any(each.reached_target for each in summary.configurations):
        return Line("Nothing yet.", f"No configuration has reached {goal} with a measured energy.")
    near = number_text(nearest.objective.mean if nearest.objective else None)
    return Line(
        "Nothing yet." if summary.extent.open else "None of these.",
        f"No configuration has reached {goal}; nearest is {near}, with {nearest.title}.",
    )


def _take(summary: Summary, taken: ConfigurationSummary) -> Line:
    joules = _energy(compared_mean(taken, summary.objective), taken)
    objective = summary.objective
    if objective is None:
        return Line(taken.title, f"takes least, {joules} a trial; no objective says what it is worth.")
    if objective.target is None:
        value = number_text(taken.objective.mean if taken.objective else None)
        return Line(taken.title, f"has the best {objective.metric}, {value}, for {joules} a trial.")
    so_far = "so far " if summary.extent.open else ""
    often = "" if taken.arrives else f" ({taken.arrival_text} trials)"
    return Line(taken.title, f"{so_far}takes least to reach {objective.metric} {objective.target:g}: {joules}{often}.")


def _saving(summary: Summary, taken: ConfigurationSummary, members: _Members) -> Line:
    """What it takes less than the dearest and than the middle one of those that are compared."""
    own = compared_mean(taken, summary.objective)
    others = [(joules, each) for joules, each in members if each is not taken]
    if own is None or not others:
        return Line("n/a.", "No other configuration can be compared with it.")
    dearest_joules, dearest = others[-1]
    cheapest_joules, cheapest = members[0]
    if cheapest is not taken and summary.objective is not None:  # without a target
        less = number_text(cheapest.objective.mean if cheapest.objective else None)
        return Line(
            f"{_energy(own - cheapest_joules, taken)} more",
            f"than the cheapest, {cheapest.title}, whose {summary.objective.metric} is {less}. With a target energy is"
            " compared at equal results.",
        )
    middle = statistics.median([joules for joules, _ in members])
    of = f"of the {len(members)} that always reach it" if summary.has_target and taken.arrives else f"of {len(members)}"
    estimated = taken.estimated or dearest.estimated
    saved = dearest_joules - own
    if dearest.tied_with_cheapest:
        return Line("Nothing that can be told.", f"The dearest {of}, {dearest.title}, is tied with it.")
    times = f", {ratio_text(ratio, estimated=estimated)}" if (ratio := summary.headline.worst_to_best) else ""
    said = f"against the dearest {of} ({percent_text(saved / dearest_joules) if dearest_joules else 'n/a'}{times})"
    if len(members) > 2:
        said += f"; {energy_text(middle - own, estimated=estimated, brief=True)} against the middle one"
    if summary.carbon is not None:
        grams = saved / JOULES_PER_KWH * summary.carbon.pue * summary.carbon.grams_per_kwh
        said += f"; {emissions_text(grams, estimated=estimated, brief=True)} of CO2e"
    return Line(f"{energy_text(saved, estimated=estimated, brief=True)} a training", f"{said}.")


def _how_sure(summary: Summary, taken: ConfigurationSummary | None, members: _Members) -> Line:
    """A word, and what it rests on: repeats, ties, what is open, what the meters are."""
    said = []
    if summary.damage:
        said.append("The ledger is damaged.")
    if summary.extent.open:
        said.append(f"{summary.extent.open} of {count_text(summary.extent.planned, 'trial')} are open.")
    word = "n/a."
    if taken is not None:
        word, why = _told_apart(summary, taken, members)
        said.append(why)
    if summary.extent.open:
        word = "Not yet."
    if summary.estimated:
        said.append("The energy is an estimate from rated power and load: it ranks, and may be off by a factor.")
    elif summary.sources:
        said.append(f"The energy was read from counters ({'+'.join(summary.sources)}).")
    else:
        said.append("Nothing was measured.")
    return Line(word, " ".join(said))


def _told_apart(summary: Summary, taken: ConfigurationSummary, members: _Members) -> tuple[str, str]:
    repeats = len(taken.ended)
    if summary.objective is not None and not summary.has_target:
        return _best_told_apart(summary, taken)
    others = [each for _, each in members if each is not taken]
    tied = [each for each in others if each.tied_with_cheapest]
    if not others:
        return "One choice only.", f"It rests on {count_text(repeats, 'repeat')}."
    if tied:
        names = tied[0].title if len(tied) == 1 else f"{len(tied)} others"
        return "A tie.", f"In {count_text(repeats, 'repeat')} {names} cannot be told from it."
    if any(each.tied_with_cheapest is None for each in others):
        return "A hint.", f"{count_text(repeats, 'repeat').capitalize()}: chance alone may have picked it."
    return "Sure at 95 %.", f"In {count_text(repeats, 'repeat')} none of the {len(others)} others is tied with it."


def _best_told_apart(summary: Summary, taken: ConfigurationSummary) -> tuple[str, str]:
    """By the spread of the objective over the repeats."""
    rest = [each for each in summary.configurations if each is not taken and each.objective is not None]
    second = max(rest, key=lambda each: _worth(summary, each), default=None)
    own = taken.objective
    repeats = count_text(len(taken.ended), "repeat")
    if second is None or second.objective is None or own is None:
        return "One choice only.", f"It rests on {repeats}."
    if own.std is None:
        return "A hint.", f"{repeats.capitalize()}: chance alone may have picked it."
    gap = abs(own.mean - second.objective.mean)
    if gap <= max(own.std, second.objective.std or 0.0):
        return "A tie.", f"{second.title} is within one standard deviation of {repeats}."
    return "Likely.", f"The next best, {second.title}, is more than one standard deviation away, in {repeats}."


def _energy(joules: float | None, each: ConfigurationSummary) -> str:
    return energy_text(joules, estimated=each.estimated, brief=True)
