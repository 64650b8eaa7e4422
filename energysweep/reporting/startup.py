"""Runs whose start-up nobody told apart from work, begun by an older energysweep: what a reader has to know of them."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.reporting.model import Summary
from energysweep.reporting.text import count_text
from energysweep.reporting.trials import TrialSummary


def untold(summary: Summary) -> list[TrialSummary]:
    """The trials whose energy includes start-up, all of it or that of some of their leases."""
    return [trial for trial in summary.trials if trial.energy_joules is not None and not trial.startup_is_apart]


def untold_note(summary: Summary) -> str | None:
    """That start-up is within the energy of trials, of which and why it matters; None if it is apart from all."""
    trials, measured = untold(summary), [trial for trial in summary.trials if trial.energy_joules is not None]
    if not trials:
        return None
    where = "" if len(trials) == len(measured) else f" in {len(trials)} of {count_text(len(measured), 'trial')}"
    return (
        f"Start-up was not told apart from work{where}, so their energy includes it: whichever trial came first in its"
        " process may have paid for its imports."
    )


def untold_warning(summaries: Sequence[Summary]) -> str | None:
    """The same for runs that are set side by side; None if it is apart in all of them."""
    within = [summary.sweep for summary in summaries if untold(summary)]
    apart = [
        summary.sweep
        for summary in summaries
        if not untold(summary) and any(trial.energy_joules is not None for trial in summary.trials)
    ]
    if not within:
        return None
    text = f"Start-up was not told apart from work, at least in some trials, in {', '.join(within)}"
    if not apart:
        return f"{text}: their energy includes it."
    return (
        f"{text}, whose energy includes it; it is apart from that of {', '.join(apart)}. A ratio between them sets"
        " trials with their start-up against trials without it."
    )


def charged_text(summaries: Sequence[Summary]) -> str:
    """What the emissions of these runs are of."""
    within = sum(1 for summary in summaries if untold(summary))
    if not within:
        return "trials, their start-up and overhead"
    where = "" if within == len(summaries) else f" in {within} of {count_text(len(summaries), 'run')}"
    return f"trials, their start-up (not told apart{where}, within the trials' energy) and overhead"
