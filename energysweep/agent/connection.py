"""What an agent answers to one connection: one connection is one process, and what it holds is closed with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import socketserver
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from energysweep.accounting.accounts import Energy
from energysweep.accounting.processes import Root
from energysweep.agent import operations, protocol
from energysweep.agent.agent import Agent
from energysweep.agent.guard import (
    LONGEST_LINE_BYTES,
    MOST_LEASES_OF_CONNECTION,
    OPENINGS_AT_ONCE,
    OPENINGS_PER_SECOND,
    GuardedServer,
    RateLimiter,
)
from energysweep.agent.proof import Proof
from energysweep.core.errors import AgentError, LeaseRefused, OtherVersion, one_line

_REST_SECONDS, _REST_LINES = 10.0, 64  # of a line that was too long: at most so much, for so long
_HELLO_SECONDS = 30.0  # for its turn, for measuring quiet seconds, and for a proof


@dataclass
class Desk:
    """What all connections of an agent share.

    Args:
        agent: carries out what is asked.
        hello: answers a process that has introduced itself.
        retire: ends the agent for the connection that asks, or raises LeaseRefused.

    Attributes:
        connections: those that are open.
        hellos: how many each peer may say.
        numbers: of the connections, in the order in which they were made.
    """

    agent: Agent
    hello: Callable[[protocol.Hello, Root, Connection], dict[str, Any]]
    retire: Callable[[Connection], None]
    connections: set[Connection] = field(default_factory=set)
    hellos: RateLimiter = field(default_factory=RateLimiter)
    numbers: Iterator[int] = field(default_factory=itertools.count)


class LeaseServer(GuardedServer):
    """What the servers that take leases have in common."""

    desk: Desk
    refusal = json.dumps({"ok": False, "error": "too many connections to the agent"}).encode() + b"\n"


class Connection(socketserver.StreamRequestHandler):
    """One process that talks to the agent; when it disconnects, or dies, its leases are closed."""

    server: LeaseServer

    def setup(self) -> None:
        """Nobody has introduced himself yet."""
        super().setup()
        self.desk = self.server.desk
        self.agent = self.desk.agent
        self.peer = self.server.peer(self.connection, self.client_address)
        self.number = next(self.desk.numbers)
        self.run = ""
        self.leases: set[str] = set()
        self.root: Root | None = None
        self._openings = RateLimiter(OPENINGS_PER_SECOND, OPENINGS_AT_ONCE)
        self._unproven: tuple[protocol.Hello, Proof] | None = None

    def handle(self) -> None:
        """Answer each line, until it disconnects or says too much at once."""
        self.desk.connections.add(self)
        with contextlib.suppress(ConnectionError):
            while line := self.rfile.readline(LONGEST_LINE_BYTES + 1):
                is_too_long = len(line) > LONGEST_LINE_BYTES
                answer = _no(f"a line has at most {LONGEST_LINE_BYTES} bytes") if is_too_long else self._answer(line)
                self.wfile.write(json.dumps(answer).encode() + b"\n")
                if is_too_long:
                    self._take_the_rest()
                    break

    def _take_the_rest(self) -> None:
        """Read on for a while: who is disconnected with words unread may never get the answer."""
        self.server.stay(self.connection, _REST_SECONDS)
        for _ in range(_REST_LINES):
            if not self.rfile.read1(LONGEST_LINE_BYTES):
                break

    def finish(self) -> None:
        """Close what it holds."""
        self.desk.connections.discard(self)
        if self.root is not None:
            self.agent.disconnect(self.number)
        with contextlib.suppress(ConnectionError):
            super().finish()

    def identify(self, request: protocol.Hello) -> Root | Proof:
        """The process at the other end, or how it has to prove which one it is.

        Raises:
            LeaseRefused: it cannot be any that the agent sees.
        """
        raise NotImplementedError

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True} | self._carry_out(protocol.REQUEST.validate_json(line))
        except ValidationError as error:
            if _other_version(line):
                return _other()
            return _no(str(protocol.first_problem(error)))
        except OtherVersion:
            return _other()
        except AgentError as error:
            return _no(str(error))

    def _carry_out(self, request: protocol.Request) -> dict[str, Any]:
        if isinstance(request, protocol.Hello):
            return self._hello(request)
        if isinstance(request, protocol.Prove):
            return self._prove()
        if isinstance(request, protocol.Retire):
            self.desk.retire(self)
            return {}
        if self.root is None:
            raise LeaseRefused("say hello first")
        if isinstance(request, protocol.Open | protocol.Report | protocol.Ask | protocol.Close):
            answer = _joules(self._lease(request, self.root))
            coverage = self.agent.coverage(self.run, request.lease) if request.op in {"ask", "close"} else None
            return answer if coverage is None else answer | coverage._asdict()
        if isinstance(request, protocol.Phase | protocol.Elsewhere):
            self._note(request)
        else:
            operations.carry_out(self.agent, self.run, request)
        return {}

    def _hello(self, request: protocol.Hello) -> dict[str, Any]:
        if request.protocol != protocol.PROTOCOL:
            raise OtherVersion
        if self.run not in ("", request.run):  # its leases would lose their run
            raise LeaseRefused(f"this connection belongs to run {self.run!r}; open another one")
        if self.root is None:
            self.server.stay(self.connection, _HELLO_SECONDS)
        self.desk.hellos.wait_turn(self.peer)
        if self.root is not None:
            return self._welcome(request, self.root)
        who = self.identify(request)
        if isinstance(who, Root):
            return self._welcome(request, who)
        self._unproven = (request, who)
        return {"call_yourself": who.name}

    def _prove(self) -> dict[str, Any]:
        if self._unproven is None:
            raise LeaseRefused("say hello first")
        (request, proof), self._unproven = self._unproven, None
        return self._welcome(request, proof.root())

    def _welcome(self, request: protocol.Hello, root: Root) -> dict[str, Any]:
        answer = self.desk.hello(request, root, self)
        self.root, self.run = root, request.run
        self.server.stay(self.connection)
        return answer

    def _lease(self, request: protocol.Open | protocol.Report | protocol.Ask | protocol.Close, root: Root) -> Energy:
        if isinstance(request, protocol.Open):
            if len(self.leases) >= MOST_LEASES_OF_CONNECTION and request.lease not in self.leases:
                raise LeaseRefused(f"a connection holds at most {MOST_LEASES_OF_CONNECTION} leases")
            self._openings.wait_turn(self.peer)
            energy = self.agent.open_lease(
                self.run,
                request.lease,
                request.trial,
                root,
                request.cpus,
                request.gpus,
                request.config,
                request.hardware,
                self.number,
                in_startup=request.in_startup,
            )
            self.leases.add(request.lease)
            return energy
        self._check_own(request.lease)
        if isinstance(request, protocol.Report):
            return self.agent.report(request.lease, request.results, self.number)
        if isinstance(request, protocol.Ask):
            return self.agent.spent(request.lease, self.number)
        self.leases.discard(request.lease)
        return self.agent.close_lease(self.run, request.lease, self.number)

    def _note(self, request: protocol.Phase | protocol.Elsewhere) -> None:
        self._check_own(request.lease)
        if isinstance(request, protocol.Phase):
            self.agent.change_phase(request.lease, in_startup=request.in_startup, speaker=self.number)
        else:
            self.agent.note_elsewhere(request.lease, speaker=self.number)

    def _check_own(self, lease: str) -> None:
        if lease not in self.leases:
            raise LeaseRefused(f"lease {lease} is not of this connection")


class _AnyRequest(BaseModel):
    """What every version's requests have in common. Read by the parser that reads the others: it has bounds, too."""

    protocol: int = protocol.PROTOCOL


def _no(reason: str) -> dict[str, Any]:
    return {"ok": False, "error": one_line(reason)}  # it may repeat the client's words, which others log


def _other_version(line: bytes) -> bool:
    """Whether it is a hello of another version, which may have other fields."""
    try:
        return _AnyRequest.model_validate_json(line).protocol != protocol.PROTOCOL
    except ValidationError:
        return False


def _other() -> dict[str, Any]:
    reason = f"the agent is of another version of energysweep: it speaks protocol {protocol.PROTOCOL}"
    return _no(reason) | {"protocol": protocol.PROTOCOL}


def _joules(energy: Energy) -> dict[str, Any]:
    return {
        "energy_joules": energy.joules,
        "active_energy_joules": energy.active_joules,
        "startup_joules": energy.startup_joules,
        "power_watts": energy.power_watts,
    }
