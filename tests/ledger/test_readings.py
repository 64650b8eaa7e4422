"""No power that is shown is more than was drawn, however polls, ticks, readings and answers fall."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.accounts import Trial
from energysweep.accounting.counters import Counter, MeanPower
from energysweep.core.records import MeterRow, SampleRow
from energysweep.ledger.course import power_over_time, running_totals
from energysweep.ledger.intake import Drawn, Readings
from energysweep.ledger.store import LedgerData
from energysweep.meters.base import Device, Reading

WATTS = {"package-0": 28.0, "dram-0": 7.0}


def answer(clock: float, readings: dict[str, tuple[float, float]], window: str = "w") -> dict[str, Any]:
    """What an agent tells at a moment of its clock: by device, its joules and covered time, and when it was read."""
    rows = [
        MeterRow("boot", window, "node", name, "cpu", "rapl", joules, 1, 1, None, "unknown", None, 0, 0)
        for name, (joules, _) in readings.items()
    ]
    told = [(name, joules / WATTS[name], clock - at) for name, (joules, at) in readings.items()]
    return {"window": window, "host": "boot", "clock": clock, "meters": rows, "readings": told}


@dataclasses.dataclass
class Host:
    """A host whose devices draw constant power, and are read whenever they are read."""

    window: str = "w"
    clock: float = 1000.0
    read_at: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(WATTS, 1000.0))
    told: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(WATTS, 0.0))

    def answer(self) -> tuple[dict[str, Any], list[Drawn]]:
        joules = {name: WATTS[name] * (at - 1000.0) for name, at in self.read_at.items()}
        drawn = [Drawn("t1", name, joules[name] - self.told[name]) for name in WATTS]
        self.told = joules
        read = {name: (joules[name], self.read_at[name]) for name in WATTS}
        return answer(self.clock, read, self.window), drawn


# What happens next: so many seconds pass, these devices are read, or the driver polls and the answer takes a while.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0.001, 8.0)),
        st.tuples(st.just("read"), st.sampled_from([("package-0",), ("dram-0",), ("package-0", "dram-0")])),
        st.tuples(st.just("poll"), st.floats(0.0, 3.0)),
    ),
    min_size=3,
    max_size=60,
)


def played(steps: list[tuple[str, Any]]) -> Iterator[tuple[float | None, list[SampleRow], Host]]:
    """Plays what happens; gives the power that is shown, and the samples, after each poll."""
    readings, hosts = Readings(), [Host("one"), Host("two")]
    for kind, what in steps:
        if kind == "pass":
            for host in hosts:
                host.clock += what
        elif kind == "read":
            for name in what:
                hosts[0].read_at[name] = hosts[0].clock
            hosts[1].read_at[what[0]] = hosts[1].clock
        else:
            for host in hosts:
                said, drawn = host.answer()
                samples = readings.take(said, drawn, host.clock - 990.0 + what)
                yield readings.watts(["one", "two"]), samples, host


@given(STEPS)
def test_no_power_that_is_shown_is_more_than_all_devices_draw(steps: list[tuple[str, Any]]) -> None:
    for watts, _, _ in played(steps):
        assert watts is None or watts <= 2 * sum(WATTS.values()) * (1 + 1e-9)


@given(STEPS)
def test_the_picture_of_power_never_shows_more_than_is_drawn_and_all_of_it(steps: list[tuple[str, Any]]) -> None:
    samples: list[SampleRow] = []
    hosts: dict[str, Host] = {}
    for _, more, host in played(steps):
        samples += more
        hosts[host.window] = host
    series = power_over_time(samples)
    assert all(watts <= 2 * sum(WATTS.values()) * (1 + 1e-6) + 1e-6 for each in series for watts in each.watts)
    total = sum(joules for host in hosts.values() for joules in host.told.values())
    assert math.fsum(each.energy_joules for each in series) == pytest.approx(total, abs=1e-6)
    for rows in running_totals(samples).values():
        assert [joules for _, joules in rows] == sorted(joules for _, joules in rows)


def test_a_device_that_is_read_late_gives_the_mean_of_its_own_time() -> None:
    readings = Readings()
    host = Host()
    readings.take(*host.answer(), 0.0)
    # The package is read after 6 s, the memory each second: one answer has 6 s of the one and 1 s of the other.
    for second in range(1, 6):
        host.clock = host.read_at["dram-0"] = 1000.0 + second
        readings.take(*host.answer(), float(second))
    assert readings.watts(["w"]) == pytest.approx(7)
    host.clock = host.read_at["dram-0"] = host.read_at["package-0"] = 1006.0
    samples = readings.take(*host.answer(), 6.4)  # it took 0.4 s to come
    assert readings.watts(["w"]) == pytest.approx(35)
    assert [(row.series, row.elapsed_seconds, row.joules) for row in samples] == [
        ("t1 w package-0", pytest.approx(0), 0),
        ("t1 w package-0", pytest.approx(6), pytest.approx(168)),
        ("t1 w dram-0", pytest.approx(6), pytest.approx(42)),
    ]


def test_who_does_not_answer_or_has_told_nothing_for_long_is_in_no_power() -> None:
    readings = Readings()
    host = Host()
    readings.take(*host.answer(), 0.0)
    host.clock = 1001.0
    host.read_at = dict.fromkeys(WATTS, 1001.0)
    readings.take(*host.answer(), 1.0)
    assert readings.watts(["w"]) == pytest.approx(35)
    assert readings.watts([]) is None
    host.clock = host.read_at["dram-0"] = 1012.0
    readings.take(*host.answer(), 12.0)
    assert readings.watts(["w"]) == pytest.approx(7)


def test_what_was_drawn_between_the_parts_of_a_run_is_not_in_the_picture() -> None:
    meters = answer(0, {"package-0": (100.0, 0.0)})["meters"]
    before = LedgerData({}, meters=meters, samples=[SampleRow("t1 w package-0", 5.0, 100.0)])
    readings = Readings()
    readings.take_over(before)
    # An hour later the same window is still open; the sweep's own time stood still at 5 s.
    host = Host(clock=1000.0 + 3600, read_at=dict.fromkeys(WATTS, 1000.0 + 3600))
    assert readings.take(*host.answer(), 6.0) == []
    host.clock += 1
    host.read_at = dict.fromkeys(WATTS, host.clock)
    samples = readings.take(*host.answer(), 7.0)
    of_package = [row for row in samples if "package" in row.series]
    assert [(row.elapsed_seconds, row.joules) for row in of_package] == [
        (pytest.approx(6), 100.0),
        (pytest.approx(7), pytest.approx(128)),
    ]


@given(st.lists(st.tuples(st.floats(0.001, 5.0), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_trial_s_power_is_never_more_than_its_device_draws(steps: list[tuple[float, bool, bool]]) -> None:
    counter = Counter(Device("package-0", "cpu", "rapl"))
    counter.take(Reading(counter.device, 0.0))
    trial = Trial(joules={("cpu", "active", "rapl"): 0.0}, open_leases=1)
    counters = {"package-0": counter}
    trial.begin_power(counters)
    clock = 0.0
    for seconds, reads, reports in steps:
        clock += seconds
        counter.wait(seconds)
        if reads:
            ended = counter.take(Reading(counter.device, 28.0 * clock))
            assert ended is not None
            joules, usage = ended
            trial.drawn_joules["package-0"] = trial.drawn_joules.get("package-0", 0.0) + joules
            trial.note_work("package-0", joules, usage.seconds)
        trial.measure_watts(counters)
        assert sum(trial.watts.values()) <= 28 * (1 + 1e-9)
        if reports:
            watts = trial.power_since_report(counters)
            assert watts is None or watts == pytest.approx(28)


def test_power_over_no_time_is_not_known() -> None:
    power = MeanPower()
    assert power.take(5.0, 0.0) == 0
    assert power.watts is None
    assert power.take(5.0, 2.0) == 2
    assert power.watts == 2.5
