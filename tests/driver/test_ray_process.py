"""A Ray that comes up late, or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest
import ray

from energysweep.accounting.processes import Root
from energysweep.driver.ray_process import _children, _raylet_has_ended
from tests.driver.test_ray_lost import own
from tests.driver.test_resume import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(1800)]

RUN = [sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--metrics-port", "0"]
QUICK = ["--set", "parameters.seconds=0.05"]


class Driver:
    """A sweep in a process of its own; what it says goes into files, which can be read meanwhile."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*RUN, *options], cwd=folder, env=os.environ | environment, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def ended(self) -> int:
        """Wait for its end."""
        return self.process.wait(timeout=1700)

    def raylet(self, other_than: Collection[int] = ()) -> Root | None:
        """The raylet that it has started; None if it has ended before."""
        while self.process.poll() is None:
            with contextlib.suppress(AssertionError, OSError):
                raylet = own(self.process, "raylet")
                if raylet.pid not in other_than:
                    return raylet
            time.sleep(0.01)
        return None


def refused(sweep_folder: Path, sweep: Driver) -> str:
    """The one line with which a sweep ends that has not begun; nothing is left of it."""
    assert sweep.ended() == 2, sweep.err
    assert sweep.out == ""
    assert "Traceback" not in sweep.err
    assert list((sweep_folder / "results").iterdir()) == []
    last = sweep.err.splitlines()[-1]
    assert last.startswith("energysweep: Ray did not start: ")
    return last


def test_a_folder_for_temporary_files_that_ray_cannot_use_is_one_line(sweep_folder: Path) -> None:
    long = sweep_folder / ("long" * 30)
    said = refused(sweep_folder, Driver(sweep_folder, *QUICK, RAY_TMPDIR=str(long)))
    assert "AF_UNIX path length cannot exceed 107 bytes" in said
    assert "room for temporary files?" in said
    said = refused(sweep_folder, Driver(sweep_folder, *QUICK, RAY_TMPDIR="/proc/nowhere"))
    assert "No such file or directory: '/proc/nowhere'" in said


def test_a_port_that_is_taken_is_one_line(sweep_folder: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        said = refused(sweep_folder, Driver(sweep_folder, *QUICK, RAY_GCS_SERVER_PORT=str(taken.getsockname()[1])))
    assert "Failed to start GCS" in said
    assert "its logs are in " in said


def test_a_raylet_that_dies_while_it_starts_is_tried_once_more_and_then_one_line(sweep_folder: Path) -> None:
    sweep = Driver(sweep_folder, *QUICK)
    killed: set[int] = set()
    while (raylet := sweep.raylet(other_than=killed)) is not None:
        os.kill(raylet.pid, signal.SIGKILL)
        killed.add(raylet.pid)
    refused(sweep_folder, sweep)
    assert len(killed) == 2


@pytest.mark.variant
def test_a_raylet_that_needs_longer_than_rays_own_30_seconds_is_waited_for(sweep_folder: Path) -> None:
    sweep = Driver(sweep_folder, *QUICK)
    raylet = sweep.raylet()
    assert raylet is not None
    os.kill(raylet.pid, signal.SIGSTOP)  # as a machine on which it gets no turn
    waiting = "waiting for Ray to start: this machine is busy ("
    wait_for(lambda: sweep.err.count(waiting) >= 3 or sweep.process.poll() is not None, 400)  # one every 15 s
    os.kill(raylet.pid, signal.SIGCONT)
    assert sweep.ended() == 0, sweep.err
    assert sweep.err.count(waiting) >= 3
    assert "trying once more" not in sweep.err


def test_a_second_ray_of_this_process_leaves_the_children_of_the_first_one_alone(sweep_folder: Path) -> None:
    """A start that fails kills what it has started, and not what was there before: here a child that looks alike."""
    package = str(Path(ray.__file__).parent)
    code = f"""
import os, subprocess, sys
from energysweep.core.errors import InputError
from energysweep.driver.ray_process import start
before = subprocess.Popen([sys.executable, "-c", "input()", {package!r}], stdin=subprocess.PIPE)
for address in ("local",):
    try:
        start(address, "--address", {{}}, print)
    except InputError as error:
        print(type(error).__name__, before.poll())
before.communicate()
"""
    environment = os.environ | {"RAY_TMPDIR": "/proc/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=sweep_folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1:] == ["InputError None"], done.stderr


def test_a_start_that_came_to_nothing_names_no_logs_of_the_current_folder(sweep_folder: Path) -> None:
    (sweep_folder / "logs").mkdir()
    (sweep_folder / "logs" / "raylet.err").write_text("[x] E somebody else's complaint\n")
    said = refused(sweep_folder, Driver(sweep_folder, *QUICK, RAY_TMPDIR="/proc/nowhere"))
    assert "somebody else" not in said
    assert "its logs are in" not in said


def test_a_raylet_that_has_ended_is_seen_beside_other_children_that_have(tmp_path: Path) -> None:
    for name in ("another", "raylet"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    other = subprocess.Popen([tmp_path / "another"])
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert not _raylet_has_ended(set())
    raylet = subprocess.Popen([tmp_path / "raylet"])
    os.waitid(os.P_PID, raylet.pid, os.WEXITED | os.WNOWAIT)
    assert _raylet_has_ended(set())
    assert not _raylet_has_ended(_children())  # it was there before this start
    assert (raylet.wait(), other.wait()) == (0, 0)
