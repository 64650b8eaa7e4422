"""Hyperparameter sweeps that tell what every configuration costs in joules and grams of CO2e."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energysweep.phases import startup
    from energysweep.spec import SweepSpec, load_spec
    from energysweep.tracking import Measurement, track
    from energysweep.tuning.run import Run, run
    from energysweep.tuning.trial import metered

__version__ = "0.1.0"

# Imported when first used: an agent needs no Ray, and a command line that only prints its help neither.
_HOMES = {
    "Measurement": "energysweep.tracking",
    "Run": "energysweep.tuning.run",
    "SweepSpec": "energysweep.spec",
    "load_spec": "energysweep.spec",
    "metered": "energysweep.tuning.trial",
    "run": "energysweep.tuning.run",
    "startup": "energysweep.phases",
    "track": "energysweep.tracking",
}

__all__ = ["Measurement", "Run", "SweepSpec", "__version__", "load_spec", "metered", "run", "startup", "track"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'energysweep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
