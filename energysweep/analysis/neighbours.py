"""Who is near to whom in a space of numbers and of values that are the same or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def nearest(
    numbers: Sequence[Sequence[float]],
    others: Sequence[Sequence[str]],
    of: Sequence[int],
    known: Sequence[int],
    count: int,
) -> list[list[int]]:
    """The nearest known points, the nearest first, and of equally near ones the first.

    Args:
        numbers: of each point; their squared differences are added up.
        others: of each point, its other values; each that differs adds 1.
        of: which points the nearest ones are looked for of.
        known: which points are known.
        count: how many.
    """
    places = np.array(numbers, dtype=float).reshape(len(numbers), -1)
    codes: dict[str, int] = {}
    values = np.array([[codes.setdefault(each, len(codes)) for each in row] for row in others], dtype=int)
    values = values.reshape(len(others), -1)
    candidates = np.asarray(known, dtype=int)
    found = []
    for place in of:
        far = ((places[candidates] - places[place]) ** 2).sum(axis=1)
        far += (values[candidates] != values[place]).sum(axis=1)
        found.append(candidates[np.argsort(np.round(far, 9), kind="stable")[:count]].tolist())
    return found
