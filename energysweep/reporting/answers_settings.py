"""Which setting is cheapest at equal accuracy, by how much, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from energysweep.analysis import Effect, Effects, Estimate, Ratio, acts_on, at_least, effects, ratio_to_target
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.model import Summary
from energysweep.reporting.text import energy_text, percent_text, ratio_text, value_text

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
    """The cheapest setting, and what the dearest takes: the two that the headline names."""
    if not summary.comparable or summary.objective is None:
        return []
    cheapest, dearest, ratio = extremes(summary)
    if cheapest is None or dearest is None or ratio is None:
        return [Line("n/a", summary.headline.sentence)]
    brief = (
        f"{cheapest.title} reaches {summary.objective.metric} {summary.objective.target:g} for {_joules(cheapest)};"
        f" the dearest takes {ratio_text(ratio.energy, estimated=summary.estimated)}."
    )
    detail = [f"The dearest is {dearest.title}, {_joules(dearest)}."]
    tied = [each for each in summary.configurations if each.tied_with_cheapest]
    if tied:
        detail.append(f"{_names(tied)} cannot be told from the cheapest.")
    elif ratio.tied is None:
        detail.append("One repeat: no interval, and ties cannot be told.")
    detail += _missed(summary, cheapest, ratio)
    short = "a tie" if ratio.tied else bare_ratio(ratio.energy, summary)
    return [Line(short, brief, " ".join(detail))]


def extremes(summary: Summary) -> tuple[ConfigurationSummary | None, ConfigurationSummary | None, Ratio | None]:
    """The cheapest and the dearest that the headline names, and what the dearest takes over the cheapest."""
    cheapest, dearest = summary.headline.cheapest, summary.headline.dearest
    if cheapest is None or dearest is None or cheapest is dearest:
        return None, None, None
    return cheapest, dearest, ratio_to_target(dearest.trials, cheapest.trials)


def _missed(summary: Summary, cheapest: ConfigurationSummary, ratio: Ratio) -> list[str]:
    missed = [each for each in summary.configurations if each.reached_target != len(each.trials)]
    if not missed:
        return []
    text = f"{len(missed)} of {count(len(summary.configurations), 'setting')} did not always arrive, not compared"
    least = at_least([each.trials for each in missed], cheapest.trials)
    if least is not None and least > ratio.energy.value:
        text += f"; one of them takes at least {bare_ratio(Estimate(least, None, None, 1), summary)}"
    return [f"{text}."]


def why_lines(summary: Summary) -> list[Line]:
    """The ratio of worst to best as a product, and what each parameter does."""
    if not summary.comparable:
        return []
    _, _, ratio = extremes(summary)
    if ratio is None:
        return []
    brief = product(ratio, summary.estimated)
    fitted = effects(summary.trials, "energy")
    if fitted is None:
        return [Line(cause(ratio), f"{brief}.")]
    acts = ", ".join(f"{each.parameter} {_ACTS[acts_on(summary.trials, each.parameter)]}" for each in fitted.main)
    detail = [effect_text(each, summary) for each in fitted.main]
    interaction = interaction_text(fitted)
    if interaction:
        detail.append(interaction)
    return [Line(cause(ratio), f"{brief}; {acts}.", " ".join(detail))]


def effect_text(effect: Effect, summary: Summary) -> str:
    """What a parameter does to the energy, and to its two parts."""
    epochs, per_epoch = (effects(summary.trials, quantity) for quantity in ("epochs", "joules_per_epoch"))
    parts = [fitted.of(effect.parameter) if fitted else None for fitted in (epochs, per_epoch)]
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
        f", without {count(len(fitted.censored), 'setting')} that did not always arrive" if fitted.censored else ""
    )
    return f"{text}, over {count(fitted.cells, 'setting')}{left_out}."


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


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a short text; empty if there are none."""
    return " ".join(f"{name}={value_text(value)}" for name, value in settings.items())


def count(number: int, what: str) -> str:
    """``1 setting``, ``3 settings``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def bare_ratio(ratio: Estimate, summary: Summary) -> str:
    """A ratio without its interval."""
    return ratio_text(replace(ratio, low=None, high=None), estimated=summary.estimated)


def _joules(configuration: ConfigurationSummary) -> str:
    spread = configuration.energy_to_target_joules
    return energy_text(spread.mean if spread else None, estimated=configuration.estimated, brief=True)


def _names(configurations: Sequence[ConfigurationSummary]) -> str:
    names = [each.title for each in configurations]
    if len(names) > 2:
        return f"{len(names)} others"
    return " and ".join(names)
