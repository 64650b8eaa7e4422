"""The agent's CPU time with eight trials, against a CodeCarbon tracker in each of eight trials.

Every trial is a process that does nothing but be measured, so that all its CPU time is the measuring's.
"""

from __future__ import annotations

import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

SPAWN = multiprocessing.get_context("spawn")
Process = Callable[..., None]


class Child:
    """A process that answers over a pipe, and ends when it is closed."""

    def __init__(self, work: Process, *arguments: Any) -> None:
        self.pipe, its_end = SPAWN.Pipe()
        self._process = SPAWN.Process(target=work, args=(its_end, *arguments), daemon=True)
        self._process.start()
        its_end.close()  # so that a child that died is the end of the pipe

    def close(self) -> None:
        """Tell it to end, and wait until it has."""
        self.pipe.send("end")
        self._process.join()


def agent(pipe: Connection, socket: Path) -> None:
    """Be the agent; answer each message with the CPU seconds used so far."""
    from energysweep.agent.lifecycle import start_agent  # noqa: PLC0415  (only this child needs it)

    server = start_agent(path=socket, port=0)
    pipe.send("ready")
    while pipe.recv() != "end":
        pipe.send(time.process_time())
    server.stop()


def leased_trial(pipe: Connection, seconds: float, socket: Path, reports: bool) -> None:
    """Be a trial with a lease, which perhaps reports once a second."""
    began = time.perf_counter()
    from energysweep.agent.client import AgentClient  # noqa: PLC0415  (timed)
    from energysweep.agent.protocol import Hello  # noqa: PLC0415  (timed)

    client = AgentClient(socket, Hello(run="benchmark"))
    lease = client.open(f"trial-{time.monotonic_ns()}", cpus=0.25)
    pipe.send(time.perf_counter() - began)
    pipe.recv()
    before = time.process_time()
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        if reports:
            lease.report({"accuracy": 0.5})
    pipe.send(time.process_time() - before)
    pipe.recv()
    lease.close()
    client.close()


def tracked_trial(pipe: Connection, seconds: float, every_seconds: float) -> None:
    """Be a trial with a CodeCarbon tracker, which measures every so many seconds."""
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    from codecarbon import OfflineEmissionsTracker  # noqa: PLC0415  (timed)

    tracker = OfflineEmissionsTracker(country_iso_code="DEU", measure_power_secs=every_seconds, save_to_file=False)
    tracker.start()
    pipe.send(time.perf_counter() - began)
    pipe.recv()
    before = time.process_time()
    time.sleep(seconds)
    pipe.send(time.process_time() - before)
    pipe.recv()
    tracker.stop()


def bench_agent(trials: int = 8, seconds: float = 30.0, starts: int = 5) -> list[Row]:
    """CPU time of both over the same time, and what each adds to a trial's start (import included)."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "agent.sock"
        server = Child(agent, socket)
        server.pipe.recv()
        lease_start = statistics.median(_start_seconds(leased_trial, socket, False) for _ in range(starts))
        quiet = _agent_cpu_seconds(server, trials, seconds, socket, reports=False)
        reporting = _agent_cpu_seconds(server, trials, seconds, socket, reports=True)
        server.close()
    tracker_start = statistics.median(_start_seconds(tracked_trial, 1.0) for _ in range(starts))
    # Every second, as the agent reads its meters; and every 15 seconds, CodeCarbon's default.
    every_1, every_15 = (_tracker_cpu_seconds(trials, seconds, every) for every in (1.0, 15.0))

    def row(what: str, ours: float, theirs: float, goal: float | None = None) -> Row:
        return Row(what, f"{ours:.3f} s", f"{theirs:.3f} s", ours / theirs, goal)

    of_trackers = f"against {trials} CodeCarbon trackers"
    return [
        row(f"CPU in {seconds:g} s, {trials} trials, {of_trackers} every 1 s", quiet, every_1, goal=0.1),
        row(f"the same, {of_trackers} every 15 s", quiet, every_15),
        row(f"the same with a report a second from each trial, {of_trackers} every 1 s", reporting, every_1),
        row("what a trial's start takes longer, against a CodeCarbon tracker", lease_start, tracker_start),
    ]


def _agent_cpu_seconds(server: Child, trials: int, seconds: float, socket: Path, reports: bool) -> float:
    """What the agent and its trials used together while the trials ran; as for the trackers, without their start."""
    children = _started(trials, leased_trial, seconds, socket, reports)
    server.pipe.send("cpu seconds?")
    before = float(server.pipe.recv())
    in_trials = _run(children)
    server.pipe.send("cpu seconds?")
    used = float(server.pipe.recv()) - before + in_trials
    _end(children)
    return used


def _tracker_cpu_seconds(trials: int, seconds: float, every_seconds: float) -> float:
    children = _started(trials, tracked_trial, seconds, every_seconds)
    used = _run(children)
    _end(children)
    return used


def _started(trials: int, work: Process, *arguments: Any) -> list[Child]:
    children = [Child(work, *arguments) for _ in range(trials)]
    for child in children:
        child.pipe.recv()
    return children


def _run(children: list[Child]) -> float:
    """Let them all run now; the CPU seconds that they used meanwhile."""
    for child in children:
        child.pipe.send("go")
    return sum(float(child.pipe.recv()) for child in children)


def _end(children: list[Child]) -> None:
    for child in children:
        child.close()


def _start_seconds(work: Process, *arguments: Any) -> float:
    """How long one trial by itself takes from nothing to being measured."""
    child = Child(work, 0.0, *arguments)
    start_seconds = float(child.pipe.recv())
    _run([child])
    child.close()
    return start_seconds
