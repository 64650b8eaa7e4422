"""A server that a program cannot keep from serving others: so many connections, each for so long without a word."""

from __future__ import annotations

import contextlib
import math
import resource
import socket
import socketserver
import sys
import threading
import time
from typing import Any

from energysweep.agent.complaints import COMPLAINTS

MOST_CONNECTIONS = 4096  # a thread each; a host has no more trials


class GuardedServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Answers each connection in a thread of its own, and holds them all to limits.

    Attributes:
        most_of_peer: connections of one peer.
        most: connections in all; also at most half of the files that the process may open.
        patience_seconds: how long a connection may take; who has introduced himself may be let ``stay``.
        refusal: what a connection too many is told.
    """

    daemon_threads = True
    request_queue_size = 128
    most_of_peer = 2500
    most = MOST_CONNECTIONS
    patience_seconds = 10.0
    refusal = b""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._guarded: dict[socket.socket, tuple[str, float]] = {}
        self._guard = threading.Lock()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = min(self.most, files // 2)
        super().__init__(*args, **kwargs)

    def peer(self, request: socket.socket, client_address: Any) -> str:
        """Whose connection it is."""
        return str(client_address[0])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for it."""
        try:
            peer = self.peer(request, client_address)
        except OSError:  # it has hung up already
            return False
        with self._guard:
            own = sum(other == peer for other, _ in self._guarded.values())
            if len(self._guarded) < self.most and own < self.most_of_peer:
                self._guarded[request] = (peer, time.monotonic() + self.patience_seconds)
                return True
        with contextlib.suppress(OSError):
            request.settimeout(0.0)
            request.send(self.refusal)
        return False

    def stay(self, request: socket.socket, seconds: float = math.inf) -> None:
        """It may take so long from now on."""
        with self._guard:
            if request in self._guarded:
                self._guarded[request] = (self._guarded[request][0], time.monotonic() + seconds)

    def service_actions(self) -> None:
        """Hang up on those who have taken too long. Called several times a second."""
        now = time.monotonic()
        with self._guard:
            late = [request for request, (_, until) in self._guarded.items() if now > until]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)  # its thread ends, and closes it

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An error has ended a connection: it is the only one that it ends, and at most a line in the log."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            COMPLAINTS.note_error("a connection broke off", error)

    def shutdown_request(self, request: Any) -> None:
        """It has ended."""
        with self._guard:
            self._guarded.pop(request, None)
        super().shutdown_request(request)


def allow_many_files() -> None:
    """As many open files as this process may have: every connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
