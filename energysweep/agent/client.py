"""How a program talks to agents: a connection to its own host's, leases, and a driver's requests to the others'."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from energysweep.accounting.accounts import Sweep
from energysweep.accounting.processes import read_process
from energysweep.agent import protocol
from energysweep.core.errors import AgentError, AgentUnreachable, LeaseRefused, OtherVersion, one_line

_ANSWER_SECONDS = 30.0
_CONNECT_SECONDS = 3.0  # a Service without an agent on this node drops what it gets
_UNREAD_ANSWERS = 32


@dataclass(frozen=True, slots=True)
class Spent:
    """What a trial had cost at one moment.

    Attributes:
        energy_joules: active energy and idle share of its work, over all its leases on this host.
        active_energy_joules: of that, the active energy.
        startup_joules: what its start-up drew; apart.
        power_watts: of its work, mean since the report before, by the readings that both are of; None if not known.
        held_seconds, covered_seconds, least_covered_seconds: when it was asked for or closed: how long the lease was
            open, and for how long of that the meters have told something, as a mean over devices and of the worst.
    """

    energy_joules: float
    active_energy_joules: float
    startup_joules: float
    power_watts: float | None = None
    held_seconds: float = 0.0
    covered_seconds: float = 0.0
    least_covered_seconds: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether any meter has told anything of it: where none has, it is not 0 but unknown."""
        return self.covered_seconds > 0 or self.energy_joules > 0

    def plus(self, other: Spent) -> Spent:
        """This, and what was spent elsewhere."""
        return replace(
            self,
            energy_joules=self.energy_joules + other.energy_joules,
            active_energy_joules=self.active_energy_joules + other.active_energy_joules,
            startup_joules=self.startup_joules + other.startup_joules,
        )

    def minus(self, other: Spent) -> Spent:
        """What of this the other does not know of; never below 0."""
        return replace(
            self,
            energy_joules=max(0.0, self.energy_joules - other.energy_joules),
            active_energy_joules=max(0.0, self.active_energy_joules - other.active_energy_joules),
            startup_joules=max(0.0, self.startup_joules - other.startup_joules),
        )


NOTHING_SPENT = Spent(0.0, 0.0, 0.0)


class AgentClient:
    """A connection of this process to the agent of its host. Thread-safe.

    Args:
        place: the agent's socket, or where it listens on the network.
        hello: what this process says first.

    Raises:
        AgentUnreachable: nobody listens there.
        LeaseRefused: the agent says no.
        OtherVersion: it is of another version of energysweep.

    Attributes:
        agent: its answer: ``host``, ``node``, ``window``, ``url``, ``notes``, ``meters``, ``daemon``.
    """

    def __init__(self, place: protocol.Place, hello: protocol.Hello) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._unanswered: deque[_Answer] = deque()
        self._socket = _connected(place)
        self._lines = self._socket.makefile("rb")
        try:
            if isinstance(place, protocol.NetworkAddress):
                hello = hello.model_copy(update={"process": _myself()})
            self.agent = self.ask(hello)
            if "call_yourself" in self.agent:
                with _called(self.agent["call_yourself"]):
                    self.agent = self.ask(protocol.Prove())
        except BaseException:
            self.close()
            raise

    def open(
        self,
        trial: str,
        cpus: float = 0.0,
        gpus: Mapping[str, float] | None = None,
        config: str = "",
        hardware: str = "",
        lease_id: str | None = None,
        *,
        in_startup: bool = False,
    ) -> Lease:
        """Open a lease for this process's tree.

        Args:
            trial: the trial's id.
            cpus: logical CPUs that it has reserved.
            gpus: fractions of GPUs, by UUID or name of a MIG instance, see ``meters.visible_gpus``.
            config, hardware: short readable texts for the dashboards.
            lease_id: of a lease that this process had with an agent that has gone: it goes on, if the agent that is
                there now knows it.
            in_startup: it begins with its start-up.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        with _bounds_told():
            request = protocol.Open(
                lease=lease_id or uuid.uuid4().hex,
                trial=trial,
                cpus=cpus,
                gpus=dict(gpus or {}),
                config=protocol.label(config),
                hardware=protocol.label(hardware, protocol.LONGEST_HARDWARE),
                in_startup=in_startup,
            )
        return Lease(self, request.lease, self.tell(request))

    def close_trial(self, trial: str, *, is_over: bool = False) -> None:
        """Close the leases of a trial that has ended. Does not wait for it.

        Args:
            trial: the trial's id.
            is_over: no other lease of it will follow.
        """
        self.tell(protocol.CloseTrial(trial=trial, is_over=is_over))

    def update(self, sweep: Sweep) -> None:
        """Tell how the sweep stands. Does not wait for the answer."""
        self.tell(protocol.Update(sweep=protocol.within_bounds(sweep)))

    def close_window(self) -> None:
        """The sweep is over: take a last reading, count no further."""
        self.ask(protocol.CloseWindow())

    def retire(self) -> None:
        """Make way for another agent.

        Raises:
            LeaseRefused: somebody else needs it.
        """
        self.ask(protocol.Retire())

    def close(self) -> None:
        """Disconnect; the agent closes what is open. In a forked child it is only let go of: it is its parent's."""
        if os.getpid() == self._process:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # a forked child may hold the same socket
        self._lines.close()
        self._socket.close()

    def ask(self, request: BaseModel) -> dict[str, Any]:
        """Say something and wait for the answer.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        return self.wait(self.tell(request))

    def tell(self, request: BaseModel) -> _Answer:
        """Say something; the answer, should it be needed, is got by ``wait``. The agent keeps the order.

        Raises:
            AgentUnreachable
        """
        self._check_process()
        answer = _Answer()
        with self._lock, _translated():
            self._socket.sendall(request.model_dump_json().encode() + b"\n")
            self._unanswered.append(answer)
            while len(self._unanswered) > _UNREAD_ANSWERS:  # or the agent could not write any more
                self._read_one()
        return answer

    def wait(self, answer: _Answer) -> dict[str, Any]:
        """The content of an answer.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        self._check_process()
        with self._lock, _translated():
            while answer.content is None:
                self._read_one()
        if not answer.content["ok"]:
            refusal = OtherVersion if "protocol" in answer.content else LeaseRefused
            raise refusal(answer.content["error"])
        return answer.content

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise AgentError(f"this connection to the agent is of process {self._process}, of which this is a child")

    def _read_one(self) -> None:
        line = self._lines.readline()
        if not line:
            raise AgentUnreachable("the agent has gone")
        self._unanswered.popleft().content = json.loads(line)


def retire(path: Path) -> None:
    """Have the agent at a socket make way, one that this program cannot talk to otherwise.

    Raises:
        AgentUnreachable
        LeaseRefused: somebody else needs it, or it was started to stay.
    """
    with _connected(path) as connection, _translated():
        connection.sendall(protocol.Retire().model_dump_json().encode() + b"\n")
        answer = json.loads(connection.makefile("rb").readline())
    if not answer["ok"]:
        raise LeaseRefused(answer["error"])


def _connected(place: protocol.Place) -> socket.socket:
    try:
        if isinstance(place, protocol.NetworkAddress):
            connection = socket.create_connection(place, _CONNECT_SECONDS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection = connected_to_socket(place)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have that name
        reason = getattr(error, "strerror", None) or error
        raise AgentUnreachable(f"no agent answers at {place}: {reason}") from error
    connection.settimeout(_ANSWER_SECONDS)
    return connection


def connected_to_socket(path: Path) -> socket.socket:
    """A connection to whoever listens there.

    Raises:
        OSError: nobody does.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _myself() -> protocol.Claim:
    process = read_process(Path("/proc"), os.getpid())
    if process is None:
        raise AgentUnreachable("this process does not find itself in /proc")
    return protocol.Claim(pid=process.pid, started=process.started)


_NAME = Path("/proc/self/comm")
_naming = threading.Lock()


@contextlib.contextmanager
def _called(name: str) -> Iterator[None]:
    """This process has another name meanwhile: one that it could not know, and that nobody else can give it."""
    with _naming:
        try:
            before = _NAME.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
            _NAME.write_text(name, encoding="ascii")
        except OSError as error:
            raise LeaseRefused(f"this process cannot prove who it is: {_NAME}: {error.strerror}") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if _NAME.read_text(encoding="utf-8", errors="replace").rstrip("\n") == name:
                    _NAME.write_text(before, encoding="utf-8", errors="surrogateescape")


@dataclass(slots=True)
class _Answer:
    content: dict[str, Any] | None = None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: the connection was closed on this side
        raise AgentUnreachable(f"the agent does not answer: {error}") from error


@contextlib.contextmanager
def _bounds_told() -> Iterator[None]:
    """What no agent would take is refused here already, with the agent's reason."""
    try:
        yield
    except ValidationError as error:
        raise LeaseRefused(one_line(protocol.first_problem(error))) from error


class Lease:
    """A lease of this process. Opening and closing do not hold up the work: nobody waits for the agent's answer."""

    def __init__(self, client: AgentClient, lease_id: str, opened: _Answer) -> None:
        self.id = lease_id
        self._client = client
        self.opened = opened

    @property
    def before(self) -> Spent:
        """What the trial had cost when the lease was opened.

        Raises:
            AgentUnreachable, LeaseRefused: it could not be opened.
        """
        return _spent(self._client.wait(self.opened))

    def report(self, results: Mapping[str, float] | None = None) -> Spent:
        """What the trial has cost until now.

        Args:
            results: up to 8 numbers for the dashboards.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        with _bounds_told():
            request = protocol.Report(lease=self.id, results=dict(results or {}))
        return _spent(self._client.ask(request))

    def ask(self) -> Spent:
        """What the trial has cost until now, as a report would tell it; counts as none. Power is not told.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        return _spent(self._client.ask(protocol.Ask(lease=self.id)))

    def change_phase(self, *, in_startup: bool) -> None:
        """Tell that it is in start-up from now on, or works; waits until the agent has seen what was used so far.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        self._client.ask(protocol.Phase(lease=self.id, in_startup=in_startup))

    def note_elsewhere(self) -> None:
        """Tell that this process has others work that hold no lease. Does not wait for the answer.

        Raises:
            AgentUnreachable
        """
        self._client.tell(protocol.Elsewhere(lease=self.id))

    def end(self) -> None:
        """Close it."""
        self._client.tell(protocol.Close(lease=self.id))

    def close(self) -> Spent:
        """Close it, and wait: what the trial has cost in the end, and how well that was measured."""
        return _spent(self._client.ask(protocol.Close(lease=self.id)))


def _spent(answer: Mapping[str, Any]) -> Spent:
    return Spent(
        answer["energy_joules"],
        answer["active_energy_joules"],
        answer["startup_joules"],
        answer.get("power_watts"),
        answer.get("held_seconds", 0.0),
        answer.get("covered_seconds", 0.0),
        answer.get("least_covered_seconds", answer.get("covered_seconds", 0.0)),  # of an older agent
    )
