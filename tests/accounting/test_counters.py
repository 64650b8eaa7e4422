from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.attribution import Owner, Usage
from energysweep.accounting.counters import Counter
from energysweep.meters import Device, Reading

PLAIN = Device("dram-0", "dram", "rapl")
WRAPPING = Device("package-0", "cpu", "rapl", wraps_at_joules=1000.0, maximum_watts=200.0)


def take(counter: Counter, joules: float | None, seconds: float = 1.0) -> tuple[float, Usage] | None:
    counter.wait(seconds)
    return counter.take(Reading(counter.device, joules))


def test_the_first_reading_ends_no_interval() -> None:
    counter = Counter(PLAIN)
    assert take(counter, 500.0) is None
    assert take(counter, 530.0) == (30.0, Usage(seconds=1.0))
    assert (counter.total_joules, counter.covered_seconds) == (30.0, 1.0)


def test_a_failed_reading_is_bridged_by_the_next_good_one() -> None:
    counter = Counter(PLAIN)
    take(counter, 500.0)
    assert take(counter, None, seconds=1.0) is None
    assert take(counter, None, seconds=2.0) is None
    assert take(counter, 560.0, seconds=3.0) == (60.0, Usage(seconds=6.0))
    assert (counter.failures, counter.total_joules, counter.covered_seconds) == (2, 60.0, 6.0)


def test_a_wrapped_counter_goes_on() -> None:
    counter = Counter(WRAPPING)
    take(counter, 950.0)
    assert take(counter, 50.0) == (100.0, Usage(seconds=1.0))
    assert counter.resets == 0


def test_what_a_reset_counter_saw_is_unknown_and_the_next_interval_is_known_again() -> None:
    counter = Counter(PLAIN)
    take(counter, 500.0)
    assert take(counter, 20.0) is None
    assert (counter.resets, counter.total_joules, counter.covered_seconds) == (1, 0.0, 0.0)
    assert take(counter, 45.0) == (25.0, Usage(seconds=1.0))


def test_an_impossible_jump_is_no_energy() -> None:
    counter = Counter(WRAPPING)
    take(counter, 100.0)
    assert take(counter, 800.0) is None  # 700 J in 1 s of a device that draws 200 W at most
    assert counter.resets == 1
    assert take(counter, 900.0) == (100.0, Usage(seconds=1.0))


RAPL = Device("package-0", "cpu", "rapl", moves_within_seconds=10.0, maximum_watts=200.0)


def test_a_wrap_a_reset_and_a_jump_are_counted_by_their_names() -> None:
    counter = Counter(WRAPPING)
    for joules in (950.0, 50.0, 800.0, 500.0):
        take(counter, joules)
    assert counter.events == {"wrap": 1, "jump": 1, "reset": 1}
    assert counter.resets == 2  # a wrap is put right, and no reset


def test_a_device_that_may_stand_still_is_covered_while_it_does() -> None:
    counter = Counter(PLAIN)
    take(counter, 500.0)
    assert take(counter, 500.0, seconds=60.0) == (0.0, Usage(seconds=60.0))
    assert counter.events == {}


def test_a_reading_that_comes_before_the_counter_s_next_step_ends_no_interval() -> None:
    counter = Counter(RAPL)
    take(counter, 500.0)
    assert take(counter, 500.0, seconds=0.05) is None
    assert take(counter, 510.0, seconds=0.05) == (10.0, Usage(seconds=0.1))
    assert (counter.events, counter.covered_seconds) == ({}, 0.1)


def test_a_frozen_counter_that_has_gone_on_unseen_is_bridged() -> None:
    counter = Counter(RAPL)
    take(counter, 500.0)
    take(counter, 550.0)  # 50 W
    for _ in range(30):
        assert take(counter, 550.0) is None
    assert (counter.is_frozen, counter.covered_seconds) == (True, 1.0)
    assert take(counter, 550.0 + 31 * 60) == (31 * 60, Usage(seconds=31.0))
    assert (counter.events, counter.resets, counter.covered_seconds) == ({"frozen": 1}, 0, 32.0)
    assert not counter.is_frozen


def test_what_a_counter_that_really_stood_still_has_missed_is_unknown() -> None:
    counter = Counter(RAPL)
    take(counter, 500.0)
    take(counter, 550.0)  # 50 W is the lowest power that was ever seen
    for _ in range(30):
        take(counter, 550.0)
    assert take(counter, 610.0) is None  # 60 J are no 31 s of a device that never drew less than 50 W
    assert (counter.events, counter.resets) == ({"frozen": 1}, 1)
    assert (counter.total_joules, counter.covered_seconds) == (50.0, 1.0)
    assert take(counter, 670.0) == (60.0, Usage(seconds=1.0))


def test_a_file_that_vanishes_and_returns_is_bridged_if_the_counter_went_on_and_reset_if_not() -> None:
    counter = Counter(RAPL)
    take(counter, 500.0)
    take(counter, None, seconds=20.0)
    assert take(counter, 1550.0) == (1050.0, Usage(seconds=21.0))
    take(counter, None, seconds=20.0)
    assert take(counter, 30.0) is None
    assert (counter.failures, counter.events, counter.covered_seconds) == (2, {"reset": 1}, 21.0)


def test_an_interval_in_which_the_counter_may_have_wrapped_unseen_is_unknown() -> None:
    counter = Counter(Device("package-0", "cpu", "rapl", wraps_at_joules=1000.0, wraps_after_seconds=10.0))
    take(counter, 100.0)
    take(counter, None, seconds=9.0)
    assert take(counter, 400.0) is None  # 300 J, or 1300 J, or 2300 J
    assert (counter.events, counter.resets) == ({"overrun": 1}, 1)
    assert take(counter, 450.0) == (50.0, Usage(seconds=1.0))


def test_what_a_counter_moved_by_while_the_clock_stood_still_is_booked_if_the_device_could_draw_it() -> None:
    counter = Counter(RAPL)
    take(counter, 500.0)
    assert take(counter, 850.0) == (350.0, Usage(seconds=1.0))  # a minute of suspend at 5 W, and a second at 50 W
    assert take(counter, 60_000.0) is None  # a night of it: nobody's second
    assert counter.events == {"jump": 1}
    take(counter, 5.0)  # a suspend that reset the counter
    assert counter.events == {"jump": 1, "reset": 1}
    assert counter.total_joules == 350.0


def test_an_interval_that_never_ends_is_given_up_after_an_hour_and_lets_go_of_who_was_there() -> None:
    lease = Owner("lease", "a")
    for reading in (None, 500.0):
        counter = Counter(RAPL)
        take(counter, 500.0)
        counter.usage.held_seconds[lease] = 10.0
        take(counter, reading, seconds=3600.0)
        assert counter.usage.held_seconds == {lease: 10.0}
        take(counter, reading)
        assert counter.usage == Usage()
        assert counter.resets == 1
        assert take(counter, 900.0) is None
        assert take(counter, 950.0) == (50.0, Usage(seconds=1.0))


@given(st.lists(st.tuples(st.floats(0.01, 20), st.none() | st.floats(0, 1000)), max_size=40))
def test_whatever_a_counter_says_its_totals_only_grow_and_cover_no_more_than_the_time(
    readings: list[tuple[float, float | None]],
) -> None:
    device = Device("d", "cpu", "rapl", 1000.0, moves_within_seconds=10.0, maximum_watts=200.0)
    counter, elapsed = Counter(device), 0.0
    for seconds, joules in readings:
        before = (counter.total_joules, counter.covered_seconds)
        elapsed += seconds
        interval = take(counter, joules, seconds)
        booked_joules, booked_seconds = (interval[0], interval[1].seconds) if interval else (0.0, 0.0)
        assert booked_joules >= 0
        assert counter.total_joules == before[0] + booked_joules
        assert counter.covered_seconds == before[1] + booked_seconds
    assert counter.covered_seconds <= elapsed + 1e-9


def test_a_counter_tells_how_long_ago_it_has_told_energy_whatever_happened_since() -> None:
    counter = Counter(PLAIN)
    take(counter, 500.0, seconds=5.0)
    assert counter.silent_seconds == 5.0  # one reading tells nothing yet
    take(counter, 530.0)
    assert counter.read_at(100.0) == 100.0
    for _ in range(3):
        take(counter, None, seconds=2000.0)  # given up after an hour
    assert counter.read_at(6100.0) == 100.0
    take(counter, 600.0)
    assert counter.silent_seconds == 6001.0  # it begins anew
    take(counter, 630.0)
    assert (counter.silent_seconds, counter.total_joules, counter.resets) == (0.0, 60.0, 1)


def test_a_lost_device_begins_anew_and_is_lost_once() -> None:
    counter = Counter(RAPL)
    counter.lose()
    assert counter.resets == 0  # it had told nothing
    take(counter, 500.0)
    for _ in range(11):
        take(counter, 500.0)
    assert counter.is_frozen
    counter.lose()
    counter.wait(60.0)
    counter.lose()
    assert (counter.resets, counter.is_frozen, counter.usage) == (1, False, Usage())
    assert take(counter, 900.0) is None
    assert take(counter, 930.0) == (30.0, Usage(seconds=1.0))
