"""How a trial's configuration travels through Tune.

A grid or random sweep knows its trials beforehand. Each goes through Tune as one value of one grid, ``{"_energysweep":
{"parameters": ..., "hardware": ..., "seed": ...}}``, and comes out as the flat config that the workload expects. Under
Optuna the searcher makes such a value of each suggestion.

A point that goes on from a stage keeps the stage's name in its parameters, by which it is known in the ledger; the
workload gets the place of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from energysweep import sweepfile as specs
from energysweep.core.errors import one_line
from energysweep.core.objective import scalar
from energysweep.core.records import TrialRow
from energysweep.sweepfile import Point, origin, with_origin

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


# Short texts for trials: on dashboards, while a sweep runs, in messages ----------------------------------------------

_LONGEST_LABEL = 200  # characters of all parts together
_LONGEST_TEXT = 30  # of one value: a longer one is a path, a key or a document rather than a setting


class ConfigurationLabel:
    """The short text of a configuration from a trial's config in Tune; a class, because it travels to the workers.

    Args:
        varying: the parameters that differ between configurations.
    """

    def __init__(self, varying: Sequence[str]) -> None:
        self._varying = varying

    def __call__(self, config: Mapping[str, Any]) -> str:
        return specs.label(parameters_of(config), self._varying, stage_of(config))


def own_label(config: Mapping[str, Any]) -> str:
    """The same form of text in one's own Tuner, from the plain values in a trial's config; bounded.

    Nobody says there which of them vary, so all are shown but ``seed``, which tells repeats apart. What is not a
    number, a truth value or a short text is left out, and so is what comes after 200 characters.
    """
    values = {name: scalar(value) for name, value in config.items() if name != "seed"}
    parts = [specs.label(values, [name]) for name, value in values.items() if _is_setting(value)]
    ends = accumulate(len(part) + 1 for part in parts)
    shown = [part for part, end in zip(parts, ends, strict=True) if end <= _LONGEST_LABEL]
    return " ".join(shown + ["…"] * (len(shown) < len(parts))) or specs.label(config, [])


def _is_setting(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)


def trial_label(row: TrialRow, varying: Sequence[str]) -> str:
    """A trial in one short line: its configuration, its seed, its hardware."""
    parts = [specs.label(row.parameters, varying, row.stage)]
    parts += [] if row.seed is None else [f"seed={row.seed}"]
    parts += [row.hardware] if row.hardware else []
    return " ".join(parts)


def because(error: str | None) -> str:
    """The error as the rest of a line."""
    text = one_line(error or "")
    return f": {text}" if text else ""
