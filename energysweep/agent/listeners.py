"""Where an agent takes leases: its Unix socket, and a TCP port where trials may not mount the socket's folder."""

from __future__ import annotations

import socket
import socketserver
import struct
from pathlib import Path

from energysweep.agent import protocol
from energysweep.agent.connection import Connection, Desk, LeaseServer
from energysweep.agent.processes import Root, read_process
from energysweep.agent.proof import Proof
from energysweep.errors import LeaseRefused

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
