"""Comparisons of groups that were picked because of what they show: the cheapest of all, the dearest of all.

Of many equal groups the lowest and the highest mean differ, the more the more groups there are. So an interval of their
ratio has to hold for the widest gap among all of them: its factor is a quantile of the studentised range, as in Tukey's
comparison of all pairs. With two groups that is Student's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median, variance

from energysweep.analysis.intervals import (
    CONFIDENCE,
    Estimate,
    confidence_of_each,
    exponential,
    student,
    welch_degrees,
)

_Values = Sequence[float]


@dataclass(frozen=True, slots=True)
class Family:
    """All groups that were looked at, as far as a ratio of two of them depends on the others.

    A ratio's interval is the wider of two, because with a few repeats neither is safe alone. Games and Howell's takes
    the spread of the two groups themselves: among many groups of three repeats there are some that are alike by chance,
    of which it makes too much. Tukey and Kramer's takes one spread for all groups: where the two spread more than that
    it makes too much. That one spread is the typical one, a median, so that a single wild group hides no difference
    between the others.

    Attributes:
        groups: how many were looked at.
        variance: the typical one of the logarithms within a group; 0 if no group has two values, and of two groups,
            where nothing was picked and Welch's interval, which Games and Howell's then is, is safe alone.
        degrees: its degrees of freedom, those of all groups together.
    """

    groups: int
    variance: float
    degrees: int

    @classmethod
    def of(cls, groups: Sequence[_Values], looked_at: int | None = None) -> Family:
        """The family of these groups of positive values.

        Args:
            groups: their values.
            looked_at: how many groups there are, if some say nothing of the spread.
        """
        logs = [[math.log(value) for value in values] for values in groups if len(values) > 1]
        variances = [variance(each) / _median_variance(len(each) - 1) for each in logs]
        count = looked_at or len(groups)
        typical = median(variances or [0.0]) if count > 2 else 0.0
        return cls(count, typical, sum(len(each) - 1 for each in logs))

    def ratio(self, first: _Values, second: _Values) -> Estimate | None:
        """The geometric mean of ``first`` over that of ``second``; without an interval if either has one value.

        None if either is empty.
        """
        if not first or not second:
            return None
        pair = _Pair.of(first, second)
        if pair.n < 2:  # no interval, so no quantile for it: the first one takes SciPy a second
            return pair.estimate(0.0)
        return pair.estimate(max(pair.error * studentised(pair.degrees, self.groups), self._of_all(pair)))

    def tied(self, first: _Values, second: _Values, wider: Callable[[Estimate], Estimate]) -> bool | None:
        """Whether the interval of their ratio holds 1; None if it has none.

        Args:
            first, second: two groups, none of them empty.
            wider: makes room in an interval for what else is not known.
        """
        pair = _Pair.of(first, second)
        if pair.n < 2:
            return None

        def holds_one(half_width: float) -> bool:
            return wider(pair.estimate(half_width)).contains(1.0) is True

        # The same as asking ``ratio``, which takes a moment: a quantile of the studentised range is slow. Most pairs
        # are clear without one, because it is never below Student's nor above that of independent pairs.
        of_all = self._of_all(pair)
        if holds_one(max(of_all, pair.error * student(pair.degrees))):
            return True
        if not holds_one(max(of_all, pair.error * independent(pair.degrees, self.groups))):
            return False
        return holds_one(max(of_all, pair.error * studentised(pair.degrees, self.groups)))

    def _of_all(self, pair: _Pair) -> float:
        """Tukey and Kramer's half width, of the logarithm."""
        return (
            math.sqrt(self.variance * pair.inverse_sizes) * studentised(self.degrees, self.groups)
            if self.variance
            else 0.0
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two groups: the difference of their mean logarithms, its standard error and Welch's degrees of freedom.

    Of a single value there is no error.
    """

    difference: float
    error: float
    degrees: float
    inverse_sizes: float
    n: int

    @classmethod
    def of(cls, first: _Values, second: _Values) -> _Pair:
        logs = [[math.log(value) for value in values] for values in (first, second)]
        difference = fmean(logs[0]) - fmean(logs[1])
        inverse_sizes, n = sum(1 / len(each) for each in logs), min(len(each) for each in logs)
        if n < 2:
            return cls(difference, 0.0, 1.0, inverse_sizes, n)
        errors = [variance(each) / len(each) for each in logs]
        degrees = welch_degrees(errors, [len(each) - 1 for each in logs])
        return cls(difference, math.sqrt(sum(errors)), degrees, inverse_sizes, n)

    def estimate(self, half_width: float) -> Estimate:
        """Their ratio with an interval of this half width, of the logarithm; without one of a single value."""
        return exponential(self.difference, half_width if self.n > 1 else None, self.n)


def _median_variance(degrees: int) -> float:
    """The median of a sample's variance where the true one is 1: below 1, because few are much too large."""
    from scipy.special import gammaincinv  # noqa: PLC0415  # as in ``student``

    return float(2 * gammaincinv(degrees / 2, 0.5)) / degrees


def independent(degrees: float, groups: int) -> float:
    """How many standard errors hold for all pairs of so many groups, as if each pair were independent (Sidak)."""
    return student(degrees, confidence_of_each(math.comb(groups, 2)))


def studentised(degrees: float, groups: int) -> float:
    """How many standard errors of a difference hold for all pairs of so many groups (Tukey).

    That is the 95 % point of the studentised range over the square root of 2, because that range is in standard errors
    of one mean. Between hundredths of 1 / degrees it is interpolated: nearly every pair has its own degrees, and a
    quantile takes a good part of a second. That is right to 0.1 %.
    """
    if groups <= 2:
        return student(degrees)
    place = _STEPS / degrees
    below = math.floor(place)
    part = place - below
    low = _studentised_at(below, groups)
    return low if part == 0 else low ** (1 - part) * _studentised_at(below + 1, groups) ** part


_STEPS = 100


@lru_cache(maxsize=4096)
def _studentised_at(step: int, groups: int) -> float:
    from scipy.stats import studentized_range  # noqa: PLC0415  # as in ``student``

    degrees = _STEPS / step if step else math.inf
    return float(studentized_range.ppf(CONFIDENCE, groups, degrees)) / math.sqrt(2)
