"""Tune's Tuner of a sweep: a new one, or the one of an interrupted run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air._internal import usage
from ray.tune import Callback, Trainable
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from energysweep import sweepfile as specs
from energysweep.core.errors import EnergysweepError, SweepError, one_line
from energysweep.core.runfolder import TUNE_STATE
from energysweep.driver import placement
from energysweep.driver.recorder import Recorder
from energysweep.driver.session import StopSignals
from energysweep.driver.storage import inside
from energysweep.searching import schedulers, search
from energysweep.searching.budget import Group, Spending
from energysweep.searching.ordering import Order
from energysweep.searching.within_budget import AsksWithinBudget, BudgetSpent, WithinBudget
from energysweep.sweepfile import SweepSpec
from energysweep.tune.metering import Metering
from energysweep.tune.points import KEY, Checkpoints, wrap
from energysweep.tune.trainable import can_be_reused
from energysweep.tune.trial import metered_class

_MOST_WAITING = 200  # as many trials as Tune has wait itself


class Tune:
    """Ray Tune, at work for a run.

    Args:
        run_id: of the run.
        workload: the trainable, not yet metered.
        metering: how it is.
        spec: the sweep.
        folder: the run folder; Tune's own state is in it, unless the sweep has a storage.
        gate: lets Tune's events pass.
        signals: of the run.
        order: in which the configurations begin, if the run has noted one.
    """

    def __init__(
        self,
        run_id: str,
        workload: Any,
        metering: Metering,
        spec: SweepSpec,
        folder: Path,
        gate: Callback,
        signals: StopSignals,
        order: Order | None = None,
    ) -> None:
        self._run_id = run_id
        self._workload, self._metering = workload, metering
        self._spec, self._folder = spec, folder
        self._gate, self._signals = gate, signals
        self._order = order
        self._scheduler: schedulers.Scheduler | None = None
        self._stop: schedulers.StopRule | None = None
        self._said = 0  # of its notes

    @cached_property
    def _trainable(self) -> type[Trainable]:
        return metered_class(self._workload, self._metering, placement.request(self._spec.profiles))

    def fit(
        self, spec: SweepSpec, stage: str, checkpoints: Checkpoints, recorder: Recorder, spending: Spending | None
    ) -> Mapping[str, str]:
        """Run the trials of a spec that have not ended yet, for a stage; returns the last checkpoints by trial id."""
        own = self._folder / TUNE_STATE
        storage = self._spec.storage or str(own)
        if self._spec.storage is None:  # for this user only: Tune keeps the trainable there, which has the run's key
            own.mkdir(mode=0o700, exist_ok=True)
        name = f"{self._run_id}~{stage}" if stage else self._run_id  # no run id holds a tilde
        tuner, self._scheduler, self._stop = _make_tuner(
            spec, name, storage, self._trainable, recorder, self._gate, stage, checkpoints, spending, self._order
        )
        self._said = 0
        with self._signals.with_tune(), _uncounted():
            try:
                return _last_checkpoints(tuner.fit(), storage)
            except BudgetSpent:
                return {}

    def is_pruned(self, trial: str) -> bool:
        """Whether its scheduler has stopped a trial for being worse than others."""
        return self._scheduler is not None and trial in self._scheduler.pruned

    def newly_decided(self) -> Sequence[schedulers.Decided]:
        """What its scheduler and its rules of ``stop`` have decided since the last call."""
        found: list[schedulers.Decided] = []
        for each in (self._stop, self._scheduler):
            if each is not None:
                found += each.decided
                each.decided.clear()
        return found

    def newly_said(self) -> Sequence[str]:
        """What its scheduler has told since the last call, for a person."""
        notes = self._scheduler.notes if self._scheduler is not None else ()
        said, self._said = notes[self._said :], len(notes)
        return said


def _make_tuner(
    spec: SweepSpec,
    name: str,
    storage: str,
    trainable: type[Trainable],
    recorder: Recorder,
    gate: Callback,
    stage: str = "",
    checkpoints: Checkpoints | None = None,
    spending: Spending | None = None,
    order: Order | None = None,
) -> tuple[tune.Tuner, schedulers.Scheduler, schedulers.StopRule]:
    """The Tuner of a sweep, its scheduler, and its rules of ``stop``.

    Args:
        spec: the sweep, or the one that a stage is.
        name: of Tune's experiment.
        storage: Tune's storage path.
        trainable: the metered workload.
        recorder: is told what happens; of an interrupted run, it knows what has.
        gate: lets Tune's events pass to it.
        stage: the stage.
        checkpoints: what the stages before have left.
        spending: the sweep's budget, None if it has none.
        order: in which the configurations begin; None: that of the scheduler.

    Raises:
        SweepError: what an interrupted run has left of Tune's state cannot be read.
    """
    checkpoints = checkpoints or {}
    scheduler = schedulers.scheduler(spec, None if order is None or stage else order.places)
    searcher = search.searcher(spec, checkpoints)
    at_once = spec.max_concurrent_trials
    space: dict[str, Any] = {}
    samples = specs.trial_count(spec).configured_trials
    if searcher is None:
        is_command = spec.command is not None
        points = [wrap(point, is_command, stage, checkpoints) for point in specs.points(spec)]
        searcher = scheduler.search(points)
        if searcher is None:
            space = {KEY: tune.grid_search(points)}
            samples = 1
            if isinstance(scheduler, schedulers.Pausing) and at_once is not None:  # it counts them itself
                at_once = _most_there()
        else:
            # It asks for trials until it is over. Tune would count those that are paused among the ones that run; and
            # a count that was written down before a kill may hold trials that were not.
            at_once, samples = None, -1
    groups = [(stage, hardware) for hardware in spec.profiles]
    path = inside(storage, name)
    if tune.Tuner.can_restore(path):
        # Failed trials have had their attempts; finished ones stay as they are.
        try:
            tuner = tune.Tuner.restore(path, trainable, resume_unfinished=True, param_space=space or None)
        except Exception as error:  # what a full disk or a killed driver has left of its files may raise anything
            problem = one_line(f"{type(error).__name__}: {error}")
            raise SweepError(f"what Ray Tune has kept of this run in {path} cannot be read ({problem})") from error
        # Tune has no public way to give a restored Tuner new callbacks; those of the first run died with it.
        restored = tuner._local_tuner  # noqa: SLF001
        run_config = restored.get_run_config()
        run_config.callbacks = [gate, recorder]
        config = restored._tune_config  # noqa: SLF001
        if isinstance(config.scheduler, WithinBudget):
            config.scheduler.spending = spending
            scheduler = config.scheduler.inner
        else:
            scheduler = config.scheduler
            if spending is not None:
                config.scheduler, config.search_alg = _within(spending, scheduler, config.search_alg, groups)
        stop: schedulers.StopRule = run_config.stop
        scheduler.reports = stop.reports = recorder.reports()
        scheduler.were_pruned = recorder.pruned()
        # A stage's trials that Tune does not know to have ended run to their end again: what comes after needs their
        # last checkpoint.
        scheduler.ended = {} if stage else recorder.ended_results()
        return tuner, scheduler, stop
    stop = schedulers.StopRule(spec)
    started: TrialScheduler = scheduler
    if spending is not None:
        started, searcher = _within(spending, scheduler, searcher, groups)
        if searcher is None and at_once is None:  # all that wait for the budget would be there at once
            at_once = _most_there()
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=started,
            num_samples=samples,
            max_concurrent_trials=at_once,
            reuse_actors=can_be_reused(trainable),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            stop=stop,
            failure_config=tune.FailureConfig(max_failures=spec.max_failures),
            callbacks=[gate, recorder],
            verbose=0,
        ),
    )
    return tuner, scheduler, stop


@contextmanager
def _uncounted() -> Iterator[None]:
    """Without the count of callbacks for Ray's usage statistics, unless somebody has turned those on.

    Ray (2.60) counts them also while those are off, and imports MLflow and W&B for it where they are installed, which
    takes seconds.
    """
    before = usage.tag_callbacks
    if os.environ.get("RAY_USAGE_STATS_ENABLED") == "0":  # as ``session.connected`` has it
        usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = before


def _most_there() -> int:
    """How many trials may be there at once, where those that wait are not pending for Tune."""
    return max(_MOST_WAITING, int(ray.cluster_resources().get("CPU", 1)))


def _within(
    spending: Spending, scheduler: schedulers.Scheduler, searcher: Searcher | None, groups: list[Group]
) -> tuple[WithinBudget, Searcher | None]:
    """The scheduler and the search of a sweep, within its budget."""
    within = WithinBudget(scheduler, spending, groups)
    return within, None if searcher is None else AsksWithinBudget(searcher, within)


def _last_checkpoints(results: tune.ResultGrid, storage: str) -> Mapping[str, str]:
    """Where each trial's last checkpoint is, by trial id, as ``tune.Checkpoint`` takes it; not those without one."""
    return {
        result.metrics["trial_id"]: _place(storage, result.checkpoint.path)
        for result in results
        if result.checkpoint is not None and result.metrics
    }


def _place(storage: str, path: str) -> str:
    """A path inside the storage's file system as a URI, if the storage is one."""
    if "://" not in storage:
        return path
    scheme, _, rest = storage.partition("://")
    _, mark, query = rest.partition("?")
    return f"{scheme}://{path}{mark}{query}"


def why_tune_gave_up(error: BaseException) -> EnergysweepError:
    """What a run was given up for: our own error, if there is one below Tune's, a traceback; else its last line."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, EnergysweepError):
            return below
        below = below.__cause__ or below.__context__
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return SweepError(f"Ray Tune gave up: {one_line(last[0])}")
