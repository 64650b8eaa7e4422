"""Hyperparameter sweeps that tell what every configuration costs in joules and grams of CO2e."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energysweep.agent.tracking import track
    from energysweep.core.phases import startup
    from energysweep.core.spending import Measurement, spent
    from energysweep.driver.run import Run, run
    from energysweep.sweepfile import SweepSpec, load_spec
    from energysweep.tune.trial import metered

__version__ = "0.1.0"

# Imported when first used: an agent needs no Ray, and a command line that only prints its help neither.
_HOMES = {
    "Measurement": "energysweep.core.spending",
    "Run": "energysweep.driver.run",
    "SweepSpec": "energysweep.sweepfile",
    "load_spec": "energysweep.sweepfile",
    "metered": "energysweep.tune.trial",
    "run": "energysweep.driver.run",
    "spent": "energysweep.core.spending",
    "startup": "energysweep.core.phases",
    "track": "energysweep.agent.tracking",
}

__all__ = ["Measurement", "Run", "SweepSpec", "__version__", "load_spec", "metered", "run", "spent", "startup", "track"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'energysweep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
