"""What programs say to the agent: one JSON object per line over the Unix socket, one answer line each.

An answer has ``ok``; if that is false, ``error`` is the reason. Who speaks is the process that the kernel names.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from energysweep.agent.accounts import Sweep
from energysweep.meters.base import Component

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hello(_Request):
    """First words: the process belongs to a run. Opens the run's window if there is none."""

    op: Literal["hello"] = "hello"
    run: Name
    idle_power_watts: dict[Component, Share] = {}
    sweep: Sweep | None = None
    quiet: bool = False
    """Measure the idle floors first (two seconds), if the host is quiet and they are not known better."""


class Open(_Request):
    """Open a lease for the speaking process's tree."""

    op: Literal["open"] = "open"
    lease: Name
    trial: Name
    cpus: Share = 0.0
    gpus: dict[str, Share] = {}
    config: str = Field("", max_length=300)
    hardware: str = Field("", max_length=100)


class Report(_Request):
    """Ask what the lease's trial has cost; tell a few of its results for the dashboards."""

    op: Literal["report"] = "report"
    lease: Name
    results: Annotated[dict[str, float], Field(max_length=8)] = {}


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
    sweep: Sweep


class CloseWindow(_Request):
    """The driver's sweep is over: take a last reading, count no further."""

    op: Literal["close_window"] = "close_window"


class Retire(_Request):
    """Make way for an agent with other meters, if nobody needs this one."""

    op: Literal["retire"] = "retire"


Request = Hello | Open | Report | Close | CloseTrial | Update | CloseWindow | Retire
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


DAEMON_SOCKET = Path("/run/energysweep/agent.sock")


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
