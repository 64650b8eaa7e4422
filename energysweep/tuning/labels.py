"""Short texts for trials: on dashboards, while a sweep runs, in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energysweep import spec as specs
from energysweep.errors import one_line
from energysweep.records import TrialRow
from energysweep.tuning.points import parameters_of, stage_of


class ConfigurationLabel:
    """The short text of a configuration from a trial's config in Tune; a class, because it travels to the workers.

    Args:
        varying: the parameters that differ between configurations.
    """

    def __init__(self, varying: Sequence[str]) -> None:
        self._varying = varying

    def __call__(self, config: Mapping[str, Any]) -> str:
        return specs.label(parameters_of(config), self._varying, stage_of(config))


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
