"""A race of the sweep's configurations by joules, as Tune's scheduler and search.

The two are one thing: who runs next is either a new trial, which Tune asks the search for, or a paused one, which it
asks the scheduler for. Both answers are those of ``racing.Race``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from energysweep.core.naming import exact_text
from energysweep.core.objective import Objective, number
from energysweep.core.records import ResultRow, What
from energysweep.searching.arms import Arms, Decision, Runner
from energysweep.searching.halving import Halving
from energysweep.searching.racing import Race
from energysweep.searching.schedulers import Decided, Scheduler, has_checkpoint
from energysweep.searching.spreading import spread
from energysweep.sweepfile import Point, SweepSpec, points
from energysweep.tune.points import KEY

_IN_TUNES_WORDS: Final = {
    "go on": TrialScheduler.CONTINUE,
    "pause": TrialScheduler.PAUSE,
    "end": TrialScheduler.STOP,
}
CANNOT_PAUSE: Final = (
    "this race does not pause: the workload reported without a checkpoint, so each trial runs until it is ended, as"
    " with type: cap (tune.report(metrics, checkpoint=...) lets a race pause; the built-in workloads do so with"
    " checkpoint_every: 1)"
)
WITHOUT_TARGET: Final = (
    "this race has no objective.target: it is a successive halving on joules, and its winners are those with the best"
    " objective"
)


def race(spec: SweepSpec, order: Sequence[int] | None = None) -> Racing:
    """All configurations side by side, pausing at reports."""
    return Racing(spec, pauses=True, order=order)


def cap(spec: SweepSpec, order: Sequence[int] | None = None) -> Racing:
    """One after the other, each until a rule ends it."""
    return Racing(spec, pauses=False, order=order)


class Racing(Scheduler, FIFOScheduler):
    """Tune's side of a race.

    Args:
        spec: the sweep; its configurations are known before the first trial.
        pauses: trials are paused, and go on.
        order: in which the configurations begin, by their places among those of ``sweepfile.points``; None: spread over
            the space, or as they come where trials are paused.
    """

    def __init__(self, spec: SweepSpec, *, pauses: bool, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self._objective: Objective = spec.objective.rule
        self._at_once = spec.max_concurrent_trials or float("inf")
        trials = points(spec) if pauses and order is None else _ordered(points(spec), order)
        self._places = _places(trials)
        self._parameters = {self._places[_key(*_parts(point))].arm: point.parameters for point in trials}
        arms = {runner.arm for runner in self._places.values()}
        rules = Halving if self._objective.target is None else Race
        self.race: Arms = rules(self._objective, len(arms), spec.repeats, winners=spec.scheduler.winners, pauses=pauses)
        self._pauses, self._winners = pauses, spec.scheduler.winners
        self._runners: dict[str, Runner] = {}
        self._trials: dict[Runner, str] = {}
        self._called: dict[str, Trial | None] = {}  # asked for, and not running yet
        self._starting: set[str] = set()  # those of them for whom a worker is being started
        self._seen: dict[str, int] = {}  # the last report of each trial, by its number in Tune
        self.reports: Mapping[str, Sequence[ResultRow]] = MappingProxyType({})
        self.notes: list[str] = [] if rules is Race else [WITHOUT_TARGET]
        self.pruned: set[str] = set()

    def search(self, wrapped: Sequence[dict[str, Any]]) -> Searcher:
        """Suggests the trials of the race, as it asks for them.

        Args:
            wrapped: all of them, as ``tune.points`` wraps them.
        """
        return _Suggests(self, {_place(point): point for point in wrapped})

    @property
    def answer(self) -> dict[str, Any] | None:
        """The parameters of the configuration that has won."""
        arm = self.race.answer
        return None if arm is None else self._parameters[arm]

    # Tune's hooks ----------------------------------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, is known from before the run was interrupted, or is tried again after a failure."""
        known = trial.trial_id in self._runners
        runner = self._known(trial)
        if known and trial.trial_id not in self._called:  # Tune tries it again at once
            self.race.paused(runner)
            self._call(trial.trial_id, trial)
        elif not known:
            self._seen[trial.trial_id] = (trial.last_result or {}).get(TRAINING_ITERATION, 0)
            for report in self.reports.get(trial.trial_id, ()):
                self.race.learn(runner, self._objective.value(report.metrics), report.energy_joules, None)
            if trial.trial_id in self.ended or trial.is_finished():
                failed = self.ended.get(trial.trial_id, {}) is None
                self.race.ended(runner, failed=failed, pruned=trial.trial_id in self.were_pruned)
            else:
                if self.race.is_open(runner):
                    self.race.paused(runner)
                trial.set_status(Trial.PAUSED)  # Tune queues it by its status: it is the race that calls it
        else:
            self._called[trial.trial_id] = trial
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook."""
        self._note_started()
        self._seen[trial.trial_id] = result.get(TRAINING_ITERATION, 0)
        can_pause = has_checkpoint(trial, result)
        if self._pauses and not can_pause and CANNOT_PAUSE not in self.notes:
            self.notes.append(CANNOT_PAUSE)
        decision = self.race.reported(
            self._known(trial),
            *self._judged_by(result),
            can_pause=can_pause,
        )
        if decision.what == "end" and decision.why != "reached":
            self.pruned.add(trial.trial_id)
        if decision.what != "go on":
            self._tell("ended" if decision.what == "end" else "paused", decision, trial)
        return str(_IN_TUNES_WORDS[decision.what])

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """It has ended, by itself, by a rule of ``stop``, or by the race. Its last report may not have been judged."""
        if result.get(TRAINING_ITERATION, 0) > self._seen.get(trial.trial_id, 0):
            self.race.learn(self._known(trial), *self._judged_by(result))
        self._gone(trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """It failed. If Tune tries it again, it adds it again."""
        self._gone(trial, failed=True)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """It was paused, and nobody needs it any more."""
        runner = self._known(trial)
        if self.race.is_open(runner):
            self.pruned.add(trial.trial_id)
            self.decided.append(Decided(trial.trial_id, "ended", "over", self.race.joules_of(runner)))
        self._gone(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The paused trial that is to go on, if one is; at the end, the others are ended."""
        self._note_started()
        self._starting = {name for name, trial in self._called.items() if _is_being_started(tune_controller, trial)}
        for name in self._starting:
            self.race.starting(self._runners[name])
        live = {trial.trial_id: trial for trial in tune_controller.get_live_trials()}
        waiting = next((live[name] for name in self._called if name in live and name not in self._starting), None)
        if waiting is not None:
            return waiting
        runner = self.race.next() if self._has_room else None
        if runner in self._trials:
            trial = live[self._trials[runner]]
            if trial.status != Trial.PAUSED:  # it is still saving what it will go on from
                return None
            self.decided.append(Decided(trial.trial_id, "resumed", "turn", self.race.joules_of(runner)))
            self._call(trial.trial_id, trial)
            return trial
        if runner is None and not self._called and self.race.is_over and not self.race.closing:
            for trial in [trial for trial in live.values() if trial.status == Trial.PAUSED]:
                tune_controller.stop_trial(trial)
        return None

    # What a budget asks ----------------------------------------------------------------------------------------------

    @property
    def pauses(self) -> bool:
        """As ``Scheduler`` says."""
        return self._pauses and CANNOT_PAUSE not in self.notes

    @property
    def reserve_joules(self) -> float:
        """What it takes to confirm the answer."""
        return self.race.reserve_joules

    def is_reserved(self, trial: Trial | None) -> bool:
        """Whether it confirms a winner."""
        runner = self.race.next() if trial is None else self._known(trial)
        return runner is not None and runner.repeat > 0

    def close(self) -> None:
        """Only winners are confirmed from now on: who was asked for and waits is not."""
        self.race.closing = True
        for name, trial in [*self._called.items()]:
            if trial is not None and trial.status == Trial.PAUSED:
                del self._called[name]
                self.race.paused(self._runners[name])

    def held(self, trial: Trial) -> None:
        """It waits."""
        self.race.paused(self._known(trial))

    def debug_string(self) -> str:
        """Tune's hook."""
        return f"race of {len(self._places)} trials"

    # The search's side -----------------------------------------------------------------------------------------------

    def suggested(self, trial_id: str) -> Runner | str | None:
        """The new trial that is to run: None if it is a paused one, or nobody now; Tune's word if nobody ever."""
        self._note_started()
        runner = self.race.next() if self._has_room else None
        if runner is None:
            return str(Searcher.FINISHED) if self.race.is_over else None
        if runner in self._trials:
            return None
        self._runners[trial_id], self._trials[runner] = runner, trial_id
        self._call(trial_id, None)
        if runner.repeat > 0:
            self.decided.append(Decided(trial_id, "started", "repeat"))
        return runner

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        """Whether another one may be called: nobody waits for a worker but those for whom one is being started.

        Who waits was chosen before others reported, so only one may. But it would take each worker that becomes free,
        and never get the one that is being started for it on another host: there somebody else may take that.
        """
        return self.race.running < self._at_once and self._called.keys() <= self._starting

    def _call(self, name: str, trial: Trial | None) -> None:
        self._called[name] = trial
        self.race.called(self._runners[name])

    def _note_started(self) -> None:
        for name, trial in [*self._called.items()]:
            if trial is not None and trial.status == Trial.RUNNING:
                del self._called[name]
                self.race.started(self._runners[name])

    def _tell(self, what: What, decision: Decision, trial: Trial) -> None:
        why: str = decision.why or "turn"
        if why == "capped" and self._known(trial).repeat > 0:
            why = "unreliable"
        numbers = {"winners": self._winners} if why in ("capped", "slower") else {}
        self.decided.append(Decided(trial.trial_id, what, why, decision.joules, decision.limit_joules, numbers))

    def _judged_by(self, result: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
        joules, startup_joules = (number(result.get(name)) for name in ("energy_joules", "startup_joules"))
        return self._objective.value(result), joules, startup_joules

    def _known(self, trial: Trial) -> Runner:
        if trial.trial_id not in self._runners:
            runner = self._places[_place(trial.config[KEY])]
            self._runners[trial.trial_id], self._trials[runner] = runner, trial.trial_id
        return self._runners[trial.trial_id]

    def _gone(self, trial: Trial, *, failed: bool = False) -> None:
        self._called.pop(trial.trial_id, None)
        self.race.ended(self._known(trial), failed=failed, pruned=trial.trial_id in self.pruned)


class _Suggests(Searcher):
    """The search's half of ``Racing``, which knows everything."""

    def __init__(self, racing: Racing, wrapped: Mapping[str, dict[str, Any]]) -> None:
        super().__init__()
        self._racing = racing
        self._wrapped = {racing._places[place]: point for place, point in wrapped.items()}  # noqa: SLF001

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's hook."""
        runner = self._racing.suggested(trial_id)
        return {KEY: self._wrapped[runner]} if isinstance(runner, Runner) else runner

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler is told, too."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing of its own: a resumed race is told what the ledger has. Tune moves the file to its place."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def _ordered(trials: Sequence[Point], order: Sequence[int] | None) -> list[Point]:
    """With the configurations in the order in which they are to begin; those of each stay in theirs."""
    groups: dict[str, list[Point]] = {}
    for point in trials:
        groups.setdefault(_key(point.parameters, point.hardware), []).append(point)
    members = list(groups.values())
    if order is None or len(order) != len(members):
        order = spread([{**group[0].parameters, "": group[0].hardware} for group in members])
    return [point for place in order for point in members[place]]


def _places(trials: Sequence[Point]) -> dict[str, Runner]:
    """Each trial's place in the race: arms in their order, repeats in theirs. What was drawn twice runs once."""
    arms: dict[str, int] = {}
    repeats: dict[int, int] = {}
    found: dict[str, Runner] = {}
    for point in trials:
        key = _key(*_parts(point))
        if key not in found:
            arm = arms.setdefault(_key(point.parameters, point.hardware), len(arms))
            repeat = repeats[arm] = repeats.get(arm, -1) + 1
            found[key] = Runner(arm, repeat)
    return found


def _parts(point: Point) -> tuple[Any, ...]:
    return point.parameters, point.hardware, point.seed


def _place(wrapped: Mapping[str, Any]) -> str:
    return _key(wrapped["parameters"], wrapped["hardware"], wrapped["seed"])


def _key(*parts: Any) -> str:
    return exact_text(parts)


def _is_being_started(tune_controller: Any, trial: Trial | None) -> bool:
    """Whether Ray has found a place for the trial's own worker, which is not there yet."""
    manager = getattr(tune_controller, "_actor_manager", None)
    if manager is None or trial is None:
        return False
    actor = tune_controller._trial_to_actor.get(trial)  # noqa: SLF001 - Tune has no public way
    return actor in manager.live_actors and actor not in tune_controller._started_actors  # noqa: SLF001
