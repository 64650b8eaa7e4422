"""Start an agent in this process: find its meters, its state, its socket."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from energysweep.agent.agent import Agent
from energysweep.agent.books import SERIES_SECONDS
from energysweep.agent.discovery import TargetsFile
from energysweep.agent.environment import seconds_of
from energysweep.agent.floors import FloorMemory
from energysweep.agent.processes import read_process
from energysweep.agent.protocol import socket_path
from energysweep.agent.replace import end_agent
from energysweep.agent.server import DEFAULT_PORT, LAST_SCRAPE_SECONDS, AgentServer
from energysweep.agent.state import StateFile
from energysweep.errors import InputError
from energysweep.host import Host
from energysweep.inputs import variable_path
from energysweep.meters import open_meters

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
        series_seconds = seconds_of("ENERGYSWEEP_SERIES_SECONDS", SERIES_SECONDS)
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
