"""What programs say to the agent: one JSON object per line over the Unix socket or TCP, one answer line each.

An answer has ``ok``; if that is false, ``error`` is the reason. Over the socket the kernel names the process that
speaks; over TCP it has to prove who it is (``proof``). What a driver asks for its run, it can post over HTTP, too: to
the agents of other hosts, which it has no connection to.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from energysweep.accounting.accounts import SHOWN_RESULTS, Sweep
from energysweep.core import naming
from energysweep.core.inputs import host_and_port, variable_path
from energysweep.core.records import Cpus, Watts
from energysweep.meters.base import Component

PROTOCOL = 2  # raised with every change that an agent or a program of another version would misunderstand

# Every number and every text has bounds, because what is said here is kept over restarts and shown to all: whatever has
# come through can be added up, written and scraped. Integers have bounds, too: Python's may be beyond all floats.
LARGEST_NUMBER = 1e18  # of what is counted: joules, watts, trials, seconds; far above all, and its products are finite
LONGEST_HARDWARE = 100  # characters
_LONGEST_LABEL = naming.LONGEST
_MOST_ENTRIES = 32
_MOST_AGENTS = 1024
_LARGEST_OF_KERNEL = 2**63 - 1
_MAY_BE_NEGATIVE = {"best"}  # of a sweep's numbers: a metric's values

Name = Annotated[str, Field(min_length=1, max_length=200)]
RunName = Annotated[str, Field(min_length=1, max_length=255)]  # a folder's, as Tune's experiments have
Fraction = Annotated[float, Field(ge=0, le=1)]
MetricValue = Annotated[float, Field(allow_inf_nan=False)]

_Label = Annotated[str, Field(max_length=_LONGEST_LABEL)]
_AgentsOfRun = Annotated[dict[_Label, _Label], Field(max_length=_MOST_AGENTS)]


def _bounded(sweep: Sweep) -> Sweep:
    """The texts become labels, the entries series, the numbers samples, and the agents targets."""
    for field in dataclasses.fields(sweep):
        value = getattr(sweep, field.name)
        entries = len(value) if isinstance(value, dict | list) else 0
        most = _most_entries(field.name)
        parts = _parts(value)
        if entries > most or any(isinstance(part, str) and len(part) > _LONGEST_LABEL for part in parts):
            raise ValueError(f"{field.name} is too long: {most} entries, {_LONGEST_LABEL} characters")
        if not all(_is_number(part, field.name) for part in parts if isinstance(part, int | float)):
            least = "any finite number" if field.name in _MAY_BE_NEGATIVE else f"0 to {LARGEST_NUMBER:g}"
            raise ValueError(f"{field.name} is out of range: {least}")
    series = [charged[:3] for charged in sweep.charged]
    if len(set(series)) < len(series):
        raise ValueError("charged names the same component, bucket and source twice")
    return sweep


def within_bounds(sweep: Sweep) -> Sweep:
    """A sweep that an agent takes, of one that may be too large: texts are cut, what has no place is left out.

    A driver must not fail because of what dashboards show of it.
    """
    fitting: dict[str, Any] = {}
    for field in dataclasses.fields(sweep):
        value = getattr(sweep, field.name)
        most = _most_entries(field.name)
        if isinstance(value, dict):
            items = ((_cut(key), _cut(each)) for key, each in value.items() if _fits(each, field.name))
            fitting[field.name] = dict(islice(items, most))
        elif isinstance(value, list):
            rows = (type(row)(*map(_cut, row)) for row in value if _fits(row, field.name))
            fitting[field.name] = list(islice({row[:3]: row for row in rows}.values(), most))
        elif _fits(value, field.name):
            fitting[field.name] = type(value)(*map(_cut, value)) if isinstance(value, tuple) else _cut(value)
    return Sweep(**fitting)


def _most_entries(field: str) -> int:
    return _MOST_AGENTS if field == "agents" else _MOST_ENTRIES


def label(text: str, most: int = _LONGEST_LABEL) -> str:
    """A text that can be sent and is short enough: a lone surrogate, of a name that was no UTF-8, is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")[:most]


def _cut(value: Any) -> Any:
    return label(value) if isinstance(value, str) else value


def _fits(value: object, field: str) -> bool:
    return all(_is_number(part, field) for part in _parts(value) if isinstance(part, int | float))


def _is_number(value: float, field: str) -> bool:
    if field in _MAY_BE_NEGATIVE:
        return -sys.float_info.max <= value <= sys.float_info.max  # of integers, too; False for NaN
    return 0 <= value <= LARGEST_NUMBER


def _parts(value: object) -> list[object]:
    """All texts and numbers in a field of a sweep."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list):
        return [part for entry in value for part in entry]
    return list(value) if isinstance(value, tuple) else [value]


ShownSweep = Annotated[Sweep, AfterValidator(_bounded)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Request):
    """What a process says of itself over TCP: its pid as it sees it, and its start in clock ticks after boot."""

    pid: Annotated[int, Field(ge=1, le=_LARGEST_OF_KERNEL)]
    started: Annotated[int, Field(ge=0, le=_LARGEST_OF_KERNEL)]


class Hello(_Request):
    """First words: the process belongs to a run. Opens the run's window if there is none."""

    op: Literal["hello"] = "hello"
    run: RunName
    protocol: int = PROTOCOL
    key: str = Field(default="", max_length=200, repr=False)
    """Of the run, see ``keys``."""
    idle_power_watts: dict[Component, Watts] = {}
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
    cpus: Cpus = 0.0
    gpus: Annotated[dict[Name, Fraction], Field(max_length=64)] = {}
    config: str = Field(default="", max_length=_LONGEST_LABEL)
    hardware: str = Field(default="", max_length=LONGEST_HARDWARE)
    in_startup: bool = False


class Phase(_Request):
    """From now on a lease of this connection is in start-up, or works."""

    op: Literal["phase"] = "phase"
    lease: Name
    in_startup: bool


class Elsewhere(_Request):
    """The lease's process has others work, which are in no tree of its own: its energy is not all that it takes."""

    op: Literal["elsewhere"] = "elsewhere"
    lease: Name


class Report(_Request):
    """Ask what the lease's trial has cost; tell a few of its results for the dashboards."""

    op: Literal["report"] = "report"
    lease: Name
    results: Annotated[dict[Name, MetricValue], Field(max_length=SHOWN_RESULTS)] = {}


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


class Agents(_Request):
    """The driver tells which agents serve its run."""

    op: Literal["agents"] = "agents"
    agents: _AgentsOfRun
    """The names of nodes by address."""

    @classmethod
    def within_bounds(cls, agents: Mapping[str, str]) -> Agents:
        """As many of them as an agent takes."""
        return cls(agents=within_bounds(Sweep(agents=dict(agents))).agents)


class CloseWindow(_Request):
    """The driver's sweep is over: take a last reading, count no further."""

    op: Literal["close_window"] = "close_window"


class Retire(_Request):
    """Make way for an agent with other meters or of another version, if nobody needs this one. Needs no hello."""

    op: Literal["retire"] = "retire"


RunRequest = CloseTrial | Update | Agents | CloseWindow
"""What a driver asks for its run; ``operations`` carries it out."""
Request = Hello | Prove | Open | Phase | Elsewhere | Report | Close | RunRequest | Retire
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class Posted(NamedTuple):
    """A driver's request over HTTP, beside ``run`` in its query."""

    path: str
    query: Mapping[str, str] = {}
    content: Mapping[str, str] = {}


POSTED_PATHS = ("/v1/close", "/v1/agents")
_AGENTS: TypeAdapter[dict[str, str]] = TypeAdapter(_AgentsOfRun)


def posted(request: CloseTrial | Agents | CloseWindow) -> Posted:
    """A request as it is posted to an agent of another host."""
    if isinstance(request, Agents):
        return Posted("/v1/agents", content=request.agents)
    if isinstance(request, CloseWindow):
        return Posted("/v1/close")
    return Posted("/v1/close", {"trial": request.trial} | ({"is_over": "1"} if request.is_over else {}))


def request_of_post(path: str, query: Mapping[str, str], content: Callable[[], bytes]) -> RunRequest:
    """The request that was posted to one of ``POSTED_PATHS``, as ``posted`` has written it.

    Args:
        path, query: where it was posted.
        content: reads what came with it, where anything has to.

    Raises:
        ValidationError: it is none.
    """
    if path == "/v1/agents":
        return Agents(agents=_AGENTS.validate_json(content()))
    if not query.get("trial"):
        return CloseWindow()
    return CloseTrial.model_validate({"trial": query["trial"], "is_over": query.get("is_over") or False})


class Problem(NamedTuple):
    """What is wrong with a request: where, empty where it is all of it, and what would be right."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def first_problem(error: ValidationError) -> Problem:
    """The first thing that is wrong. Its place may hold a client's words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return Problem(".".join(map(str, first["loc"])), first["msg"])


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
    return NetworkAddress(*host_and_port(named, "ENERGYSWEEP_AGENT")) if named else socket_path()


def socket_path() -> Path:
    """Where a program looks for the agent of this host.

    ENERGYSWEEP_SOCKET names it. Otherwise it is root's daemon, if there is one, or the one of this user.

    Raises:
        InputError: no file can have that path.
    """
    if named := os.environ.get("ENERGYSWEEP_SOCKET"):
        return variable_path("ENERGYSWEEP_SOCKET", named)
    return DAEMON_SOCKET if os.access(DAEMON_SOCKET, os.W_OK) else _socket_of_user()


def daemon_socket_path() -> Path:
    """Where a daemon listens that was started by hand: for every user if it is root's."""
    if "ENERGYSWEEP_SOCKET" in os.environ:
        return socket_path()
    return DAEMON_SOCKET if os.getuid() == 0 else _socket_of_user()


def _socket_of_user() -> Path:
    return Path(tempfile.gettempdir()) / f"energysweep-{os.getuid()}" / "agent.sock"
