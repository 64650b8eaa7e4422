"""Which trials are stopped early, and which end by themselves, in Tune's terms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ray.tune import Trainable
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper
from ray.tune.trainable import FunctionTrainable

from energysweep.core.objective import FirstHeld, number, reached_limit
from energysweep.core.records import ResultRow, What
from energysweep.driver.search import made
from energysweep.sweepfile import SweepSpec

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
    notes: Sequence[str] = ()
    kind: str = ""

    def __init__(self, *settings: Any, **named: Any) -> None:
        super().__init__(*settings, **named)
        self.decided: list[Decided] = []

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
        retry_lost_starts(tune_controller)
        if trial.trial_id in self.ended and not trial.is_finished():
            trial.set_status(Trial.TERMINATED)
            result = self.ended[trial.trial_id]
            tune_controller.search_alg.on_trial_complete(trial.trial_id, result, error=result is None)
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook. What Tune's own schedulers decide is told by their name, with the joules of the trial."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision in _ENDINGS:
            self.decided.append(
                Decided(trial.trial_id, _ENDINGS[decision], self.kind, number(result.get("energy_joules")))
            )
        return decision


class _RetriesLostStarts(TuneController):
    """Tune's controller, which tries a trial again whose worker dies while it is handed over to it.

    A worker that has ended a trial is told to ``reset`` itself for the next one. If it dies then, with its host for
    example, Tune (2.60) looks at the status of that trial: one that is still pending fails for good, whatever
    ``max_failures`` says, and one that was paused waits for ever. Here it counts as running, as it does in Tune's own
    answer to a worker that dies while it is created.
    """

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if trial in self._resetting_trials:
            self._resetting_trials.discard(trial)
            if trial.status in (Trial.PENDING, Trial.PAUSED):
                self._set_trial_status(trial, Trial.RUNNING)
                if trial in self._staged_trials:
                    self._unstage_trial_with_resources(trial)
        super()._trial_task_failure(trial, exception)


def retry_lost_starts(tune_controller: Any) -> None:
    """Make Tune's controller such a one.

    By its class, as Tune has no other way in: what is set on the controller itself, Tune writes down with its state,
    and cannot read again.

    Args:
        tune_controller: Tune's, or the wrapper that schedulers get, another one in each call.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    if type(controller) is TuneController:
        controller.__class__ = _RetriesLostStarts


def saves_when_asked(trial: Trial) -> bool:
    """Whether Tune gets a checkpoint of the trial whenever it wants one: of a class that knows how to save itself."""
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


def scheduler(spec: SweepSpec) -> Scheduler:
    """The sweep's scheduler."""
    found: Scheduler = made(spec.scheduler.kind.made_by)(spec)
    found.kind = spec.scheduler.type
    return found


class StopRule(Stopper):
    """Ends a trial when a metric of ``stop`` has reached its number (Tune's rule), or when it holds the target.

    Args:
        spec: the sweep.

    Attributes:
        decided: what it has ended and nobody has written down yet.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.decided: list[Decided] = []
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
        held = self._held.setdefault(trial_id, FirstHeld(self._objective.patience))
        if held.see(self._objective.reached_by(self._objective.value(result)), None):
            self.decided.append(Decided(trial_id, "ended", "reached", joules))
            return True
        return False

    def stop_all(self) -> bool:
        """Never all at once."""
        return False
