"""A run in the trackers that people look at: what the live run brings there, caught up with."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep.core.errors import InputError
from energysweep.core.text import count_text
from energysweep.export.run import Exported, Options
from energysweep.sweepfile.load import load_trackers
from energysweep.sweepfile.trackers import TRACKERS, why_not
from energysweep.trackers.following import catch_up


def to_mlflow(run: Exported, options: Options) -> Sequence[str]:
    """Bring it to MLflow; arguments, result and errors as of ``formats.export``."""
    return _to("mlflow", run, options)


def to_wandb(run: Exported, options: Options) -> Sequence[str]:
    """Bring it to W&B."""
    return _to("wandb", run, options)


def to_tensorboard(run: Exported, options: Options) -> Sequence[str]:
    """Bring it to TensorBoard's files."""
    return _to("tensorboard", run, options)


def _to(name: str, run: Exported, options: Options) -> Sequence[str]:
    """Where the run's sweep says, with what is to be otherwise; a tracker that it does not name is as by default."""
    noted = (run.data.run.get("spec") or {}).get("trackers") or {}
    wanted = {name: noted.get(name) or {}}
    settings = load_trackers(wanted, options.set or ()).named[name]
    if (why := why_not(name, settings)) is not None:
        raise InputError(why, key=f"trackers.{name}")
    trials = catch_up(name, settings, run.folder.absolute(), run.data)
    return [f"{TRACKERS[name].title}: {count_text(trials, 'trial')} of {run.summary.sweep} there"]
