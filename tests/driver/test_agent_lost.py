"""An agent that goes away, or is another one now, ends no trial and no sweep, and others are asked on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from energysweep.accounting.accounts import Sweep
from energysweep.agent.client import AgentClient
from energysweep.agent.lifecycle import start_agent
from energysweep.agent.protocol import Hello
from energysweep.agent.remote import RemoteAgent
from energysweep.agent.server import AgentServer
from energysweep.core.runfolder import LEDGER
from energysweep.driver.poller import AgentLink, Poller
from energysweep.driver.run import Run
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.tune.metering import Metering
from tests.support.fake_clock import FakeClock
from tests.support.sweeps import TRACE, read_ledger

# The agent of its host is replaced by one with other meters, which is there to stay. It is no child of the trial's
# process: Ray ends those with it.
REPLACED = """
import pathlib, subprocess, sys, time
from ray import tune

COMMAND = 'cd "$1"; setsid "$2" -m energysweep agent --replace --meter replay:other.csv --port 0 2>said & echo $! >pid'


def train(config):
    tune.report({"score": 1})
    if config["replace"]:
        subprocess.run(["sh", "-c", COMMAND, "sh", config["folder"], sys.executable], check=True)
        said = pathlib.Path(config["folder"]) / "said"
        while not said.exists() or "serving" not in said.read_text():
            time.sleep(0.1)
    tune.report({"score": 2})
    tune.report({"score": 3})
"""


class Registered:
    """A registry with these agents."""

    def __init__(self, *urls: str) -> None:
        self.urls = list(urls)

    def register_agent(self, host: str, url: str) -> None:
        self.urls = [url]

    def agents(self) -> list[str]:
        return self.urls


@pytest.fixture
def served(agent_home: Path) -> Iterator[Callable[[str], AgentServer]]:
    """Serves at this host's socket with a replay of this name."""
    servers: list[AgentServer] = []

    def serve(name: str) -> AgentServer:
        (agent_home / name).write_text(TRACE)
        server = start_agent([f"replay:{agent_home / name}"], path=agent_home / "agent.sock", port=0)
        servers.append(server)
        return server

    yield serve
    for server in servers:
        with contextlib.suppress(Exception):
            server.stop()


def test_a_driver_whose_agent_is_another_one_now_goes_on_and_is_heard_again_later(
    agent_home: Path, served: Callable[[str], AgentServer]
) -> None:
    first = served("own.csv")
    metering = Metering(run="r", meters=(f"replay:{agent_home / 'own.csv'}",), is_cluster=False, port=0)
    link = AgentLink(metering, Registered())  # type: ignore[arg-type]
    first.stop()
    other = served("other.csv")
    using = AgentClient(agent_home / "agent.sock", Hello(run="somebody else's"))
    link.close_trial("t", is_over=True)
    link.update(Sweep(zone="s"))
    link.close_window()
    assert link.url == first.url

    using.close()
    other.stop()
    again = served("own.csv")
    link.update(Sweep(zone="s"))
    assert link.url == again.url
    link.close()


def poller_of(
    ledger: Ledger, polled: Callable[[], None], *urls: str, clock: Callable[[], float] = time.monotonic
) -> Poller:
    own: Any = SimpleNamespace(url="http://127.0.0.1:1")
    state = RunState()
    return Poller(
        Intake(ledger, state), state, 0.0, polled, own, Registered(*urls), lambda url: RemoteAgent(url, "r", "k"), clock
    )


def test_whatever_goes_wrong_after_a_poll_the_agents_are_asked_on_and_it_is_counted(tmp_path: Path) -> None:
    polls = 0
    third = threading.Event()

    def polled() -> None:
        nonlocal polls
        polls += 1
        if polls == 3:
            third.set()
        else:
            raise RuntimeError("Ray's head is restarted")

    with Ledger.create(tmp_path / LEDGER) as ledger:
        poller = poller_of(ledger, polled)
        poller.start()
        assert third.wait(120)
        poller.stop()
    assert poller.failures == 2
    assert poller.problem is None


def test_an_agent_that_is_killed_while_it_answers_is_one_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Ledger.create(tmp_path / LEDGER) as ledger:

        def answer() -> None:
            for said in (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b"nonsense\r\n\r\n"):
                connection, _ = server.accept()
                connection.recv(10_000)
                connection.sendall(said)
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        clock = FakeClock(0.0)
        poller = poller_of(ledger, lambda: None, f"http://127.0.0.1:{server.getsockname()[1]}", clock=clock)
        poller.poll()
        clock.advance(1.0)
        poller.poll()
        thread.join()
        assert (poller.notes, ledger.read().energy) == ({}, [])


@pytest.mark.ray
@pytest.mark.slow
def test_trials_go_on_unmeasured_where_the_agent_is_one_that_measures_with_other_meters(
    sweep_folder: Path, run_sweep: Callable[..., Run]
) -> None:
    (sweep_folder / "work.py").write_text(REPLACED)
    (sweep_folder / "other.csv").write_text(TRACE)
    try:
        done = run_sweep(
            f"parameters={{folder: {sweep_folder}, replace: {{grid: [true, false]}}}}", "max_concurrent_trials=1"
        )
    finally:
        os.kill(int((sweep_folder / "pid").read_text()), signal.SIGKILL)
    assert done.problems == ()
    data = read_ledger(done)
    assert {trial.status for trial in data.trials} == {"completed"}
    by_replace = {trial.parameters["replace"]: trial.trial for trial in data.trials}
    of = {replace: [row for row in data.results if row.trial == trial] for replace, trial in by_replace.items()}
    assert [row.metrics["score"] for row in of[True]] == [row.metrics["score"] for row in of[False]] == [1, 2, 3]
    measured = of[True][0].energy_joules
    assert measured is not None
    assert [row.energy_joules for row in of[True]] == [measured] * 3  # no more is known of it
    assert [row.energy_joules for row in of[False]] == [None] * 3  # and nothing of this one: that is not 0
    assert "measures with" in (done.folder / "ray.log").read_text()
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["status"] == "done"
