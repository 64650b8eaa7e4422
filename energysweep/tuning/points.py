"""How a trial's configuration travels through Tune.

A grid or random sweep knows its trials beforehand. Each goes through Tune as one value of one grid, ``{"_energysweep":
{"parameters": ..., "hardware": ..., "seed": ...}}``, and comes out as the flat config that the workload expects. Under
Optuna the searcher makes such a value of each suggestion.

A point that goes on from a stage keeps the stage's name in its parameters, by which it is known in the ledger; the
workload gets the place of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from energysweep.spec import Point, origin, with_origin

KEY = "_energysweep"


# Where the last checkpoint of each of a stage's trials is: by stage, hardware and seed.
Checkpoints = Mapping[tuple[str, str, int | None], str]


def wrap(point: Point, is_command: bool, stage: str = "", checkpoints: Checkpoints | None = None) -> dict[str, Any]:
    """The value of a trial in Tune's grid.

    Args:
        point: the trial.
        is_command: it runs a program, which may name ``{seed}`` and ``{hardware}``, whatever the sweep.
        stage: the stage that it belongs to.
        checkpoints: what the stages before have left.
    """
    also = {"seed": point.seed or 0, "hardware": point.hardware} if is_command else {}
    key = (origin(point.parameters) or "", point.hardware, point.seed)
    found = (checkpoints or {}).get(key)
    return {
        "parameters": point.parameters,
        "given": point.parameters if found is None else with_origin(point.parameters, found),
        "hardware": point.hardware,
        "seed": point.seed,
        "stage": stage,
        "also": also,
    }


def unwrap(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config that the workload gets: the parameters, ``seed``, and whatever else Tune has put in."""
    flat = dict(config)
    point = flat.pop(KEY, None)
    if point is None:
        return flat
    seed = {} if point["seed"] is None else {"seed": point["seed"]}
    return flat | point["also"] | point.get("given", point["parameters"]) | seed


def parameters_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the sweep names them; in one's own Tuner, the config."""
    return dict(config[KEY]["parameters"]) if KEY in config else dict(config)


def stage_of(config: Mapping[str, Any]) -> str:
    """The stage of a trial, empty for one of the sweep's configurations."""
    return str(config[KEY].get("stage", "")) if KEY in config else ""


def hardware_of(config: Mapping[str, Any]) -> str:
    """The hardware profile of a trial, empty in one's own Tuner."""
    return str(config[KEY]["hardware"]) if KEY in config else ""
