"""The trials of a sweep: what a report says of each one, and how it comes out of the ledger.

Everything missing is None. Nothing is rounded.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from energysweep.analysis.trials import value_order
from energysweep.core.buckets import WORK_BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.naming import configuration_text, trial_text
from energysweep.core.objective import Outcome, outcome
from energysweep.core.records import (
    OPEN,
    AttemptRow,
    EnergyRow,
    LeaseRow,
    Standing,
)
from energysweep.ledger.balance import emissions_grams, joined_sources, quotient, startup_joules
from energysweep.ledger.run_state import RunState, TrialState
from energysweep.meters.kinds import is_model, uncertainty

# The attempts of a trial: what each has spent, and what was lost with it ---------------------------------------------


def spent_by_attempt(booked: Sequence[tuple[LeaseRow, Sequence[EnergyRow]]]) -> dict[int, float]:
    """The joules that each attempt that held a lease worked with, by its number; start-up is apart."""
    spent: dict[int, float] = defaultdict(float)
    for lease, rows in booked:
        spent[lease.attempt] += math.fsum(energy.joules for energy in rows if energy.bucket in WORK_BUCKETS)
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


def order(parameters: Mapping[str, Any], varying: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """A sort key over values of any type: numbers by size, then everything else by its text."""
    return tuple(value_order(parameters.get(name)) for name in varying)


# The trials of a sweep: what a report says of each one, and how it comes out of the ledger ---------------------------

OUTCOMES: Final[dict[Outcome, str]] = {
    "reached": "reached",
    "missed": "not reached",
    "open": "open",
    "failed": "failed",
}
_Counter = tuple[str, str, str, str]  # host, window, device, source


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """One trial.

    Attributes:
        config: the parameters that differ between configurations, as a short text.
        energy_joules: active energy and idle share of its work, over all its leases, failed attempts included.
        component_joules: the same by ``cpu``, ``dram`` and ``gpu``; what was not metered is left out.
        lost_joules: what its failed attempts spent after their last checkpoint.
        pruned_joules: all of its energy if a scheduler stopped it early, else 0.
        resolution_joules: the steps of the counters behind it, one for each device of each lease, as far as they are
            known (a constant that stands for a device has none); None if none is.
        relative_uncertainty: half width of the interval around its energy, as a part of it, that its meters' kinds
            give it; None if unknown.
        power_watts: mean power of its work.
        duration_seconds: how long leases were held, start-up included.
        coverage: part of its time with good readings.
        source: the kinds of meters its energy comes from, joined by ``+``.
        metrics: the last value of each reported metric.
        objective: the last finite value of the objective's metric.
        iterations: number of its last report.
        outcome: whether it reached the target, or why that is not known; None if its objective has no target.
        energy_to_target_joules: its energy at the first of the reports that reached the target and held it for
            ``patience`` reports; None if it never did.
        iterations_to_target: the number of that report.
        stage: the stage that it belongs to; empty for a trial of the sweep's own configurations. A stage is judged by
            its own objective.
        startup_joules: what its start-up drew, over all its leases of which that is known: apart from its energy. None
            if nobody told of any.
        startup_seconds: how long that took.
        untold_startup: of some of its leases nobody told (they are of an older energysweep): their start-up is in its
            energy. None if it had none.
        works_elsewhere: it had Ray tasks or actors work in other processes, whose energy is in none of its numbers;
            None if nobody looked.
    """

    trial: str
    config: str
    parameters: dict[str, Any]
    seed: int | None
    hardware: str
    status: Standing
    attempts: int
    nodes: tuple[str, ...]
    energy_joules: float | None
    active_energy_joules: float | None
    idle_energy_joules: float | None
    component_joules: dict[str, float]
    lost_joules: float | None
    pruned_joules: float | None
    resolution_joules: float | None
    relative_uncertainty: float | None
    emissions_grams: float | None
    power_watts: float | None
    duration_seconds: float | None
    coverage: float | None
    source: str | None
    metrics: dict[str, Any]
    objective: float | None
    iterations: int | None
    outcome: Outcome | None
    energy_to_target_joules: float | None
    iterations_to_target: int | None
    error: str | None
    stage: str = ""
    startup_joules: float | None = None
    startup_seconds: float | None = None
    works_elsewhere: bool | None = None
    untold_startup: bool | None = None

    @property
    def startup_is_apart(self) -> bool:
        """Whether none of its start-up is in its energy."""
        return self.startup_joules is not None and not self.untold_startup

    @property
    def reached_target(self) -> bool | None:
        """None if there is no target, or if it is not known whether the trial reaches it."""
        return {"reached": True, "missed": False}.get(self.outcome or "")

    @property
    def name(self) -> str:
        """What people call it: its configuration, its seed, its hardware."""
        return trial_text(self.config, self.seed, self.hardware)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended: it never began, runs, or was interrupted."""
        return self.status in OPEN

    @property
    def joules_per_iteration(self) -> float | None:
        """Its whole energy over its reports; None without either."""
        return self.energy_joules / self.iterations if self.energy_joules is not None and self.iterations else None

    @property
    def estimated(self) -> bool:
        """Whether any of its energy is an estimate."""
        return self.source is not None and any(map(is_model, self.source.split("+")))

    @property
    def ended_as_planned(self) -> bool:
        """Whether it ran to its end or was stopped by the scheduler; a crash says nothing about a configuration."""
        return self.status in ("completed", "pruned")


def summarise_trials(state: RunState, varying: Sequence[str], intensity: Intensity | None) -> tuple[TrialSummary, ...]:
    """All trials, in the order of their parameters, those of the stages first.

    Args:
        state: the run.
        varying: the parameters that differ between configurations.
        intensity: the grid.
    """
    steps = {counter: row.resolution_joules for counter, row in state.meters.items()}
    summaries = [_trial(trial, state, steps, varying, intensity) for trial in state.all_trials()]
    stages = list(state.objectives)
    return tuple(sorted(summaries, key=lambda trial: _order(trial, stages, varying)))


def _order(trial: TrialSummary, stages: Sequence[str], varying: Sequence[str]) -> tuple[Any, ...]:
    """The stages in their order, then the configurations by their parameters."""
    place = stages.index(trial.stage) if trial.stage in stages else len(stages)
    return (not trial.stage, place, order(trial.parameters, varying), trial.hardware, trial.trial)


def _trial(
    trial: TrialState,
    state: RunState,
    steps: Mapping[_Counter, float | None],
    varying: Sequence[str],
    intensity: Intensity | None,
) -> TrialSummary:
    row, results = trial.row, trial.results
    booked = [(lease, state.energy_of(lease.lease)) for lease in state.leases_of(row.trial)]
    attempts = state.attempts_of(row.trial)
    objective = state.objectives.get(row.stage)
    all_rows = [energy for _, rows in booked for energy in rows]
    energy_rows = [energy for energy in all_rows if energy.bucket in WORK_BUCKETS]
    energy_joules = _joules(all_rows, *WORK_BUCKETS)
    held_seconds = sum(lease.held_seconds for lease, _ in booked)
    startup_seconds = _startup_seconds([lease for lease, _ in booked])
    work_seconds = held_seconds - (startup_seconds or 0.0)
    covered_seconds = sum(lease.covered_seconds for lease, _ in booked)
    at_target = results.at_target.report
    return TrialSummary(
        trial=row.trial,
        config=configuration_text(row.parameters, varying, row.stage),
        parameters=row.parameters,
        seed=row.seed,
        hardware=row.hardware,
        status=trial.status,
        attempts=row.attempts,
        nodes=tuple(sorted({lease.node for lease, _ in booked})),
        energy_joules=energy_joules,
        active_energy_joules=_joules(all_rows, "active"),
        idle_energy_joules=_joules(all_rows, "idle"),
        component_joules=_by_component(energy_rows),
        lost_joules=None
        if energy_joules is None
        else math.fsum(lost_by_attempt(row.status, spent_by_attempt(booked), attempts).values()),
        pruned_joules=energy_joules if energy_joules is None or row.status == "pruned" else 0.0,
        resolution_joules=_resolution_joules(energy_rows, steps),
        relative_uncertainty=_relative_uncertainty(energy_rows),
        emissions_grams=emissions_grams(energy_joules, intensity),
        power_watts=quotient(energy_joules, work_seconds),
        duration_seconds=held_seconds if booked else None,
        coverage=quotient(covered_seconds, held_seconds),
        source=joined_sources(energy.source for energy in all_rows),
        metrics=results.metrics,
        objective=results.objective,
        iterations=results.last.iteration if results.last else None,
        outcome=None if objective is None or objective.target is None else outcome(row.status, reached=results.reached),
        energy_to_target_joules=at_target.energy_joules if at_target else None,
        iterations_to_target=at_target.iteration if at_target else None,
        error=row.error,
        stage=row.stage,
        startup_joules=startup_joules([lease for lease, _ in booked], all_rows),
        startup_seconds=startup_seconds,
        works_elsewhere=_works_elsewhere([lease for lease, _ in booked]),
        untold_startup=any(lease.startup_seconds is None for lease, _ in booked) if booked else None,
    )


def _works_elsewhere(leases: Sequence[LeaseRow]) -> bool | None:
    said = {lease.works_elsewhere for lease in leases}
    return True if 1 in said else None if None in said or not said else False


def _startup_seconds(leases: Sequence[LeaseRow]) -> float | None:
    known = [lease.startup_seconds for lease in leases if lease.startup_seconds is not None]
    return math.fsum(known) if known else None


def _joules(rows: Sequence[EnergyRow], *buckets: str) -> float | None:
    """Of a trial that was metered at all, what is in these buckets; 0 if there is none of it."""
    return math.fsum(row.joules for row in rows if row.bucket in buckets) if rows else None


def _by_component(rows: Sequence[EnergyRow]) -> dict[str, float]:
    components: dict[str, float] = {}
    for row in rows:
        components[row.component] = components.get(row.component, 0.0) + row.joules
    return components


def _resolution_joules(rows: Sequence[EnergyRow], steps: Mapping[_Counter, float | None]) -> float | None:
    """One step of each counter for each lease: the first and the last reading of it are half a step off at most.

    A device without a known step adds nothing; it does not hide what the others cannot have seen.
    """
    counters = {(row.lease, row.host, row.window, row.device, row.source) for row in rows}
    found = (steps.get((host, window, device, source)) for _, host, window, device, source in counters)
    known = [step for step in found if step is not None]
    return math.fsum(known) if known else None


def _relative_uncertainty(rows: Sequence[EnergyRow]) -> float | None:
    """The meters' uncertainties, weighted by their energy: they may all err to the same side."""
    total_joules = math.fsum(row.joules for row in rows)
    if total_joules <= 0:
        return None
    parts = [(uncertainty(row.source, row.component).relative, row.joules) for row in rows if row.joules > 0]
    known = [relative * joules for relative, joules in parts if relative is not None]
    return math.fsum(known) / total_joules if len(known) == len(parts) else None
