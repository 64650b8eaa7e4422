"""Writes down what happens to the trials, as Tune tells it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from energysweep.agent.client import NOTHING_SPENT, Spent
from energysweep.errors import EnergysweepError
from energysweep.ledger import Ledger, LedgerData
from energysweep.records import AttemptRow, ResultRow, TrialRow, TrialStatus
from energysweep.spec import Objective
from energysweep.tuning.points import KEY, stage_of
from energysweep.tuning.results import own_metrics


@dataclass
class TrialRecord:
    """One trial, as far as it has come.

    Attributes:
        attempts_ended_at: Unix times of the ends of failed attempts, in order.
        results: the last value of each metric.
        reported: the last energies that were reported.
        in_a_row: reports in a row that met the target.
        first_joules: energy at the first of them.
        joules_at_target: energy at which the target was reached and then held; None before.
        told: ``newly_ended`` has named it.
    """

    row: TrialRow
    attempt: AttemptRow | None = None
    attempts_ended_at: list[float] = field(default_factory=list)
    iterations: int = 0
    results: dict[str, Any] = field(default_factory=dict)
    last_joules: float | None = None
    reported: Spent = NOTHING_SPENT
    in_a_row: int = 0
    first_joules: float | None = None
    joules_at_target: float | None = None
    told: bool = False


class Recorder(Callback):
    """A Tune callback that keeps the ledger's trials, attempts and results.

    Args:
        ledger: where they go.
        objective: the sweep's.
        began: the sweep's beginning on this process's monotonic clock.
        is_pruned: whether the scheduler has stopped a trial for being worse than others.
        ended: called with the id of a trial whose attempt has ended, and whether another one will follow.
        changed: called after each event.

    Attributes:
        trials: by trial id.
    """

    def __init__(
        self,
        ledger: Ledger,
        objective: Objective,
        began: float,
        is_pruned: Callable[[str], bool],
        ended: Callable[[str, bool], None],
        changed: Callable[[], None],
    ) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.lock = threading.Lock()
        self._ledger = ledger
        self._objective = objective
        self._began = began
        self._is_pruned = is_pruned
        self._ended = ended
        self._changed = changed

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        # Tune pickles its callbacks for a later restore, which gets a recorder of its own.
        return Callback, ()

    def take_over(self, before: LedgerData) -> None:
        """Go on where the parts of the run before this one have ended."""
        for row in before.trials:
            record = self.trials[row.trial] = TrialRecord(row, told=row.ended_at is not None)
            for attempt in before.attempts:
                if attempt.trial == row.trial:
                    record.attempt = attempt
                    if attempt.outcome != "completed":
                        # A driver that was killed could not say when: no later lease belongs to that attempt.
                        record.attempts_ended_at.append(attempt.ended_at or time.time())
        for result in before.results:
            record = self.trials[result.trial]
            record.iterations = max(record.iterations, result.iteration)
            record.results.update(result.metrics)
            record.last_joules = result.energy_joules
            record.reported = Spent(result.energy_joules or 0.0, result.active_energy_joules or 0.0, 0.0)
            self._check_target(record, result.metrics)
        self.interrupt()
        self.newly_ended()  # they were told of in their own time

    def attempt_at(self, trial_id: str, at: float) -> int:
        """The number of the attempt that a lease opened at this Unix time belongs to."""
        with self.lock:
            record = self.trials.get(trial_id)
            return 1 + sum(1 for end in record.attempts_ended_at if end <= at) if record else 1

    def best(self) -> float | None:
        """The best last value of the objective so far, of the sweep's own configurations."""
        with self.lock:
            own = [record for record in self.trials.values() if not record.row.stage]
            values = [record.results.get(self._objective.metric) for record in own]
        numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
        choose = max if self._objective.mode == "max" else min
        return choose(numbers, default=None)

    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        with self.lock:
            states: list[str] = [record.row.status for record in self.trials.values()]
        return {state: states.count(state) for state in sorted(set(states))}

    # Tune's hooks ------------------------------------------------------------------------------------------------

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Trials that never began are trials, too."""
        with self.lock:
            for trial in trials:
                self.trials.setdefault(trial.trial_id, TrialRecord(_new_row(trial)))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt begins."""
        now = time.time()
        with self.lock:
            record = self.trials.setdefault(trial.trial_id, TrialRecord(_new_row(trial)))
            number = len(record.attempts_ended_at) + 1
            record.attempt = AttemptRow(trial.trial_id, number, now, None, "running", None, None)
            record.row = record.row._replace(
                status="running", attempts=number, started_at=record.row.started_at or now, ended_at=None, error=None
            )
            record.told = False  # it may have ended before, in an interrupted part of the run
            self._ledger.record([record.row], [record.attempt])
        self._changed()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A report."""
        record = self.trials[trial.trial_id]
        metrics = own_metrics(result)
        joules = _finite(result.get("energy_joules"))
        with self.lock:
            record.iterations += 1
            record.results.update(metrics)
            record.last_joules = joules
            record.reported = Spent(joules or 0.0, _finite(result.get("active_energy_joules")) or 0.0, 0.0)
            self._check_target(record, metrics)
            self._ledger.record(
                results=[
                    ResultRow(
                        trial.trial_id,
                        record.iterations,
                        time.monotonic() - self._began,
                        joules,
                        _finite(result.get("active_energy_joules")),
                        metrics,
                    )
                ]
            )
        self._changed()

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """What was spent until here is not lost if the attempt fails."""
        with self.lock:
            record = self.trials[trial.trial_id]
            if record.attempt is not None:
                record.attempt = record.attempt._replace(checkpoint_joules=record.last_joules)
                self._ledger.record(attempts=[record.attempt])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It ended by itself, by a rule, or because others were better."""
        self._end(trial, "pruned" if self._is_pruned(trial.trial_id) else "completed", None, is_last=True)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt failed; Tune tries again."""
        self._end(trial, "failed", _error(trial), is_last=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The last attempt failed."""
        self._end(trial, "failed", _error(trial), is_last=True)

    def _end(self, trial: Trial, status: TrialStatus, error: str | None, is_last: bool) -> None:
        now = time.time()
        self._ended(trial.trial_id, not is_last)
        with self.lock:
            record = self.trials.setdefault(trial.trial_id, TrialRecord(_new_row(trial)))
            attempts = []
            if record.attempt is not None:
                outcome = "failed" if status == "failed" else "completed"
                record.attempt = record.attempt._replace(ended_at=now, outcome=outcome, error=error)
                attempts = [record.attempt]
            if status == "failed":
                record.attempts_ended_at.append(now)
            record.row = record.row._replace(
                status=status if is_last else "pending", ended_at=now if is_last else None, error=error
            )
            self._ledger.record([record.row], attempts)
        self._changed()

    def _check_target(self, record: TrialRecord, metrics: Mapping[str, Any]) -> None:
        target, value = self._objective.target, metrics.get(self._objective.metric)
        if target is None or record.joules_at_target is not None or record.row.stage:
            return
        reached = value is not None and (value >= target if self._objective.mode == "max" else value <= target)
        if not reached:
            record.in_a_row, record.first_joules = 0, None
            return
        if record.in_a_row == 0:
            record.first_joules = record.last_joules
        record.in_a_row += 1
        if record.in_a_row >= self._objective.patience:
            record.joules_at_target = record.first_joules

    def records(self) -> list[TrialRecord]:
        """All trials."""
        with self.lock:
            return list(self.trials.values())

    def of_stage(self, stage: str) -> list[TrialRecord]:
        """The trials of a stage."""
        return [record for record in self.records() if record.row.stage == stage]

    def ended_results(self) -> dict[str, dict[str, Any] | None]:
        """The last result of each trial that will not go on, as far as the ledger has it; None of one that failed."""
        ended = [record for record in self.records() if record.row.status in ("completed", "pruned", "failed")]
        return {record.row.trial: None if record.row.status == "failed" else _result(record) for record in ended}

    def newly_ended(self) -> list[TrialRecord]:
        """Those that have ended since the last call."""
        with self.lock:
            ended = [record for record in self.trials.values() if record.row.ended_at and not record.told]
            for record in ended:
                record.told = True
        return ended

    def interrupt(self) -> bool:
        """Call what has not ended interrupted. Returns whether there was any."""
        with self.lock:
            unended = [record for record in self.trials.values() if record.row.status in ("pending", "running")]
            for record in unended:
                record.row = record.row._replace(status="interrupted", ended_at=time.time())
                if record.attempt is not None and record.attempt.ended_at is None:
                    record.attempt = record.attempt._replace(ended_at=time.time(), outcome="interrupted")
                    self._ledger.record(attempts=[record.attempt])
            self._ledger.record([record.row for record in unended])
        return bool(unended)


def _new_row(trial: Trial) -> TrialRow:
    point = trial.config[KEY]
    return TrialRow(
        trial.trial_id,
        dict(point["parameters"]),
        point["seed"],
        point["hardware"],
        "pending",
        attempts=0,
        started_at=None,
        ended_at=None,
        error=None,
        stage=stage_of(trial.config),
    )


def _result(record: TrialRecord) -> dict[str, Any]:
    """Of a trial's last result, what Tune's search may learn from."""
    if record.last_joules is None:
        return dict(record.results)
    spent = {"energy_joules": record.last_joules, "active_energy_joules": record.reported.active_energy_joules}
    return record.results | spent


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _error(trial: Trial) -> str:
    """What an attempt failed with: the workload's own error if Ray can tell it, without its traceback."""
    # trial.get_error() reads the storage, which is not written yet when the callback is called.
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error: Exception = ray.cloudpickle.load(file)
    except Exception:  # noqa: BLE001 - a workload's own exception class may do anything when it is unpickled
        return "see error.txt in the trial's folder"
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip()
    if isinstance(cause, ray.exceptions.RayActorError):
        text = text.splitlines()[0]
    elif not isinstance(cause, EnergysweepError):
        text = f"{type(cause).__name__}: {text}"
    return text[-2000:]
