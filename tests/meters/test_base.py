"""Two readings of a counter and the energy between them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.meters import Device, Step, energy_between

PLAIN = Device("d", "cpu", "test")
WRAPPING = Device("d", "cpu", "test", wraps_at_joules=1000.0, maximum_watts=50.0)


def test_a_counter_that_goes_on_gives_the_difference() -> None:
    assert energy_between(PLAIN, 100.0, 350.0, 1.0) == Step(250.0)


def test_a_counter_that_stands_still_gives_nothing() -> None:
    assert energy_between(PLAIN, 100.0, 100.0, 1.0) == Step(0.0)


def test_a_wrapped_counter_goes_on() -> None:
    assert energy_between(WRAPPING, 990.0, 30.0, 1.0) == Step(40.0, "wrap")


def test_a_wrap_that_needs_impossible_power_is_a_reset() -> None:
    # 1000 - 500 + 10 = 510 J in a second, from a device of 50 W.
    assert energy_between(WRAPPING, 500.0, 10.0, 1.0) == Step(None, "reset")


def test_a_counter_without_a_range_that_goes_down_was_reset() -> None:
    assert energy_between(PLAIN, 500.0, 10.0, 1.0) == Step(None, "reset")


def test_a_jump_beyond_the_maximum_is_no_energy() -> None:
    assert energy_between(WRAPPING, 0.0, 500.0, 1.0) == Step(None, "jump")


def test_an_update_that_comes_a_second_late_is_no_jump() -> None:
    # 100 J at 50 W are the second before and this one.
    assert energy_between(WRAPPING, 0.0, 100.0, 1.0) == Step(100.0)


def test_a_reading_beyond_the_range_is_a_reset() -> None:
    assert energy_between(Device("d", "cpu", "test", wraps_at_joules=10.0), 500.0, 10.0, 1.0) == Step(None, "reset")


@given(
    steps=st.lists(st.integers(0, 999), max_size=50),
    wraps_at=st.integers(1000, 5000),
    start=st.integers(0, 999),
)
def test_the_steps_of_a_wrapping_counter_add_up_to_all_of_its_energy(
    steps: list[int], wraps_at: int, start: int
) -> None:
    device = Device("d", "cpu", "test", wraps_at_joules=float(wraps_at), maximum_watts=1000.0)
    raw = [total % wraps_at for total in itertools.accumulate(steps, initial=start)]
    seen = [energy_between(device, float(a), float(b), 1.0) for a, b in itertools.pairwise(raw)]
    assert [step.joules for step in seen] == steps


@given(
    earlier=st.floats(0, 1e6),
    later=st.floats(0, 1e6),
    seconds=st.floats(0, 1e4),
    wraps_at=st.none() | st.floats(1, 1e6),
    maximum=st.none() | st.floats(1, 1e4),
)
def test_no_two_readings_ever_give_negative_or_impossible_energy(
    earlier: float, later: float, seconds: float, wraps_at: float | None, maximum: float | None
) -> None:
    device = Device("d", "cpu", "test", wraps_at_joules=wraps_at, maximum_watts=maximum)
    step = energy_between(device, earlier, later, seconds)
    if step.joules is None:
        assert step.event in {"reset", "jump"}
    else:
        assert step.joules >= 0
        if maximum is not None:
            assert step.joules <= maximum * (seconds + 1)


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_short_interval_still_takes_a_whole_update(seconds: float) -> None:
    assert energy_between(WRAPPING, 0.0, 50.0, seconds) == Step(50.0)


def test_an_interval_that_is_too_long_for_the_counter_s_range_is_an_overrun_whichever_way_it_went() -> None:
    device = Device("d", "cpu", "test", wraps_at_joules=1000.0, wraps_after_seconds=20.0, maximum_watts=200.0)
    assert energy_between(device, 100.0, 400.0, 19.9) == Step(300.0)
    assert energy_between(device, 100.0, 400.0, 20.0) == Step(None, "overrun")
    assert energy_between(device, 900.0, 100.0, 20.0) == Step(None, "overrun")
