"""What runs answer, in words: the first screen of the combined report, and a section of each run's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from energysweep.analysis import StudyEnergy, study_energy
from energysweep.core.buckets import APART, TRIALS
from energysweep.core.records import PILOT
from energysweep.core.text import count_text, emissions_text, energy_text, number_text, percent_text
from energysweep.hourly.hours import Kind
from energysweep.ledger.balance import total
from energysweep.ledger.model import Summary, open_text
from energysweep.report.answers.regimes import hardware_lines, multitask_lines, pretraining_lines
from energysweep.report.answers.settings import Line, setting_lines, why_lines
from energysweep.report.not_measured import charged_text

MEANS_NOTE: Final = (
    "A mean of energies is the geometric one over the repeats, to the target over those that reached it; every ratio is"
    " of such means. A tie is a ratio whose 95 % interval holds 1; of configurations that were picked out of several it"
    " is corrected for that. A trial that has not ended, or that failed, is in no mean."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what each run that can tell has to say to it."""

    question: str
    lines: tuple[Line, ...]


_QUESTIONS: Final[tuple[tuple[str, Callable[[Summary], list[Line]]], ...]] = (
    ("Which setting is cheapest at equal accuracy, and by how much?", setting_lines),
    ("Why: epochs, or joules per epoch?", why_lines),
    ("Does pretraining pay?", pretraining_lines),
    ("Does multitask training pay?", multitask_lines),
    ("On which hardware?", hardware_lines),
)


def answers(summary: Summary) -> tuple[Answer, ...]:
    """What one run answers; a question that it does not touch is left out."""
    found = [Answer(question, tuple(ask(summary))) for question, ask in _QUESTIONS]
    return tuple(each for each in found if each.lines)


def study_answers(summaries: Sequence[Summary]) -> tuple[Answer, ...]:
    """What several runs answer together, and what they have cost; a question that no run touches says so."""
    found = []
    for question, ask in _QUESTIONS:
        lines = [line.of_run(summary.name) for summary in summaries for line in ask(summary)]
        found.append(Answer(question, tuple(lines) or (Line("n/a", "No run can tell."),)))
    return (*found, Answer("What has all this cost?", (cost_line(summaries),)))


def sentence(summary: Summary) -> str:
    """The run in a sentence: its headline, or what its training regimes have shown.

    Models for different tasks, or with a pretraining of their own, are not ranked by their energy alone.
    """
    if summary.comparable or not summary.has_target:
        return summary.headline.sentence
    lines = [*pretraining_lines(summary), *multitask_lines(summary)]
    texts = [f"{line.brief[:1].upper()}{line.brief[1:]}" for line in lines]
    return " ".join([*texts, open_text(summary.extent)]).rstrip() if texts else summary.headline.sentence


def cost_line(summaries: Sequence[Summary]) -> Line:
    """The energy of the runs together, by purpose."""
    estimated = any(summary.estimated for summary in summaries)
    cost = study_energy([summary.totals for summary in summaries])
    energy = energy_text(cost.energy_joules, estimated=estimated, brief=True)
    if cost.energy_joules is None:
        return Line(energy, "No run was measured.")
    shares = [(name, joules / cost.energy_joules) for name, joules in purposes(cost) if joules]
    parts = ", ".join(f"{percent_text(share)} {name}" for name, share in shares)
    every = [stage for summary in summaries for stage in summary.stages]
    stages, pilots = (
        total(stage.total_energy_joules for stage in every if (stage.stage == PILOT) == is_pilot)
        for is_pilot in (False, True)
    )
    text = f"in {count_text(cost.runs, 'run')}: {parts}."
    if stages:
        text += f" Of the trials' energy {energy_text(stages, estimated=estimated)} went into pretraining."
    if pilots:
        text += f" Pilots took {energy_text(pilots, estimated=estimated)} of it."
    grams = emissions_text(cost.emissions_grams, estimated=estimated)
    text += f" {charged_text(summaries).capitalize()}: {grams} of CO2e."
    if cost.unknown:
        text += f" {cost.unknown} of the runs measured nothing."
    return Line(energy, text)


def purposes(cost: StudyEnergy) -> tuple[tuple[str, float | None], ...]:
    """The parts of a study's energy, by name."""
    apart = (
        (f"{bucket.title} of trials" if bucket.of == "lease" else bucket.title, cost.buckets[bucket.name])
        for bucket in APART
    )
    return ((TRIALS, cost.trials_energy_joules), *apart)


def scored(summary: Summary) -> str | None:
    """What was forecast of a run, and how far off that was; None if nothing was."""
    forecast = summary.forecast
    if forecast is None:
        return None
    ends = f"{energy_text(forecast.low)} to {energy_text(forecast.high)}"
    said = f"Forecast before it began: \N{ALMOST EQUAL TO} {energy_text(forecast.joules)} ({ends})."
    if forecast.charged_joules is None:
        return said
    charged = energy_text(forecast.charged_joules, estimated=summary.estimated)
    times = "" if forecast.ratio is None else f", {number_text(forecast.ratio)} times that"
    return f"{said} It was charged {charged}{times}: {'within' if forecast.held else 'outside'} the interval."


def hourly_text(summary: Summary) -> str | None:
    """A run's emissions by the hour, and how much of that was measured; None if nobody asked for them."""
    hourly = summary.hourly
    if hourly is None:
        return None
    kinds: tuple[Kind, ...] = ("measured", "forecast", "yearly")
    parts = [(kind, hourly.joules_of(kind)) for kind in kinds]
    everything = math.fsum([each.joules for each in hourly.hours] + [hourly.untimed_joules])
    certain = bool(everything) and parts[0][1] == everything
    grams = emissions_text(hourly.emissions_grams, estimated=summary.estimated or not certain)
    said = f"By the hour ({hourly.source}): {grams} of CO2e"
    if everything:
        words = {"measured": "in measured hours", "forecast": "in forecast hours", "yearly": "by the yearly mean"}
        shares = [f"{percent_text(joules / everything)} {words[kind]}" for kind, joules in parts if joules]
        known = math.fsum(joules for _, joules in parts)
        if everything - known > everything * 1e-9:
            shares.append(f"{percent_text(1 - known / everything)} in hours that nobody knows")
        said += f"; of the energy {', '.join(shares)}"
    return f"{said}. When energy was drawn is taken from the ledger's samples. All else here goes by the yearly mean."
