"""How much each parameter has to do with a quantity, over all configurations of a sweep: random searches, too.

``effects`` fits a model to a grid. Where each configuration has values of its own there is none to fit; what remains is
to ask of each parameter by itself how far the quantity's ranks differ between its values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from energysweep.analysis.trials import grouped, value_order
from energysweep.core.naming import exact_text

_MOST_GROUPS: Final = 8  # of a parameter with more values, neighbours are taken together
_FEWEST_IN_A_GROUP: Final = 3
FEWEST: Final = 6  # configurations: with fewer nothing can be told
FEW: Final = 30  # with fewer only large shares can be told from chance


@dataclass(frozen=True, slots=True)
class Importance:
    """An estimate of what one parameter, by itself, has to do with a quantity.

    Attributes:
        share: the part of the variance of the quantity's ranks that is between the parameter's values: epsilon squared
            of the Kruskal-Wallis test, from 0 to 1, and 0 where chance would give as much.
        chance: how often chance alone would give as much (the test's p value).
        n: over how many configurations.
    """

    parameter: str
    share: float
    chance: float
    n: int


def importance(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float | None], names: Sequence[str]
) -> list[Importance]:
    """Of each parameter, in the order of ``names``; one of which nothing can be told is left out.

    Args:
        settings: the parameters of each configuration; one that lacks a parameter says nothing of it.
        values: the quantity of each; None or not finite where it is not known.
        names: the parameters to ask for.
    """
    known = [
        (setting, value)
        for setting, value in zip(settings, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    found = (_of(name, [(setting[name], value) for setting, value in known if name in setting]) for name in names)
    return [each for each in found if each is not None]


def _of(name: str, points: Sequence[tuple[Any, float]]) -> Importance | None:
    groups = _groups(points)
    if len(points) < FEWEST or len(groups) < 2 or len({value for _, value in points}) < 2:
        return None
    free = len(points) - len(groups)
    if free < 1:
        return None
    from scipy import stats  # noqa: PLC0415  # only where there is enough to test: SciPy loads slowly

    tested = stats.kruskal(*groups)
    share = (float(tested.statistic) - len(groups) + 1) / free
    return Importance(name, min(1.0, max(0.0, share)), float(tested.pvalue), len(points))


def _groups(points: Sequence[tuple[Any, float]]) -> list[list[float]]:
    """The quantity by the parameter's values; by classes of neighbours where most values stand alone."""
    ordered = sorted(points, key=lambda point: value_order(point[0]))
    by_value = list(grouped(ordered, lambda point: exact_text(point[0])).values())
    if len(by_value) > _MOST_GROUPS or len(ordered) - len(by_value) < len(by_value):
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in points)
        if not numeric:
            return [[value for _, value in members] for members in by_value]
        count = max(2, min(_MOST_GROUPS, len(ordered) // _FEWEST_IN_A_GROUP))
        return [group for group in _classes(by_value, len(ordered) / count) if group]
    return [[value for _, value in members] for members in by_value]


def _classes(by_value: Sequence[Sequence[tuple[Any, float]]], size: float) -> list[list[float]]:
    """Neighbours together until a class is full; equal values are never parted."""
    found: list[list[float]] = [[]]
    for members in by_value:
        if len(found[-1]) >= size:
            found.append([])
        found[-1] += [value for _, value in members]
    return found
