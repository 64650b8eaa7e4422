"""What programs say to the agent: one JSON object per line over the Unix socket or TCP, one answer line each.

An answer has ``ok``; if that is false, ``error`` is the reason. Over the socket the kernel names the process that
speaks; over TCP it has to prove who it is (``proof``). What a driver asks for its run, it can post over HTTP, too: to
the agents of other hosts, which it has no connection to.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from energysweep.accounting.accounts import SHOWN_RESULTS, Sweep, SweepSample
from energysweep.core import naming
from energysweep.core.inputs import host_and_port, variable_path
from energysweep.core.metrics import SWEEP_FAMILIES, Family
from energysweep.core.records import Cpus, Watts
from energysweep.meters.base import Component

PROTOCOL = 4  # raised with every change that an agent or a program of another version would misunderstand

# Every number and every text has bounds, because what is said here is kept over restarts and shown to all: whatever has
# come through can be added up, written and scraped. Integers have bounds, too: Python's may be beyond all floats.
LARGEST_NUMBER = 1e18  # of what is counted: joules, watts, trials, seconds; far above all, and its products are finite
LONGEST_HARDWARE = 100  # characters
_LONGEST_LABEL = naming.LONGEST
_MOST_SERIES = 32  # of one metric of a sweep
_MOST_AGENTS = 1024
_LARGEST_OF_KERNEL = 2**63 - 1

Name = Annotated[str, Field(min_length=1, max_length=200)]
RunName = Annotated[str, Field(min_length=1, max_length=255)]  # a folder's, as Tune's experiments have
Fraction = Annotated[float, Field(ge=0, le=1)]
MetricValue = Annotated[float, Field(allow_inf_nan=False)]

_Label = Annotated[str, Field(max_length=_LONGEST_LABEL)]
_AgentsOfRun = Annotated[dict[_Label, _Label], Field(max_length=_MOST_AGENTS)]


def _bounded(sweep: Sweep) -> Sweep:
    """The texts become labels, the samples are shown, and the agents targets: an agent takes what is within bounds."""
    taken = within_bounds(sweep)
    for field, what in _OUT_OF_BOUNDS.items():
        if getattr(sweep, field) != getattr(taken, field):
            raise ValueError(f"{field} {what}")
    return sweep


_SIGNED = ", ".join(family.name for family in SWEEP_FAMILIES.values() if family.may_be_negative)
_OUT_OF_BOUNDS = {
    **dict.fromkeys(("grams_per_kwh", "pue"), f"is out of range: 0 to {LARGEST_NUMBER:g}"),
    **dict.fromkeys(("zone", "carbon_source"), f"is too long: {_LONGEST_LABEL} characters"),
    "agents": f"is too long: {_MOST_AGENTS} entries, {_LONGEST_LABEL} characters",
    "samples": (
        f"must be metrics of a sweep, at most {_MOST_SERIES} series of each and none twice, with their labels of"
        f" {_LONGEST_LABEL} characters and numbers from 0 to {LARGEST_NUMBER:g}, or any finite ones of {_SIGNED}"
    ),
}


def within_bounds(sweep: Sweep) -> Sweep:
    """A sweep that an agent takes, of one that may be too large: texts are cut, what has no place is left out.

    A driver must not fail because of what dashboards show of it.
    """
    has_grid = sweep.grams_per_kwh is None or _is_amount(sweep.grams_per_kwh)
    agents = {label(address): label(node) for address, node in sweep.agents.items()}
    return Sweep(
        grams_per_kwh=sweep.grams_per_kwh if has_grid else None,
        zone=label(sweep.zone),
        carbon_source=label(sweep.carbon_source),
        pue=sweep.pue if _is_amount(sweep.pue) else 1.0,
        agents=dict(islice(agents.items(), _MOST_AGENTS)),
        samples=list(_fitting(sweep.samples)),
    )


def _fitting(samples: Iterable[SweepSample]) -> Iterator[SweepSample]:
    seen: Counter[str] = Counter()
    series: set[tuple[object, ...]] = set()
    for metric, labels, value in samples:
        family = SWEEP_FAMILIES.get(metric)
        told = SweepSample(metric, tuple(map(label, labels)), value)
        if family is None or len(labels) != len(family.labels) - 1 or not _is_value_of(family, value):
            continue
        if told[:2] not in series and seen[metric] < _MOST_SERIES:
            seen[metric] += 1
            series.add(told[:2])
            yield told


def label(text: str, most: int = _LONGEST_LABEL) -> str:
    """A text that can be sent and is short enough: a lone surrogate, of a name that was no UTF-8, is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")[:most]


def _is_value_of(family: Family, value: float) -> bool:
    if family.may_be_negative:
        return -sys.float_info.max <= value <= sys.float_info.max  # of integers, too; False for NaN
    return _is_amount(value)


def _is_amount(value: float) -> bool:
    return 0 <= value <= LARGEST_NUMBER


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


class Ask(_Request):
    """Ask what the lease's trial has cost, and report nothing."""

    op: Literal["ask"] = "ask"
    lease: Name


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
Request = Hello | Prove | Open | Phase | Elsewhere | Report | Ask | Close | RunRequest | Retire
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
