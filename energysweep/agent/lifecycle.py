"""How an agent comes up and goes: started in this process or in one of its own, replaced, ended."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from energysweep.accounting.books import SERIES_SECONDS
from energysweep.accounting.floors import FloorMemory
from energysweep.accounting.processes import read_process
from energysweep.agent.agent import Agent
from energysweep.agent.client import AgentClient, connected_to_socket, retire
from energysweep.agent.discovery import TargetsFile
from energysweep.agent.protocol import Hello, NetworkAddress, Place, agent_place, socket_path
from energysweep.agent.server import DEFAULT_PORT, LAST_SCRAPE_SECONDS, AgentServer, credentials, lock
from energysweep.agent.state import StateFile
from energysweep.core.errors import AgentError, AgentRunning, AgentUnreachable, InputError, LeaseRefused, OtherVersion
from energysweep.core.host import Host
from energysweep.core.inputs import seconds, variable_path
from energysweep.meters import open_meters


def _seconds_of(variable: str, default: float) -> float:
    """A duration that an environment variable may give.

    Raises:
        InputError: it is no number of seconds.
    """
    try:
        return seconds(os.environ.get(variable) or str(default))
    except ValueError as error:
        raise InputError(str(error), key=variable) from None


# End the agent at a socket, of whatever version: another one goes on from its state ----------------------------------

_TOLD_AGAIN_SECONDS = 5.0  # a trial may have started another one meanwhile; an old one may have slept through it


def end_agent(path: Path, seconds: float = 30.0) -> None:
    """Tell the agent that serves a socket to end, if there is one, and wait until it has.

    Unlike ``retire`` it asks nobody: a daemon ends, too, and one that is in use.

    Args:
        path: of the socket.
        seconds: how long it may take.

    Raises:
        AgentError: it is another user's, or of another pid namespace, or has not ended.
    """
    deadline = time.monotonic() + seconds
    told_at = -math.inf
    while True:
        try:
            lock(path).close()
        except AgentRunning as running:
            if time.monotonic() > deadline:
                raise AgentError(f"{running}, and does not end") from running
        else:
            return
        pid = _listener(path)  # none while it starts or ends
        if pid is not None and time.monotonic() - told_at > _TOLD_AGAIN_SECONDS:
            told_at = time.monotonic()
            _terminate(pid, path)
        time.sleep(0.05)


def _listener(path: Path) -> int | None:
    """The process that listens on a socket, as the kernel has it."""
    try:
        with connected_to_socket(path) as connection:
            return credentials(connection)[0]
    except OSError:
        return None


def _terminate(pid: int, path: Path) -> None:
    if pid == 0:
        raise AgentError(f"the agent at {path} runs in another pid namespace: it has to be ended there")
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise AgentError(
            f"the agent at {path} (process {pid}) is another user's: it has to be ended by that one"
        ) from error


# Serve in this process -----------------------------------------------------------------------------------------------

_MAX_SOCKET_BYTES = 107  # unix(7): sun_path has 108, with the null byte


def start_agent(
    meters: Sequence[str] = ("auto",),
    *,
    host: Host | None = None,
    path: Path | None = None,
    address: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    linger_seconds: float | None = None,
    lease_port: int | None = None,
    advertised: str | None = None,
    targets_file: TargetsFile | None = None,
    last_scrape_seconds: float = LAST_SCRAPE_SECONDS,
    series_seconds: float | None = None,
    replace: bool = False,
) -> AgentServer:
    """An agent that serves this host from now on, in threads of this process, which should do nothing else.

    Args:
        meters: kinds of meters, as in ``open_meters``.
        host: the host; this one if None.
        path: of its Unix socket; the usual one if None.
        address, port, linger_seconds, lease_port, advertised, targets_file, last_scrape_seconds: as in ``AgentServer``.
        series_seconds: how long the series of a trial that has ended stay; None: ENERGYSWEEP_SERIES_SECONDS, or 300.
        replace: end the agent that serves this host, once nothing but its place is missing.

    Raises:
        InputError, MeterUnavailable: no such meter; ENERGYSWEEP_SERIES_SECONDS is no number.
        AgentRunning: another agent serves this host.
        AgentError: it does not make way; or as ``AgentServer`` says.
    """
    host = host or Host.here()
    if series_seconds is None:
        series_seconds = _seconds_of("ENERGYSWEEP_SERIES_SECONDS", SERIES_SECONDS)
    process = read_process(host.proc_root, os.getpid())
    opened = open_meters(meters, host)
    own = process.root if process else None
    path = path or socket_path()
    if len(os.fsencode(path)) > _MAX_SOCKET_BYTES:
        raise InputError(f"is too long for a socket: at most {_MAX_SOCKET_BYTES} bytes", file=str(path))
    state = StateFile(path.with_name(f"{path.stem}-state-{host.boot_id}.json"))
    floors = FloorMemory(_floors_path(host.node))
    agent = Agent(host, opened, meters, floors, own, state=state, series_seconds=series_seconds)
    server = AgentServer(
        agent,
        path,
        address,
        port,
        linger_seconds,
        lease_port=lease_port,
        advertised=advertised,
        targets_file=targets_file,
        last_scrape_seconds=last_scrape_seconds,
    )
    try:
        if replace:
            end_agent(path)
        server.start()
    except BaseException:
        opened.close()
        raise
    return server


def _floors_path(node: str) -> Path:
    """What an agent remembers between runs, of a node by name; ENERGYSWEEP_STATE names the folder."""
    variable = "ENERGYSWEEP_STATE" if os.environ.get("ENERGYSWEEP_STATE") else "XDG_STATE_HOME"
    folder = variable_path(variable, os.environ.get(variable) or "~/.local/state")
    return folder / "energysweep" / f"floors-{re.sub(r'[^A-Za-z0-9._-]', '_', node)}.json"


# Connect to this host's agent; start one if there is none ------------------------------------------------------------
#
# It is started as a process of its own, detached from the one that needs it first: it outlives a Ray session, so that
# two sweeps may share it and Prometheus sees their last values; it needs neither Ray nor torch; it keeps no node busy
# for an autoscaler; and it does not wait for the interpreter lock of the code that it meters.

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
    return _seconds_of("ENERGYSWEEP_LINGER", SERIES_SECONDS)


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
        AgentUnreachable: none answers, and none can be started; with the reason.
        LeaseRefused: the one that is there says no, or is of another version and cannot be replaced.
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
            raise LeaseRefused(f"{version}; it cannot be replaced: {error}") from error
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
        _spawn_agent(meters, port, bind, linger_seconds())
        try:
            return AgentClient(socket_path(), hello)
        except (AgentUnreachable, OtherVersion):  # one that is about to end still holds the lock, and may still answer
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _spawn_agent(meters: Sequence[str], port: int, bind: str, linger: float) -> None:
    """An agent in a process of its own. Returns when it serves, or when another one does.

    Args:
        meters: kinds of meters.
        port, bind: for HTTP.
        linger: it ends when nobody has needed it for so many seconds.

    Raises:
        InputError: no such meter here; with the hint how to get it.
        AgentUnreachable: it did not start; with its reason.
    """
    command = [sys.executable, "-m", "energysweep", "agent", "--detach", "--socket", str(socket_path())]
    command += ["--port", str(port), "--bind", bind, "--linger", str(linger)]
    for meter in meters:
        command += ["--meter", meter]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:  # no memory, process or open file is left
        raise AgentUnreachable(f"no agent can be started: {error.strerror or error}") from error
    if done.returncode in (0, EXIT_ALREADY_RUNNING):
        return
    said = done.stderr.strip().removeprefix("energysweep: ")
    if done.returncode == 2:
        raise InputError(said)
    raise AgentUnreachable(f"no agent can be started: {said or f'it ended with exit code {done.returncode}'}")
