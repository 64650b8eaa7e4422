"""Which trials are stopped early, and which end by themselves, in Tune's terms."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ray.tune import Trainable
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher, SearchGenerator
from ray.tune.stopper import Stopper
from ray.tune.trainable import FunctionTrainable

from energysweep.core.objective import FirstHeld, number, reached_limit
from energysweep.core.records import ResultRow, What
from energysweep.searching.search import made
from energysweep.sweepfile import SweepSpec

CANNOT_PAUSE: Final = (
    "the workload reports without a checkpoint: {kind} goes by no such report, since a trial that pauses there loses"
    " its work (tune.report(metrics, checkpoint=...) makes one; the built-in workloads do so with checkpoint_every: 1)"
)
WORST: Final = 1e300  # less than the largest float, so that Tune can still calculate with it
_ENDINGS: Final[Mapping[str, What]] = {TrialScheduler.STOP: "ended", TrialScheduler.PAUSE: "paused"}


@dataclass(frozen=True, slots=True)
class Decided:
    """What a scheduler, or a rule of ``stop``, has decided of a trial; ``Recorder.decide`` has its arguments."""

    trial: str
    what: What
    why: str
    joules: float | None = None
    limit_joules: float | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)


class Scheduler(TrialScheduler):
    """What every scheduler of a sweep is. It stands before Tune's own class among the bases.

    Of a resumed run it knows that trials may have ended since Tune last wrote down its state: Tune would run them
    again, from their last checkpoint that it had noted, and they would be paid for twice.

    Attributes:
        pruned: ids of the trials that it stopped for being worse than others, and not for having had enough.
        ended: by trial id, the last result of each that has ended, as far as the ledger knows; None if it failed.
        were_pruned: those that were pruned in the parts of the run before.
        reports: by trial id, those of the parts of the run before.
        notes: what a person should know of how it goes.
        kind: its name in sweep files.
        decided: what it has decided and nobody has written down yet. Why a trial begins is told before it does.
    """

    pruned: Collection[str] = ()
    ended: Mapping[str, Mapping[str, Any] | None] = MappingProxyType({})
    were_pruned: Collection[str] = ()
    reports: Mapping[str, Sequence[ResultRow]] = MappingProxyType({})
    kind: str = ""

    def __init__(self, *settings: Any, **named: Any) -> None:
        super().__init__(*settings, **named)
        self.decided: list[Decided] = []
        self.notes: list[str] = []

    # What a budget asks (``within_budget``); most schedulers keep no reserve.

    @property
    def pauses(self) -> bool:
        """Whether a trial pauses at its reports and loses nothing, so that a start is one up to the next report."""
        return False

    @property
    def reserve_joules(self) -> float:
        """What the budget keeps for trials that the answer needs."""
        return 0.0

    def is_reserved(self, trial: Trial | None) -> bool:
        """Whether a trial is one of these; None: the next new one."""
        return False

    def close(self) -> None:
        """The budget holds no trial any more but these."""

    def held(self, trial: Trial) -> None:
        """The budget has paused a trial that was to go on."""

    def search(self, wrapped: Sequence[dict[str, Any]]) -> Searcher | None:
        """What asks for the sweep's trials in its own order, if it has one; None: they come as they are.

        Args:
            wrapped: all of them, as ``tune.points`` wraps them.
        """
        return None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook, called before it queues the trial by its status."""
        mend(tune_controller, trial)
        if trial.trial_id in self.ended and not trial.is_finished():
            trial.set_status(Trial.TERMINATED)
            result = self.ended[trial.trial_id]
            tune_controller.search_alg.on_trial_complete(trial.trial_id, result, error=result is None)
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook. What Tune's own schedulers decide is told by their name, with the joules of the trial.

        A pause without a checkpoint would throw the trial's work away, and pay for it again: it goes on then.
        """
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.PAUSE and not self.can_pause(trial, result):
            return str(TrialScheduler.CONTINUE)
        if decision in _ENDINGS:
            why = self.why(trial, decision)
            self.decided.append(Decided(trial.trial_id, _ENDINGS[decision], why, number(result.get("energy_joules"))))
        return decision

    def why(self, _trial: Trial, _decision: str) -> str:
        """The rule by which a trial pauses or ends, by one word."""
        return self.kind

    def can_pause(self, trial: Trial, result: Mapping[str, Any]) -> bool:
        """Whether a trial loses nothing if it pauses at a report. If not, that is noted."""
        if has_checkpoint(trial, result):
            return True
        note = CANNOT_PAUSE.format(kind=self.kind)
        if note not in self.notes:
            self.notes.append(note)
        return False


class Pausing(Scheduler):
    """A scheduler that pauses trials. The sweep's trials that it has to know are there, however few run at once.

    Tune starts all trials that are pending, and counts those that are paused among the ones that run. So who waits for
    a place waits here, as paused.

    Attributes:
        at_once: how many may run.
    """

    at_once: float = math.inf

    def __init__(self, *settings: Any, **named: Any) -> None:
        super().__init__(*settings, **named)
        self._held: set[str] = set()  # who waits for the first place, or for one after a failure
        self._known: set[str] = set()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune's hook."""
        super().on_trial_add(tune_controller, trial)
        is_new = trial.trial_id not in self._known
        self._known.add(trial.trial_id)
        if self.at_once < math.inf and trial.status == Trial.PENDING:
            let_wait(tune_controller, trial, is_new=is_new)
            self._held.add(trial.trial_id)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook."""
        self._held.discard(trial.trial_id)
        return super().on_trial_result(tune_controller, trial, result)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Tune's hook: who waits here comes first, in the order of Tune's trials."""
        if self.at_once < math.inf:
            trials = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
            called = [trial for trial in trials if trial.status in (Trial.PENDING, Trial.RUNNING)]
            self._held.difference_update(trial.trial_id for trial in called)
            if len(called) >= self.at_once:
                return next((trial for trial in called if trial.status == Trial.PENDING), None)
            for trial in trials:
                if trial.trial_id in self._held:
                    return trial
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen


def let_wait(tune_controller: Any, trial: Trial, *, is_new: bool) -> None:
    """Let a pending trial wait as paused: Tune starts all that are pending.

    Args:
        tune_controller: Tune's.
        trial: as Tune adds it.
        is_new: otherwise Tune tries it again, and it stands in Tune's lists already.
    """
    if is_new:
        trial.set_status(Trial.PAUSED)
    else:
        tune_controller._set_trial_status(trial, Trial.PAUSED)  # noqa: SLF001 - Tune has no public way


def judged(value: Any, mode: str | None) -> float | None:
    """What a trial is compared by; None: it tells nothing. A loss that grew to infinity is worse than others."""
    if isinstance(value, float) and math.isinf(value) and (value > 0) == (mode == "min"):
        return math.copysign(WORST, value)
    return number(value)


def had_enough(trial: Trial, result: Mapping[str, Any], resource: str, limit: float) -> Decided:
    """A trial ends, since it has used as much as it may."""
    numbers = {"metric": resource, "value": number(result.get(resource)), "limit": limit}
    return Decided(trial.trial_id, "ended", "enough", number(result.get("energy_joules")), numbers=numbers)


class _Mended(TuneController):
    """Tune's controller, without four faults that it has (2.60).

    - A worker that has ended a trial is told to ``reset`` itself for the next one. If it dies then, with its host for
      example, Tune looks at the status of that trial: one that is still pending fails for good, whatever
      ``max_failures`` says, and one that was paused waits for ever. Here it counts as running, as it does in Tune's own
      answer to a worker that dies while it is created. Ray tells Tune of such a death twice, as the worker's and as its
      task's. What the first has begun anew has no worker when the second comes, which would fail it for good.
    - Tune writes its state down every ten seconds or later. A driver that is killed has begun trials by then of which
      the state knows nothing, and a search gives those that take their places other ids: what was begun stays open for
      ever, and runs twice. Here a new trial is written down before its worker has begun.
    - What was decided of a trial is in that state, until its checkpoint is there. After a kill in between, a trial that
      goes on paused at its next checkpoint, of which no scheduler knew. Here nothing is decided of who is added.
    - The rules of ``stop`` are in that state, too: after a restore, Tune asks a copy, of whose decisions nobody hears.
      Here the Tuner's own stay.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        del state["_stopper"]
        return state

    def forget_decisions(self, trial: Trial) -> None:
        """It goes on where it last was, whatever was to become of it there."""
        self._queued_trial_decisions.pop(trial.trial_id, None)
        self._cached_trial_decisions.pop(trial.trial_id, None)

    def _schedule_trial_actor(self, trial: Trial) -> None:
        super()._schedule_trial_actor(trial)
        # The ids of a grid are numbers, which are the same after a restore.
        if isinstance(self._search_alg, SearchGenerator) and trial.trial_id not in self._trial_metadata:
            self.checkpoint(force=True, wait=True)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if trial.status != Trial.RUNNING and trial not in self._trial_to_actor:
            return
        if trial in self._resetting_trials:
            self._resetting_trials.discard(trial)
            if trial.status in (Trial.PENDING, Trial.PAUSED):
                self._set_trial_status(trial, Trial.RUNNING)
                if trial in self._staged_trials:
                    self._unstage_trial_with_resources(trial)
        super()._trial_task_failure(trial, exception)


def mend(tune_controller: Any, trial: Trial) -> None:
    """Make Tune's controller one without its faults, as it adds a trial.

    By its class, as Tune has no other way in: what is set on the controller itself, Tune writes down with its state,
    and cannot read again.

    Args:
        tune_controller: Tune's, or the wrapper that schedulers get, another one in each call.
        trial: is new, was restored, or is tried again.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    if type(controller) is TuneController:
        controller.__class__ = _Mended
    if isinstance(controller, _Mended):
        controller.forget_decisions(trial)


def has_checkpoint(trial: Trial, result: Mapping[str, Any]) -> bool:
    """Whether a trial can go on from a report: it made a checkpoint, or is of a class that knows how to save itself."""
    if result.get(SHOULD_CHECKPOINT):
        return True
    trainable = trial.get_trainable_cls()
    return (
        trainable is not None
        and not issubclass(trainable, FunctionTrainable)
        and trainable.save_checkpoint is not Trainable.save_checkpoint
    )


class Fifo(Scheduler, FIFOScheduler):
    """Runs every trial to its end, in the order in which they come."""


def fifo(_spec: SweepSpec) -> Fifo:
    """Nothing is stopped early."""
    return Fifo()


def scheduler(spec: SweepSpec, order: Sequence[int] | None = None) -> Scheduler:
    """The sweep's scheduler.

    Args:
        spec: the sweep.
        order: in which its configurations begin, by their places; for a scheduler that chooses who begins. None: its
            own order.
    """
    make = made(spec.scheduler.kind.made_by)
    found: Scheduler = make(spec, order) if spec.scheduler.kind.needs_all else make(spec)
    found.kind = spec.scheduler.type
    if isinstance(found, Pausing) and spec.search.kind.made_by is None:
        found.at_once = spec.max_concurrent_trials or math.inf
    return found


class StopRule(Stopper):
    """Ends a trial when a metric of ``stop`` has reached its number (Tune's rule), or when it holds the target.

    Args:
        spec: the sweep.

    Attributes:
        decided: what it has ended and nobody has written down yet.
        reports: by trial id, those of the parts of the run before.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.decided: list[Decided] = []
        self.reports: Mapping[str, Sequence[ResultRow]] = {}
        self._stop = dict(spec.stop)
        self._objective = spec.objective.rule
        self._stops_at_target = spec.objective.stop_at_target
        self._held: dict[str, FirstHeld[None]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this result."""
        joules = number(result.get("energy_joules"))
        for metric, limit in self._stop.items():
            if reached_limit(result.get(metric), limit):
                numbers = {"metric": metric, "value": number(result.get(metric)), "limit": limit}
                self.decided.append(Decided(trial_id, "ended", "stop", joules, numbers=numbers))
                return True
        if not self._stops_at_target:
            return False
        if trial_id not in self._held:
            self._held[trial_id] = FirstHeld(self._objective.patience)
            for report in self.reports.get(trial_id, ()):
                self._is_held(trial_id, report.metrics)
        if self._is_held(trial_id, result):
            self.decided.append(Decided(trial_id, "ended", "reached", joules))
            return True
        return False

    def _is_held(self, trial_id: str, metrics: Mapping[str, Any]) -> bool:
        return self._held[trial_id].see(self._objective.reached_by(self._objective.value(metrics)), None)

    def stop_all(self) -> bool:
        """Never all at once."""
        return False
