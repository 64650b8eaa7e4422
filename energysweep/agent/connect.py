"""Talk to this host's agent; start one if there is none.

It is started as a process of its own, detached from the one that needs it first: it outlives a Ray session, so that two
sweeps may share it and Prometheus sees their last values; it needs neither Ray nor torch; it keeps no node busy for an
autoscaler; and it does not wait for the interpreter lock of the code that it meters.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from energysweep.agent.books import SERIES_SECONDS
from energysweep.agent.client import AgentClient, retire
from energysweep.agent.environment import seconds_of
from energysweep.agent.protocol import Hello, NetworkAddress, Place, agent_place, socket_path
from energysweep.agent.server import DEFAULT_PORT
from energysweep.errors import AgentError, AgentUnreachable, InputError, LeaseRefused, OtherVersion

EXIT_ALREADY_RUNNING = 3
LOOPBACK = "127.0.0.1"
_RETIRES_WITHIN_SECONDS = 30.0  # on a host that is busy with trials
_PAUSES = 20  # times as long as it took to find out that nobody answers


def linger_seconds() -> float:
    """How long an agent stays that nobody needs: as long as its series. ENERGYSWEEP_LINGER.

    A Prometheus that looks for targets once a minute, and scrapes once a minute, still has the last values.

    Raises:
        InputError: it is no number of seconds.
    """
    return seconds_of("ENERGYSWEEP_LINGER", SERIES_SECONDS)


def connect(
    hello: Hello, meters: Sequence[str] = ("auto",), port: int = DEFAULT_PORT, bind: str = LOOPBACK
) -> AgentClient:
    """Talk to this host's agent; start one if there is none, or if the one that lingers will not do.

    An agent on the network (ENERGYSWEEP_AGENT) is somebody's daemon: none is started beside it.

    Args:
        hello: what this process says first.
        meters: kinds of meters. A daemon keeps its own; ``auto`` takes what it has.
        port: for HTTP, if one has to be started.
        bind: what HTTP has to listen on: a driver on another host cannot ask a loopback address.

    Raises:
        AgentUnreachable, LeaseRefused
        InputError: no such meter, or the agent in use has others or listens elsewhere; ENERGYSWEEP_LINGER is no
            number.
    """
    place = agent_place()
    if isinstance(place, NetworkAddress):
        return _connect_to_daemon(place, hello, meters, bind)
    try:
        client = AgentClient(place, hello)
    except AgentUnreachable:
        return _connect_to_new(hello, meters, port, bind)
    except OtherVersion as version:
        try:
            retire(place)
        except LeaseRefused as error:
            raise AgentError(f"{version}; it cannot be replaced: {error}") from error
        except AgentUnreachable:
            pass  # it was about to end anyhow
        return _connect_to_new(hello, meters, port, bind)
    problem = _unfit(client.agent, meters, bind)
    if problem is None:
        return client
    try:
        client.retire()
    except LeaseRefused as error:
        raise InputError(f"this host's agent {problem}, and cannot be replaced: {error}", key="meters") from error
    except AgentUnreachable:
        pass  # it was about to end anyhow
    finally:
        client.close()
    return _connect_to_new(hello, meters, port, bind)


_silent_until: dict[Place, float] = {}


def _connect_to_daemon(place: NetworkAddress, hello: Hello, meters: Sequence[str], bind: str) -> AgentClient:
    """Talk to an agent on the network. One that does not answer is asked for a twentieth of the time at most.

    Every report of a trial asks again, and where a node has no agent its packets may be dropped without an answer.
    """
    began = time.monotonic()
    if began < _silent_until.get(place, began):
        raise AgentUnreachable(f"no agent answers at {place}; asked again in a while")
    try:
        client = AgentClient(place, hello)
    except AgentUnreachable:
        now = time.monotonic()
        _silent_until[place] = now + _PAUSES * (now - began)
        raise
    problem = _unfit(client.agent, meters, bind)
    if problem is not None:
        client.close()
        raise InputError(f"the agent at {place} {problem}; it is started with --meter and --advertise")
    return client


def _unfit(agent: Mapping[str, Any], meters: Sequence[str], bind: str) -> str | None:
    """Why the agent that runs will not do; None if it will."""
    if bind != LOOPBACK and urlsplit(agent["url"]).hostname == LOOPBACK:
        return f"answers only on {LOOPBACK}, not on {bind}"
    if list(meters) != agent["meters"] and not (agent["daemon"] and list(meters) == ["auto"]):
        return f"measures with {', '.join(agent['meters'])}, not with {', '.join(meters)}"
    return None


def _connect_to_new(hello: Hello, meters: Sequence[str], port: int, bind: str) -> AgentClient:
    deadline = time.monotonic() + _RETIRES_WITHIN_SECONDS
    while True:
        spawn_agent(meters, port, bind, linger_seconds())
        try:
            return AgentClient(socket_path(), hello)
        except (AgentUnreachable, OtherVersion):  # one that is about to end still holds the lock, and may still answer
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def spawn_agent(meters: Sequence[str], port: int, bind: str, linger: float) -> None:
    """An agent in a process of its own. Returns when it serves, or when another one does.

    Args:
        meters: kinds of meters.
        port, bind: for HTTP.
        linger: it ends when nobody has needed it for so many seconds.

    Raises:
        InputError: no such meter here; with the hint how to get it.
        AgentError: it did not start; with its reason.
    """
    command = [sys.executable, "-m", "energysweep", "agent", "--detach", "--socket", str(socket_path())]
    command += ["--port", str(port), "--bind", bind, "--linger", str(linger)]
    for meter in meters:
        command += ["--meter", meter]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:  # no memory, process or open file is left
        raise AgentError(f"no agent can be started: {error.strerror or error}") from error
    if done.returncode in (0, EXIT_ALREADY_RUNNING):
        return
    said = done.stderr.strip().removeprefix("energysweep: ")
    if done.returncode == 2:
        raise InputError(said)
    raise AgentError(said or f"the agent ended with exit code {done.returncode}")
