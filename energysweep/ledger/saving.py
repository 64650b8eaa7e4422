"""What a sweep has not spent because it stopped trials early, or did not repeat them: an estimate with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from energysweep.analysis.early_stopping import Effort, Saved, Tried, saved_at_target, saved_joules
from energysweep.core.naming import exact_text
from energysweep.core.objective import number
from energysweep.core.records import ResultRow
from energysweep.core.text import energy_text
from energysweep.ledger.run_state import RunState, TrialState
from energysweep.sweepfile import Scheduler, SweepSpec
from energysweep.sweepfile.reports import full_reports


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a sweep says how much it would have spent.

    Attributes:
        repeats: of each configuration.
        full_reports: of a trial that nothing stops before; None if the sweep does not say.
    """

    scheduler: Scheduler
    repeats: int = 1
    full_reports: float | None = None

    @classmethod
    def of(cls, spec: SweepSpec) -> Plan:
        """That of a sweep."""
        return cls(spec.scheduler, spec.repeats, full_reports(spec))

    @classmethod
    def noted(cls, run: Mapping[str, Any]) -> Plan | None:
        """That of a run, by the sweep that it noted; None if it noted none that could be one."""
        spec = run.get("spec") or {}
        repeats, stop = number(spec.get("repeats", 1)), spec.get("stop")
        try:
            scheduler = Scheduler.model_validate(spec.get("scheduler") or {})
        except ValidationError:
            return None
        full = number(run.get("full_reports"))
        if full is None and isinstance(stop, dict):  # earlier versions noted the sweep only
            full = number(stop.get("training_iteration"))
        return cls(scheduler, int(repeats or 1), full)


def saved(state: RunState, plan: Plan, *, is_over: bool) -> Saved | None:
    """What a sweep has saved so far; None if nothing was stopped early, or if it cannot be told."""
    trials = [trial for trial in state.all_trials() if not trial.row.stage]
    objective = state.objectives.get("")
    if plan.scheduler.kind.needs_all and objective is not None and objective.target is not None:
        return saved_at_target(
            (_tried(each, state) for each in trials), plan.repeats, plan.full_reports, is_over=is_over
        )
    efforts = [Effort(trial.row.status, trial.iterations, state.joules(trial.row.trial)) for trial in trials]
    joules = saved_joules(efforts, plan.scheduler) if any(each.status == "pruned" for each in efforts) else None
    if joules is None:
        return None
    most = saved_joules(efforts, plan.scheduler, at_most=True)
    return Saved(joules, 0.0, most, "every trial run to its end")


def saved_text(found: Saved, *, estimated: bool) -> str:
    """``≈ 1,240 J (410 to 2,900 J)``, or ``at least ≈ 410 J``; always marked: it is an estimate of what never was."""
    marked = " of estimated joules" if estimated else ""
    if found.joules is None or found.high is None:
        return f"at least ≈ {energy_text(found.low)}{marked}"
    return f"≈ {energy_text(found.joules)} ({energy_text(found.low)} to {energy_text(found.high)}){marked}"


def _tried(trial: TrialState, state: RunState) -> Tried:
    row = trial.row
    measured = [each for each in state.reports_of(row.trial) if each.energy_joules is not None]
    return Tried(
        configuration=(exact_text(row.parameters), row.hardware),
        status=row.status,
        reached=trial.results.reached,
        reports=trial.iterations,
        energy_joules=state.joules(row.trial),
        later_report_joules=_later(measured),
    )


def _later(measured: list[ResultRow]) -> float | None:
    first, last = measured[:1], measured[-1:]
    if not first or first[0].iteration == last[0].iteration:
        return None
    more = (last[0].energy_joules or 0.0) - (first[0].energy_joules or 0.0)
    return max(0.0, more) / (last[0].iteration - first[0].iteration)
