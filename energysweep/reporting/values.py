"""The small values that a summary is made of: a spread over repeats, the objective, sources."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from energysweep.analysis.intervals import geometric_mean


@dataclass(frozen=True, slots=True)
class Spread:
    """Values over repeats.

    Attributes:
        mean: the arithmetic mean.
        std: the sample standard deviation; None for a single value.
        n: how many values there are.
        geometric_mean: None if a value is not positive.
    """

    mean: float
    std: float | None
    n: int
    geometric_mean: float | None = field(default=None, compare=False)  # it follows from the same values

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are known; None if none is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        std = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), std, len(known), _geometric_mean(known))


def _geometric_mean(values: Sequence[float]) -> float | None:
    found = geometric_mean(values) if all(value > 0 for value in values) else None
    return found.value if found else None


def joined_sources(sources: Iterable[str]) -> str | None:
    """Each source once, in order, joined by ``+``; None if there is none."""
    return "+".join(sorted(set(sources))) or None


def mean_of(spread: Spread | None) -> float | None:
    """The mean of a spread, None if there is none."""
    return None if spread is None else spread.mean


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def spread_dict(spread: Spread | None) -> dict[str, Any] | None:
    """A spread for summary.json."""
    return None if spread is None else {"mean": spread.mean, "std": spread.std, "n": spread.n}


def finite(value: Any) -> Any:
    """The same without NaN and infinity: JSON knows neither, and a parameter may be one."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
