"""How a trial's configuration travels through Tune.

A grid or random sweep knows its trials beforehand. Each goes through Tune as one value of one grid, ``{"_energysweep":
{"parameters": ..., "hardware": ..., "seed": ...}}``, and comes out as the flat config that the workload expects. Under
Optuna the searcher makes such a value of each suggestion.

A configuration has its parameters by dotted names (``optimizer.lr``); the workload gets it nested as it was written.

A point that goes on from a stage keeps the stage's name in its parameters, by which it is known in the ledger; the
workload gets the place of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.tune.result import STDERR_FILE, STDOUT_FILE, TRIAL_INFO

from energysweep.core.naming import configuration_text
from energysweep.core.objective import scalar

if TYPE_CHECKING:
    from energysweep.sweepfile import Point

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
    # A worker of a trial unwraps only: a fifth of its imports would be the sweep file's checks.
    from energysweep.sweepfile import origin, with_origin  # noqa: PLC0415

    also = {"seed": point.seed or 0, "hardware": point.hardware} if is_command else {}
    key = (origin(point.parameters) or "", point.hardware, point.seed)
    found = (checkpoints or {}).get(key)
    return {
        "parameters": point.parameters,
        "given": point.config if found is None else with_origin(point.config, found),
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


def _parameters_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the sweep names them; in one's own Tuner, the config."""
    return dict(config[KEY]["parameters"]) if KEY in config else dict(config)


def stage_of(config: Mapping[str, Any]) -> str:
    """The stage of a trial, empty for one of the sweep's configurations."""
    return str(config[KEY].get("stage", "")) if KEY in config else ""


def hardware_of(config: Mapping[str, Any]) -> str:
    """The hardware profile of a trial, empty in one's own Tuner."""
    return str(config[KEY]["hardware"]) if KEY in config else ""


# Short texts for trials: on dashboards, while a sweep runs, in messages ----------------------------------------------

_LONGEST_TEXT = 30  # of one value: a longer one is a path, a key or a document rather than a setting
_DEEPEST = 4  # levels of lists and mappings


def config_text(config: Mapping[str, Any], varying: Sequence[str] | None = None) -> str:
    """The text of a trial's configuration, from its config in Tune.

    Args:
        config: as Tune has it.
        varying: the parameters that differ between configurations. None in one's own Tuner, where nobody says which
            do: all are shown but ``seed``, which tells repeats apart, and what is no plain setting. That is a number, a
            truth value, None, a text of at most 30 characters, or a list or mapping of such.
    """
    if varying is not None:
        return configuration_text(_parameters_of(config), varying, stage_of(config))
    of_tune = {STDOUT_FILE, STDERR_FILE, TRIAL_INFO}  # it puts them into the config of a class
    shown = [name for name, value in config.items() if name not in {"seed", *of_tune} and _is_setting(value)]
    return configuration_text(config, shown)


def _is_setting(value: Any, depth: int = 0) -> bool:
    value = scalar(value)
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    if isinstance(value, list | tuple):
        return depth < _DEEPEST and all(_is_setting(each, depth + 1) for each in value)
    if isinstance(value, Mapping):
        parts = (part for item in value.items() for part in item)
        return depth < _DEEPEST and all(_is_setting(part, depth + 1) for part in parts)
    return value is None or isinstance(value, int | float)
