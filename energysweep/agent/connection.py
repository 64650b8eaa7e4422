"""What an agent answers to one connection: one connection is one process, and what it holds is closed with it."""

from __future__ import annotations

import contextlib
import json
import socketserver
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from energysweep.agent import protocol
from energysweep.agent.accounts import Energy
from energysweep.agent.agent import Agent
from energysweep.agent.processes import Root
from energysweep.agent.proof import Proof
from energysweep.errors import AgentError, LeaseRefused


@dataclass
class Desk:
    """What all connections of an agent share.

    Args:
        agent: carries out what is asked.
        hello: answers a process that has introduced itself.
        retire: ends the agent, or raises LeaseRefused.

    Attributes:
        connections: those that are open.
    """

    agent: Agent
    hello: Callable[[protocol.Hello, Root], dict[str, Any]]
    retire: Callable[[], None]
    connections: set[object] = field(default_factory=set)


class Connection(socketserver.StreamRequestHandler):
    """One process that talks to the agent; when it hangs up, or dies, its leases are closed."""

    desk: Desk

    def setup(self) -> None:
        """It counts from here on."""
        super().setup()
        self.agent = self.desk.agent
        self.desk.connections.add(self)
        self.run = ""
        self.leases: set[str] = set()
        self.root: Root | None = None

    def handle(self) -> None:
        """Answer each line, until it hangs up."""
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")

    def finish(self) -> None:
        """Close what it holds."""
        self.desk.connections.discard(self)
        for lease in self.leases:
            with contextlib.suppress(LeaseRefused):  # its driver has settled it
                self.agent.close_lease(self.run, lease)
        if self.root is not None:
            self.agent.leave(self.root)
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
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            return {"ok": False, "error": f"{place}: {first['msg']}" if place else first["msg"]}
        except AgentError as error:
            return {"ok": False, "error": str(error)}

    def _carry_out(self, request: protocol.Request) -> dict[str, Any]:
        if isinstance(request, protocol.Hello):
            return self._hello(request)
        if isinstance(request, protocol.Prove):
            return self._prove()
        if self.root is None:
            raise LeaseRefused("say hello first")
        if isinstance(request, protocol.Open | protocol.Report | protocol.Close):
            return _joules(self._lease(request, self.root))
        match request:
            case protocol.CloseTrial():
                self.agent.close_trial(self.run, request.trial)
            case protocol.Update():
                self.agent.windows[self.run].sweep = request.sweep
            case protocol.CloseWindow():
                self.agent.close_window(self.run)
            case protocol.Retire():
                self.desk.retire()
        return {}

    def _hello(self, request: protocol.Hello) -> dict[str, Any]:
        if self.run not in ("", request.run):  # its leases would lose their run
            raise LeaseRefused(f"this connection belongs to run {self.run!r}; open another one")
        if self.root is not None:
            return self._welcome(request, self.root)
        who = self.identify(request)
        if isinstance(who, Root):
            return self._welcome(request, who)
        self._pending = (request, who)
        return {"call_yourself": who.name}

    def _prove(self) -> dict[str, Any]:
        if self._pending is None:
            raise LeaseRefused("say hello first")
        (request, proof), self._pending = self._pending, None
        return self._welcome(request, proof.root())

    _pending: tuple[protocol.Hello, Proof] | None = None

    def _welcome(self, request: protocol.Hello, root: Root) -> dict[str, Any]:
        answer = self.desk.hello(request, root)
        self.root, self.run = root, request.run
        return answer

    def _lease(self, request: protocol.Open | protocol.Report | protocol.Close, root: Root) -> Energy:
        if isinstance(request, protocol.Open):
            energy = self.agent.open_lease(
                self.run,
                request.lease,
                request.trial,
                root,
                request.cpus,
                request.gpus,
                request.config,
                request.hardware,
            )
            self.leases.add(request.lease)
            return energy
        self._check_own(request.lease)
        if isinstance(request, protocol.Report):
            return self.agent.report(request.lease, request.results)
        self.leases.discard(request.lease)
        return self.agent.close_lease(self.run, request.lease)

    def _check_own(self, lease: str) -> None:
        if lease not in self.leases:
            raise LeaseRefused(f"lease {lease} is not of this connection")


def _joules(energy: Energy) -> dict[str, Any]:
    return {"energy_joules": energy.joules, "active_energy_joules": energy.active_joules}
