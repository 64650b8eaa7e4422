"""What programs say to the agent: one JSON object per line over the Unix socket or TCP, one answer line each.

An answer has ``ok``; if that is false, ``error`` is the reason. Over the socket the kernel names the process that
speaks; over TCP it has to prove who it is (``proof``).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from energysweep.agent.accounts import Sweep
from energysweep.agent.shown import SHOWN_RESULTS
from energysweep.errors import InputError
from energysweep.meters.base import Component

PROTOCOL = 1  # raised with every change that an agent or a program of another version would misunderstand

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]

_LONGEST_LABEL = 300
_MOST_ENTRIES = 32
_MOST_AGENTS = 1024

_Label = Annotated[str, Field(max_length=_LONGEST_LABEL)]
AGENTS: TypeAdapter[dict[str, str]] = TypeAdapter(Annotated[dict[_Label, _Label], Field(max_length=_MOST_AGENTS)])
"""The names of nodes by address of all agents of a sweep."""


def _short(sweep: Sweep) -> Sweep:
    """The texts become labels, the entries series, and the agents targets."""
    for field in dataclasses.fields(sweep):
        value = getattr(sweep, field.name)
        entries = len(value) if isinstance(value, dict | list) else 0
        most = _MOST_AGENTS if field.name == "agents" else _MOST_ENTRIES
        if entries > most or any(len(text) > _LONGEST_LABEL for text in _texts(value)):
            raise ValueError(f"{field.name} is too long: {most} entries, {_LONGEST_LABEL} characters")
    return sweep


def _texts(value: object) -> list[str]:
    """All texts in a field of a sweep."""
    if isinstance(value, dict):
        value = (*value, *value.values())
    elif isinstance(value, list):
        value = tuple(each for entry in value for each in entry)
    return [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]


ShownSweep = Annotated[Sweep, AfterValidator(_short)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Request):
    """What a process says of itself over TCP: its pid as it sees it, and its start in clock ticks after boot."""

    pid: Annotated[int, Field(ge=1)]
    started: Annotated[int, Field(ge=0)]


class Hello(_Request):
    """First words: the process belongs to a run. Opens the run's window if there is none."""

    op: Literal["hello"] = "hello"
    run: Name
    protocol: int = PROTOCOL
    key: str = Field("", max_length=200, repr=False)
    """Of the run, see ``keys``."""
    idle_power_watts: dict[Component, Share] = {}
    sweep: ShownSweep | None = None
    quiet: bool = False
    """Measure the idle floors first (two seconds), if the host is quiet and they are not known better."""
    process: Claim | None = None
    """Over TCP: who says so."""


class Prove(_Request):
    """The process calls itself now as the agent has asked it to: /proc/PID/comm, which only itself can write."""

    op: Literal["prove"] = "prove"


class Open(_Request):
    """Open a lease for the speaking process's tree."""

    op: Literal["open"] = "open"
    lease: Name
    trial: Name
    cpus: Share = 0.0
    gpus: Annotated[dict[Name, Fraction], Field(max_length=64)] = {}
    config: str = Field("", max_length=300)
    hardware: str = Field("", max_length=100)


class Report(_Request):
    """Ask what the lease's trial has cost; tell a few of its results for the dashboards."""

    op: Literal["report"] = "report"
    lease: Name
    results: Annotated[dict[Name, float], Field(max_length=SHOWN_RESULTS)] = {}


class Close(_Request):
    """Close a lease of this connection."""

    op: Literal["close"] = "close"
    lease: Name


class CloseTrial(_Request):
    """The driver knows that a trial of its run has ended."""

    op: Literal["close_trial"] = "close_trial"
    trial: Name
    is_over: bool = False
    """No other lease of it will follow."""


class Update(_Request):
    """The driver tells how its sweep stands."""

    op: Literal["update"] = "update"
    sweep: ShownSweep


class CloseWindow(_Request):
    """The driver's sweep is over: take a last reading, count no further."""

    op: Literal["close_window"] = "close_window"


class Retire(_Request):
    """Make way for an agent with other meters or of another version, if nobody needs this one. Needs no hello."""

    op: Literal["retire"] = "retire"


Request = Hello | Prove | Open | Report | Close | CloseTrial | Update | CloseWindow | Retire
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class NetworkAddress(NamedTuple):
    """Where an agent takes leases over TCP."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Place = Path | NetworkAddress

DAEMON_SOCKET = Path("/run/energysweep/agent.sock")


def agent_place() -> Place:
    """Where a program finds its host's agent: at ENERGYSWEEP_AGENT, HOST:PORT, if it is set; else at a socket.

    Raises:
        InputError: it is no address.
    """
    named = os.environ.get("ENERGYSWEEP_AGENT")
    if not named:
        return socket_path()
    try:
        parts = urlsplit(f"//{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or not port or parts.netloc != named or "@" in named:
        raise InputError(f"{named!r} is no address: HOST:PORT, such as agent.energysweep:9771", key="ENERGYSWEEP_AGENT")
    return NetworkAddress(host, port)


def socket_path() -> Path:
    """Where a program looks for the agent of this host.

    ENERGYSWEEP_SOCKET names it. Otherwise it is root's daemon, if there is one, or the one of this user.
    """
    if named := os.environ.get("ENERGYSWEEP_SOCKET"):
        return Path(named)
    return DAEMON_SOCKET if os.access(DAEMON_SOCKET, os.W_OK) else _socket_of_user()


def daemon_socket_path() -> Path:
    """Where a daemon listens that was started by hand: for every user if it is root's."""
    if "ENERGYSWEEP_SOCKET" in os.environ:
        return socket_path()
    return DAEMON_SOCKET if os.getuid() == 0 else _socket_of_user()


def _socket_of_user() -> Path:
    return Path(tempfile.gettempdir()) / f"energysweep-{os.getuid()}" / "agent.sock"
