"""``energysweep run`` in a process of its own, with real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

RUN = [sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "it", "--metrics-port", "0"]


def processes_named_in_environment(folder: Path) -> list[str]:
    """Processes that were started with the test's own agent socket and are still there."""
    found = []
    needle = f"ENERGYSWEEP_SOCKET={os.environ['ENERGYSWEEP_SOCKET']}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if needle in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def wait_until_gone(folder: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_named_in_environment(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def test_results_go_to_standard_output_and_progress_to_standard_error(sweep_folder: Path) -> None:
    done = subprocess.run(
        [*RUN, "--set", "parameters.seconds=0.05"],
        cwd=sweep_folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kind=burn" in done.stdout
    assert "report: " in done.stdout
    assert "Traceback" not in done.stderr
    for line in done.stderr.splitlines():  # ours, and none of Ray's chatter
        assert line.startswith(("test: ", "meters: ", "metrics: ", "completed: ", "trials ")), line
    assert wait_until_gone(sweep_folder, 10) == []

    again = subprocess.run(RUN, cwd=sweep_folder, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 2
    assert "holds a run already" in again.stderr


def test_ctrl_c_stops_the_trials_and_writes_the_report_of_what_there_is(sweep_folder: Path) -> None:
    sweep = subprocess.Popen(
        [*RUN, "--set", "parameters={kind: sleep, seconds: 0.2, reports: {grid: [1, 1000, 1001]}}"],
        cwd=sweep_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert sweep.stderr is not None
    for line in sweep.stderr:
        if line.startswith("completed: "):
            break
    time.sleep(1)
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
    out, err = sweep.communicate(timeout=60)

    assert sweep.returncode == 130, err
    assert "Traceback" not in err
    assert "the sweep was interrupted" in err
    assert "report: " in out
    summary = json.loads((sweep_folder / "results" / "it" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["totals"]["trials_energy_joules"] > 0
    assert wait_until_gone(sweep_folder, 10) == []


def test_a_profile_that_no_node_can_serve_is_refused_at_once(sweep_folder: Path) -> None:
    done = subprocess.run(
        [*RUN, "--set", "hardware={big: {resources: {cpu: 4096}}}"],
        cwd=sweep_folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "hardware.big" in done.stderr
    assert "no node has CPU 4096" in done.stderr
