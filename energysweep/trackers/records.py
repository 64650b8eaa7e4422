"""What trackers are told of a run: a record of each trial, and one of the sweep, made of nothing but the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from energysweep.core.carbon import Intensity
from energysweep.core.naming import configuration_text
from energysweep.core.records import OPEN, ResultRow
from energysweep.core.text import NOT_AVAILABLE
from energysweep.ledger.balance import emissions_grams
from energysweep.ledger.model import Summary
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summary_of
from energysweep.ledger.trials import TrialSummary
from energysweep.report.files import Row, trial_rows

FINAL: Final = "final/"
"""What the names of the ledger's final numbers begin with, so that they are told apart from those of the reports."""
ITERATION: Final = "iteration"
_OURS: Final = ("energy_joules", "active_energy_joules", "power_watts", "emissions_grams", ITERATION)


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a trial.

    Attributes:
        iteration: counts the trial's reports from 1; the step in all trackers.
        at: Unix time.
        values: what is told, by name: numbers, truth values, texts, and None for what is not known. ``iteration`` is
            the last of them.
    """

    iteration: int
    at: float
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One trial, or the sweep as a whole.

    Attributes:
        run: the run id.
        trial: the trial's id; empty for the sweep.
        name: for people.
        status: of the trial, or of the run.
        is_over: it has ended, for now: a run that goes on later begins some of them again.
        started_at, ended_at: Unix time, None if unknown.
        parameters: of the trial, by name; nested as they are.
        labels: texts by name: whose it is, where its energy is from, and whether that is an estimate.
        tags: of the sweep.
        reports: all that there are.
        final: the ledger's final numbers, by the names of trials.csv; of the sweep, of the totals in summary.json. None
            as long as they may change.
    """

    run: str
    trial: str
    name: str
    status: str
    is_over: bool
    started_at: float | None
    ended_at: float | None
    parameters: Mapping[str, Any]
    labels: Mapping[str, str]
    tags: tuple[str, ...] = ()
    reports: Sequence[Report] = ()
    final: Mapping[str, Any] | None = None


def records(data: LedgerData, *, as_it_stands: bool = False) -> list[Record]:
    """The records of a run: the sweep's first, then those of its trials that have begun.

    Args:
        data: the run's ledger.
        as_it_stands: final numbers of all of them, also of what may still change: nobody works on the run.
    """
    state = RunState.of(data)
    summary = summary_of(state, data)
    is_over = as_it_stands or summary.status != "running"
    found = [_of_sweep(summary, is_over=is_over)]
    clock = _Clock(summary)
    rows = {row.trial: row for row in data.trials}
    for trial, final in zip(summary.trials, trial_rows(summary), strict=True):
        row = rows[trial.trial]
        ended = trial.status not in OPEN
        # With the lease that is closed comes its last reading.
        settled = ended and all(lease.closed_at is not None for lease in state.leases_of(trial.trial))
        found.append(
            Record(
                run=summary.sweep,
                trial=trial.trial,
                name=_name(trial),
                status=trial.status,
                is_over=ended or is_over,
                started_at=row.started_at,
                ended_at=row.ended_at,
                parameters=trial.parameters | ({} if trial.seed is None else {"seed": trial.seed}),
                labels=_labels(summary, trial),
                tags=summary.tags,
                reports=[_report(each, clock, summary.carbon) for each in state.reports_of(trial.trial)],
                final=_without_parameters(final) if settled or is_over else None,
            )
        )
    return found


def _name(trial: TrialSummary) -> str:
    """Its configuration, seed and hardware; which trial of them it is tells a stage's and a repeated one apart."""
    return f"{trial.name} [{trial.trial}]"


def _labels(summary: Summary, trial: TrialSummary | None = None) -> dict[str, str]:
    source = "+".join(summary.sources) if trial is None else trial.source
    estimated = summary.estimated if trial is None else trial.estimated
    labels = {
        "run": summary.sweep,
        "sweep": summary.name,
        "owner": summary.owner or NOT_AVAILABLE,
        "source": source or NOT_AVAILABLE,
        "energy": NOT_AVAILABLE if not source else "estimated (≈)" if estimated else "measured",
        "grid": NOT_AVAILABLE if summary.carbon is None else summary.carbon.where,
    }
    if trial is None:
        return labels
    texts = {"trial": trial.trial, "stage": trial.stage, "hardware": trial.hardware}
    shown = {"configuration": configuration_text(trial.parameters, summary.varying, trial.stage)}
    return labels | {name: text for name, text in texts.items() if text} | shown


def _without_parameters(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("param.")}


def _of_sweep(summary: Summary, *, is_over: bool) -> Record:
    begin, end = summary.span()
    final = None
    if is_over:
        final = {"status": summary.status, "duration_seconds": summary.duration_seconds}
        final |= {f"trials.{name}": number for name, number in summary.extent.to_dict().items()}
        final |= summary.totals.to_dict() | {"source": "+".join(summary.sources) or None}
    return Record(
        run=summary.sweep,
        trial="",
        name=summary.sweep,
        status=summary.status,
        is_over=is_over,
        started_at=summary.started_at,
        ended_at=end if is_over and end > begin else None,
        parameters={},
        labels=_labels(summary),
        tags=summary.tags,
        final=final,
    )


class _Clock:
    """Which time it was when a sweep had run for so long: it stands still between the parts of a run."""

    def __init__(self, summary: Summary) -> None:
        self._begin = summary.started_at or 0.0
        self._parts = [(part.started_at, part.duration_seconds) for part in summary.parts]

    def at(self, elapsed_seconds: float) -> float:
        begin, left = self._begin, elapsed_seconds
        for number, (started_at, duration_seconds) in enumerate(self._parts, start=1):
            begin = started_at
            if number == len(self._parts) or duration_seconds is None or left <= duration_seconds:
                break
            left -= duration_seconds
        return begin + left


def _report(row: ResultRow, clock: _Clock, carbon: Intensity | None) -> Report:
    values: dict[str, Any] = {
        "energy_joules": row.energy_joules,
        "active_energy_joules": row.active_energy_joules,
        "power_watts": row.power_watts,
        "emissions_grams": emissions_grams(row.energy_joules, carbon),
    }
    values |= dict(_own_names(row.metrics))
    return Report(row.iteration, clock.at(row.elapsed_seconds), values | {ITERATION: row.iteration})


def _own_names(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """One that is called like ours, or as W&B calls its own, gets ``metric.`` in front, as in trials.csv."""
    for name, value in metrics.items():
        is_taken = name in _OURS or not name or name.startswith((FINAL, "_"))
        yield (f"metric.{name}" if is_taken else name), value
