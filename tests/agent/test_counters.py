from __future__ import annotations

from energysweep.agent.attribution import Usage
from energysweep.agent.counters import Counter
from energysweep.meters import Device, Reading

PLAIN = Device("dram-0", "dram", "rapl")
WRAPPING = Device("package-0", "cpu", "rapl", wraps_at_joules=1000.0, maximum_watts=200.0)


def take(counter: Counter, joules: float | None, seconds: float = 1.0) -> tuple[float, Usage] | None:
    counter.usage.seconds += seconds
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
