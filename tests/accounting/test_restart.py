"""A real agent of a CPU that is said to draw 100 W is killed, or told to end, and started again."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from energysweep.agent.client import AgentClient
from energysweep.agent.lifecycle import end_agent, start_agent
from energysweep.agent.protocol import Hello
from energysweep.agent.server import lock
from energysweep.agent.web import Scrapes
from energysweep.core.errors import AgentError
from tests.support.ports import free_port
from tests.support.web import get

TRACE = "time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n"
Start = Callable[..., subprocess.Popen[str]]

# Works all the time. For each line that it is told it connects anew and opens its lease, always of the same id.
CLIENT = """
import sys, threading
from pathlib import Path
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Hello, Open
def burn():
    while True: pass
threading.Thread(target=burn, daemon=True).start()
for _ in sys.stdin:
    client = AgentClient(Path(sys.argv[1]), Hello(run="r"))
    print(client.ask(Open(lease="l", trial="t", cpus=1))["energy_joules"], flush=True)
"""


@pytest.fixture
def start(agent_home: Path) -> Iterator[Start]:
    """Starts an agent, with options of its own, and waits until it serves."""
    trace = agent_home / "trace.csv"
    trace.write_text(TRACE)
    command = [sys.executable, "-m", "energysweep", "agent", "--meter", f"replay:{trace}"]
    command += ["--port", str(free_port())]  # one of the kernel's choice somebody may take while no agent runs
    running: list[subprocess.Popen[str]] = []

    def started(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stderr is not None
        while "serving" not in (line := process.stderr.readline()):
            assert line, "it ended"
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def trial(agent_home: Path) -> Iterator[Callable[[], float]]:
    """A process that works; calling it makes it open its lease and tells what the trial has cost."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(agent_home / "agent.sock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def opened() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("open\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    yield opened
    process.kill()
    process.communicate()


def totals(url: str, since: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(get(f"{url}/v1/totals?run=r&since={since}"))
    return answer


def booked(answer: dict[str, Any]) -> dict[tuple[str, ...], float]:
    return {tuple(key): joules for *key, joules in answer["energy"]}


def counters(text: str) -> dict[str, float]:
    """The joules of a scrape."""
    samples = (line.rpartition(" ") for line in text.splitlines() if "_joules_total{" in line)
    return {name: float(value) for name, _, value in samples}


def test_an_agent_that_was_killed_goes_on_and_books_the_gap_once(
    agent_home: Path, start: Start, trial: Callable[[], float]
) -> None:
    first = start()
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    assert trial() == 0.0
    time.sleep(1.5)
    url = driver.agent["url"]
    before, scraped = totals(url), counters(get(f"{url}/metrics"))
    first.send_signal(signal.SIGKILL)
    first.wait()
    driver.close()
    time.sleep(1.5)

    start()
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    assert (driver.agent["window"], driver.agent["url"]) == (before["window"], url)
    spent = sum(joules for key, joules in booked(before).items() if key[2] == "l")
    assert trial() >= spent  # the lease of the same id
    after, scraped_again = totals(url), counters(get(f"{url}/metrics"))
    assert scraped_again.keys() >= scraped.keys()
    assert all(scraped_again[name] >= joules for name, joules in scraped.items())
    assert all(booked(after)[key] >= joules for key, joules in booked(before).items())

    time.sleep(0.5)
    driver.close_window()
    end = totals(url)
    driver.close()
    (meter,) = end["meters"]
    joules, window_seconds, covered_seconds = meter[6], meter[7], meter[8]
    assert window_seconds > 3.5
    # A third of the gap, which is booked, too, and once.
    assert joules == pytest.approx(100 * window_seconds, abs=50)
    assert covered_seconds == pytest.approx(window_seconds, abs=0.5)
    assert sum(booked(end).values()) == pytest.approx(joules, rel=1e-9)
    (lease,) = end["leases"]
    assert (lease[0], lease[4]) == ("l", "t")
    held_seconds, cpu_seconds = lease[9], lease[11]
    assert held_seconds > 3.5  # before, while and after the agent was away
    assert 0.01 * held_seconds < cpu_seconds < 1.1 * held_seconds  # others may use this machine


def test_an_agent_that_is_told_to_end_serves_one_more_scrape_with_its_last_reading(
    agent_home: Path, start: Start
) -> None:
    trace = agent_home / "trace.csv"  # the fixture's
    server = start_agent([f"replay:{trace}"], path=agent_home / "agent.sock", port=0, last_scrape_seconds=60.0)
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    earlier = last = counters(get(f"{server.url}/metrics"))
    scraped_at = time.monotonic()
    time.sleep(0.5)
    told_at = time.monotonic()
    stopping = Thread(target=server.stop)
    stopping.start()
    while stopping.is_alive():
        stopping.join(0.5)  # until the scraper's next turn
        with contextlib.suppress(OSError):  # it serves no more
            last = counters(get(f"{server.url}/metrics"))
    assert time.monotonic() - told_at < 60.0
    (name,) = (name for name in last if name.startswith("energysweep_node_energy"))
    assert last[name] > earlier[name] + 100 * (told_at - scraped_at) - 1
    driver.close()

    start()
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    assert counters(get(f"{driver.agent['url']}/metrics"))[name] >= last[name]
    driver.close()


def test_an_agent_that_nobody_scrapes_ends_and_leaves_its_state(agent_home: Path, start: Start) -> None:
    agent = start()
    AgentClient(agent_home / "agent.sock", Hello(run="r")).close()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=30) == 0
    (state,) = agent_home.glob("agent-state-*.json")
    assert json.loads(state.read_text().splitlines()[0])["books"]["windows"][0]["run"] == "r"
    assert not (agent_home / "agent.sock").exists()


def test_only_a_scrape_that_begins_after_the_last_reading_counts() -> None:
    now = [100.0]
    scrapes = Scrapes(lambda: now[0])
    watched = scrapes.of(lambda _environ, _start: [b"metrics"])
    begin: Any = None  # the application above never begins an answer
    assert not scrapes.wait_for_one(0.0)  # nobody scrapes
    answer = watched({"PATH_INFO": "/metrics"}, begin)
    assert list(answer) == [b"metrics"]
    now[0] = 110.0
    answer.close()  # type: ignore[attr-defined]  # as a WSGI server does
    assert not scrapes.wait_for_one(0.0)
    assert watched({"PATH_INFO": "/healthz"}, begin) == [b"metrics"]
    assert not scrapes.wait_for_one(0.0)


def test_an_agent_that_is_told_another_port_takes_that_one(agent_home: Path) -> None:
    trace = agent_home / "trace.csv"
    trace.write_text(TRACE)
    ports = []
    for asked in (0, 0, free_port()):
        server = start_agent([f"replay:{trace}"], path=agent_home / "agent.sock", port=asked)
        server.agent.open_window("r")
        ports.append(urlsplit(server.url).port)
        server.stop()
    assert ports == [ports[0], ports[0], asked]


def test_an_agent_that_replaces_another_one_goes_on_from_its_state(agent_home: Path, start: Start) -> None:
    earlier = start()
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))  # it is in use, and a daemon
    url, scraped = driver.agent["url"], counters(get(f"{driver.agent['url']}/metrics"))
    later = start("--replace")
    assert earlier.wait(timeout=30) == 0
    assert later.poll() is None
    driver.close()
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    assert driver.agent["url"] == url
    scraped_again = counters(get(f"{url}/metrics"))
    assert scraped_again.keys() >= scraped.keys()
    assert all(scraped_again[name] >= joules for name, joules in scraped.items())
    driver.close()


def test_what_cannot_start_ends_no_other_agent(agent_home: Path, start: Start) -> None:
    running = start()
    command = [sys.executable, "-m", "energysweep", "agent", "--replace", "--meter", "wattmeter"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2, refused.stderr
    assert "wattmeter" in refused.stderr
    assert running.poll() is None
    AgentClient(agent_home / "agent.sock", Hello(run="r")).close()


def test_where_no_agent_runs_there_is_none_to_replace(agent_home: Path, start: Start) -> None:
    first = start("--replace")
    driver = AgentClient(agent_home / "agent.sock", Hello(run="r"))
    assert driver.agent["daemon"]
    driver.close()
    assert first.poll() is None


def test_an_agent_that_does_not_end_is_named(agent_home: Path) -> None:
    path = agent_home / "agent.sock"
    with lock(path), pytest.raises(AgentError, match=r"already serves this host at .*agent.sock, and does not end"):
        end_agent(path, seconds=0.2)  # nobody answers there
    end_agent(path)
