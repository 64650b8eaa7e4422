"""Replayed traces."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import InputError
from energysweep.meters import ReplayMeter, energy_between
from energysweep.meters.replay import After, load_trace, parse_argument
from tests.support.fake_clock import FakeClock

POWER = "time_seconds,device,component,power_watts\n"
ENERGY = "time_seconds,device,component,energy_joules\n"


def replay(tmp_path: Path, text: str, clock: FakeClock, after: After = "hold", node: str = "") -> ReplayMeter:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    meter = ReplayMeter(path, clock, node, after)
    meter.start(clock())
    return meter


def joules_at(meter: ReplayMeter, clock: FakeClock, *seconds: float) -> list[float | None]:
    """The first device's readings at these seconds of the trace."""
    start = clock.seconds
    found = []
    for second in seconds:
        clock.seconds = start + second
        found.append(meter.read()[0].energy_joules)
    clock.seconds = start
    return found


def test_a_constant_hundred_watts_for_ten_seconds_are_a_thousand_joules(tmp_path: Path) -> None:
    clock = FakeClock(77.0)
    meter = replay(tmp_path, POWER + "0,cpu,cpu,100\n", clock)
    assert joules_at(meter, clock, 0, 1, 10, 3600) == [0.0, 100.0, 1000.0, 360_000.0]


def test_power_is_linear_between_rows_and_held_after_the_last(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, POWER + "0,cpu,cpu,0\n10,cpu,cpu,100\n", clock)
    # A triangle: at 5 s it draws 50 W and has used 125 J; at the end 500 J, then 100 W.
    assert joules_at(meter, clock, 5, 10, 12) == [125.0, 500.0, 700.0]


def test_two_rows_at_one_time_are_a_step(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, POWER + "0,cpu,cpu,10\n5,cpu,cpu,10\n5,cpu,cpu,100\n9,cpu,cpu,100\n", clock)
    assert joules_at(meter, clock, 5, 6, 9) == [50.0, 150.0, 450.0]


def test_energy_is_linear_between_rows_and_its_last_power_is_held(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, ENERGY + "0,cpu,cpu,50\n10,cpu,cpu,150\n20,cpu,cpu,550\n", clock)
    assert joules_at(meter, clock, 0, 5, 10, 15, 20, 25) == [50.0, 100.0, 150.0, 350.0, 550.0, 750.0]


def test_a_loop_begins_again_and_its_counter_goes_on(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, POWER + "0,cpu,cpu,100\n10,cpu,cpu,0\n", clock, after="loop")
    # 500 J per lap of 10 s; half a lap is 375 J.
    assert joules_at(meter, clock, 5, 10, 15, 30) == [375.0, 500.0, 875.0, 1500.0]


def test_a_looped_energy_goes_on_from_its_end(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, ENERGY + "0,cpu,cpu,50\n10,cpu,cpu,150\n", clock, after="loop")
    assert joules_at(meter, clock, 10, 15, 25) == [150.0, 200.0, 300.0]


def test_a_raw_counter_that_wraps_is_given_raw_and_loses_nothing(tmp_path: Path) -> None:
    text = "time_seconds,device,component,energy_joules,max_energy_joules\n0,cpu,cpu,900,1000\n10,cpu,cpu,100,1000\n"
    clock = FakeClock()
    meter = replay(tmp_path, text, clock)
    assert joules_at(meter, clock, 0, 4, 6, 10) == [900.0, 980.0, 20.0, 100.0]
    step = energy_between(meter.devices[0], 980.0, 20.0, 2.0)
    assert (step.joules, step.event) == (40.0, "wrap")


def test_a_counter_that_goes_down_without_a_range_is_a_reset(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, ENERGY + "0,cpu,cpu,0\n10,cpu,cpu,500\n20,cpu,cpu,10\n30,cpu,cpu,30\n", clock)
    assert joules_at(meter, clock, 10, 19, 20, 25) == [500.0, 500.0, 10.0, 20.0]


def test_missing_and_failed_readings_are_none_while_the_counter_goes_on(tmp_path: Path) -> None:
    text = (
        "time_seconds,device,component,power_watts,status\n"
        "0,cpu,cpu,100,ok\n5,cpu,cpu,,missing\n10,cpu,cpu,,error\n15,cpu,cpu,100,\n"
    )
    clock = FakeClock()
    meter = replay(tmp_path, text, clock)
    assert joules_at(meter, clock, 4, 5, 9, 10, 15, 20) == [400.0, None, None, None, 1500.0, 2000.0]
    clock.advance(12.0)
    assert meter.read()[0].problem == "error in the trace at 12 s"


def test_each_node_reads_its_own_rows_and_those_of_no_node(tmp_path: Path) -> None:
    text = "time_seconds,device,component,power_watts,node\n0,a,cpu,100,one\n0,b,cpu,50,two\n0,c,gpu,10,\n"
    clock = FakeClock()
    one, two = replay(tmp_path, text, clock, node="one"), replay(tmp_path, text, clock, node="two")
    clock.advance(2.0)
    assert [(r.device.name, r.energy_joules) for r in one.read()] == [("a", 200.0), ("c", 20.0)]
    assert [(r.device.name, r.energy_joules) for r in two.read()] == [("b", 100.0), ("c", 20.0)]


def test_time_zero_is_the_first_start_and_not_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(POWER + "0,cpu,cpu,100\n")
    clock = FakeClock(5.0)
    meter = ReplayMeter(path, clock)
    assert meter.read()[0].energy_joules == 0.0
    clock.advance(10.0)
    meter.start(clock())
    clock.advance(1.0)
    meter.start(clock())
    assert meter.read()[0].energy_joules == 100.0


def test_before_its_first_row_a_device_draws_what_it_says_there(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = replay(tmp_path, POWER + "10,cpu,cpu,100\n", clock)
    assert joules_at(meter, clock, 0, 5, 20) == [0.0, 500.0, 2000.0]


@given(
    watts=st.lists(st.integers(0, 500), min_size=1, max_size=8),
    times=st.lists(st.floats(0, 60), min_size=2, max_size=10),
    loops=st.booleans(),
)
def test_a_replayed_power_never_counts_down(
    tmp_path_factory: pytest.TempPathFactory, watts: list[int], times: list[float], loops: bool
) -> None:
    text = POWER + "".join(f"{second},cpu,cpu,{power}\n" for second, power in enumerate(watts))
    clock = FakeClock()
    meter = replay(tmp_path_factory.mktemp("trace"), text, clock, after="loop" if loops else "hold")
    found = [joules or 0.0 for joules in joules_at(meter, clock, *sorted(times))]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", ":1", "empty"),
        ("time_seconds,device,power_watts\n", ":1: component", "missing"),
        ("time_seconds,device,component\n", ":1: energy_joules | power_watts", "needed"),
        ("time_seconds,device,component,energy_joules,power_watts\n", ":1: energy_joules | power_watts", "not both"),
        ("time_seconds,device,component,power_watts,colour\n", ":1: colour", "unknown column"),
        ("time_seconds,device,device,component,power_watts\n", ":1: device", "twice"),
        (POWER, "node", "no rows"),
        (POWER + "0,cpu,cpu,1\n1,cpu,cpu,many\n", ":3: power_watts", "'many' is not a number"),
        (POWER + "0,cpu,cpu,-5\n", ":2: power_watts", "0 or more"),
        (POWER + "0,cpu,cpu,nan\n", ":2: power_watts", "finite"),
        (POWER + "0,cpu,cpu,\n", ":2: power_watts", "needed"),
        (POWER + ",cpu,cpu,5\n", ":2: time_seconds", "needed"),
        (POWER + "0,,cpu,5\n", ":2: device", "name"),
        (POWER + "0,cpu,tpu,5\n", ":2: component", "none of cpu, dram, gpu"),
        (POWER + "0,cpu,cpu\n", ":2", "3 values for 4 columns"),
        (POWER + "5,cpu,cpu,1\n4,cpu,cpu,1\n", ":3: time_seconds", "before"),
        (POWER + "5,cpu,cpu,1\n6,cpu,dram,1\n", ":3: component", "was a cpu"),
        (POWER.strip() + ",status\n0,cpu,cpu,1,broken\n", ":2: status", "none of ok, missing, error"),
        (POWER.strip() + ",status\n0,cpu,cpu,,missing\n", "power_watts", "no value in any row"),
        (ENERGY.strip() + ",max_energy_joules\n0,cpu,cpu,1,0\n", ":2: max_energy_joules", "more than 0"),
        (ENERGY.strip() + ",max_energy_joules\n0,cpu,cpu,11,10\n", ":2: energy_joules", "beyond"),
        (ENERGY.strip() + ",max_energy_joules\n0,c,cpu,1,9\n1,c,cpu,2,8\n", ":3: max_energy_joules", "another range"),
        (POWER.strip() + ",node\n0,cpu,cpu,1,elsewhere\n", "node", "elsewhere"),
    ],
)
def test_a_wrong_trace_names_the_file_the_line_and_the_column(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_trace(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)
    assert problem in str(caught.value)


def test_a_trace_that_is_not_there_or_not_text_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="UTF-8"):
        load_trace(tmp_path / "binary.csv")


def test_a_counter_that_is_reset_cannot_loop(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot loop"):
        replay(tmp_path, ENERGY + "0,cpu,cpu,5\n1,cpu,cpu,1\n", FakeClock(), after="loop")


def test_the_argument_is_a_path_and_an_option() -> None:
    assert parse_argument("a/b.csv") == (Path("a/b.csv"), "hold")
    assert parse_argument("a/b.csv?after=loop") == (Path("a/b.csv"), "loop")


@pytest.mark.parametrize("argument", ["", "?after=loop", "a.csv?after=stop", "a.csv?before=loop", "a.csv?after="])
def test_an_unknown_option_or_no_path_is_an_input_error(argument: str) -> None:
    with pytest.raises(InputError):
        parse_argument(argument)
