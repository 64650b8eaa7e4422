"""``energysweep.track`` against an agent that it starts itself, of a CPU that is said to draw 100 W."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from energysweep import track
from energysweep.errors import InputError

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
        burn(0.5)
    whole = time.monotonic() - began  # the agent knows of the block before the block knows that it does
    assert measured.name == "work"
    assert measured.duration_seconds is not None
    assert measured.energy_joules is not None
    assert 0.5 <= measured.duration_seconds <= whole
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


def test_a_joule_of_an_inner_block_is_not_booked_to_the_outer_one_of_the_same_name(meters: list[str]) -> None:
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
    # Booked twice, the inner block's joules would make it almost twice as much.
    assert inner.energy_joules + outer.energy_joules <= 100 * whole + 1


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


def test_a_wrong_argument_starts_no_agent(agent_home: Path) -> None:
    with pytest.raises(InputError, match="country"), track("x", country="Atlantis"):
        pytest.fail("the block must not run")
    assert not (agent_home / "agent.sock").exists()
