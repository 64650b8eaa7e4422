"""What a sweep would have cost under another scheduler: its learning curves, played to the real one.

The curves are those of a finished run or of a table. Tune's controller is stood in for by one that takes no time: a
trial's next report comes when its joules are spent, all trials drawing the same power. Pausing and going on is free
here, unless a start-up is given.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from energysweep.analysis.early_stopping import Tried
from energysweep.core.objective import Objective, first_held, mean_value, number
from energysweep.ledger.budget import Budget
from energysweep.searching.budget import Spending
from energysweep.searching.curves import Curves, Report, joules_to
from energysweep.searching.race import Racing
from energysweep.searching.schedulers import Decided, Scheduler, StopRule, scheduler
from energysweep.searching.within_budget import AsksWithinBudget, BudgetSpent, WithinBudget
from energysweep.sweepfile import Point, SweepSpec, points
from energysweep.sweepfile.algorithms import SCHEDULERS
from energysweep.tune.points import KEY, wrap


@dataclass(frozen=True)
class Rehearsal:
    """How it went.

    Attributes:
        scheduler: its type.
        energy_joules: spent by all trials.
        grid_joules: what the full grid spends, whose trials stop at the target if there is one.
        chosen: the configuration that it found cheapest, None if none reached the target; the one with the best
            objective where there is no target.
        regret: the true mean of what it takes to the target by the chosen one, over that of the best; None if it does
            not always reach it, or there is no target.
        simple_regret: without a target, by how much the chosen one's objective is worse than the best one's, each the
            mean over its seeds of the best value that it reports.
        trials: how many began.
        pauses: how often one was paused.
        last_joules: when the last one ended, as the joules that a trial spends in so long.
        is_stopped: its budget has ended it.
        open: how many trials have begun and not ended, because of that.
        tried: all trials, as far as they came.
        decided: what the scheduler, or the target, decided of them.
    """

    scheduler: str
    energy_joules: float
    grid_joules: float
    chosen: str | None
    regret: float | None
    simple_regret: float | None
    trials: int
    pauses: int
    last_joules: float
    is_stopped: bool = False
    open: int = 0
    tried: tuple[Tried, ...] = ()
    decided: tuple[Decided, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Its energy as a part of the grid's; None if the grid has spent nothing."""
        return self.energy_joules / self.grid_joules if self.grid_joules > 0 else None


_OF_A_TRIAL: Final = ("energy_joules", "startup_joules")
_MOST_PENDING: Final = 16  # Tune's, of trials that are all known; it asks a search for one at a time


# The stage -----------------------------------------------------------------------------------------------------------


def rehearse(
    curves: Curves,
    objective: Objective,
    scheduler_type: str = "race",
    *,
    winners: int = 3,
    at_once: int = 1,
    order_seed: int | None = None,
    order: Sequence[int] | None = None,
    startup_joules: float = 0.0,
    resume_joules: float = 0.0,
    settings: Mapping[str, Any] | None = None,
    stops_at_target: bool = True,
    budget_joules: float | None = None,
) -> Rehearsal:
    """Play the curves to a scheduler.

    Args:
        curves: of every configuration that there is.
        objective: if it has a target, every trial ends there, unless ``stops_at_target`` is false.
        scheduler_type: of ``sweepfile.SCHEDULERS``, with its defaults, where ``settings`` gives no others.
        winners: of a race or cap.
        at_once: how many trials run at the same time.
        order_seed: the configurations come in an order drawn by this seed; None: in that of the curves.
        order: in which they begin with a scheduler that chooses who does, by their places among those of the curves;
            None: as they come.
        startup_joules: what each start of a trial costs, new or from a pause.
        resume_joules: what a trial spends on going on from a pause before it trains again, as part of its own energy.
        settings: of the scheduler, other keys of the sweep's file.
        stops_at_target: trials end at the target.
        budget_joules: nothing is spent beyond, but the rest of a report; None: there is no budget.
    """
    names = curves.configurations
    if order_seed is not None:
        random.Random(order_seed).shuffle(names)  # noqa: S311 - repeatable, not secret
    used: dict[str, Any] = {"type": scheduler_type}
    if "winners" in SCHEDULERS[scheduler_type].keys:
        used["winners"] = winners
    used |= settings or {}
    spec = SweepSpec.model_validate(
        {
            "name": "rehearsal",
            "workload": "rehearsal:train",
            "parameters": {"configuration": {"grid": names}},
            "objective": {
                "metric": objective.metric,
                "mode": objective.mode,
                "target": objective.target,
                "stop_at_target": stops_at_target and objective.target is not None,
                "patience": objective.patience,
            },
            "repeats": curves.seeds,
            "scheduler": used,
            "max_concurrent_trials": at_once,
        }
    )
    chooses = scheduler(spec, range(len(names)) if order is None else order)
    stage = _Stage(spec, curves, chooses, at_once, startup_joules, resume_joules, budget_joules)
    stage.play()
    chosen = stage.chosen()
    regret = simple_regret = None
    if objective.target is None:
        best_value = objective.best(curves.value_of(objective, name) for name in names)
        value = None if chosen is None else curves.value_of(objective, chosen)
        simple_regret = number(abs(best_value - value)) if best_value is not None and value is not None else None
    elif chosen is not None:
        best_joules = min(curves.joules_to(objective, name) for name in names)
        regret = _regret(curves.joules_to(objective, chosen), best_joules)
    return Rehearsal(
        scheduler_type,
        stage.spent_joules,
        math.fsum(_grid(objective, reports, startup_joules) for reports in curves.by_trial.values()),
        chosen,
        regret,
        simple_regret,
        sum(trial.starts > 0 for trial in stage.trials),
        stage.pauses,
        stage.now_joules,
        stage.is_stopped,
        sum(trial.starts > 0 and not trial.is_finished() for trial in stage.trials),
        stage.tried(),
        tuple(stage.decided),
    )


def _regret(needed_joules: float, best_joules: float) -> float | None:
    if needed_joules == best_joules < math.inf:
        return 1.0
    return needed_joules / best_joules if best_joules > 0 and needed_joules < math.inf else None


def _grid(objective: Objective, reports: Sequence[Report], startup_joules: float) -> float:
    place = first_held((objective.reached_by(report.value) for report in reports), objective.patience)
    last = len(reports) - 1 if place is None else place + objective.patience - 1
    return reports[last].joules + startup_joules


@dataclass(eq=False)
class _StandIn:
    """A trial, as far as Tune's schedulers look at one."""

    trial_id: str
    config: dict[str, Any]
    curve: Sequence[Report]
    status: str = Trial.PENDING
    done: int = 0  # reports
    starts: int = 0
    resumed_joules: float = 0.0  # beyond its curve
    last_result: dict[str, Any] = field(default_factory=dict)
    is_saving: bool = False

    def set_status(self, status: str) -> None:
        self.status = status

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


class _Stage:
    """Tune's controller, as far as schedulers and searchers talk to it, in simulated time; and a budget's accounts."""

    def __init__(
        self,
        spec: SweepSpec,
        curves: Curves,
        chooses: Scheduler,
        at_once: int,
        startup_joules: float,
        resume_joules: float,
        budget_joules: float | None = None,
    ) -> None:
        self._objective = spec.objective.rule
        self._curves = curves.by_trial
        self._at_once = at_once
        self._startup_joules = startup_joules
        self._resume_joules = resume_joules
        self._stop = StopRule(spec)
        self._own = chooses
        self._scheduler: Scheduler | WithinBudget = chooses
        every: list[Point] = points(spec)
        wrapped = [wrap(point, is_command=False) for point in every]
        self.search_alg = self._own.search(wrapped)
        self._waiting = [] if self.search_alg is not None else wrapped
        self.is_stopped = False
        if budget_joules is not None:
            within = WithinBudget(self._own, Spending(Budget({"energy_joules": budget_joules}), self), [("", "")])
            self._scheduler = within
            self.search_alg = None if self.search_alg is None else AsksWithinBudget(self.search_alg, within)
        self._events: list[tuple[float, int, _StandIn]] = []
        self.now_joules = 0.0
        self.trials: list[_StandIn] = []
        self.spent_joules = 0.0
        self.pauses = 0

    # What a scheduler may ask ----------------------------------------------------------------------------------------

    def get_trials(self) -> list[_StandIn]:
        return self.trials

    def get_live_trials(self) -> list[_StandIn]:
        return [trial for trial in self.trials if not trial.is_finished()]

    def stop_trial(self, trial: _StandIn) -> None:
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self._scheduler.on_trial_remove(self, trial)
        elif trial.status == Trial.RUNNING:
            self._scheduler.on_trial_complete(self, trial, trial.last_result)
        trial.status = Trial.TERMINATED

    def checkpoint(self, **_: Any) -> None:
        """Nothing is written down."""

    # What a budget asks ----------------------------------------------------------------------------------------------

    def charged_joules(self) -> float:
        return self.spent_joules

    def overhead_joules(self) -> float:
        return 0.0

    def booked_joules(self, trial: str) -> float:
        found = self.trials[int(trial)] if int(trial) < len(self.trials) else None
        return 0.0 if found is None else sum(found.last_result.get(name, 0.0) for name in _OF_A_TRIAL)

    def elapsed_seconds(self) -> float:
        return self.now_joules

    # The play --------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Until nobody runs, and nobody is to run, or the budget ends it."""
        was_idle = False
        while True:
            try:
                while len(self._events) < self._at_once and (trial := self._next()) is not None:
                    self._begin(trial)
            except BudgetSpent:
                self.is_stopped = True
                return
            if not self._events:
                if was_idle:
                    return
                was_idle = True  # Tune asks again and again: who was refused may have changed another's answer
                continue
            was_idle = False
            self.now_joules, _, trial = heapq.heappop(self._events)
            self._report(trial)

    def chosen(self) -> str | None:
        """By the race's own word; else what reached the target with most of its seeds, for the least in the mean.

        Without a target, what has the best objective in the mean of its seeds.
        """
        if isinstance(self._own, Racing):
            answer = self._own.answer
            return None if answer is None else str(answer["configuration"])
        needed: dict[str, list[float]] = defaultdict(list)
        for trial in self.trials:
            costs = self._costs(trial.curve[: trial.done])
            if costs < math.inf:
                needed[trial.config[KEY]["parameters"]["configuration"]].append(costs)
        if self._objective.target is None:
            return min(needed, key=lambda name: mean_value(needed[name]), default=None)
        return min(needed, key=lambda name: (-len(needed[name]), mean_value(needed[name])), default=None)

    def tried(self) -> tuple[Tried, ...]:
        """All trials, as far as they came."""
        found = []
        for trial in self.trials:
            reports = trial.curve[: trial.done]
            found.append(
                Tried(
                    trial.config[KEY]["parameters"]["configuration"],
                    "pruned" if trial.trial_id in self._own.pruned else "completed",
                    joules_to(self._objective, reports) < math.inf,
                    len(reports),
                    reports[-1].joules if reports else 0.0,
                    (reports[-1].joules - reports[0].joules) / (len(reports) - 1) if len(reports) > 1 else None,
                )
            )
        return tuple(found)

    @property
    def decided(self) -> list[Decided]:
        """In the order of each teller; the rule of the target apart."""
        return [*self._stop.decided, *self._own.decided]

    def _costs(self, reports: Sequence[Report]) -> float:
        """What trials are compared by: the less, the better; infinite of one that says nothing."""
        if self._objective.target is not None:
            return joules_to(self._objective, reports)
        best = self._objective.best(report.value for report in reports)
        return math.inf if best is None else (-best if self._objective.mode == "max" else best)

    def _next(self) -> _StandIn | None:
        while self._waiting and sum(trial.status == Trial.PENDING for trial in self.trials) < _MOST_PENDING:
            self._add({KEY: self._waiting.pop(0)})
        chosen: _StandIn | None = self._scheduler.choose_trial_to_run(self)
        if chosen is not None or self.search_alg is None:
            return chosen
        suggestion = self.search_alg.suggest(str(len(self.trials)))
        return self._add(suggestion) if isinstance(suggestion, dict) else None

    def _add(self, config: dict[str, Any]) -> _StandIn:
        point = config[KEY]
        curve = self._curves.get((point["parameters"]["configuration"], point["seed"] or 0), ())
        trial = _StandIn(str(len(self.trials)), config, curve)
        self.trials.append(trial)
        self._scheduler.on_trial_add(self, trial)
        return trial

    def _begin(self, trial: _StandIn) -> None:
        trial.status = Trial.RUNNING
        trial.starts += 1
        again = self._resume_joules if trial.starts > 1 else 0.0
        trial.resumed_joules += again
        self.spent_joules += self._startup_joules + again
        self._train(trial, self._startup_joules + again)

    def _train(self, trial: _StandIn, extra_joules: float = 0.0) -> None:
        """The same power for all: joules are the time."""
        before = trial.curve[trial.done - 1].joules if trial.done else 0.0
        takes = trial.curve[trial.done].joules - before if trial.done < len(trial.curve) else 0.0
        heapq.heappush(self._events, (self.now_joules + extra_joules + takes, int(trial.trial_id), trial))

    def _report(self, trial: _StandIn) -> None:
        if trial.done == len(trial.curve):  # it has nothing more to say
            self.stop_trial(trial)
            return
        report = trial.curve[trial.done]
        self.spent_joules += report.joules - (trial.curve[trial.done - 1].joules if trial.done else 0.0)
        trial.done += 1
        trial.last_result = {
            TRAINING_ITERATION: trial.done,
            "energy_joules": report.joules + trial.resumed_joules,
            "startup_joules": trial.starts * self._startup_joules,
            SHOULD_CHECKPOINT: True,
            **({} if report.value is None else {self._objective.metric: report.value}),
        }
        decision = TrialScheduler.STOP
        if not self._stop(trial.trial_id, trial.last_result):
            decision = self._scheduler.on_trial_result(self, trial, trial.last_result)
        if decision == TrialScheduler.STOP:
            self.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            trial.status = Trial.PAUSED
            self.pauses += 1
        else:
            self._train(trial)
