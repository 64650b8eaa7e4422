"""A Ray that comes up late, or not at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from energysweep.agent.processes import read_process
from tests.tuning.test_ray_lost import PROC, own

BUSY = int(os.environ.get("ENERGYSWEEP_BUSY", "8"))  # processes that take all the time they can get; 30: the long form

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(1800)]

RUN = [
    sys.executable,
    "-m",
    "energysweep",
    "run",
    "sweep.yaml",
    "--metrics-port",
    "0",
    "--set",
    "parameters.seconds=0.05",
]


def start(sweep_folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        RUN,
        cwd=sweep_folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused(sweep_folder: Path, sweep: subprocess.Popen[str]) -> str:
    """The one line with which a sweep ends that has not begun; nothing is left of it."""
    out, err = sweep.communicate(timeout=400)
    assert sweep.returncode == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert list((sweep_folder / "results").iterdir()) == []
    last = err.splitlines()[-1]
    assert last.startswith("energysweep: Ray did not start: ")
    return last


def test_a_folder_for_temporary_files_that_ray_cannot_use_is_one_line(sweep_folder: Path) -> None:
    long = sweep_folder / ("long" * 30)
    said = refused(sweep_folder, start(sweep_folder, RAY_TMPDIR=str(long)))
    assert "AF_UNIX path length cannot exceed 107 bytes" in said
    assert "room for temporary files?" in said
    said = refused(sweep_folder, start(sweep_folder, RAY_TMPDIR="/proc/nowhere"))
    assert "No such file or directory: '/proc/nowhere'" in said


def test_a_port_that_is_taken_is_one_line(sweep_folder: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        said = refused(sweep_folder, start(sweep_folder, RAY_GCS_SERVER_PORT=str(taken.getsockname()[1])))
    assert "Failed to start GCS" in said
    assert "its logs are in " in said


def test_a_raylet_that_dies_while_it_starts_is_tried_once_more_and_then_one_line(sweep_folder: Path) -> None:
    sweep = start(sweep_folder)
    killed: set[int] = set()
    while sweep.poll() is None:
        try:
            raylet = own(sweep, "raylet")
        except (AssertionError, OSError):
            continue
        process = read_process(PROC, raylet.pid)
        if process is not None and process.alive and raylet.pid not in killed:
            os.kill(raylet.pid, signal.SIGKILL)
            killed.add(raylet.pid)
    refused(sweep_folder, sweep)
    assert len(killed) == 2


def test_a_raylet_that_needs_longer_than_rays_own_30_seconds_is_waited_for(sweep_folder: Path) -> None:
    sweep = start(sweep_folder)
    while True:
        assert sweep.poll() is None
        try:
            raylet = own(sweep, "raylet")
        except (AssertionError, OSError):
            continue
        break
    os.kill(raylet.pid, signal.SIGSTOP)  # as a machine on which it gets no turn
    time.sleep(45)
    os.kill(raylet.pid, signal.SIGCONT)
    _, err = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, err
    assert "waiting for Ray to start: this machine is busy (30 s)" in err
    assert "trying once more" not in err


def test_a_sweep_starts_beside_busy_processes_or_says_one_line(sweep_folder: Path) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        sweep = start(sweep_folder)
        _, err = sweep.communicate(timeout=1700)
        assert "Traceback" not in err
        assert sweep.returncode in (0, 2), err
        if sweep.returncode == 2:
            assert err.splitlines()[-1].startswith("energysweep: Ray did not start: ")
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()
