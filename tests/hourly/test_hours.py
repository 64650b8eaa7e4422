"""Grams by the hour: by hand, and what holds for every day."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.hourly.hours import HourIntensity, Kind, best, better, grams_by_hour, hour_of, hours_between

HOURS = st.integers(0, 400_000).map(lambda number: number * 3600)
JOULES = st.dictionaries(HOURS, st.floats(0, 1e12), max_size=30)
GRAMS = st.floats(0, 2000)


def known(hour: int, grams: float, kind: Kind = "measured", fetched_at: float | None = 0.0) -> HourIntensity:
    return HourIntensity("DE", hour, grams, kind, "a test", fetched_at)


def test_a_day_of_two_steps_is_counted_as_by_hand() -> None:
    # Across midnight: one kWh at 200 g, two at 500 g, one in an hour of which nobody knows.
    grid = {0: known(0, 200.0), 3600: known(3600, 500.0, "forecast")}
    found = grams_by_hour({0: 3.6e6, 3600: 7.2e6, 7200: 3.6e6}, grid, pue=1.5)
    assert [found[hour].grams for hour in (0, 3600, 7200)] == [pytest.approx(300), pytest.approx(1500), None]
    assert [found[hour].kind for hour in (0, 3600, 7200)] == ["measured", "forecast", None]


@given(joules=JOULES, grams=GRAMS)
def test_a_constant_grid_weighs_the_sum(joules: dict[int, float], grams: float) -> None:
    found = grams_by_hour(joules, {hour: known(hour, grams) for hour in joules})
    total = math.fsum(each.grams for each in found.values() if each.grams is not None)
    assert total == pytest.approx(math.fsum(joules.values()) / 3_600_000 * grams, rel=1e-9)


@given(joules=JOULES, data=st.data())
def test_every_hour_is_there_once_and_none_is_zero_for_want_of_a_figure(
    joules: dict[int, float], data: st.DataObject
) -> None:
    grid = {hour: known(hour, data.draw(GRAMS)) for hour in joules if data.draw(st.booleans())}
    found = grams_by_hour(joules, grid)
    assert list(found) == list(joules)
    assert {hour for hour, each in found.items() if each.grams is None} == set(joules) - set(grid)
    assert all(each.joules == joules[hour] for hour, each in found.items())


@given(joules=JOULES, share=st.floats(0, 1), data=st.data())
def test_what_is_split_between_two_trials_adds_up(joules: dict[int, float], share: float, data: st.DataObject) -> None:
    grid = {hour: known(hour, data.draw(GRAMS)) for hour in joules}
    one = grams_by_hour({hour: value * share for hour, value in joules.items()}, grid)
    other = grams_by_hour({hour: value * (1 - share) for hour, value in joules.items()}, grid)
    for hour, each in grams_by_hour(joules, grid).items():
        parts = (one[hour].grams or 0.0) + (other[hour].grams or 0.0)
        assert parts == pytest.approx(each.grams, rel=1e-9, abs=1e-12)


@given(time=st.floats(-1e9, 1e10))
def test_a_moment_lies_in_its_hour(time: float) -> None:
    hour = hour_of(time)
    assert hour % 3600 == 0
    assert hour <= time < hour + 3600


def test_hours_have_both_ends() -> None:
    assert list(hours_between(3600, 10800)) == [3600, 7200, 10800]
    assert list(hours_between(3600, 0)) == []


def test_what_was_measured_goes_before_what_was_forecast_and_the_newer_before_the_older() -> None:
    measured, forecast, newer = known(0, 1.0), known(0, 2.0, "forecast", 9.0), known(0, 3.0, "forecast", 10.0)
    assert better(measured, newer) is measured
    assert better(forecast, newer) is newer
    assert best([newer, measured, forecast]) == {0: measured}
    assert best([newer, forecast]) == {0: newer}
