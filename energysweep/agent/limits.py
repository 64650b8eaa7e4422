"""How much one peer may ask of an agent, and all together: a trial that asks for more is told no, others are served.

A peer is a user of the host over the Unix socket, and an address over TCP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from energysweep.agent.accounts import Lease
from energysweep.agent.windows import Window
from energysweep.errors import LeaseRefused

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


class Pace:
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

    def keep(self, peer: str) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = self._clock()
            self._free_at = {other: at for other, at in self._free_at.items() if at > now}
            free_at = max(now, self._free_at.get(peer, now)) + 1 / self._per_second
            self._free_at[peer] = free_at
        wait = free_at - now - self._at_once / self._per_second
        if wait > 0:
            self._sleep(wait)
