"""Each trial of a ledger, summed up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from energysweep.analysis.target import first_held
from energysweep.analysis.trials import grouped, number
from energysweep.carbon import Intensity
from energysweep.ledger import LedgerData
from energysweep.meters.accuracy import uncertainty
from energysweep.records import AttemptRow, EnergyRow, LeaseRow, ResultRow, TrialRow
from energysweep.reporting.balance import emissions_grams
from energysweep.reporting.keys import label, order
from energysweep.reporting.model import TrialSummary
from energysweep.reporting.values import Objective, joined_sources

_Counter = tuple[str, str, str, str]  # host, window, device, source


def summarise_trials(
    data: LedgerData,
    objectives: Mapping[str, Objective | None],
    varying: Sequence[str],
    intensity: Intensity | None,
) -> tuple[TrialSummary, ...]:
    """All trials, in the order of their parameters, those of the stages first.

    Args:
        data: the ledger.
        objectives: by stage; the sweep's own under the empty name.
        varying: the parameters that differ between configurations.
        intensity: the grid.
    """
    leases = grouped(data.leases, lambda row: row.trial)
    energy = grouped((row for row in data.energy if row.lease), lambda row: row.lease)
    attempts = grouped(data.attempts, lambda row: row.trial)
    results = grouped(data.results, lambda row: row.trial)
    steps = {(row.host, row.window, row.device, row.source): row.resolution_joules for row in data.meters}
    summaries = []
    for row in data.trials:
        booked = [(lease, energy.get(lease.lease, [])) for lease in leases.get(row.trial, [])]
        reports = sorted(results.get(row.trial, []), key=lambda report: report.iteration)
        summaries.append(
            _trial(
                row,
                booked,
                attempts.get(row.trial, []),
                reports,
                steps,
                objectives.get(row.stage),
                varying,
                intensity,
            )
        )
    stages = list(objectives)
    return tuple(sorted(summaries, key=lambda trial: _order(trial, stages, varying)))


def _order(trial: TrialSummary, stages: Sequence[str], varying: Sequence[str]) -> tuple[Any, ...]:
    """The stages in their order, then the configurations by their parameters."""
    place = stages.index(trial.stage) if trial.stage in stages else len(stages)
    return (not trial.stage, place, order(trial.parameters, varying), trial.hardware, trial.trial)


def _trial(
    row: TrialRow,
    booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]],
    attempts: Sequence[AttemptRow],
    reports: Sequence[ResultRow],
    steps: Mapping[_Counter, float | None],
    objective: Objective | None,
    varying: Sequence[str],
    intensity: Intensity | None,
) -> TrialSummary:
    energy_rows = [energy for _, rows in booked for energy in rows]
    energy_joules = _joules(energy_rows)
    held_seconds = sum(lease.held_seconds for lease, _ in booked)
    covered_seconds = sum(lease.covered_seconds for lease, _ in booked)
    metrics = {name: value for report in reports for name, value in report.metrics.items()}
    at_target = _first_at_target(reports, objective)
    return TrialSummary(
        trial=row.trial,
        config=f"stage={row.stage}" if row.stage else label(row.parameters, varying),
        parameters=row.parameters,
        seed=row.seed,
        hardware=row.hardware,
        status=row.status,
        attempts=row.attempts,
        nodes=tuple(sorted({lease.node for lease, _ in booked})),
        energy_joules=energy_joules,
        active_energy_joules=_joules(energy_rows, lambda energy: energy.bucket == "active"),
        idle_energy_joules=_joules(energy_rows, lambda energy: energy.bucket == "idle"),
        component_joules=_by_component(energy_rows),
        lost_joules=None
        if energy_joules is None
        else math.fsum(lost_by_attempt(row.status, spent_by_attempt(booked), attempts).values()),
        pruned_joules=energy_joules if energy_joules is None or row.status == "pruned" else 0.0,
        resolution_joules=_resolution_joules(energy_rows, steps),
        relative_uncertainty=_relative_uncertainty(energy_rows),
        emissions_grams=emissions_grams(energy_joules, intensity),
        power_watts=energy_joules / held_seconds if energy_joules is not None and held_seconds > 0 else None,
        duration_seconds=held_seconds if booked else None,
        coverage=covered_seconds / held_seconds if held_seconds > 0 else None,
        source=joined_sources(energy.source for energy in energy_rows),
        metrics=metrics,
        objective=_last_objective(reports, objective),
        iterations=reports[-1].iteration if reports else None,
        reached_target=None if objective is None or objective.target is None else at_target is not None,
        energy_to_target_joules=at_target.energy_joules if at_target else None,
        iterations_to_target=at_target.iteration if at_target else None,
        error=row.error,
        stage=row.stage,
    )


def _first_at_target(reports: Sequence[ResultRow], objective: Objective | None) -> ResultRow | None:
    """The first of ``patience`` reports in a row that are all at the target."""
    if objective is None:
        return None
    reached = (objective.reached_by(number(report.metrics.get(objective.metric))) for report in reports)
    place = first_held(reached, objective.patience)
    return None if place is None else reports[place]


def _last_objective(reports: Sequence[ResultRow], objective: Objective | None) -> float | None:
    if objective is None:
        return None
    values = (number(report.metrics.get(objective.metric)) for report in reversed(reports))
    return next((value for value in values if value is not None), None)


def spent_by_attempt(booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]]) -> dict[int, float]:
    """The joules of each attempt that held a lease, by its number."""
    spent: dict[int, float] = defaultdict(float)
    for lease, rows in booked:
        spent[lease.attempt] += math.fsum(energy.joules for energy in rows)
    return dict(spent)


def lost_by_attempt(
    trial_status: str, spent_joules: Mapping[int, float], attempts: Sequence[AttemptRow]
) -> dict[int, float]:
    """What each attempt that did not end well spent after its last checkpoint, by its number.

    An attempt without a checkpoint of its own starts from an earlier one and loses all of its energy; what came
    between that earlier checkpoint and this attempt was lost by the attempts before it and is not counted twice.

    Args:
        trial_status: how the trial ended, for attempts of which nobody noted the end.
        spent_joules: the energy of each attempt.
        attempts: what the driver noted.
    """
    noted = {attempt.number: attempt for attempt in attempts}
    numbers = sorted({*spent_joules, *noted})
    lost_joules = {}
    cumulative_joules = 0.0
    for each in numbers:
        attempt = noted.get(each)
        spent = spent_joules.get(each, 0.0)
        cumulative_joules += spent
        if not _ended_badly(attempt, is_last=each == numbers[-1], trial_status=trial_status):
            continue
        checkpoint_joules = (attempt.checkpoint_joules if attempt else None) or 0.0
        # Both bounds guard against a checkpoint noted a moment before the meters' last word, or in an earlier attempt.
        lost_joules[each] = min(spent, max(0.0, cumulative_joules - checkpoint_joules))
    return lost_joules


def _ended_badly(attempt: AttemptRow | None, *, is_last: bool, trial_status: str) -> bool:
    if attempt is not None and attempt.outcome in ("failed", "interrupted"):
        return True
    if attempt is not None and attempt.outcome == "completed":
        return False
    # Nobody wrote down how it ended: if another attempt followed, or the trial gave up, then badly.
    return not is_last or trial_status in ("failed", "interrupted")


def _joules(rows: Sequence[EnergyRow], wanted: Callable[[EnergyRow], bool] = lambda _: True) -> float | None:
    """Of a trial that was metered at all, what is wanted; 0 if there is none of it."""
    return math.fsum(row.joules for row in rows if wanted(row)) if rows else None


def _by_component(rows: Sequence[EnergyRow]) -> dict[str, float]:
    components: dict[str, float] = {}
    for row in rows:
        components[row.component] = components.get(row.component, 0.0) + row.joules
    return components


def _resolution_joules(rows: Sequence[EnergyRow], steps: Mapping[_Counter, float | None]) -> float | None:
    """One step of each counter for each lease: the first and the last reading of it are half a step off at most."""
    counters = {(row.lease, row.host, row.window, row.device, row.source) for row in rows}
    known = [steps.get((host, window, device, source)) for _, host, window, device, source in counters]
    found = [step for step in known if step is not None]
    return math.fsum(found) if found and len(found) == len(known) else None


def _relative_uncertainty(rows: Sequence[EnergyRow]) -> float | None:
    """The meters' uncertainties, weighted by their energy: they may all err to the same side."""
    total_joules = math.fsum(row.joules for row in rows)
    if total_joules <= 0:
        return None
    parts = [(uncertainty(row.source, row.component).relative, row.joules) for row in rows if row.joules > 0]
    known = [relative * joules for relative, joules in parts if relative is not None]
    return math.fsum(known) / total_joules if len(known) == len(parts) else None
