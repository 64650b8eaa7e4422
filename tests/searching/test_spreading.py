"""The order in which configurations begin, spread over the space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.searching.spreading import spread


def test_the_middle_comes_first_then_whoever_is_farthest_from_all_before() -> None:
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]  # equally far apart, by rank
    assert spread([{"rate": rate} for rate in rates]) == [2, 0, 4, 1, 3]


def test_a_grid_of_two_parameters_begins_with_its_middle_and_its_corners() -> None:
    grid = [(rate, size) for rate in (1, 10, 100) for size in (16, 64, 256)]
    order = spread([{"rate": rate, "size": size} for rate, size in grid])
    assert grid[order[0]] == (10, 64)
    assert {grid[place] for place in order[1:5]} == {(1, 16), (1, 256), (100, 16), (100, 256)}


def test_every_value_that_is_no_number_comes_before_one_comes_twice() -> None:
    configurations = [{"model": name, "seed": seed} for name in ("cnn", "mlp", None) for seed in range(3)]
    order = spread(configurations)
    assert {configurations[place]["model"] for place in order[:3]} == {"cnn", "mlp", None}


@pytest.mark.parametrize("number", [0, 1, 501])
def test_there_may_be_none_or_one_or_many(number: int) -> None:
    order = spread([{"x": x} for x in range(number)])
    assert sorted(order) == list(range(number))
    assert order == spread([{"x": x} for x in range(number)])


VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(), st.booleans(), st.none(), st.lists(st.integers())
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), max_size=30))
def test_each_begins_once_whatever_its_values_are(configurations: list[dict[str, object]]) -> None:
    assert sorted(spread(configurations)) == list(range(len(configurations)))
