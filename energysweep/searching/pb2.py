"""Population based bandits: as ``population``, with a Gaussian process that says what to change to."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers.pb2 import PB2

from energysweep.core.errors import one_line
from energysweep.searching.population import Population
from energysweep.searching.schedulers import Scheduler
from energysweep.sweepfile import SweepSpec

log = logging.getLogger(__name__)


def make(spec: SweepSpec) -> Scheduler:
    """Population based bandits with the sweep's settings."""
    return _Pb2(spec, {name: list(bounds) for name, bounds in (spec.scheduler.hyperparam_bounds or {}).items()})


class _Pb2(Population, PB2):
    """Population based bandits: a Gaussian process says what to change to."""

    CHANGED = "hyperparam_bounds"

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        with warnings.catch_warnings(action="ignore"):  # what Tune calls in SciPy is deprecated, or did not converge
            return super()._get_new_config(trial, trial_to_clone)

    def explored(self, trial: Trial, trial_to_clone: Trial) -> Mapping[str, Any]:
        try:
            return super().explored(trial, trial_to_clone)
        except Exception as error:  # noqa: BLE001 - reports that are all the same, too large, too few for a model
            log.warning("pb2's model can make nothing of the reports so far: %s", one_line(str(error)))
            return {name: random.uniform(*bounds) for name, bounds in self.changed.items()}  # noqa: S311

    def is_number(self, _name: str) -> bool:
        return True

    def within_range(self, name: str, value: Any) -> Any:
        low, high = self.changed[name]
        return min(max(value, low), high)
