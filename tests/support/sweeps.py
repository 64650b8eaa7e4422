"""Sweeps in a folder of the test's own, on a host whose CPU draws a constant, replayed 100 W."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import ray

from energysweep.core.runfolder import LEDGER
from energysweep.driver.run import Run, run
from energysweep.ledger.store import Ledger, LedgerData
from energysweep.sweepfile import load_spec
from tests.conftest import home_of_an_agent

# For `ray start`: Ray itself gives a raylet 30 s to register, and gives up on a busy machine. And it
# starts a worker for each CPU that no trial takes: a trial needs one with its workload's path.
PATIENT = {
    "RAY_prestart_worker_first_driver": "0",
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_worker_register_timeout_seconds": "600",
}

TRACE = "time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n"

WORK = '''
import resource, subprocess, sys, threading, time
from ray import tune

BURN = "import time\\nwhile time.process_time() < 0.15: pass"


def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def spawn(seconds):
    """Short-lived children, started from a thread."""
    def loop():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            subprocess.run([sys.executable, "-c", BURN], check=True)
    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train(config):
    work = {"burn": burn, "sleep": time.sleep, "spawn": spawn}[config["kind"]]
    before = children_seconds()
    for report in range(config.get("reports", 3)):
        work(config.get("seconds", 1.0))
        tune.report({"score": report * config.get("gain", 1), "children_seconds": children_seconds() - before})
'''

# Works until a file is there, and then for some steps more: a test that is late still finds it at work.
UNTIL = """
import json, pathlib, tempfile, time
from ray import tune


def train(config):
    checkpoint, at, more = tune.get_checkpoint(), 0, 4
    if checkpoint:
        with checkpoint.as_directory() as folder:
            at = json.loads((pathlib.Path(folder) / "at").read_text())
    while more:
        more -= pathlib.Path(config["file"]).exists()
        at += 1
        sum(range(300_000))  # work enough to be seen; who waits for a trial shall not wait for a core
        time.sleep(0.25)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "at").write_text(json.dumps(at))
            tune.report({"score": at}, checkpoint=tune.Checkpoint.from_directory(folder))
"""

SWEEP = """
name: test
workload: work.py:train
parameters: {kind: {grid: [burn, sleep]}}
objective: {metric: score, mode: max}
meters: ["replay:trace.csv"]
idle_power_watts: {cpu: 20}
carbon: {grams_per_kwh: 360}
"""


def end_of_orphans() -> None:
    """Kill whatever was started with the test's own agent socket in its environment, and is still there."""
    needle = f"ENERGYSWEEP_SOCKET={os.environ['ENERGYSWEEP_SOCKET']}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if needle in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


def write_sweep(folder: Path) -> None:
    """Put a workload, a trace of 100 W, and sweep.yaml into a folder."""
    (folder / "work.py").write_text(WORK)
    (folder / "trace.csv").write_text(TRACE)
    (folder / "sweep.yaml").write_text(dedent(SWEEP))


def run_in(folder: Path, *overrides: str) -> Run:
    """Run a folder's sweep.yaml with some keys replaced, as ``--set`` would."""
    return run(load_spec(folder / "sweep.yaml", overrides), output=folder / "results", metrics_port=0)


@pytest.fixture
def sweep_folder(tmp_path: Path, agent_home: Path) -> Iterator[Path]:
    """A folder with a sweep.

    A test that fails, or runs out of time, leaves drivers, their Ray and their trials without an end: they get one.
    """
    write_sweep(tmp_path)
    yield tmp_path
    end_of_orphans()


@pytest.fixture
def run_sweep(sweep_folder: Path) -> Callable[..., Run]:
    """Runs sweep.yaml with some keys replaced."""
    return functools.partial(run_in, sweep_folder)


@contextmanager
def plain_ray(**settings: Any) -> Iterator[None]:
    """A Ray of this process without a sweep; its workers have the environment of this moment."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False, configure_logging=False, **settings)
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="session")
def sweep_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small sweep that is done, for all tests that look at one; they leave it as it is."""
    folder = tmp_path_factory.mktemp("done")
    write_sweep(folder)
    with home_of_an_agent():
        done = run_in(folder, "parameters={kind: sleep, seconds: 0.05}")
    assert done.succeeded, done.problems
    return done


@pytest.fixture
def done(sweep_of_this_session: Run, tmp_path: Path) -> Run:
    """A sweep that is done, in a run folder of this test's own."""
    folder = tmp_path / "results" / sweep_of_this_session.id
    shutil.copytree(sweep_of_this_session.folder, folder, symlinks=True)
    return replace(sweep_of_this_session, folder=folder)


def read_ledger(done: Run) -> LedgerData:
    with Ledger.open(done.folder / LEDGER) as ledger:
        return ledger.read()
