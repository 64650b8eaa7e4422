"""Means, ratios and their 95 % intervals over a few repeats.

Energies and epochs are positive and spread by factors, so they are averaged and compared by their logarithms: a mean
is the geometric one, and the ratio of two means is the product of what it is made of, exactly. One repeat tells nothing
about the spread: its interval is None, never of width 0.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Final

CONFIDENCE: Final = 0.95
_LEAST_LOG, _LARGEST_LOG = math.log(sys.float_info.min), math.log(sys.float_info.max)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval.

    Attributes:
        low, high: the ends of the interval; both None if there is none (a single repeat).
        n: how many independent values it rests on.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def has_interval(self) -> bool:
        """Whether anything is known about how far off the value may be."""
        return self.low is not None and self.high is not None

    def contains(self, value: float) -> bool | None:
        """Whether the interval holds ``value``; None without an interval."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high

    def inverse(self) -> Estimate:
        """Of a ratio a / b the ratio b / a."""
        if self.low is None or self.high is None:
            return Estimate(1 / self.value, None, None, self.n)
        return Estimate(1 / self.value, 1 / self.high, 1 / self.low if self.low else math.inf, self.n)

    def at_least_as_wide(self, factor: float) -> Estimate:
        """The same, with an interval that reaches at least from value / factor to value * factor, if it has one."""
        return self.at_least_from(1 / factor, factor)

    def at_least_from(self, low: float, high: float) -> Estimate:
        """The same, with an interval that reaches at least from value * low to value * high, if it has one."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=min(self.low, self.value * low), high=max(self.high, self.value * high))

    def wider(self, factor: float) -> Estimate:
        """The same, with an interval wider by ``factor`` to each side, if it has one."""
        if self.low is None or self.high is None:
            return self
        return Estimate(self.value, self.low / factor, self.high * factor, self.n)


def student(degrees: float, probability: float = CONFIDENCE) -> float:
    """How many standard errors a two-sided interval reaches to each side (Student's t).

    Args:
        degrees: of freedom, above 0; a fraction of one counts, as Welch and Satterthwaite's formula gives it.
        probability: of the interval.
    """
    from scipy.special import stdtrit  # noqa: PLC0415  # only where an interval is worked out: SciPy loads slowly

    return float(stdtrit(degrees, 0.5 + probability / 2))


def confidence_of_each(comparisons: int) -> float:
    """The confidence of each of several intervals that together hold with 95 % (Sidak)."""
    return float(CONFIDENCE ** (1 / max(1, comparisons)))


def is_positive(value: float) -> bool:
    """Whether it is finite and above 0, so that it has a logarithm: NaN is not."""
    return 0 < value < math.inf


def geometric_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate | None:
    """The geometric mean of positive values with Student's interval of their logarithms; None without values."""
    if not values:
        return None
    logs = [math.log(value) for value in values]
    half_width = None
    if len(logs) > 1:
        half_width = student(len(logs) - 1, confidence) * math.sqrt(variance(logs) / len(logs))
    found = exponential(fmean(logs), half_width, len(logs))
    # No rounding where there is nothing to average: a single 10 J is 10 J.
    return replace(found, value=values[0]) if min(values) == max(values) else found


def ratio_of_means(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Estimate | None:
    """The geometric mean of ``first`` over that of ``second``, with Welch's interval; None if either is empty."""
    return mean_of_ratios([(first, second)], confidence) if first and second else None


def mean_of_ratios(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], confidence: float = CONFIDENCE
) -> Estimate:
    """The geometric mean of several such ratios, each of two groups of positive values, none of them empty.

    All groups are independent of each other: their variances add up, and Welch and Satterthwaite's formula gives the
    degrees of freedom. There is no interval if any group has a single value.
    """
    logs = [[math.log(value) for value in values] for pair in pairs for values in pair]
    difference = math.fsum(fmean(one) - fmean(other) for one, other in zip(logs[::2], logs[1::2], strict=True))
    sizes = [len(each) for each in logs]
    half_width = None
    if min(sizes) > 1:
        errors = [variance(each) / len(each) / len(pairs) ** 2 for each in logs]
        degrees = welch_degrees(errors, [size - 1 for size in sizes])
        half_width = student(degrees, confidence) * math.sqrt(sum(errors))
    return exponential(difference / len(pairs), half_width, min(sizes))


def welch_degrees(errors: Sequence[float], degrees: Sequence[float]) -> float:
    """The degrees of freedom of a sum of squared errors, each known to its own (Welch and Satterthwaite)."""
    whole = sum(errors)
    if whole <= 0:  # without any spread every number of degrees gives the same interval
        return float(sum(degrees))
    return 1 / sum((error / whole) ** 2 / free for error, free in zip(errors, degrees, strict=True) if error > 0)


def exponential(log_value: float, log_half_width: float | None, n: int) -> Estimate:
    """An estimate whose logarithm has a symmetric interval."""
    if log_half_width is None:
        return Estimate(exp(log_value), None, None, n)
    return Estimate(exp(log_value), exp(log_value - log_half_width), exp(log_value + log_half_width), n)


def exp(log_value: float) -> float:
    """Never 0, never infinite: of few values that are far apart an interval may reach beyond all floats."""
    return math.exp(min(max(log_value, _LEAST_LOG), _LARGEST_LOG))


# Fieller's interval of a ratio of two means --------------------------------------------------------------------------


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
