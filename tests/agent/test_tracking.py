"""``energysweep.track`` against an agent that it starts itself, of a CPU that is said to draw 100 W."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep import Measurement, spent, track
from energysweep.agent.agent import Agent
from energysweep.agent.server import AgentServer
from energysweep.core.errors import InputError
from energysweep.core.host import Host
from energysweep.meters import Device, Meter, Opened, Reading
from tests.agent.test_server import standing  # noqa: F401 - the fixture

TRACE = "time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n"


@pytest.fixture
def meters(agent_home: Path) -> Iterator[list[str]]:
    trace = agent_home / "trace.csv"
    trace.write_text(TRACE)
    yield [f"replay:{trace}"]
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, ProcessLookupError):  # it ends by itself, too
        pid = agent_pid(agent_home / "agent.sock")
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pid, seconds=60)


def agent_pid(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def wait_for_end(pid: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if b") Z " in Path(f"/proc/{pid}/stat").read_bytes():
                return
        except (FileNotFoundError, ProcessLookupError):  # the latter from a file that was opened while it was there
            return
        time.sleep(0.05)
    pytest.fail(f"the agent, process {pid}, is still there")


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_block_gets_its_joules_and_grams(meters: list[str]) -> None:
    began = time.monotonic()
    with track("work", meters=meters, grams_per_kwh=360, pue=2) as measured:
        assert measured.energy_joules is None
        assert measured.power_watts is None
        inside = time.monotonic()
        burn(0.5)
        inside = time.monotonic() - inside
    whole = time.monotonic() - began  # the agent knows of the block before the block knows that it does
    assert measured.name == "work"
    assert measured.duration_seconds is not None
    assert measured.energy_joules is not None
    assert inside <= measured.duration_seconds <= whole
    # The host's other processes pay their part; the floor is not known, so that all of it is active.
    assert 5 < measured.energy_joules <= 100 * whole + 1
    assert measured.active_energy_joules == measured.energy_joules
    assert measured.power_watts == pytest.approx(measured.energy_joules / measured.duration_seconds)
    assert measured.emissions_grams == pytest.approx(measured.energy_joules * 2 * 360 / 3.6e6)
    assert measured.source.startswith("meters: cpu by replay")


def test_a_gpu_that_has_no_name_is_said_to_be_unmeasured_and_the_rest_is_measured(meters: list[str]) -> None:
    with track("work", meters=meters, gpus=[7]) as measured:
        burn(0.2)
    assert (measured.energy_joules or 0) > 0
    assert "; GPU 7 may be any board of the host (" in measured.source


def test_nested_blocks_of_the_same_name_each_see_what_they_drew(meters: list[str]) -> None:
    with track("first", meters=meters):
        pass  # its agent is there for the others: no start of one is part of their time
    began = time.monotonic()
    with track("block", meters=meters) as outer:
        burn(0.1)
        with track("block", meters=meters) as inner:
            burn(0.5)
    whole = time.monotonic() - began
    assert outer.energy_joules is not None
    assert inner.energy_joules is not None
    # What its CPU time is of all that there is, at least: to whom the rest goes, other load decides.
    assert inner.energy_joules > 100 * 0.5 / (os.cpu_count() or 1) * 0.8
    assert outer.energy_joules >= inner.energy_joules + 100 * 0.1 / (os.cpu_count() or 1) * 0.8 - 1
    assert outer.energy_joules <= 100 * whole + 1


def test_a_block_tells_what_it_has_spent_so_far(meters: list[str]) -> None:
    with track("outer", meters=meters, grams_per_kwh=360) as outer:
        burn(0.3)
        so_far = [spent()]
        with track("inner", meters=meters):
            burn(0.2)
            inner = spent()
        burn(0.2)
        so_far.append(spent())
    assert spent() is None
    assert inner is not None
    assert inner.name == "inner"
    first, second = so_far
    assert first is not None
    assert second is not None
    assert (first.name, first.source) == ("outer", outer.source)
    joules = [first.energy_joules, second.energy_joules, outer.energy_joules]
    assert joules == sorted(joules)
    assert 0 < joules[0] < joules[2]
    assert second.emissions_grams == pytest.approx(second.energy_joules * 360 / 3.6e6)
    assert 0 < first.duration_seconds < second.duration_seconds < outer.duration_seconds
    assert second.power_watts == pytest.approx(second.energy_joules / second.duration_seconds)


def test_a_decorated_function_is_metered_at_each_call(meters: list[str]) -> None:
    told: list[Measurement] = []

    @track("double", meters=meters, then=told.append)
    def double(number: float, *, fails: bool = False) -> float:
        """Twice."""
        burn(0.2)
        if fails:
            raise ZeroDivisionError
        inner = double(number / 2) if number > 2 else number / 2  # a call of its own inside
        return 4 * inner if number > 2 else 2 * number

    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    assert double(1.0) == 2.0
    (first,) = told
    assert first.name == "double"
    assert (first.energy_joules or 0) > 0
    double(3.0)
    _, inner, outer = told
    assert outer.energy_joules >= inner.energy_joules
    with pytest.raises(ZeroDivisionError):
        double(1.0, fails=True)
    assert (told[-1].energy_joules or 0) > 0
    assert len(told) == 4


def test_a_decorated_coroutine_is_metered_until_it_ends(meters: list[str]) -> None:
    told: list[Measurement] = []

    @track("answer", meters=meters, then=told.append)
    async def answer(number: int) -> Measurement | None:
        await asyncio.sleep(0)  # others go on
        burn(0.2)
        await asyncio.sleep(0)
        return spent() if number else None

    async def both() -> list[Measurement | None]:
        return list(await asyncio.gather(answer(0), answer(1)))

    nothing, so_far = asyncio.run(both())
    assert nothing is None
    assert so_far is not None
    assert so_far.name == "answer"
    assert inspect.iscoroutinefunction(answer)
    # Each was open while the other worked, too.
    assert all(each.duration_seconds > 0.4 and each.energy_joules > 0 for each in told)


class Asynchronous:
    """Works as long as a coroutine function of the same words."""

    async def __call__(self) -> str | None:
        burn(0.2)
        await asyncio.sleep(0)
        so_far = spent()
        return None if so_far is None else so_far.name


class Steps:
    """Is a generator when it is called."""

    def __call__(self) -> Iterator[int]:
        yield 1


def through(function: Any) -> Any:
    """A decorator that does not say what it is around."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@pytest.mark.parametrize(
    "function", [Asynchronous(), through(Asynchronous().__call__), functools.partial(Asynchronous())]
)
def test_a_coroutine_is_metered_until_it_ends_whatever_hides_it(meters: list[str], function: Any) -> None:
    told: list[Measurement] = []
    decorated = track("hidden", meters=meters, then=told.append)(function)

    async def twice() -> list[str | None]:
        first, second = decorated(), decorated()
        so_far = spent()
        assert so_far is None or so_far.name == "hidden"  # the one that is open longest: nobody is in it
        with track("caller", meters=meters):
            burn(0.2)
            mine = spent()
            assert mine is not None
            assert mine.name == "caller"
            return [await first, await second]

    assert asyncio.run(twice()) == ["hidden", "hidden"]
    assert [each.name for each in told] == ["hidden", "hidden"]
    assert all(each.energy_joules > 0 and each.duration_seconds > 0.2 for each in told)
    assert spent() is None


def test_a_generator_that_a_decorator_hides_is_refused_when_it_is_called(meters: list[str]) -> None:
    def generate() -> Iterator[int]:
        yield 1

    async def generate_async() -> AsyncIterator[int]:
        yield 1

    decorate = track("x", meters=meters)
    for function in (generate, generate_async):
        hidden = decorate(through(functools.partial(through(function))))
        with pytest.raises(InputError, match=r"track: .*: a generator's caller works between its steps"):
            hidden()
    assert list(decorate(lambda: iter(generate()))()) == [1]  # somebody else's
    assert spent() is None


def test_what_has_no_calls_to_meter_is_refused() -> None:
    def generate() -> Iterator[int]:
        yield 1

    async def generate_async() -> AsyncIterator[int]:
        yield 1

    decorate: Any = track("x")
    for function in (generate, generate_async, functools.partial(generate), Steps(), functools.partial(Steps())):
        with pytest.raises(InputError, match=r"track: .*: a generator's caller works between .*with no yield in it"):
            decorate(function)
    make_classmethod: Any = classmethod
    for nothing in (staticmethod(generate), make_classmethod(generate), Measurement, 1):
        with pytest.raises(InputError, match="track"):
            decorate(nothing)
    bare: Any = track
    with pytest.raises(InputError, match=r'track: name: the first argument is a name: track\("preprocess"\)'):
        bare(generate)


def test_a_block_is_open_once_at_a_time_and_may_be_entered_again(meters: list[str]) -> None:
    block = track("again", meters=meters)
    assert block.report() == {}
    with block as first, pytest.raises(InputError, match=r"call energysweep\.track again"), block:
        pytest.fail("it is open")
    with block as second:
        burn(0.2)
        report = block.report()
    assert first is not second
    assert (second.energy_joules or 0) >= report["energy_joules"] > 0
    assert set(report) == {"energy_joules", "active_energy_joules", "power_watts", "emissions_grams"}


def test_blocks_in_threads_each_see_what_the_process_drew_meanwhile(meters: list[str]) -> None:
    measured = {}
    inside, over = threading.Barrier(3), threading.Event()

    def sleep_in_a_block(name: str) -> None:
        with track(name, meters=meters) as measured[name]:
            inside.wait()
            over.wait()

    threads = [threading.Thread(target=sleep_in_a_block, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    inside.wait()
    burn(0.5)  # in neither thread, and in the process of both
    over.set()
    for thread in threads:
        thread.join()
    for each in measured.values():
        assert each.energy_joules is not None
        assert each.energy_joules > 100 * 0.5 / (os.cpu_count() or 1) * 0.8


def test_a_block_may_be_left_in_another_thread(meters: list[str]) -> None:
    block = track("block", meters=meters)
    measured = block.__enter__()
    burn(0.2)
    thread = threading.Thread(target=block.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert measured.energy_joules is not None
    assert measured.energy_joules > 0


FORKS = """
import os, sys, time
from energysweep import track
with track("block", meters=[sys.argv[1]]) as measured:
    if os.fork() == 0:
        sys.exit(0)  # through the end of the block
    os.wait()
    end = time.process_time() + 0.5
    while time.process_time() < end: pass
assert measured.energy_joules > 100 * 0.5 / os.cpu_count() * 0.8, measured
"""


def test_a_forked_child_that_leaves_the_block_too_does_not_end_it(meters: list[str]) -> None:
    command = [sys.executable, "-c", FORKS, *meters]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "the block block is not measured: this connection to the agent is of process" in done.stderr  # the child's
    assert done.stderr.count("\n") == 1


def kill_agent(home: Path) -> None:
    pid = agent_pid(home / "agent.sock")
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid, seconds=60)


def test_a_block_whose_agent_is_killed_is_measured_by_the_next_one(meters: list[str], agent_home: Path) -> None:
    began = time.monotonic()
    with track("block", meters=meters) as measured:
        burn(0.3)
        before = spent()
        kill_agent(agent_home)
        burn(0.3)
        after = spent()  # it asks for the next agent, too
    assert before is not None
    assert after is not None
    assert 0 < before.energy_joules < after.energy_joules <= measured.energy_joules
    assert measured.energy_joules is not None
    assert measured.energy_joules > 100 * 0.6 / (os.cpu_count() or 1) * 0.8
    assert measured.energy_joules <= 100 * (time.monotonic() - began) + 1


def not_measured(measured: Measurement, caplog: pytest.LogCaptureFixture) -> str:
    """The reason why, which is told twice."""
    assert (measured.energy_joules, measured.active_energy_joules) == (None, None)
    assert (measured.emissions_grams, measured.power_watts) == (None, None)
    assert measured.duration_seconds is not None
    (message,) = caplog.messages
    name, _, reason = message.partition(" is not measured: ")
    assert name == f"the block {measured.name}"
    assert measured.source == f"not measured: {reason}"
    return reason


def test_a_block_whose_agent_is_gone_with_all_it_knew_is_not_measured_and_says_so(
    meters: list[str], agent_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_agent_and_fail() -> None:
        kill_agent(agent_home)
        for state in agent_home.glob("*state*.json"):
            state.unlink()
        assert spent() is None
        raise ZeroDivisionError  # the block's own error goes on

    with pytest.raises(ZeroDivisionError), track("block", meters=meters) as measured:
        lose_agent_and_fail()
    assert spent() is None
    assert not_measured(measured, caplog) == "its agent has gone, and what it knew with it"


def test_a_block_that_was_counted_for_a_part_of_its_time_is_not_measured(
    standing: AgentServer,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_SOCKET", str(standing.socket_path))
    before = set(standing.agent.windows)
    with track("block") as measured:
        began = time.monotonic()
        (run,) = standing.agent.windows.keys() - before
        standing.agent.close_window(run)
        (row,) = standing.agent.windows[run].lease_rows(0)
        while time.monotonic() - began < row.held_seconds + 1:
            time.sleep(0.1)
    said = re.fullmatch(r"its agent has counted only (\d+\.\d) of its (\d+\.\d) s", not_measured(measured, caplog))
    assert said is not None
    assert float(said[1]) == pytest.approx(row.held_seconds, abs=0.051)
    assert float(said[2]) >= float(said[1]) + 0.8


def test_a_block_of_which_no_meter_told_anything_is_not_measured(
    standing: AgentServer,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_SOCKET", str(standing.socket_path))  # its agent has no meter
    with track("block") as measured:
        assert spent() is None  # and not 0
    assert not_measured(measured, caplog).startswith("no meter has told anything in its ")


def test_a_gpu_that_no_meter_counts_is_said_to_be_missing(meters: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with track("block", gpus=["GPU-00000000-0000-0000-0000-000000000000"], meters=meters) as measured:
        burn(0.1)  # it need not be long
    assert measured.energy_joules is not None
    (message,) = caplog.messages
    said = "of a device that it uses the meters have covered only 0 % of its time"
    assert message == f"of the block block joules are missing: {said}"
    assert measured.source.endswith(f"; {said}")


class Twelve(Meter):
    """Of twelve devices one cannot be read; each of the others draws 1 W."""

    kind = "rapl"
    devices = (*(Device(f"package-{number}", "cpu", "rapl") for number in range(11)), Device("dram-0", "dram", "rapl"))

    def read(self) -> list[Reading]:
        now = time.monotonic()
        return [Reading(device, None if device.component == "dram" else now) for device in self.devices]


def test_one_lost_device_of_many_is_said_to_be_missing(
    agent_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = AgentServer(Agent(Host(node="n", boot_id="b"), Opened([Twelve()])), agent_home / "agent.sock", port=0)
    server.start()
    with track("block") as measured:
        burn(0.1)
    server.stop()
    assert (measured.energy_joules or 0) > 0
    (message,) = caplog.messages
    assert message.endswith("missing: of a device that it uses the meters have covered only 0 % of its time")


def test_a_block_s_children_are_charged_to_it_and_sleep_is_not(meters: list[str]) -> None:
    program = "import time\nwhile time.process_time() < 0.5: pass"
    with track("children", meters=meters) as children:
        for _ in range(2):
            subprocess.run([sys.executable, "-S", "-c", program], check=True)
    began = time.monotonic()
    with track("asleep", meters=meters) as asleep:
        time.sleep(0.2)
    whole = time.monotonic() - began
    assert children.energy_joules is not None
    assert asleep.energy_joules is not None
    # 1 s of CPU time is at least half of what two busy CPUs draw in that second. No floor is known: on a quiet host a
    # sleeper may be all the load there is, but not for longer than it sleeps.
    assert children.energy_joules > 100 * 1.0 / (os.cpu_count() or 1) * 0.8
    assert asleep.energy_joules <= 100 * whole + 1


def test_a_block_that_fails_is_measured_and_its_error_goes_on(meters: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), track("fails", meters=meters) as measured:
        _ = 1 / 0
    assert measured.energy_joules is not None
    assert measured.duration_seconds is not None


def test_the_agent_ends_by_itself_when_nobody_needs_it(
    meters: list[str], agent_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_LINGER", "1")
    with track("short", meters=meters):
        pid = agent_pid(agent_home / "agent.sock")
    assert pid != os.getpid()
    wait_for_end(pid, seconds=60)
    assert not (agent_home / "agent.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "x", "country": "Atlantis"}, "country"),
        ({"name": ""}, "track: name: "),
        ({"name": "x" * 201}, "track: name: "),
        ({"name": "x", "cpus": -1}, "track: cpus: "),
        ({"name": "x", "cpus": float("nan")}, "track: cpus: "),
        ({"name": "x", "gpus": range(65)}, "track: gpus: "),
    ],
)
def test_a_wrong_argument_starts_no_agent(agent_home: Path, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason), track(**arguments):
        pytest.fail("the block must not run")
    assert not (agent_home / "agent.sock").exists()
