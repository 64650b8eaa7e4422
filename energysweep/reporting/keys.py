"""Parameters as labels and sort keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energysweep.analysis.trials import value_order
from energysweep.reporting.text import value_text


def label(parameters: Mapping[str, Any], varying: Sequence[str]) -> str:
    """The parameters that vary, as a short text."""
    return " ".join(f"{name}={value_text(parameters[name])}" for name in varying if name in parameters) or "default"


def order(parameters: Mapping[str, Any], varying: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """A sort key over values of any type: numbers by size, then everything else by its text."""
    return tuple(value_order(parameters.get(name)) for name in varying)
