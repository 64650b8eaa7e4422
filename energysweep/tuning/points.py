"""How a trial's configuration travels through Tune.

A grid or random sweep knows its trials beforehand. Each goes through Tune as one value of one grid, ``{"_energysweep":
{"parameters": ..., "hardware": ..., "seed": ...}}``, and comes out as the flat config that the workload expects. Under
Optuna, Tune's config is the suggestion itself, and ``Repeater`` numbers its repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from energysweep.spec import Point

KEY = "_energysweep"


def wrap(point: Point, is_command: bool) -> dict[str, Any]:
    """The value of a trial in Tune's grid. A command may name ``{seed}`` and ``{hardware}``, whatever the sweep."""
    also = {"seed": point.seed or 0, "hardware": point.hardware} if is_command else {}
    return {"parameters": point.parameters, "hardware": point.hardware, "seed": point.seed, "also": also}


def unwrap(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config that the workload gets: the parameters, ``seed``, and whatever else Tune has put in."""
    flat = dict(config)
    point = flat.pop(KEY, None)
    if point is None:
        return flat
    seed = {} if point["seed"] is None else {"seed": point["seed"]}
    return flat | point["also"] | point["parameters"] | seed


def hardware_of(config: Mapping[str, Any]) -> str:
    """The hardware profile of a trial, empty in one's own Tuner."""
    return str(config[KEY]["hardware"]) if KEY in config else ""
