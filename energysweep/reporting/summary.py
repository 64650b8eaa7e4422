"""From a ledger to a Summary: pure functions, no clock, no files."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from energysweep.carbon import Intensity
from energysweep.ledger import LedgerData
from energysweep.records import (
    NODE_BUCKETS,
    TRIAL_BUCKETS,
    AttemptRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    TrialRow,
)
from energysweep.reporting.headline import headline
from energysweep.reporting.model import ConfigurationSummary, MeterSummary, Summary, Totals, TrialSummary
from energysweep.reporting.text import value_text
from energysweep.reporting.values import Objective, joined_sources

_Row = TypeVar("_Row")
_Key = TypeVar("_Key", bound=Hashable)


def summarise(data: LedgerData, carbon: Intensity | None = None) -> Summary:
    """Everything the report says about a run.

    Args:
        data: the run's ledger.
        carbon: the grid to count emissions for; without it the one that the run noted, and none if it noted none.
    """
    run = data.run
    intensity = carbon or (Intensity(**run["carbon"]) if run.get("carbon") else None)
    objective = Objective(**run["objective"]) if run.get("objective") else None
    varying = tuple(run["varying"]) if "varying" in run else _varying(data.trials)
    trials = _trials(data, objective, varying, intensity)
    configurations = _configurations(trials, objective, varying)
    return Summary(
        sweep=str(run.get("id", "")),
        name=str(run.get("name", run.get("id", ""))),
        status=str(run.get("status", "running")),
        started_at=run.get("started_at"),
        duration_seconds=run.get("duration_seconds"),
        objective=objective,
        varying=varying,
        totals=_totals(data, trials, intensity),
        trials=trials,
        configurations=configurations,
        headline=headline(configurations, objective),
        meters=tuple(_meter(row) for row in _in_windows_with_leases(data, data.meters)),
        carbon=intensity,
    )


# --- trials ---------------------------------------------------------------------------------------------------------


def _trials(
    data: LedgerData, objective: Objective | None, varying: Sequence[str], intensity: Intensity | None
) -> tuple[TrialSummary, ...]:
    leases = _grouped(data.leases, lambda row: row.trial)
    energy = _grouped((row for row in data.energy if row.lease), lambda row: row.lease)
    attempts = _grouped(data.attempts, lambda row: row.trial)
    results = _grouped(data.results, lambda row: row.trial)
    summaries = []
    for row in data.trials:
        booked = [(lease, energy.get(lease.lease, [])) for lease in leases.get(row.trial, [])]
        reports = sorted(results.get(row.trial, []), key=lambda report: report.iteration)
        summaries.append(_trial(row, booked, attempts.get(row.trial, []), reports, objective, varying, intensity))
    return tuple(sorted(summaries, key=lambda trial: (_order(trial.parameters, varying), trial.hardware, trial.trial)))


def _trial(
    row: TrialRow,
    booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]],
    attempts: Sequence[AttemptRow],
    reports: Sequence[ResultRow],
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
        config=_label(row.parameters, varying),
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
        lost_joules=None if energy_joules is None else _lost_joules(row, booked, attempts),
        emissions_grams=_emissions_grams(energy_joules, intensity),
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
    )


def _first_at_target(reports: Sequence[ResultRow], objective: Objective | None) -> ResultRow | None:
    """The first of ``patience`` reports in a row that are all at the target."""
    if objective is None:
        return None
    held: list[ResultRow] = []
    for report in reports:
        held = [*held, report] if objective.reached_by(_number(report.metrics.get(objective.metric))) else []
        if len(held) >= objective.patience and held:
            return held[0]
    return None


def _last_objective(reports: Sequence[ResultRow], objective: Objective | None) -> float | None:
    if objective is None:
        return None
    values = (_number(report.metrics.get(objective.metric)) for report in reversed(reports))
    return next((value for value in values if value is not None), None)


def _lost_joules(
    row: TrialRow, booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]], attempts: Sequence[AttemptRow]
) -> float:
    """What attempts that did not end well spent after their last checkpoint.

    An attempt without a checkpoint of its own starts from an earlier one and loses all of its energy; what came
    between that earlier checkpoint and this attempt was lost by the attempts before it and is not counted twice.
    """
    spent: dict[int, float] = defaultdict(float)
    for lease, rows in booked:
        spent[lease.attempt] += sum(energy.joules for energy in rows)
    noted = {attempt.number: attempt for attempt in attempts}
    last = max([*spent, *noted], default=0)
    cumulative_joules = lost_joules = 0.0
    for number in sorted({*spent, *noted}):
        cumulative_joules += spent[number]
        attempt = noted.get(number)
        if not _ended_badly(attempt, is_last=number == last, trial_status=row.status):
            continue
        checkpoint_joules = (attempt.checkpoint_joules if attempt else None) or 0.0
        # Both bounds guard against a checkpoint noted a moment before the meters' last word, or in an earlier attempt.
        lost_joules += min(spent[number], max(0.0, cumulative_joules - checkpoint_joules))
    return lost_joules


def _ended_badly(attempt: AttemptRow | None, *, is_last: bool, trial_status: str) -> bool:
    if attempt is not None and attempt.outcome in ("failed", "interrupted"):
        return True
    if attempt is not None and attempt.outcome == "completed":
        return False
    # Nobody wrote down how it ended: if another attempt followed, or the trial gave up, then badly.
    return not is_last or trial_status in ("failed", "interrupted")


# --- configurations -------------------------------------------------------------------------------------------------


def _configurations(
    trials: Iterable[TrialSummary], objective: Objective | None, varying: Sequence[str]
) -> tuple[ConfigurationSummary, ...]:
    groups = _grouped(trials, lambda trial: (_canonical(trial.parameters), trial.hardware))
    several_hardware = len({hardware for _, hardware in groups}) > 1
    configurations = [
        ConfigurationSummary(
            config=members[0].config,
            title=f"{members[0].config} on {hardware}" if several_hardware else members[0].config,
            parameters=members[0].parameters,
            hardware=hardware,
            trials=tuple(members),
        )
        for (_, hardware), members in groups.items()
    ]
    configurations.sort(key=lambda each: (_order(each.parameters, varying), each.hardware))
    return _with_pareto_front(configurations, objective)


def _with_pareto_front(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> tuple[ConfigurationSummary, ...]:
    if objective is None:
        return tuple(configurations)
    points = [
        (each.energy_joules.mean, each.objective.mean) if each.energy_joules and each.objective else None
        for each in configurations
    ]

    def dominated(point: tuple[float, float]) -> bool:
        joules, value = point
        return any(
            (other[0] <= joules and objective.better(other[1], value)) or (other[0] < joules and other[1] == value)
            for other in points
            if other is not None
        )

    return tuple(
        replace(each, pareto=point is not None and not dominated(point))
        for each, point in zip(configurations, points, strict=True)
    )


def _varying(trials: Sequence[TrialRow]) -> tuple[str, ...]:
    names = dict.fromkeys(name for trial in trials for name in trial.parameters)
    return tuple(name for name in names if len({_canonical(trial.parameters.get(name)) for trial in trials}) > 1)


def _label(parameters: Mapping[str, Any], varying: Sequence[str]) -> str:
    return " ".join(f"{name}={value_text(parameters[name])}" for name in varying if name in parameters) or "default"


def _order(parameters: Mapping[str, Any], varying: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """A sort key over values of any type: numbers by size, then everything else by its text."""
    return tuple(value_order(parameters.get(name)) for name in varying)


def value_order(value: Any) -> tuple[int, float, str]:
    """A sort key over parameter values of any type: numbers by size, then everything else by its text."""
    number = _number(value)
    return (1, 0.0, value_text(value)) if number is None else (0, number, "")


# --- totals ---------------------------------------------------------------------------------------------------------


_RowOfWindow = TypeVar("_RowOfWindow", EnergyRow, MeterRow)


def _in_windows_with_leases(data: LedgerData, rows: Iterable[_RowOfWindow]) -> list[_RowOfWindow]:
    """A host that never held a lease did nothing for the sweep: its energy is not the sweep's to explain."""
    windows = {(lease.host, lease.window) for lease in data.leases}
    return [row for row in rows if (row.host, row.window) in windows]


def _totals(data: LedgerData, trials: Sequence[TrialSummary], intensity: Intensity | None) -> Totals:
    booked = _in_windows_with_leases(data, data.energy)
    metered = _in_windows_with_leases(data, data.meters)
    metered_joules = math.fsum(row.joules for row in metered) if metered else None
    buckets = {
        bucket: math.fsum(row.joules for row in booked if row.bucket == bucket) if booked else None
        for bucket in (*TRIAL_BUCKETS, *NODE_BUCKETS)
    }
    trials_joules = _sum(buckets[bucket] for bucket in TRIAL_BUCKETS)
    error_ratio = None
    if metered_joules and booked:
        error_ratio = abs(math.fsum(row.joules for row in booked) - metered_joules) / metered_joules
    return Totals(
        energy_joules=metered_joules,
        trials_energy_joules=trials_joules,
        active_joules=buckets["active"],
        idle_share_joules=buckets["idle"],
        overhead_joules=buckets["overhead"],
        other_sweeps_joules=buckets["other_sweeps"],
        background_joules=buckets["background"],
        unreserved_idle_joules=buckets["unreserved_idle"],
        lost_joules=_sum(trial.lost_joules for trial in trials),
        pruned_joules=_sum(trial.energy_joules if trial.status == "pruned" else 0.0 for trial in trials)
        if booked
        else None,
        conservation_error_ratio=error_ratio,
        emissions_grams=_emissions_grams(_sum((trials_joules, buckets["overhead"])), intensity),
    )


def _meter(row: MeterRow) -> MeterSummary:
    return MeterSummary(
        node=row.node,
        device=row.device,
        component=row.component,
        source=row.source,
        energy_joules=row.joules,
        coverage=row.covered_seconds / row.window_seconds if row.window_seconds > 0 else None,
        idle_floor_watts=row.idle_floor_watts,
        idle_floor_from=row.idle_floor_from,
        failures=row.failures,
        resets=row.resets,
    )


# --- small helpers --------------------------------------------------------------------------------------------------


def _grouped(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    groups: dict[_Key, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _joules(rows: Sequence[EnergyRow], wanted: Callable[[EnergyRow], bool] = lambda _: True) -> float | None:
    """Of a trial that was metered at all, what is wanted; 0 if there is none of it."""
    return math.fsum(row.joules for row in rows if wanted(row)) if rows else None


def _by_component(rows: Sequence[EnergyRow]) -> dict[str, float]:
    components: dict[str, float] = {}
    for row in rows:
        components[row.component] = components.get(row.component, 0.0) + row.joules
    return components


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _emissions_grams(energy_joules: float | None, intensity: Intensity | None) -> float | None:
    if energy_joules is None or intensity is None:
        return None
    return intensity.emissions_grams(energy_joules)


def _number(value: Any) -> float | None:
    """A finite number, or None: a metric may also be a text, and a diverged one is NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
