"""What of a run nobody measured or told apart, in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from energysweep.core.text import count_text, duration_text, percent_text
from energysweep.ledger.balance import MeterSummary, Part, seconds_between
from energysweep.ledger.model import Summary
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.base import gpu_text

ENOUGH_COVERAGE: Final = 0.99  # the last fraction of a second before a window was closed is no gap
ELSEWHERE_NOTE: Final = (
    "Ray tasks or actors that it had work in other processes hold no lease: what they drew is overhead or background"
)
_MOST_TRIALS: Final = 5


def not_measured(summary: Summary) -> list[str]:
    """The gaps of a run, the largest kind first; empty if there are none."""
    found = [
        *damage_lines(summary),
        *_between_parts(summary.parts),
        *_lost_nodes(summary.lost_nodes),
        *_unheard_nodes(summary.unheard_nodes),
        *_trials(summary),
    ]
    found += [*_without_cpu(summary.meters), *(_gpu(*each) for each in summary.unmeasured_gpus)]
    return [*found, *(_gap(meter) for meter in summary.meters if _has_gap(meter))]


def damage_lines(summary: Summary) -> list[str]:
    """What of the ledger is damaged, so that no number of this run includes it."""
    return [f"The ledger is damaged: {each}." for each in summary.damage]


def _between_parts(parts: Sequence[Part]) -> list[str]:
    if len(parts) < 2:
        return []
    seconds = seconds_between(parts)
    apart = "an unknown time" if seconds is None else duration_text(seconds)
    # An agent that was still there has gone on counting; one that had ended has not.
    return [f"{len(parts)} parts, {apart} apart: what their hosts drew in between is background, or was not measured."]


def _lost_nodes(nodes: Sequence[str]) -> list[str]:
    return [f"{node} was lost: of what it drew in its last second or so nothing is booked." for node in nodes]


def _without_cpu(meters: Sequence[MeterSummary]) -> list[str]:
    # DRAM may be inside a counter of the platform; a CPU that has no counter of its own is in no other.
    nodes = {meter.node for meter in meters} - {meter.node for meter in meters if meter.component == "cpu"}
    return [f"The CPU of {node}: no meter counted it, so its energy is in no number here." for node in sorted(nodes)]


def _gpu(node: str, name: str, trials: int) -> str:
    held = count_text(trials, "trial")
    return f"{gpu_text(name)} of {node}, which {held} held: no meter counted it, so its energy is in no number here."


def _unheard_nodes(nodes: Sequence[str]) -> list[str]:
    return [
        f"No driver asked {node} to the end (it was killed, or ended in a hurry): of what was drawn there after the"
        " last answer nothing is booked."
        for node in nodes
    ]


def _trials(summary: Summary) -> list[str]:
    found = []
    without = [trial.trial for trial in summary.trials if trial.energy_joules is None and trial.iterations]
    if without:
        found.append(f"No energy was measured of {_count(without)} that reported results: {_names(without)}.")
    elsewhere = [trial.trial for trial in summary.trials if trial.works_elsewhere]
    if elsewhere:
        found.append(f"Only part of {_count(elsewhere)} was measured: {_names(elsewhere)}. {ELSEWHERE_NOTE}.")
    partly = [
        f"{trial.trial} ({percent_text(trial.coverage)} of its time)"
        for trial in sorted(summary.trials, key=lambda trial: trial.coverage or 0.0)
        if trial.coverage is not None and trial.coverage < ENOUGH_COVERAGE
    ]
    if partly:
        found.append(f"Only part of {_count(partly)} was measured: {_names(partly)}.")
    return found


def _has_gap(meter: MeterSummary) -> bool:
    return meter.resets > 0 or (meter.coverage is not None and meter.coverage < ENOUGH_COVERAGE)


def _gap(meter: MeterSummary) -> str:
    return (
        f"{meter.device} of {meter.node}: {duration_text(meter.uncovered_seconds)} without good readings"
        f" ({meter.failures} failed readings, {meter.resets} resets or jumps)."
    )


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_TRIALS
    return ", ".join(names[:_MOST_TRIALS]) + (f" and {more} more" if more > 0 else "")


def _count(trials: Sequence[str]) -> str:
    return count_text(len(trials), "trial")


# Start-up that an older energysweep did not tell apart from work -----------------------------------------------------


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
