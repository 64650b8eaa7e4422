"""What the agent of one host tells those who only ask: drivers, Prometheus, and whoever wants to know how it does."""

from __future__ import annotations

import threading
from typing import Any

from energysweep.accounting.books import Books
from energysweep.accounting.observer import Observer
from energysweep.agent.exporter import Health, Snapshot, take_snapshot
from energysweep.agent.state import Keeper
from energysweep.core.errors import LeaseRefused
from energysweep.core.host import Host

_SNAPSHOT_SECONDS = 1.5  # a tick later, so that a scrape of an agent that saves at each tick need not wait for it


class Telling:
    """Tells what an observer sees and what its books say. Thread-safe. Whatever it tells has been saved before.

    Args:
        host: the host.
        lock: the agent's: nothing is booked while it is held.
        observer, books: what is told of.
        keeper: saves them; it has a snapshot taken after each saving.

    Attributes:
        health: how the agent itself does.
    """

    def __init__(self, host: Host, lock: threading.RLock, observer: Observer, books: Books, keeper: Keeper) -> None:
        self.health = Health()
        self._host = host
        self._lock = lock
        self._observer = observer
        self._books = books
        self._keeper = keeper
        self._snapshot: Snapshot | None = None
        keeper.after_saving = self._take_snapshot

    @property
    def notes(self) -> str:
        """What the meters are, and what is wrong with them now."""
        return self._observer.notes()

    @property
    def open_leases(self) -> int:
        """How many leases are open now."""
        return len(self._observer.leases)

    @property
    def open_windows(self) -> int:
        """How many sweeps count on this host now."""
        return len(self._books.open_windows())

    def seconds_since_reading(self) -> float:
        """How old the newest reading is."""
        return self._host.clock() - self._observer.read_at

    def totals(self, run: str, since: int) -> dict[str, Any]:
        """What a driver has to merge into its ledger; asking with ``since`` acknowledges everything up to there.

        Args:
            run: the run.
            since: the revision of the last answer that is safe in the ledger, 0 for everything.

        Returns:
            JSON: ``revision``, the host's clock, how old the newest reading is, of each device the covered time and how
            old its newest reading is, and the rows of records.py as lists: ``energy``,
            ``meters``, ``leases``.

        Raises:
            LeaseRefused: the run has no window here.
        """
        with self._lock:
            window = self._books.window(run)
            if self._keeper.has_ended:  # what is not in the saved state would be booked again, differently
                raise LeaseRefused("the agent has ended")
            window.acknowledge(since, pending=self._observer.pending_leases())
            answer = {
                "host": self._host.boot_id,
                "node": self._host.node,
                "notes": self.notes,
                "window": window.id,
                "revision": window.revision,
                "clock": self._host.clock(),
                "seconds_since_reading": self.seconds_since_reading(),
                "readings": window.readings(self._observer.advanced),
                "energy": window.energy_rows(since),
                "meters": window.meter_rows(),
                "leases": window.lease_rows(since),
            }
            window.revision += 1  # what is booked from here on is newer than this answer
            if self._keeper.changed:  # an agent that is started again may not know less than it has told
                self._keeper.save()
            return answer

    def agents(self) -> dict[str, str]:
        """The agents of all sweeps that are shown here, as their drivers say: names of nodes by address."""
        with self._lock:
            return {
                address: node
                for window in self._books.windows.values()
                for address, node in window.sweep.agents.items()
            }

    def snapshot(self) -> Snapshot:
        """What a scrape shows. Nothing in it is newer than the state that was saved last.

        So an agent that is started again never shows less: Prometheus would take a counter that went down for one
        that began again at 0, and count all of it twice.
        """
        snapshot = self._snapshot
        if snapshot is None or self._host.clock() - snapshot.taken > _SNAPSHOT_SECONDS:
            with self._lock:  # nobody counts here, so it is saved seldom
                self._keeper.save()
                snapshot = self._take_snapshot()
        return snapshot

    def _take_snapshot(self) -> Snapshot:
        self._snapshot = take_snapshot(self._host.clock(), self._host.node, self._observer, self._books, self.health)
        return self._snapshot
