"""Limits that no client can pass: connections, requests, leases and log lines of one peer, and of all together."""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from energysweep.accounting.accounts import Lease
from energysweep.accounting.windows import Window
from energysweep.core.errors import LeaseRefused, one_line

# Log lines about clients: few and short, because a client decides how many there would be ----------------------------

ONE_EACH_SECONDS = 60.0

log = logging.getLogger(__name__)


class Complaints:
    """At most one line a minute of each kind; the next one says how many have been left out.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def note(self, kind: str, text: str, error: BaseException | None = None) -> None:
        """Something has gone wrong.

        Args:
            kind: one of few.
            text: what; may hold a client's words.
            error: whose traceback the line brings along; only of what no client can cause at will.
        """
        with self._lock:
            now = self._clock()
            if now - self._said_at.get(kind, -ONE_EACH_SECONDS) < ONE_EACH_SECONDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._said_at[kind] = now
            more = self._left_out.pop(kind, 0)
        log.warning("%s%s", one_line(text), f" ({more} more like it before)" if more else "", exc_info=error)

    def note_error(self, where: str, error: BaseException) -> None:
        """An error that a client has brought about, as it seems: where the code was, and no traceback."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        at = "" if trace is None else f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})"
        kind = type(error).__name__
        self.note(f"{where} {kind}", f"{where}: {kind}: {one_line(error)}{at}")


COMPLAINTS = Complaints()
"""Those of this process's agent."""


# Connections: so many, each for so long without a word ---------------------------------------------------------------

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
        except OSError:  # it has disconnected already
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
        """Disconnect those who have taken too long. Called several times a second."""
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


# Requests: a peer that asks for more is told no or waits, the others are served --------------------------------------
#
# A peer is a user of the host over the Unix socket, and an address over TCP.

LONGEST_LINE_BYTES = 64 * 1024
MOST_LEASES_OF_CONNECTION = 64  # at a time
MOST_OPEN_LEASES_OF_PEER = 2500
MOST_OPEN_LEASES = 8192  # each one costs every reading a few microseconds
MOST_WINDOWS_OF_PEER = 256
MOST_WINDOWS = 1024
MOST_UNSETTLED_LEASES_OF_PEER = 20_000  # that no driver has acknowledged; each one costs about 2 KB
MOST_TRIALS_OF_PEER = 50_000
HELLOS_PER_SECOND = 10.0  # each one may cost a scan of /proc
HELLOS_AT_ONCE = 400
OPENINGS_PER_SECOND = 50.0  # of leases by one connection; each one is a row in its run's ledger
OPENINGS_AT_ONCE = 500


def make_room_for_window(windows: dict[str, Window], peer: str) -> None:
    """If the peer has as many windows as one may have, its oldest closed one goes.

    Raises:
        LeaseRefused: all of them count.
    """
    own = [window for window in windows.values() if window.peer == peer]
    if len(own) < MOST_WINDOWS_OF_PEER and len(windows) < MOST_WINDOWS:
        return
    closed = {window.closed: window.run for window in own if window.closed is not None}
    if not closed:
        raise LeaseRefused(f"too many runs at once: {len(own)} of {peer or 'this peer'}, {len(windows)} on this host")
    del windows[closed[min(closed)]]


def check_room_for_lease(
    windows: Mapping[str, Window], open_leases: Collection[Lease], window: Window, trial: str
) -> None:
    """Whether one more lease may be opened.

    Raises:
        LeaseRefused
    """
    if len(open_leases) >= MOST_OPEN_LEASES:
        raise LeaseRefused(f"too many leases: {MOST_OPEN_LEASES} are open on this host")
    own = {run: other for run, other in windows.items() if other.peer == window.peer}
    if sum(lease.run in own for lease in open_leases) >= MOST_OPEN_LEASES_OF_PEER:
        raise LeaseRefused(f"too many leases: {MOST_OPEN_LEASES_OF_PEER} of {window.peer or 'this peer'} are open")
    if sum(len(other.leases) for other in own.values()) >= MOST_UNSETTLED_LEASES_OF_PEER:
        raise LeaseRefused(f"too many leases: no driver has settled the last {MOST_UNSETTLED_LEASES_OF_PEER}")
    if trial not in window.trials and sum(len(other.trials) for other in own.values()) >= MOST_TRIALS_OF_PEER:
        raise LeaseRefused(f"too many trials: {MOST_TRIALS_OF_PEER} of {window.peer}")


class RateLimiter:
    """Lets each peer do something only so often; who is too fast waits.

    Args:
        per_second: in the long run.
        at_once: after a rest.
        clock, sleep: the system's, or a test's.
    """

    def __init__(
        self,
        per_second: float = HELLOS_PER_SECOND,
        at_once: float = HELLOS_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._per_second, self._at_once = per_second, at_once
        self._clock, self._sleep = clock, sleep
        self._free_at: dict[str, float] = {}  # when the peer will have rested
        self._lock = threading.Lock()

    def wait_turn(self, peer: str) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = self._clock()
            self._free_at = {other: at for other, at in self._free_at.items() if at > now}
            free_at = max(now, self._free_at.get(peer, now)) + 1 / self._per_second
            self._free_at[peer] = free_at
        wait = free_at - now - self._at_once / self._per_second
        if wait > 0:
            self._sleep(wait)
