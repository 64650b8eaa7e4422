"""What a sweep would have cost under another scheduler: its learning curves, played to the real one.

The curves are those of a finished run or of a table. Tune's controller is stood in for by one that takes no time: a
trial's next report comes when its joules are spent, all trials drawing the same power. Pausing and going on is free
here, unless a start-up is given.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import math
import random
import statistics
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from energysweep.core.errors import InputError
from energysweep.core.inputs import decoded, read_bytes
from energysweep.core.naming import configuration_text
from energysweep.core.objective import Objective, first_held, number
from energysweep.core.records import MAX_JOULES, OPEN
from energysweep.driver.race import Racing
from energysweep.driver.schedulers import Scheduler, StopRule, scheduler
from energysweep.ledger.run_state import RunState
from energysweep.meters.kinds import is_model
from energysweep.sweepfile import Point, SweepSpec, points
from energysweep.sweepfile.algorithms import SCHEDULERS
from energysweep.tune.points import KEY, wrap

MAX_TABLE_BYTES: Final = 200_000_000  # unpacked
_COLUMNS: Final = ("configuration", "seed", "energy_joules")


class Report(NamedTuple):
    """One report of a learning curve: joules since the trial began, and the value of the objective."""

    joules: float
    value: float | None


@dataclass(frozen=True)
class Curves:
    """Learning curves with what each report had cost.

    Attributes:
        of: the name of the table or run.
        by_trial: the reports by configuration and number of the seed.
        stopped: how many trials had been stopped before their end: what they would have cost beyond is not known.
        left_out: how many configurations lack a seed that others have: they could not be confirmed, and do not run.
        estimated: the joules are partly of an estimate; None of a table, which does not tell.
    """

    of: str
    by_trial: Mapping[tuple[str, int], Sequence[Report]]
    stopped: int = 0
    left_out: int = 0
    estimated: bool | None = None

    @property
    def configurations(self) -> list[str]:
        """In the order of the table or run."""
        return list(dict.fromkeys(configuration for configuration, _ in self.by_trial))

    @property
    def seeds(self) -> int:
        """How many each configuration has at the most."""
        return 1 + max(seed for _, seed in self.by_trial)

    def joules_to(self, objective: Objective, configuration: str) -> float:
        """The mean over its seeds of what it took to hold the target; infinite if one never did."""
        own = (self.by_trial[configuration, seed] for seed in range(self.seeds))
        return statistics.fmean(_joules_to(objective, reports) for reports in own)


@dataclass(frozen=True)
class Rehearsal:
    """How it went.

    Attributes:
        scheduler: its type.
        energy_joules: spent by all trials.
        grid_joules: what the full grid spends whose trials stop at the target.
        chosen: the configuration that it found cheapest, None if none reached the target.
        regret: the true mean of what it takes to the target by the chosen one, over that of the best; None if it does
            not always reach it.
        trials: how many began.
        pauses: how often one was paused.
    """

    scheduler: str
    energy_joules: float
    grid_joules: float
    chosen: str | None
    regret: float | None
    trials: int
    pauses: int

    @property
    def ratio(self) -> float | None:
        """Its energy as a part of the grid's; None if the grid has spent nothing."""
        return self.energy_joules / self.grid_joules if self.grid_joules > 0 else None


# Where curves come from ----------------------------------------------------------------------------------------------


def read_table(path: Path, metric: str) -> Curves:
    """The curves of a CSV file, which may be packed by gzip.

    Its columns are ``configuration``, ``seed``, ``energy_joules`` (since the trial began) and the metric; others are
    left alone. A row is a report; a trial's reports are in their order.

    Raises:
        InputError: it cannot be read, a column is missing, or a value is no number.
    """
    text = _unpacked(path)
    rows = csv.DictReader(io.StringIO(text, newline=""))
    names = _names(rows, path)
    missing = [name for name in (*_COLUMNS, metric) if name not in names]
    if missing:
        raise InputError(f"has no column {missing[0]} (there is {', '.join(names) or 'none'})", file=str(path), line=1)
    seeds: dict[str, dict[str, int]] = defaultdict(dict)
    found: dict[tuple[str, int], list[Report]] = defaultdict(list)
    for row in _rows(rows, path):
        for column in ("configuration", "seed"):
            if row[column] is None:
                raise InputError("is missing", file=str(path), line=rows.line_num, key=column)
        own = seeds[row["configuration"]]
        reports = found[row["configuration"], own.setdefault(row["seed"], len(own))]
        joules = _number(row["energy_joules"])
        if joules is None or not (reports[-1].joules if reports else 0.0) <= joules <= MAX_JOULES:
            raise InputError(
                f"must be joules since the trial began: a number up to {MAX_JOULES:g} that never falls",
                file=str(path),
                line=rows.line_num,
                key="energy_joules",
            )
        reports.append(Report(joules, _number(row[metric])))
    if not found:
        raise InputError("has no rows", file=str(path))
    kept, left_out = _with_all_seeds(found)
    return Curves(path.name, kept, left_out=left_out)


def curves_of(name: str, state: RunState, varying: Sequence[str]) -> Curves:
    """The curves of a run's own configurations. Reports whose energy nobody knows are left out.

    Args:
        name: of the run.
        state: of the run.
        varying: the parameters that differ between its configurations.

    Raises:
        InputError: no trial has reported with its energy.
    """
    objective = state.objectives.get("")
    seeds: dict[str, int] = defaultdict(int)
    found: dict[tuple[str, int], list[Report]] = {}
    stopped = 0
    for trial in sorted(state.of_stage(""), key=lambda row: row.seed or 0):
        configuration = configuration_text(trial.parameters, varying)
        if trial.hardware:
            configuration += f" on {trial.hardware}"
        reports = [
            Report(report.energy_joules, None if objective is None else objective.value(report.metrics))
            for report in state.reports_of(trial.trial)
            if report.energy_joules is not None
        ]
        if reports and trial.status not in OPEN:
            found[configuration, seeds[configuration]] = reports
            seeds[configuration] += 1
            stopped += trial.status == "pruned"
    if not found:
        raise InputError("no trial has ended that reported with its energy", file=name)
    kept, left_out = _with_all_seeds(found)
    estimated = any(is_model(meter.source) for meter in state.meters.values())
    return Curves(name, kept, stopped, left_out, estimated)


def _with_all_seeds(
    found: Mapping[tuple[str, int], Sequence[Report]],
) -> tuple[dict[tuple[str, int], Sequence[Report]], int]:
    """Those of configurations that have as many seeds as the one with most; and how many have not."""
    numbers = Counter(configuration for configuration, _ in found)
    most = max(numbers.values())
    kept = {key: reports for key, reports in found.items() if numbers[key[0]] == most}
    return kept, sum(number < most for number in numbers.values())


def _names(rows: csv.DictReader[str], path: Path) -> Sequence[str]:
    try:
        return rows.fieldnames or ()
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", file=str(path), line=1) from None


def _rows(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", file=str(path), line=rows.line_num) from None


def _unpacked(path: Path) -> str:
    data = read_bytes(path, MAX_TABLE_BYTES, "a table of learning curves")
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(MAX_TABLE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be unpacked: {error}", file=str(path)) from None
        if len(data) > MAX_TABLE_BYTES:
            raise InputError(f"is larger than {MAX_TABLE_BYTES} bytes when it is unpacked", file=str(path))
    return decoded(data, str(path))


def _number(text: str | None) -> float | None:
    try:
        return number(float(text or ""))
    except ValueError:
        return None


def _joules_to(objective: Objective, reports: Sequence[Report]) -> float:
    place = first_held((objective.reached_by(report.value) for report in reports), objective.patience)
    return math.inf if place is None else reports[place].joules


# The stage -----------------------------------------------------------------------------------------------------------


def rehearse(
    curves: Curves,
    objective: Objective,
    scheduler_type: str = "race",
    *,
    winners: int = 3,
    at_once: int = 1,
    order_seed: int | None = None,
    startup_joules: float = 0.0,
) -> Rehearsal:
    """Play the curves to a scheduler.

    Args:
        curves: of every configuration that there is.
        objective: with a target, at which every trial ends.
        scheduler_type: of ``sweepfile.SCHEDULERS``, with its defaults.
        winners: of a race or cap.
        at_once: how many trials run at the same time.
        order_seed: the configurations come in an order drawn by this seed; None: in that of the curves.
        startup_joules: what each start of a trial costs, new or from a pause.
    """
    names = curves.configurations
    if order_seed is not None:
        random.Random(order_seed).shuffle(names)  # noqa: S311 - repeatable, not secret
    used: dict[str, Any] = {"type": scheduler_type}
    if "winners" in SCHEDULERS[scheduler_type].keys:
        used["winners"] = winners
    spec = SweepSpec.model_validate(
        {
            "name": "rehearsal",
            "workload": "rehearsal:train",
            "parameters": {"configuration": {"grid": names}},
            "objective": {
                "metric": objective.metric,
                "mode": objective.mode,
                "target": objective.target,
                "stop_at_target": True,
                "patience": objective.patience,
            },
            "repeats": curves.seeds,
            "scheduler": used,
            "max_concurrent_trials": at_once,
        }
    )
    stage = _Stage(spec, curves, at_once, startup_joules)
    stage.play()
    chosen = stage.chosen()
    best = min(curves.joules_to(objective, name) for name in names)
    needed = math.inf if chosen is None else curves.joules_to(objective, chosen)
    return Rehearsal(
        scheduler_type,
        stage.spent_joules,
        math.fsum(_grid(objective, reports, startup_joules) for reports in curves.by_trial.values()),
        chosen,
        _regret(needed, best),
        len(stage.trials),
        stage.pauses,
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
    last_result: dict[str, Any] = field(default_factory=dict)

    def set_status(self, status: str) -> None:
        self.status = status

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


class _Stage:
    """Tune's controller, as far as schedulers and searchers talk to it, in simulated time."""

    def __init__(self, spec: SweepSpec, curves: Curves, at_once: int, startup_joules: float) -> None:
        self._objective = spec.objective.rule
        self._curves = curves.by_trial
        self._at_once = at_once
        self._startup_joules = startup_joules
        self._stop = StopRule(spec)
        self._scheduler: Scheduler = scheduler(spec)
        every: list[Point] = points(spec)
        wrapped = [wrap(point, is_command=False) for point in every]
        self.search_alg = self._scheduler.search(wrapped)
        self._waiting = [] if self.search_alg is not None else wrapped
        self._events: list[tuple[float, int, _StandIn]] = []
        self._now = 0.0
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

    # The play --------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Until nobody runs, and nobody is to run."""
        while True:
            while len(self._events) < self._at_once and (trial := self._next()) is not None:
                self._begin(trial)
            if not self._events:
                return
            self._now, _, trial = heapq.heappop(self._events)
            self._report(trial)

    def chosen(self) -> str | None:
        """By the race's own word; else what reached the target with most of its seeds, for the least in the mean."""
        if isinstance(self._scheduler, Racing):
            answer = self._scheduler.answer
            return None if answer is None else str(answer["configuration"])
        needed: dict[str, list[float]] = defaultdict(list)
        for trial in self.trials:
            joules = _joules_to(self._objective, trial.curve[: trial.done])
            if joules < math.inf:
                needed[trial.config[KEY]["parameters"]["configuration"]].append(joules)
        return min(needed, key=lambda name: (-len(needed[name]), statistics.fmean(needed[name])), default=None)

    def _next(self) -> _StandIn | None:
        chosen: _StandIn | None = self._scheduler.choose_trial_to_run(self)
        if chosen is not None:
            return chosen
        config = self._suggested()
        if config is None:
            return None
        point = config[KEY]
        curve = self._curves.get((point["parameters"]["configuration"], point["seed"] or 0), ())
        trial = _StandIn(str(len(self.trials)), config, curve)
        self.trials.append(trial)
        self._scheduler.on_trial_add(self, trial)
        return self._next()

    def _suggested(self) -> dict[str, Any] | None:
        if self.search_alg is None:
            return {KEY: self._waiting.pop(0)} if self._waiting else None
        suggestion = self.search_alg.suggest(str(len(self.trials)))
        return suggestion if isinstance(suggestion, dict) else None

    def _begin(self, trial: _StandIn) -> None:
        trial.status = Trial.RUNNING
        trial.starts += 1
        self.spent_joules += self._startup_joules
        self._train(trial, self._startup_joules)

    def _train(self, trial: _StandIn, extra_joules: float = 0.0) -> None:
        """The same power for all: joules are the time."""
        before = trial.curve[trial.done - 1].joules if trial.done else 0.0
        takes = trial.curve[trial.done].joules - before if trial.done < len(trial.curve) else 0.0
        heapq.heappush(self._events, (self._now + extra_joules + takes, int(trial.trial_id), trial))

    def _report(self, trial: _StandIn) -> None:
        if trial.done == len(trial.curve):  # it has nothing more to say
            self.stop_trial(trial)
            return
        report = trial.curve[trial.done]
        self.spent_joules += report.joules - (trial.curve[trial.done - 1].joules if trial.done else 0.0)
        trial.done += 1
        trial.last_result = {
            TRAINING_ITERATION: trial.done,
            "energy_joules": report.joules,
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
