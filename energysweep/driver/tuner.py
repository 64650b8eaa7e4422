"""Tune's Tuner of a sweep: a new one, or the one of an interrupted run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune import Callback, Trainable

from energysweep import sweepfile as specs
from energysweep.core.errors import SweepError, one_line
from energysweep.driver import schedulers, search
from energysweep.driver.recorder import Recorder
from energysweep.driver.storage import inside
from energysweep.sweepfile import SweepSpec
from energysweep.tune.points import KEY, Checkpoints, wrap
from energysweep.tune.trainable import can_be_reused


def make_tuner(
    spec: SweepSpec,
    name: str,
    storage: str,
    trainable: type[Trainable],
    recorder: Recorder,
    gate: Callback,
    stage: str = "",
    checkpoints: Checkpoints | None = None,
) -> tuple[tune.Tuner, schedulers.Scheduler]:
    """The Tuner of a sweep and its scheduler.

    Args:
        spec: the sweep, or the one that a stage is.
        name: of Tune's experiment.
        storage: Tune's storage path.
        trainable: the metered workload.
        recorder: is told what happens; of an interrupted run, it knows what has.
        gate: lets Tune's events pass to it.
        stage: the stage.
        checkpoints: what the stages before have left.

    Raises:
        SweepError: what an interrupted run has left of Tune's state cannot be read.
    """
    checkpoints = checkpoints or {}
    scheduler = schedulers.scheduler(spec)
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
        else:
            at_once = None  # Tune would count those that are paused, too
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
        restored.get_run_config().callbacks = [gate, recorder]
        scheduler = restored._tune_config.scheduler  # noqa: SLF001
        scheduler.reports = recorder.reports()
        # A stage's trials that Tune does not know to have ended run to their end again: what comes after needs their
        # last checkpoint.
        scheduler.ended = {} if stage else recorder.ended_results()
        return tuner, scheduler
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=samples,
            max_concurrent_trials=at_once,
            reuse_actors=can_be_reused(trainable),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            stop=schedulers.StopRule(spec),
            failure_config=tune.FailureConfig(max_failures=spec.max_failures),
            callbacks=[gate, recorder],
            verbose=0,
        ),
    )
    return tuner, scheduler


def last_checkpoints(results: tune.ResultGrid, storage: str) -> Mapping[str, str]:
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
