"""The small values that a summary is made of: a spread over repeats, the objective, sources."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Values over repeats: their mean, sample standard deviation (None for a single value) and number."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are known; None if none is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


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
    return None if spread is None else asdict(spread)


def finite(value: Any) -> Any:
    """The same without NaN and infinity: JSON knows neither, and a parameter may be one."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
