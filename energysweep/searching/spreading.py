"""In which order configurations begin that run one after the other: spread over the space; and who is near to whom.

Who comes early sets the limit for all others. In the order of a grid all slow learning rates come first; spread over
the space, some that are good come early, whichever those are.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from energysweep.analysis import neighbours
from energysweep.core.naming import exact_text

_MAX_POINTS: Final = 500  # of more, all distances take too long; a random order is spread well enough


def spread(configurations: Sequence[Mapping[str, Any]]) -> list[int]:
    """Their places in the order in which they are to begin: each next one is the farthest from all before.

    The first is the one in the middle. A number counts by its rank among the values of its parameter, so that scales
    do not matter; of all other values only whether they are the same. The same configurations give the same order.

    Args:
        configurations: their parameters.
    """
    if len(configurations) > _MAX_POINTS:
        order = list(range(len(configurations)))
        random.Random(0).shuffle(order)  # noqa: S311 - repeatable, not secret
        return order
    if not configurations:
        return []
    points = _points(configurations)
    middle = [statistics.fmean(column) for column in zip(*(point.numbers for point in points), strict=True)]
    order = [min(range(len(points)), key=lambda place: round(math.dist(points[place].numbers, middle), 9))]
    nearest = {place: math.inf for place in range(len(points)) if place != order[0]}
    while nearest:
        last = points[order[-1]]
        nearest = {place: min(so_far, _distance(points[place], last)) for place, so_far in nearest.items()}
        order.append(max(nearest, key=lambda place: nearest[place]))
        del nearest[order[-1]]
    return order


def nearest(
    places: Sequence[Mapping[str, Any]], of: Sequence[int], known: Sequence[int], count: int
) -> list[list[int]]:
    """The nearest known places in the space, by the same distance, the nearest first.

    Args:
        places: parameters.
        of: which of them the nearest ones are looked for of.
        known: which of them are known.
        count: how many.
    """
    points = _points(places)
    return neighbours.nearest([each.numbers for each in points], [each.others for each in points], of, known, count)


class _Point(NamedTuple):
    """A configuration: numbers from 0 to 1, and the texts of all other values."""

    numbers: Sequence[float]
    others: Sequence[str]


def _distance(one: _Point, other: _Point) -> float:
    differing = sum(a != b for a, b in zip(one.others, other.others, strict=True))
    squares = math.dist(one.numbers, other.numbers) ** 2 + differing  # as far as the least and the largest number
    return round(math.sqrt(squares), 9)  # so that of equally far ones the first is meant


def _points(configurations: Sequence[Mapping[str, Any]]) -> list[_Point]:
    numbers: list[list[float]] = []
    others: list[list[str]] = []
    for name in sorted({name for each in configurations for name in each}):
        values = [each.get(name) for each in configurations]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            numbers.append(_ranks(values))
        else:
            others.append([exact_text(value) for value in values])
    places = range(len(configurations))
    return [_Point([column[place] for column in numbers], [column[place] for column in others]) for place in places]


def _ranks(values: Sequence[Any]) -> list[float]:
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return [places[value] / max(1, len(places) - 1) for value in values]
