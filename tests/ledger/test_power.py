from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.records import SampleRow
from energysweep.ledger.course import power_over_time


def test_power_is_the_step_of_the_total_over_its_time() -> None:
    samples = [SampleRow("a", 0, 0), SampleRow("a", 2, 20), SampleRow("a", 4, 80)]
    (series,) = power_over_time(samples)
    assert series.seconds == (1, 3)
    assert series.watts == (10, 30)
    assert series.energy_joules == 80


def test_a_series_that_begins_later_spent_its_first_joules_since_the_sample_before() -> None:
    samples = [SampleRow("a", 0, 0), SampleRow("a", 1, 5), SampleRow("a", 2, 10), SampleRow("b", 2, 30)]
    by_name = {series.series: series for series in power_over_time(samples)}
    assert by_name["b"].watts == (0, 30)


def test_a_single_moment_has_no_power() -> None:
    assert power_over_time([SampleRow("a", 1, 5)]) == []


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=900), st.integers(1, 50))
def test_thinning_keeps_every_joule(steps: list[float], most_points: int) -> None:
    totals = [0.0]
    for step in steps:
        totals.append(totals[-1] + step)
    samples = [SampleRow("a", float(second), joules) for second, joules in enumerate(totals)]
    (series,) = power_over_time(samples, most_points)
    assert len(series.watts) <= most_points
    assert series.energy_joules == pytest.approx(totals[-1])
    width = len(steps) / len(series.watts)
    assert sum(series.watts) * width == pytest.approx(totals[-1])
