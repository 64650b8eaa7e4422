"""Parameters as labels and sort keys, and rows in groups."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from energysweep.records import TrialRow
from energysweep.reporting.text import value_text

_Row = TypeVar("_Row")
_Key = TypeVar("_Key", bound=Hashable)


def grouped(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    """Rows by a key, each group in the order in which its rows came."""
    groups: dict[_Key, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def varying_names(trials: Sequence[TrialRow]) -> tuple[str, ...]:
    """The parameters that are not the same in all trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.parameters)
    return tuple(name for name in names if len({canonical(trial.parameters.get(name)) for trial in trials}) > 1)


def label(parameters: Mapping[str, Any], varying: Sequence[str]) -> str:
    """The parameters that vary, as a short text."""
    return " ".join(f"{name}={value_text(parameters[name])}" for name in varying if name in parameters) or "default"


def order(parameters: Mapping[str, Any], varying: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """A sort key over values of any type: numbers by size, then everything else by its text."""
    return tuple(value_order(parameters.get(name)) for name in varying)


def value_order(value: Any) -> tuple[int, float, str]:
    """A sort key over parameter values of any type: numbers by size, then everything else by its text."""
    size = number(value)
    return (1, 0.0, value_text(value)) if size is None else (0, size, "")


def number(value: Any) -> float | None:
    """A finite number, or None: a metric may also be a text, and a diverged one is NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def canonical(value: Any) -> str:
    """A text that is the same for equal parameters."""
    return json.dumps(value, sort_keys=True, default=str)
