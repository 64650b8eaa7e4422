"""What a sweep trains, as something that Ray's workers can be sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Trainable

from energysweep.spec import SweepSpec, check_workload, load_workload
from energysweep.tuning.command import program


def trainable_of(spec: SweepSpec) -> Callable[[dict[str, Any]], Any] | type[Trainable]:
    """The sweep's workload or program.

    Raises:
        InputError: it cannot be loaded.
    """
    if spec.command is not None:
        check_workload(spec)
        return program(spec.command, spec.working_dir or str(spec.folder))
    trainable = load_workload(spec)
    module = sys.modules.get(getattr(trainable, "__module__", ""))
    if module is not None and module.__name__.startswith("energysweep_workload_"):
        # Loaded from a file under a name that no worker knows.
        ray.cloudpickle.register_pickle_by_value(module)
    return trainable


def can_be_reused(trainable: type[Trainable]) -> bool:
    """Whether one actor can work for several trials: functions can; a class only if it says how to be reset."""
    workload: type[Trainable] = trainable.__mro__[1]  # what the metered class was made of
    return workload.reset_config is not Trainable.reset_config
