from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis.importance import FEWEST, importance
from tests.support.regimes import random_search


def test_what_a_parameter_decides_alone_is_all_of_the_variance() -> None:
    # Ranks 1 to 9 in three groups of three neighbours: H = 12 / (9 * 10) * (6**2 + 15**2 + 24**2) / 3 - 3 * 10 = 7.2,
    # and epsilon squared (7.2 - 3 + 1) / (9 - 3) = 0.867
    settings = [{"a": group, "b": number % 3} for number, group in enumerate("aaabbbccc")]
    a, b = importance(settings, [float(number) for number in range(9)], ["a", "b"])
    assert (a.parameter, a.n) == ("a", 9)
    assert a.share == pytest.approx(5.2 / 6)
    assert a.chance == pytest.approx(math.exp(-3.6))  # of chi squared with two degrees of freedom
    # b is the same in each: sums of 12, 15, 18, H = 0.8
    assert (b.share, b.chance) == (0.0, pytest.approx(math.exp(-0.4)))


def test_of_a_continuous_parameter_neighbours_are_taken_together() -> None:
    data = random_search(500)
    settings = [row.parameters for row in data.trials]
    found = importance(settings, [row.joules for row in data.energy if row.lease], ["lr", "width", "optimizer"])
    shares = {each.parameter: each.share for each in found}
    assert shares["width"] == pytest.approx(1, abs=0.01)
    assert shares["lr"] < 0.05
    assert shares["optimizer"] < 0.05


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ([{"a": number} for number in range(5)], [1.0, 2, 3, 4, 5]),  # too few
        ([{"a": 1}] * 9, [float(number) for number in range(9)]),  # one value
        ([{"a": number} for number in range(9)], [1.0] * 9),  # nothing differs
        ([{"a": f"{number}"} for number in range(9)], [float(number) for number in range(9)]),  # each alone
        ([{}] * 9, [float(number) for number in range(9)]),
        ([{"a": number} for number in range(9)], [None] * 4 + [math.inf, math.nan, 1, 2, 3]),
    ],
)
def test_where_nothing_can_be_told_nothing_is(settings: list[dict[str, Any]], values: list[float | None]) -> None:
    assert importance(settings, values, ["a"]) == []


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers()))


@given(st.lists(st.tuples(VALUES, st.none() | st.floats()), max_size=40))
def test_whatever_the_values_are_a_share_is_a_share(points: list[tuple[Any, float | None]]) -> None:
    for each in importance([{"a": value} for value, _ in points], [value for _, value in points], ["a"]):
        assert 0 <= each.share <= 1
        assert 0 <= each.chance <= 1
        assert FEWEST <= each.n <= len(points)
