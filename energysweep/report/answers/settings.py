"""Which setting is cheapest at equal accuracy, by how much, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from energysweep.analysis import Effect, Effects, Estimate, Extremes, Ratio, acts_by, to_target, worst_to_best
from energysweep.analysis.extremes import stands_out
from energysweep.core.naming import value_text
from energysweep.core.text import count_text, energy_text, or_more_text, percent_text, ratio_text
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary

_ACTS: Final = {
    "epochs": "acts on the epochs",
    "joules_per_epoch": "acts on the joules per epoch",
    "both": "acts on both",
    "neither": "shows no effect",
    None: "has no interval",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One run's answer.

    Attributes:
        short: the number or the word that matters.
        brief: the sentence behind it.
        detail: what else has to be said, for the run's own section.
        run: whose answer it is, where several runs answer.
    """

    short: str
    brief: str
    detail: str = ""
    run: str = ""

    def of_run(self, run: str) -> Line:
        """The same, with the run's name."""
        return replace(self, run=run)


def setting_lines(summary: Summary) -> list[Line]:
    """The cheapest setting, and what the dearest takes: the same as the headline says, with intervals."""
    if not summary.comparable or summary.objective is None:
        return []
    found = extremes(summary)
    if found is None:
        return [Line("n/a", summary.headline.sentence)]
    goal = f"{summary.objective.metric} {summary.objective.target:g}"
    brief = f"{found.cheapest.title} reaches {goal} for {_joules(found.cheapest)}; {_takes(found, summary)}."
    dearest = "The dearest" if found.at_least is None else "The dearest that always arrived"
    detail = [f"{dearest} is {found.dearest.title}, {_joules(found.dearest)}."]
    tied = [each for each in summary.configurations if each.tied_with_cheapest]
    unknown = any(each.tied_with_cheapest is None for each in summary.configurations)
    if tied:
        detail.append(f"{_names(tied)} cannot be told from the cheapest.")
    if unknown:
        detail.append(f"One repeat: no interval, and {'other ' if tied else ''}ties cannot be told.")
    elif not tied:
        detail.append("No other setting is tied with the cheapest.")
    settings = count_text(len(summary.configurations), "setting")
    if found.censored:
        detail.append(f"{len(found.censored)} of {settings} did not always arrive, not compared.")
    silent = sum(1 for each in summary.configurations if not each.reached_target and not each.missed_target)
    if silent:
        detail.append(f"{silent} of {settings} cannot be told of yet: no trial of theirs has ended well.")
    return [Line(_short(found, summary), brief, " ".join(detail))]


def extremes(summary: Summary) -> Extremes[ConfigurationSummary] | None:
    """The cheapest and the dearest setting; None if fewer than two always arrived, or if they do other work."""
    if not summary.comparable:
        return None
    return worst_to_best([(each, each.trials) for each in summary.configurations])


def surely_text(bound: Estimate, summary: Summary) -> str:
    """``95 %: at least x2.66``: where the bound's interval begins; without one, that there is none."""
    if bound.low is None:
        return "one repeat: no interval"
    return f"95 %: at least {bare_ratio(replace(bound, value=bound.low), summary)}"


def _takes(found: Extremes[ConfigurationSummary], summary: Summary) -> str:
    times = ratio_text(found.ratio.energy, estimated=summary.estimated)
    times += ", a tie" if found.dearest.tied_with_cheapest else ""
    bound = found.at_least
    if bound is None:
        return f"the dearest takes {times}"
    missed = (
        f"one that did not takes {or_more_text(bound, estimated=summary.estimated)} ({surely_text(bound, summary)})"
    )
    return f"the dearest that always arrived takes {times}; {missed}"


def _short(found: Extremes[ConfigurationSummary], summary: Summary) -> str:
    if found.at_least is not None and stands_out(found.at_least):
        return or_more_text(found.at_least, estimated=summary.estimated)
    return "a tie" if found.dearest.tied_with_cheapest else bare_ratio(found.ratio.energy, summary)


def why_lines(summary: Summary) -> list[Line]:
    """The ratio of worst to best as a product, and what each parameter does."""
    found = extremes(summary)
    if found is None:
        return []
    ratio = found.ratio
    brief = product(ratio, summary.estimated)
    fitted = summary.effects.get("energy")
    if fitted is None:
        return [Line(cause(ratio), f"{brief}.")]
    acts = ", ".join(f"{each.parameter} {_ACTS[acts_by(summary.effects, each.parameter)]}" for each in fitted.main)
    detail = [_effect_text(each, summary) for each in fitted.main]
    interaction = interaction_text(fitted)
    if interaction:
        detail.append(interaction)
    return [Line(cause(ratio), f"{brief}; {acts}.", " ".join(detail))]


def _effect_text(effect: Effect, summary: Summary) -> str:
    """What a parameter does to the energy, and to its two parts."""
    parts = [fitted.of(effect.parameter) for quantity, fitted in summary.effects.items() if quantity != "energy"]
    ranges = [each.range if each else None for each in parts]
    return (
        f"{effect.parameter}: energy {ratio_text(effect.range, estimated=summary.estimated)} between"
        f" {value_text(effect.worst)} and {value_text(effect.best)}; over its values epochs differ by up to"
        f" {ratio_text(ranges[0]) if ranges[0] else 'n/a'}, joules per epoch by up to"
        f" {ratio_text(ranges[1], estimated=summary.estimated) if ranges[1] else 'n/a'}."
    )


def interaction_text(fitted: Effects) -> str | None:
    """How much of the differences the parameters' separate effects do not explain; None if that cannot be told."""
    if fitted.interaction_share is None or len(fitted.main) < 2:
        return None
    text = (
        f"Interaction: {percent_text(fitted.interaction_share)} of the variance of log energy is not the sum of"
        " separate effects"
    )
    if fitted.noise_share is not None:
        text += f" (the spread of the repeats alone would leave {percent_text(fitted.noise_share)})"
    left_out = (
        f", without {count_text(len(fitted.censored), 'setting')} that did not always arrive" if fitted.censored else ""
    )
    return f"{text}, over {count_text(fitted.cells, 'setting')}{left_out}."


def cause(ratio: Ratio) -> str:
    """Epochs or joules per epoch: which of the two makes the difference (three quarters of it, in logarithms)."""
    share = ratio.epochs_share
    if ratio.tied or share is None:
        return "a tie"
    if share >= 0.75:
        return "epochs"
    return "joules per epoch" if share <= 0.25 else "both"


def product(ratio: Ratio, estimated: bool) -> str:
    """A ratio as the product of its two parts."""
    return (
        f"epochs {ratio_text(ratio.epochs)} times joules per epoch"
        f" {ratio_text(ratio.joules_per_epoch, estimated=estimated)}"
    )


def bare_ratio(ratio: Estimate, summary: Summary) -> str:
    """A ratio without its interval."""
    return ratio_text(replace(ratio, low=None, high=None), estimated=summary.estimated)


def _joules(configuration: ConfigurationSummary) -> str:
    energy = to_target(configuration.trials).energy_joules
    return energy_text(energy.value if energy else None, estimated=configuration.estimated, brief=True)


def _names(configurations: Sequence[ConfigurationSummary]) -> str:
    names = [each.title for each in configurations]
    if len(names) > 2:
        return f"{len(names)} others"
    return " and ".join(names)
