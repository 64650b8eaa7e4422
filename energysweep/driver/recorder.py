"""Writes down what happens to the trials, as Tune tells it."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from energysweep.agent.client import NOTHING_SPENT, Spent
from energysweep.core.errors import EnergysweepError
from energysweep.core.objective import number
from energysweep.core.records import AttemptRow, DecisionRow, ResultRow, TrialRow, TrialStatus, What
from energysweep.ledger.run_state import Results, RunState, TrialState
from energysweep.ledger.store import Ledger
from energysweep.searching.schedulers import Decided
from energysweep.tune.points import KEY, stage_of
from energysweep.tune.results import own_metrics

log = logging.getLogger(__name__)

_NAMES_SHOWN = 10
_VALUE_CHARACTERS = 60
_ERROR_CHARACTERS = 2000


def without_objective(trial: TrialState, metric: str) -> str | None:
    """Why nobody can judge a trial, if it has reported, but never a number as its objective; one line."""
    if trial.iterations == 0 or trial.objective is not None:
        return None
    metrics = trial.results.metrics
    if metric in metrics:
        return f"never reported a number as {metric!r} (the last one was {_shown(metrics[metric])})"
    names = list(metrics)
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
    """A Tune callback that tells the run's state and its ledger of trials, attempts and results.

    Args:
        ledger: where they are kept.
        state: the run, as far as it has come.
        began: the sweep's beginning on ``clock``.
        is_pruned: whether the scheduler has stopped a trial for being worse than others.
        ended: called with the id of a trial whose attempt has ended, and whether another one will follow.
        changed: called after each event.
        clock: monotonic seconds.
        wall_clock: Unix time.
        newly_decided: what the scheduler has decided since the last call.

    Attributes:
        state: the same.
        unrecorded: trials of which something could not be taken down, by their ids, with the first reason.
    """

    def __init__(
        self,
        ledger: Ledger,
        state: RunState,
        began: float,
        is_pruned: Callable[[str], bool],
        ended: Callable[[str, bool], None],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        newly_decided: Callable[[], Sequence[Decided]] = tuple,
    ) -> None:
        self.unrecorded: dict[str, str] = {}
        self._lock = threading.RLock()
        self._ledger = ledger
        self.state = state
        self._began = began
        self._is_pruned = is_pruned
        self._ended = ended
        self._changed = changed
        self._clock, self._wall_clock = clock, wall_clock
        self._newly_decided = newly_decided
        self._beginning: dict[str, Decided] = {}  # why trials are to begin, or go on
        self._end_told: set[str] = set()  # whose end is decided, and who have not ended yet
        self._startup_joules: dict[str, float | None] = {}  # as trials report it; agents know it better
        self._told: set[str] = set()  # trials that ``newly_ended`` has named

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        # Tune pickles its callbacks for a later restore, which gets a recorder of its own.
        return Callback, ()

    def take_over(self) -> None:
        """Go on where the parts of the run before this one have ended, as its state has them."""
        self._told = {trial for trial, row in self.state.trials.items() if row.ended_at is not None}
        self.interrupt()
        self.newly_ended()  # they were told of in their own time

    def reported(self, trial: str) -> Spent:
        """The energies that a trial has reported last, as far as they were measured; nothing before that."""
        if trial not in self.state.trials:
            return NOTHING_SPENT
        measured = (report for report in reversed(self.state.reports_of(trial)) if report.energy_joules is not None)
        last = next(measured, None)
        if last is None:
            return NOTHING_SPENT
        startup_joules = self._startup_joules.get(trial)
        return Spent(last.energy_joules or 0.0, last.active_energy_joules or 0.0, startup_joules or 0.0)

    def decide(
        self,
        what: What,
        why: str,
        trial: str = "",
        *,
        joules: float | None = None,
        limit_joules: float | None = None,
        **numbers: Any,
    ) -> None:
        """Note a decision, in the run's state and in its ledger: the one way in which the driver does. Thread-safe.

        Args:
            what: became of the trial, or of the sweep.
            why: the rule, by one word, such as ``capped``.
            trial: its id; empty for a decision about the sweep as a whole.
            joules: what the rule looked at: what the trial had spent, or what the sweep had been charged with.
            limit_joules: what that was compared with.
            numbers: what else the rule went by, by names with units (``emissions_grams``, ``limit_grams``); a None is
                left out.

        Raises:
            LedgerError: it could not be kept.
        """
        with self._lock:
            known = {name: value for name, value in numbers.items() if value is not None}
            charged = self.state.charged_joules
            number = self.state.last_decision + 1
            self._record(
                decisions=[
                    DecisionRow(
                        number,
                        self._wall_clock(),
                        trial,
                        what,
                        why,
                        _finite(joules),
                        _finite(limit_joules),
                        charged,
                        known,
                    )
                ]
            )

    # Tune's hooks ------------------------------------------------------------------------------------------------

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Trials that never began are trials, too."""
        self.state.merge(_new_row(trial) for trial in trials if trial.trial_id not in self.state.trials)

    @_survives
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt begins; or goes on, if it was paused."""
        now = self._wall_clock()
        with self._lock:
            row = self._row(trial)
            attempt = self._running_attempt(trial.trial_id) or self._next_attempt(trial.trial_id, now)
            row = row._replace(
                status="running",
                attempts=attempt.number,
                started_at=row.started_at or now,
                ended_at=None,
                error=None,
            )
            self._told.discard(row.trial)  # it may have ended before, in an interrupted part of the run
            told = self._beginning_of(row.trial, attempt)
            self._record([row], [attempt])
            self._note(told)
        self._changed()

    @_survives
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A report."""
        joules, active_joules = number(result.get("energy_joules")), number(result.get("active_energy_joules"))
        elapsed_seconds = self._clock() - self._began
        with self._lock:
            row = self._row(trial)
            self._startup_joules[row.trial] = number(result.get("startup_joules"))
            before = self.state.trial(row.trial).iterations
            report = ResultRow(
                row.trial,
                before + 1,
                elapsed_seconds,
                joules,
                active_joules,
                own_metrics(result),
                number(result.get("power_watts")),
            )
            self._record(results=[report])
            self._take_decided()
        self._changed()

    @_survives
    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """What was spent until here is not lost if the attempt fails."""
        with self._lock:
            self._row(trial)
            last = self.state.trial(trial.trial_id).results.last
            joules = None if last is None else last.energy_joules
            if joules is None:  # its agent was away: as of the last poll
                joules = self.state.joules(trial.trial_id)
            for attempt in self.state.attempts_of(trial.trial_id)[-1:]:
                self._record(attempts=[attempt._replace(checkpoint_joules=joules)])

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
        now = self._wall_clock()
        self._note_end(trial.trial_id, status, is_last=is_last)
        try:
            self._ended(trial.trial_id, not is_last)
        finally:  # whoever could not be told: the trial has ended
            self._record_end(trial, status, error, is_last, now)
        self._changed()

    # Why trials begin, pause and end, which the scheduler has told before they do ------------------------------------

    def _take_decided(self) -> None:
        for each in self._newly_decided():
            if each.what in ("started", "resumed"):
                self._beginning[each.trial] = each
            else:
                if each.what == "ended":
                    self._end_told.add(each.trial)
                self._note(each)

    def _note(self, told: Decided) -> None:
        self.decide(told.what, told.why, told.trial, joules=told.joules, limit_joules=told.limit_joules, **told.numbers)

    def _beginning_of(self, trial: str, attempt: AttemptRow) -> Decided:
        """Why a trial begins or goes on: by its scheduler, or by what became of its attempt before."""
        self._take_decided()
        told, before = self._beginning.pop(trial, None), self.state.attempts_of(trial)[-1:]
        if not before:
            return told or Decided(trial, "started", "")
        joules = self.state.joules(trial) or self.reported(trial).energy_joules
        if before[0].number == attempt.number:
            return told or Decided(trial, "resumed", "pause", joules)
        return Decided(trial, "resumed", "failure" if before[0].outcome == "failed" else "run", joules)

    def _note_end(self, trial: str, status: TrialStatus, *, is_last: bool) -> None:
        with self._lock:
            self._take_decided()
            joules = self.reported(trial).energy_joules
            if status == "failed":
                self.decide("failed", "last attempt" if is_last else "tried again", trial, joules=joules)
            elif trial not in self._end_told:
                self.decide("ended", "pruned" if status == "pruned" else "itself", trial, joules=joules)
            self._end_told.discard(trial)

    def _record_end(self, trial: Trial, status: TrialStatus, error: str | None, is_last: bool, now: float) -> None:
        with self._lock:
            row = self._row(trial)
            attempt = self._running_attempt(row.trial)
            if attempt is None and status == "failed":  # its worker failed before Tune called it begun
                attempt = self._next_attempt(row.trial, now)
            attempts = []
            if attempt is not None:
                outcome: Literal["failed", "completed"] = "failed" if status == "failed" else "completed"
                attempts = [attempt._replace(ended_at=now, outcome=outcome, error=error)]
                row = row._replace(attempts=attempt.number)
            row = row._replace(status=status if is_last else "pending", ended_at=now if is_last else None, error=error)
            self._record([row], attempts)

    def _row(self, trial: Trial) -> TrialRow:
        if trial.trial_id not in self.state.trials:
            self.state.merge([_new_row(trial)])
        return self.state.trials[trial.trial_id]

    def _running_attempt(self, trial: str) -> AttemptRow | None:
        attempts = self.state.attempts_of(trial)
        return attempts[-1] if attempts and attempts[-1].outcome == "running" else None

    def _next_attempt(self, trial: str, now: float) -> AttemptRow:
        attempts = self.state.attempts_of(trial)
        return AttemptRow(trial, attempts[-1].number + 1 if attempts else 1, now, None, "running", None, None)

    def _record(
        self,
        trials: Sequence[TrialRow] = (),
        attempts: Sequence[AttemptRow] = (),
        results: Sequence[ResultRow] = (),
        decisions: Sequence[DecisionRow] = (),
    ) -> None:
        self.state.merge([*trials, *attempts, *results, *decisions])
        self._ledger.record(trials, attempts, results, decisions)

    # What others ask -------------------------------------------------------------------------------------------------

    def ended_results(self) -> dict[str, dict[str, Any] | None]:
        """The last result of each trial that will not go on, as far as the ledger has it; None of one that failed."""
        ended = [each for each in self.state.all_trials() if each.row.status in ("completed", "pruned", "failed")]
        return {each.row.trial: None if each.row.status == "failed" else _result(each.results) for each in ended}

    def pruned(self) -> set[str]:
        """The trials that were stopped for being worse than others, as far as the ledger has it."""
        return {each.row.trial for each in self.state.all_trials() if each.row.status == "pruned"}

    def reports(self) -> dict[str, list[ResultRow]]:
        """Those of each trial so far."""
        return {trial: list(self.state.reports_of(trial)) for trial in self.state.trials}

    def newly_ended(self) -> list[TrialRow]:
        """Those that have ended since the last call."""
        with self._lock:
            rows = [row for row in self.state.all_rows() if row.ended_at and row.trial not in self._told]
            self._told.update(row.trial for row in rows)
        return rows

    def interrupt(self) -> bool:
        """Call what has not ended interrupted. Returns whether there was any."""
        now = self._wall_clock()
        with self._lock:
            rows = [row for row in self.state.all_rows() if row.status in ("pending", "running")]
            attempts = [attempt for row in rows if (attempt := self._running_attempt(row.trial)) is not None]
            for attempt in attempts:
                self.decide("interrupted", "run", attempt.trial, joules=self.reported(attempt.trial).energy_joules)
            self._record(
                [row._replace(status="interrupted", ended_at=now) for row in rows],
                [attempt._replace(ended_at=now, outcome="interrupted") for attempt in attempts],
            )
        return bool(rows)


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


def _finite(joules: float | None) -> float | None:
    return joules if joules is not None and math.isfinite(joules) else None


def _result(results: Results) -> dict[str, Any]:
    """Of a trial's last result, what Tune's search may learn from."""
    if results.last is None or results.last.energy_joules is None:
        return dict(results.metrics)
    spent = {
        "energy_joules": results.last.energy_joules,
        "active_energy_joules": results.last.active_energy_joules or 0.0,
    }
    return results.metrics | spent


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
