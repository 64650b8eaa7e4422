"""Tune's Tuner of a sweep: a new one, or the one of an interrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, Trainable
from ray.tune.schedulers import TrialScheduler

from energysweep import spec as specs
from energysweep.spec import SweepSpec
from energysweep.tuning import search
from energysweep.tuning.points import KEY, wrap
from energysweep.tuning.workload import can_be_reused


def make_tuner(
    spec: SweepSpec, run_id: str, storage: str, trainable: type[Trainable], callback: Callback
) -> tuple[tune.Tuner, TrialScheduler]:
    """The Tuner of a sweep and its scheduler.

    Args:
        spec: the sweep.
        run_id: names Tune's experiment.
        storage: Tune's storage path.
        trainable: the metered workload.
        callback: is told what happens.
    """
    if spec.search.algorithm == "optuna":
        space: dict[str, Any] = {}
        searcher, samples = search.optuna_search(spec), specs.trial_count(spec).trials
    else:
        space = {KEY: tune.grid_search([wrap(point, spec.command is not None) for point in specs.points(spec)])}
        searcher, samples = None, 1
    path = str(Path(storage) / run_id) if "://" not in storage else f"{storage.rstrip('/')}/{run_id}"
    if tune.Tuner.can_restore(path):
        # Failed trials have had their attempts; finished ones stay as they are.
        tuner = tune.Tuner.restore(path, trainable, resume_unfinished=True, param_space=space or None)
        # Tune has no public way to give a restored Tuner new callbacks; those of the first run died with it.
        restored = tuner._local_tuner  # noqa: SLF001
        restored.get_run_config().callbacks = [callback]
        return tuner, restored._tune_config.scheduler  # noqa: SLF001
    scheduler = search.scheduler(spec)
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=samples,
            max_concurrent_trials=spec.max_concurrent_trials,
            reuse_actors=can_be_reused(trainable),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=run_id,
            storage_path=storage,
            stop=search.StopRule(spec),
            failure_config=tune.FailureConfig(max_failures=spec.max_failures),
            callbacks=[callback],
            verbose=0,
        ),
    )
    return tuner, scheduler
