"""Serves an agent from its start to its end: leases over a Unix socket or TCP, the rest over HTTP; lets time pass."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import logging
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from wsgiref.simple_server import WSGIServer, make_server

from energysweep.accounting.processes import Root, read_process
from energysweep.agent import protocol
from energysweep.agent.agent import Agent
from energysweep.agent.connection import Connection, Desk, LeaseServer
from energysweep.agent.discovery import Peers, TargetsFile, url_of
from energysweep.agent.guard import COMPLAINTS, GuardedServer, allow_many_files
from energysweep.agent.proof import Proof
from energysweep.agent.state import SAVE_AT_MOST_EVERY_SECONDS, Address
from energysweep.agent.web import Application, QuietHandler, Scrapes
from energysweep.core.errors import AgentError, AgentRunning, LeaseRefused

# Where leases are taken: a Unix socket, and a TCP port for pods without its folder -----------------------------------

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid. unix(7)

# A peer that has vanished without a word is noticed after 15 + 3 x 5 seconds.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


class SocketServer(LeaseServer, socketserver.UnixStreamServer):
    """Listens on a Unix socket and answers each connection in a thread of its own.

    Args:
        path: of the socket; nothing may be there yet.
        desk: who answers.

    Raises:
        OSError: the path is too long, or cannot be made.
    """

    def __init__(self, path: Path, desk: Desk) -> None:
        self.desk = desk
        super().__init__(str(path), _SocketConnection)
        # Who may connect is decided by the folder; the kernel names the process in any case.
        path.chmod(0o666)

    def peer(self, request: socket.socket, client_address: object) -> str:
        """The user at the other end."""
        _, uid, _ = credentials(request)
        return f"user {uid}"


class NetworkServer(LeaseServer, socketserver.TCPServer):
    """Listens on a TCP port, for processes of this host in pods that may not see its files.

    Args:
        address, port: where; port 0 takes any free one.
        desk: who answers.

    Raises:
        OSError: it cannot listen there.
    """

    allow_reuse_address = True

    def __init__(self, address: str, port: int, desk: Desk) -> None:
        self.desk = desk
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _NetworkConnection)


class _SocketConnection(Connection):
    """Over a Unix socket: the kernel names the process."""

    def setup(self) -> None:
        super().setup()
        # At once: its pid is that of when it connected, and another process could have it later.
        pid, _, _ = credentials(self.connection)
        self._process = read_process(self.agent.host.proc_root, pid) if pid else None

    def identify(self, request: protocol.Hello) -> Root:
        """The process at the other end, as the kernel names it in the agent's own pid namespace."""
        if self._process is None:
            raise LeaseRefused(
                "the agent cannot see the process that connects (it is in a pid namespace beside the agent's, or of"
                " another user whom procfs hides); run the agent in the host's pid namespace, as root under hidepid"
            )
        return self._process.root


class _NetworkConnection(Connection):
    """Over TCP: the process proves which one it is."""

    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            self.connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def identify(self, request: protocol.Hello) -> Proof:
        """What the process at the other end has to prove."""
        if request.process is None:
            raise LeaseRefused("over TCP, hello needs the process: its pid and when it began")
        return Proof(self.agent.host.proc_root, self.client_address[:2], request.process)


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the process at the other end, as the kernel has them in this one's namespaces."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid


# The server ----------------------------------------------------------------------------------------------------------

DEFAULT_PORT = 9770
TICK_SECONDS = 1.0
LAST_SCRAPE_SECONDS = 2.0
_POLL_SECONDS = 0.1  # how soon its threads notice that it stops

log = logging.getLogger(__name__)


class AgentServer:
    """An agent that can be talked to, from ``start`` to ``stop``.

    Args:
        agent: the agent.
        socket_path: of the Unix socket; its folder is made if it is missing.
        address: what HTTP and TCP bind to.
        port: for HTTP; if it is taken, any free one.
        lease_port: for leases over TCP; None: none.
        advertised: the address by which others reach this host; that which it binds to if None.
        linger_seconds: end after so long without a lease and without a connection; None: never.
        targets_file: names this agent, and those that it knows of, to Prometheus.
        last_scrape_seconds: how long, once it has been told to end, it waits for a scrape of its last reading.
    """

    def __init__(
        self,
        agent: Agent,
        socket_path: Path,
        address: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        linger_seconds: float | None = None,
        *,
        lease_port: int | None = None,
        advertised: str | None = None,
        targets_file: TargetsFile | None = None,
        last_scrape_seconds: float = LAST_SCRAPE_SECONDS,
    ) -> None:
        self.agent = agent
        self.socket_path = socket_path
        self._address, self._port, self._lease_port = address, port, lease_port
        self._advertised = advertised
        self._desk = Desk(agent, self.hello, self.retire)
        self._network: NetworkServer | None = None
        self._servers: list[socketserver.BaseServer] = []
        self._linger_seconds = linger_seconds
        self._targets_file = targets_file
        self._last_scrape_seconds = last_scrape_seconds
        self._scrapes = Scrapes()
        self._is_unneeded = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock_file: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Where HTTP answers, as others reach it."""
        return url_of(self._advertised or self._address, self._port)

    @property
    def lease_port(self) -> int | None:
        """The TCP port that takes leases; None if none does."""
        return None if self._network is None else self._network.server_address[1]

    @property
    def connections(self) -> set[Connection]:
        """Who is connected, by socket or TCP."""
        return self._desk.connections

    def start(self) -> None:
        """Begin to serve.

        Raises:
            AgentRunning: another agent serves this socket.
            AgentError: the socket's folder belongs to somebody else or cannot be made.
            InputError: ENERGYSWEEP_PEERS is no address.
        """
        peers = Peers.of_environment()
        allow_many_files()
        self._lock_file = lock(self.socket_path)
        self.socket_path.unlink(missing_ok=True)  # we hold the lock: whoever made it is gone
        self.agent.resume()  # nor does anybody write the state any more
        asked_port, before = self._port, self.agent.address
        try:
            self._servers.append(_listen(self.socket_path, self._desk))
            if self._lease_port is not None:
                self._network = _listen_on_network(self._address, self._lease_port, self._desk)
                self._servers.append(self._network)
            web = _bind(self._address, before.port if before and before.asked_port == asked_port else asked_port)
        except AgentError:
            self._close()
            raise
        self._servers.append(web)
        self._port = web.server_port
        self.agent.address = Address(asked_port, self._port)
        self._application = Application(self.agent, self.url, peers)
        web.set_app(self._scrapes.of(self._application))
        self._write_targets()
        serves: list[tuple[Callable[..., None], tuple[float, ...]]] = [(self._tick_for_ever, ())]
        serves += [(server.serve_forever, (_POLL_SECONDS,)) for server in self._servers]
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
            self._scrapes.wait_for_one(self._last_scrape_seconds)
        if self._targets_file is not None:
            self._targets_file.write({})
        for server in self._servers:
            server.shutdown()
        # Who is still connected finds its lease again at the next agent.
        self.agent.end(keep_state=not self._is_unneeded)
        self._close()

    def _close(self) -> None:
        for server in self._servers:
            server.server_close()
        self.socket_path.unlink(missing_ok=True)
        if self._lock_file is not None:
            self._lock_file.close()

    def hello(self, request: protocol.Hello, root: Root, connection: Connection) -> dict[str, Any]:
        """A process of a run introduces itself.

        Raises:
            ConnectionAbortedError: nobody needed this agent, and it ends without leaving its state; who is
                disconnected finds the next one.
        """
        if self._is_unneeded:
            raise ConnectionAbortedError
        if request.quiet:
            self.agent.measure_quiet(time.sleep, without=request.idle_power_watts)
        window = self.agent.open_window(request.run, request.idle_power_watts, request.key, connection.peer)
        # A worker says hello with the sweep as it began; the driver may have told more since.
        if request.sweep is not None and not window.sweep.samples:
            window.sweep = dataclasses.replace(request.sweep, agents=window.sweep.agents)
        self.agent.join(request.run, root, connection.number)
        return {
            "host": self.agent.host.boot_id,
            "node": self.agent.host.node,
            "window": window.id,
            "url": self.url,
            "notes": self.agent.telling.notes,
            "meters": list(self.agent.kinds),
            "daemon": self._linger_seconds is None,
        }

    def retire(self, asks: Connection) -> None:
        """End, if nobody but the one who asks needs this agent.

        Raises:
            LeaseRefused: somebody does, or it was started to stay.
        """
        if self._linger_seconds is None:
            raise LeaseRefused("it was started as a daemon")
        others = [other for other in tuple(self.connections) if other is not asks and other.root is not None]
        if others or self.agent.telling.open_leases:
            raise LeaseRefused("it is in use")
        self._is_unneeded = True
        self.end()

    def _write_targets(self) -> None:
        if self._targets_file is not None:
            self._targets_file.write(self._application.agents())

    def _tick_for_ever(self) -> None:
        idle_since = ticked = time.monotonic()
        while not self._stopping.wait(SAVE_AT_MOST_EVERY_SECONDS):
            self.agent.save()
            if time.monotonic() - ticked < TICK_SECONDS:
                continue
            ticked = time.monotonic()
            try:
                self.agent.tick()
            except Exception as error:  # noqa: BLE001 - it must go on
                self.agent.telling.health.tick_failures += 1
                COMPLAINTS.note("tick", "a tick failed; the next one covers its interval", error)
            self._write_targets()
            if self.connections or self.agent.telling.open_leases:
                idle_since = time.monotonic()
            elif self._linger_seconds is not None and time.monotonic() - idle_since > self._linger_seconds:
                self._is_unneeded = not self.agent.telling.open_windows
                self._stopping.set()


def lock(socket_path: Path) -> IO[bytes]:
    """Only one agent serves a socket: it holds this file, open and locked, for as long as it lives.

    Raises:
        AgentRunning: another one holds it.
        AgentError: the socket's folder belongs to somebody else or cannot be made.
    """
    folder = socket_path.parent
    try:
        # A daemon of root's serves every user; otherwise the folder is what keeps others out.
        folder.mkdir(mode=0o755 if socket_path == protocol.DAEMON_SOCKET else 0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise AgentError(f"{folder} belongs to another user; set ENERGYSWEEP_SOCKET to a path of your own")
        file = socket_path.with_suffix(".lock").open("ab")
    except OSError as error:
        raise AgentError(
            f"the agent's socket cannot be in {folder}: {error.strerror}; set ENERGYSWEEP_SOCKET to a path of your own"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AgentRunning(f"an agent already serves this host at {socket_path}") from None
    return file


def _listen(path: Path, desk: Desk) -> SocketServer:
    try:
        return SocketServer(path, desk)
    except OSError as error:  # a path has at most 107 bytes, see unix(7)
        raise AgentError(f"cannot listen on {path}: {error.strerror or error}") from error


def _listen_on_network(address: str, port: int, desk: Desk) -> NetworkServer:
    try:
        return NetworkServer(address, port, desk)
    except OSError as error:  # no other port: clients are told this one
        raise AgentError(f"cannot take leases on {address}:{port}: {error.strerror or error}") from error


class _WebServer(GuardedServer, WSGIServer):
    most = 128
    most_of_peer = 32
    patience_seconds = 30.0  # a whole request and its answer
    refusal = b"HTTP/1.0 503 Service Unavailable\r\n\r\ntoo many connections\n"


class _WebServer6(_WebServer):
    address_family = socket.AF_INET6


def _bind(address: str, port: int) -> WSGIServer:
    kind = _WebServer6 if ":" in address else _WebServer
    try:
        return make_server(address, port, _not_ready, kind, QuietHandler)
    except OSError as error:
        if port == 0 or error.errno != errno.EADDRINUSE:
            raise AgentError(f"cannot listen on {address}:{port}: {error.strerror or error}") from error
        log.warning("port %d is taken; taking a free one", port)
        return _bind(address, 0)


def _not_ready(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("503 Service Unavailable", [])
    return []
