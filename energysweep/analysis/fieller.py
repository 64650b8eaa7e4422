"""Fieller's interval of a ratio of two means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from energysweep.analysis.intervals import student


def fieller(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float | None, float | None] | None:
    """The 95 % interval of the ratio of two means over pairs, as far as it lies above zero.

    Returns:
        its ends; an upper end of None is infinity. None if there is none: fewer than two pairs, or no positive ratio is
        in it.
    """
    n = len(numerators)
    if n < 2:
        return None
    x, y = fmean(numerators), fmean(denominators)
    t2 = student(n - 1) ** 2 / (n * (n - 1))
    xx = math.fsum((value - x) ** 2 for value in numerators)
    yy = math.fsum((value - y) ** 2 for value in denominators)
    xy = math.fsum((one - x) * (other - y) for one, other in zip(numerators, denominators, strict=True))
    # All ratios r with a r^2 - 2 b r + c <= 0, that is (x - r y)^2 <= t^2 Var(x - r y).
    a, b, c = y * y - t2 * yy, x * y - t2 * xy, x * x - t2 * xx
    root = b * b - a * c
    if a > 0:
        half = math.sqrt(max(0.0, root))  # x / y is in it, so it is below zero only by rounding
        return (max(0.0, (b - half) / a), (b + half) / a) if b + half > 0 else None
    if root < 0 or a == 0:  # the whole line, or nearly
        return 0.0, None
    ends = sorted(((b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a))
    return max(0.0, ends[1]) if ends[0] <= 0 else 0.0, None
