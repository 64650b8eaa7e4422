"""Serves an agent's Unix socket: one connection is one process, and what it holds is closed with it."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from energysweep.agent import protocol
from energysweep.agent.accounts import Energy
from energysweep.agent.agent import Agent
from energysweep.agent.processes import Root, read_process
from energysweep.errors import AgentError, LeaseRefused

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid. unix(7)


class SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on the socket and answers each connection in a thread of its own.

    Args:
        path: of the socket; nothing may be there yet.
        agent: carries out what is asked.
        hello: answers a process that introduces itself.
        retire: ends the agent, or raises LeaseRefused.

    Attributes:
        connections: those that are open.

    Raises:
        OSError: the path is too long, or cannot be made.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        path: Path,
        agent: Agent,
        hello: Callable[[protocol.Hello, Root], dict[str, Any]],
        retire: Callable[[], None],
    ) -> None:
        self.agent = agent
        self.hello = hello
        self.retire = retire
        self.connections: set[object] = set()
        super().__init__(str(path), _Connection)
        # Who may connect is decided by the folder; the kernel names the process in any case.
        path.chmod(0o666)


class _Connection(socketserver.StreamRequestHandler):
    """One process that talks to the agent; when it hangs up, or dies, its leases are closed."""

    server: SocketServer

    def setup(self) -> None:
        super().setup()
        self.agent = self.server.agent
        self.server.connections.add(self)
        self.run = ""
        self.leases: set[str] = set()
        self.root: Root | None = None

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")

    def finish(self) -> None:
        self.server.connections.discard(self)
        for lease in self.leases:
            with contextlib.suppress(LeaseRefused):  # its driver has settled it
                self.agent.close_lease(self.run, lease)
        if self.root is not None:
            self.agent.leave(self.root)
        with contextlib.suppress(ConnectionError):
            super().finish()

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
        if self.root is None:
            raise LeaseRefused("say hello first")
        if isinstance(request, protocol.Open | protocol.Report | protocol.Close):
            return _joules(self._lease(request, self.root))
        match request:
            case protocol.CloseTrial():
                self.agent.close_trial(self.run, request.trial, is_over=request.is_over)
            case protocol.Update():
                self.agent.update_sweep(self.run, request.sweep)
            case protocol.CloseWindow():
                self.agent.close_window(self.run)
            case protocol.Retire():
                self.server.retire()
        return {}

    def _hello(self, request: protocol.Hello) -> dict[str, Any]:
        if self.run not in ("", request.run):  # its leases would lose their run
            raise LeaseRefused(f"this connection belongs to run {self.run!r}; open another one")
        self.root = self._peer()
        self.run = request.run
        return self.server.hello(request, self.root)

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

    def _peer(self) -> Root:
        """The process at the other end, as the kernel names it in the agent's own pid namespace."""
        raw = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(raw)
        process = read_process(self.agent.host.proc_root, pid) if pid else None
        if process is None:
            raise LeaseRefused(
                "the agent cannot see the process that connects (it is in a pid namespace beside the agent's);"
                " run the agent in the host's pid namespace"
            )
        return Root(process.pid, process.started)


def _joules(energy: Energy) -> dict[str, Any]:
    return {"energy_joules": energy.joules, "active_energy_joules": energy.active_joules}
