"""Writes down what happens to the trials, as Tune tells it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from energysweep.agent.client import NOTHING_SPENT, Spent
from energysweep.core.errors import EnergysweepError
from energysweep.core.objective import FirstHeld, Objective, number
from energysweep.core.records import AttemptRow, ResultRow, TrialRow, TrialStatus
from energysweep.ledger.store import Ledger, LedgerData
from energysweep.tune.points import KEY, stage_of
from energysweep.tune.results import own_metrics

log = logging.getLogger(__name__)

_NAMES_SHOWN = 10
_VALUE_CHARACTERS = 60
_ERROR_CHARACTERS = 2000


@dataclass
class TrialRecord:
    """One trial, as far as it has come.

    Attributes:
        attempts_ended_at: Unix times of the ends of attempts that another one follows, or may follow, in order.
        results: the last value of each metric.
        objective: the last value of its objective that was a number, as in the report.
        reported: the last energies that were reported.
        at_target: looks for the reports that held the target, by their energies.
        told: ``newly_ended`` has named it.
    """

    row: TrialRow
    attempt: AttemptRow | None = None
    attempts_ended_at: list[float] = field(default_factory=list)
    iterations: int = 0
    results: dict[str, Any] = field(default_factory=dict)
    last_joules: float | None = None
    reported: Spent = NOTHING_SPENT
    objective: float | None = None
    at_target: FirstHeld[float | None] = field(default_factory=FirstHeld)
    told: bool = False

    @property
    def joules_at_target(self) -> float | None:
        """Energy at which the target was reached and then held; None before."""
        return self.at_target.report

    def without_objective(self, metric: str) -> str | None:
        """Why nobody can judge it, if it has reported, but never a number as its objective; one line."""
        if self.iterations == 0 or self.objective is not None:
            return None
        if metric in self.results:
            return f"never reported a number as {metric!r} (the last one was {_shown(self.results[metric])})"
        names = list(self.results)
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return f"never reported {metric!r} (it reported {', '.join(names[:_NAMES_SHOWN]) or 'nothing'}{more})"


def _survives(hook: Callable[..., None]) -> Callable[..., None]:
    """Tune ends all trials over an exception of a hook: what goes wrong with one trial's is noted as that trial's.

    A ledger that cannot be written does end the sweep: nothing of it would be kept.
    """

    @wraps(hook)
    def run(self: Recorder, iteration: int, trials: list[Trial], trial: Trial, *told: Any, **info: Any) -> None:
        try:
            hook(self, iteration, trials, trial, *told, **info)
        except EnergysweepError:
            raise
        except Exception as error:
            log.exception("%s of trial %s", hook.__name__, trial.trial_id)
            self.unrecorded.setdefault(trial.trial_id, f"{type(error).__name__}: {error}")

    return run


class Recorder(Callback):
    """A Tune callback that keeps the ledger's trials, attempts and results.

    Args:
        ledger: where they go.
        objectives: by stage; the sweep's own under the empty name.
        began: the sweep's beginning on this process's monotonic clock.
        is_pruned: whether the scheduler has stopped a trial for being worse than others.
        ended: called with the id of a trial whose attempt has ended, and whether another one will follow.
        changed: called after each event.

    Attributes:
        trials: by trial id.
        unrecorded: trials of which something could not be taken down, by their ids, with the first reason.
    """

    def __init__(
        self,
        ledger: Ledger,
        objectives: Mapping[str, Objective],
        began: float,
        is_pruned: Callable[[str], bool],
        ended: Callable[[str, bool], None],
        changed: Callable[[], None],
    ) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.unrecorded: dict[str, str] = {}
        self.lock = threading.Lock()
        self._ledger = ledger
        self._objectives = objectives
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
            record = self.trials[row.trial] = self._record(row)
            record.told = row.ended_at is not None
            for attempt in before.attempts:
                if attempt.trial == row.trial:
                    record.attempt = attempt
                    if attempt.outcome != "completed":
                        # A driver that was killed could not say when: no later lease belongs to that attempt.
                        record.attempts_ended_at.append(attempt.ended_at or time.time())
        for result in before.results:
            record = self.trials[result.trial]
            record.iterations = max(record.iterations, result.iteration)
            self._take(record, result.metrics, result.energy_joules, result.active_energy_joules)
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
            return self._objectives[""].best(
                record.objective for record in self.trials.values() if not record.row.stage
            )

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
                self._record_of(trial)

    @_survives
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt begins."""
        now = time.time()
        with self.lock:
            record = self._record_of(trial)
            if record.attempt is not None and record.attempt.outcome == "completed":
                # Tune's state was older than the ledger: the trial goes on from before its end, in another attempt.
                record.attempts_ended_at.append(record.attempt.ended_at or now)
            attempt = len(record.attempts_ended_at) + 1
            if record.attempt is None or record.attempt.number != attempt:  # else it was paused
                record.attempt = AttemptRow(trial.trial_id, attempt, now, None, "running", None, None)
            record.row = record.row._replace(
                status="running", attempts=attempt, started_at=record.row.started_at or now, ended_at=None, error=None
            )
            record.told = False  # it may have ended before, in an interrupted part of the run
            self._ledger.record([record.row], [record.attempt])
        self._changed()

    @_survives
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A report."""
        metrics = own_metrics(result)
        joules, active_joules = number(result.get("energy_joules")), number(result.get("active_energy_joules"))
        startup_joules = number(result.get("startup_joules"))
        with self.lock:
            record = self._record_of(trial)
            record.iterations += 1
            self._take(record, metrics, joules, active_joules, startup_joules)
            elapsed_seconds = time.monotonic() - self._began
            row = ResultRow(trial.trial_id, record.iterations, elapsed_seconds, joules, active_joules, metrics)
            self._ledger.record(results=[row])
        self._changed()

    @_survives
    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """What was spent until here is not lost if the attempt fails."""
        with self.lock:
            record = self._record_of(trial)
            if record.attempt is not None:
                record.attempt = record.attempt._replace(checkpoint_joules=record.last_joules)
                self._ledger.record(attempts=[record.attempt])

    @_survives
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It ended by itself, by a rule, or because others were better."""
        self._end(trial, "pruned" if self._is_pruned(trial.trial_id) else "completed", None, is_last=True)

    @_survives
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt failed; Tune tries again."""
        self._end(trial, "failed", _error(trial), is_last=False)

    @_survives
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The last attempt failed."""
        self._end(trial, "failed", _error(trial), is_last=True)

    def _end(self, trial: Trial, status: TrialStatus, error: str | None, is_last: bool) -> None:
        now = time.time()
        self._ended(trial.trial_id, not is_last)
        with self.lock:
            record = self._record_of(trial)
            attempts = []
            if record.attempt is not None:
                outcome: Literal["failed", "completed"] = "failed" if status == "failed" else "completed"
                record.attempt = record.attempt._replace(ended_at=now, outcome=outcome, error=error)
                attempts = [record.attempt]
            if status == "failed":
                record.attempts_ended_at.append(now)
            record.row = record.row._replace(
                status=status if is_last else "pending", ended_at=now if is_last else None, error=error
            )
            self._ledger.record([record.row], attempts)
        self._changed()

    def _take(
        self,
        record: TrialRecord,
        metrics: Mapping[str, Any],
        joules: float | None,
        active_joules: float | None,
        startup_joules: float | None = None,
    ) -> None:
        objective = self._objectives[record.row.stage]
        record.results.update(metrics)
        value = objective.value(metrics)
        record.objective = record.objective if value is None else value
        record.last_joules = joules
        record.reported = Spent(joules or 0.0, active_joules or 0.0, startup_joules or 0.0)
        record.at_target.see(objective.reached_by(value), joules)

    def _record_of(self, trial: Trial) -> TrialRecord:
        if trial.trial_id not in self.trials:
            self.trials[trial.trial_id] = self._record(_new_row(trial))
        return self.trials[trial.trial_id]

    def _record(self, row: TrialRow) -> TrialRecord:
        return TrialRecord(row, at_target=FirstHeld(self._objectives[row.stage].patience))

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


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}..."


def _error(trial: Trial) -> str:
    """What an attempt failed with: the workload's own error if Ray can tell it, without its traceback."""
    # trial.get_error() reads the storage, which is not written yet when the callback is called.
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error: Exception = ray.cloudpickle.load(file)
    except Exception:  # noqa: BLE001 - a workload's own exception class may do anything when it is unpickled
        return "see error.txt in the trial's folder"
    cause = getattr(error, "cause", None) or error
    try:
        text = str(cause).strip()
    except Exception:  # noqa: BLE001 - so may its text
        text = "(an error without a text)"
    if isinstance(cause, ray.exceptions.RayActorError):
        text = text.partition("\n")[0]
    elif not isinstance(cause, EnergysweepError):
        text = f"{type(cause).__name__}: {text}"
    return text[-_ERROR_CHARACTERS:]
