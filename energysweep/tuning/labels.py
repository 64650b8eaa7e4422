"""Short texts for trials: on dashboards, while a sweep runs, in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from energysweep import spec as specs
from energysweep.errors import one_line
from energysweep.objective import scalar
from energysweep.records import TrialRow
from energysweep.tuning.points import parameters_of, stage_of

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
