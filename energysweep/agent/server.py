"""Lets programs talk to an agent: leases over a Unix socket, the rest over HTTP; and lets time pass for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from wsgiref.simple_server import WSGIServer, make_server

from pydantic import ValidationError

from energysweep.agent import protocol
from energysweep.agent.accounts import Energy
from energysweep.agent.agent import SAVE_AT_MOST_EVERY_SECONDS, Agent
from energysweep.agent.http import Application, QuietHandler
from energysweep.agent.processes import Root, read_process
from energysweep.agent.scrapes import Scrapes
from energysweep.agent.state import Address
from energysweep.errors import AgentError, AgentRunning, LeaseRefused

DEFAULT_PORT = 9770
TICK_SECONDS = 1.0
LAST_SCRAPE_SECONDS = 2.0  # how long an agent that was told to end waits for it
_POLL_SECONDS = 0.1  # how soon its threads notice that it stops
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid. unix(7)

log = logging.getLogger(__name__)


class AgentServer:
    """An agent that can be talked to, from ``start`` to ``stop``.

    Args:
        agent: the agent.
        socket_path: of the Unix socket; its folder is made if it is missing.
        address: what HTTP binds to. Where it is not loopback, ``/v1/`` asks for the bearer token.
        port: for HTTP; if it is taken, any free one.
        linger_seconds: end after so long without a lease and without a connection; None: never.
        token: the bearer token; if None, that of the agent before a restart, or a random one.
    """

    def __init__(
        self,
        agent: Agent,
        socket_path: Path,
        address: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        linger_seconds: float | None = None,
        token: str | None = None,
    ) -> None:
        self.agent = agent
        self.socket_path = socket_path
        self.connections: set[object] = set()
        self._address, self._port = address, port
        self._linger_seconds = linger_seconds
        self._given_token = token
        self._token = ""
        self._scrapes = Scrapes()
        self._is_unneeded = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock_file: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        host = "127.0.0.1" if self._address in ("0.0.0.0", "::") else self._address  # noqa: S104 - compared, not bound
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Begin to serve.

        Raises:
            AgentRunning: another agent serves this socket.
            AgentError: the socket's folder belongs to somebody else or cannot be made.
        """
        self._lock_file = _lock(self.socket_path)
        self.socket_path.unlink(missing_ok=True)  # we hold the lock: whoever made it is gone
        self.agent.resume()  # nor does anybody write the state any more
        asked_port, before = self._port, self.agent.address
        self._token = self._given_token or (before.token if before else secrets.token_urlsafe(24))
        try:
            self._sockets = _listen(self)
            self._web = _bind(self._address, before.port if before and before.asked_port == asked_port else asked_port)
        except AgentError:
            self._lock_file.close()
            raise
        self._port = self._web.server_port
        self.agent.address = Address(asked_port, self._port, self._token)
        application = Application(self.agent, self.url, self._token, not _is_loopback(self._address))
        self._web.set_app(self._scrapes.of(application))
        serves: list[tuple[Callable[..., None], tuple[float, ...]]] = [
            (self._sockets.serve_forever, (_POLL_SECONDS,)),
            (self._web.serve_forever, (_POLL_SECONDS,)),
            (self._tick_for_ever, ()),
        ]
        for serve, arguments in serves:
            thread = threading.Thread(target=serve, args=arguments, daemon=True, name=f"energysweep-{serve.__name__}")
            thread.start()
            self._threads.append(thread)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False if it has not within ``timeout`` seconds."""
        return self._stopping.wait(timeout)

    def end(self) -> None:
        """Let ``wait`` return; may be called from a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Take a last reading, let a scraper have it, and stop serving."""
        self._stopping.set()
        self.agent.tick()
        if not self._is_unneeded:
            self._scrapes.wait_for_one(LAST_SCRAPE_SECONDS)
        self._sockets.shutdown()
        self._web.shutdown()
        # Who is still connected finds its lease again at the next agent.
        self.agent.end(keep_state=not self._is_unneeded)
        self._sockets.server_close()
        self._web.server_close()
        self.socket_path.unlink(missing_ok=True)
        if self._lock_file is not None:
            self._lock_file.close()

    def hello(self, request: protocol.Hello, root: Root) -> dict[str, Any]:
        """A process of a run introduces itself."""
        if request.quiet:
            self.agent.measure_quiet(time.sleep, without=request.idle_power_watts)
        window = self.agent.open_window(request.run, request.idle_power_watts)
        # A worker says hello with the sweep as it began; the driver may have told more since.
        if request.sweep is not None and window.sweep.started_at is None:
            window.sweep = request.sweep
        self.agent.join(request.run, root)
        return {
            "host": self.agent.host.boot_id,
            "node": self.agent.host.node,
            "window": window.id,
            "url": self.url,
            "token": self._token,
            "notes": self.agent.notes,
            "meters": list(self.agent.kinds),
            "daemon": self._linger_seconds is None,
        }

    def retire(self) -> None:
        """End, if nobody but the one who asks needs this agent.

        Raises:
            LeaseRefused: somebody does, or it was started to stay.
        """
        if self._linger_seconds is None:
            raise LeaseRefused("it was started as a daemon")
        if len(self.connections) > 1 or self.agent.open_leases:
            raise LeaseRefused("it is in use")
        self._is_unneeded = True
        self.end()

    def _tick_for_ever(self) -> None:
        idle_since = ticked = time.monotonic()
        while not self._stopping.wait(SAVE_AT_MOST_EVERY_SECONDS):
            self.agent.save()
            if time.monotonic() - ticked < TICK_SECONDS:
                continue
            ticked = time.monotonic()
            try:
                self.agent.tick()
            except Exception:
                self.agent.tick_failures += 1
                log.exception("a tick failed; the next one covers its interval")
            if self.connections or self.agent.open_leases:
                idle_since = time.monotonic()
            elif self._linger_seconds is not None and time.monotonic() - idle_since > self._linger_seconds:
                self._is_unneeded = not self.agent.open_windows
                self._stopping.set()


class _SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: AgentServer) -> None:
        self.owner = owner
        super().__init__(str(owner.socket_path), _Connection)
        # Who may connect is decided by the folder; the kernel names the process in any case.
        owner.socket_path.chmod(0o666)


class _Connection(socketserver.StreamRequestHandler):
    """One process that talks to the agent; when it hangs up, or dies, its leases are closed."""

    server: _SocketServer

    def setup(self) -> None:
        super().setup()
        self.owner = self.server.owner
        self.agent = self.owner.agent
        self.owner.connections.add(self)
        self.run = ""
        self.leases: set[str] = set()
        self.root: Root | None = None

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")

    def finish(self) -> None:
        self.owner.connections.discard(self)
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
                self.agent.close_trial(self.run, request.trial)
            case protocol.Update():
                self.agent.windows[self.run].sweep = request.sweep
            case protocol.CloseWindow():
                self.agent.close_window(self.run)
            case protocol.Retire():
                self.owner.retire()
        return {}

    def _hello(self, request: protocol.Hello) -> dict[str, Any]:
        if self.run not in ("", request.run):  # its leases would lose their run
            raise LeaseRefused(f"this connection belongs to run {self.run!r}; open another one")
        self.root = self._peer()
        self.run = request.run
        return self.owner.hello(request, self.root)

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


def _lock(socket_path: Path) -> IO[bytes]:
    folder = socket_path.parent
    try:
        # A daemon of root's serves every user; otherwise the folder is what keeps others out.
        folder.mkdir(mode=0o755 if socket_path == protocol.DAEMON_SOCKET else 0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise AgentError(f"{folder} belongs to another user; set ENERGYSWEEP_SOCKET to a path of your own")
        file = socket_path.with_suffix(".lock").open("ab")
    except OSError as error:
        raise AgentError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AgentRunning(f"an agent already serves this host at {socket_path}") from None
    return file


def _listen(owner: AgentServer) -> _SocketServer:
    try:
        return _SocketServer(owner)
    except OSError as error:  # a path has at most 107 bytes, see unix(7)
        raise AgentError(f"cannot listen on {owner.socket_path}: {error.strerror or error}") from error


class _WebServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def _bind(address: str, port: int) -> WSGIServer:
    try:
        return make_server(address, port, _not_ready, _WebServer, QuietHandler)
    except OSError as error:
        if port == 0 or error.errno != errno.EADDRINUSE:
            raise AgentError(f"cannot listen on {address}:{port}: {error.strerror or error}") from error
        log.warning("port %d is taken; taking a free one", port)
        return _bind(address, 0)


def _not_ready(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("503 Service Unavailable", [])
    return []


def _is_loopback(address: str) -> bool:
    return address == "localhost" or address.startswith("127.") or address == "::1"
