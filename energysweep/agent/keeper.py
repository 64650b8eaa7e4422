"""Keeps what the next agent goes on with: when it is written down, and how it is taken up again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from energysweep.agent.books import Books
from energysweep.agent.observer import Observer
from energysweep.agent.state import Address, Saved, StateFile
from energysweep.host import Host

SAVE_AT_MOST_EVERY_SECONDS = 0.1
_SAVE_IDLE_EVERY_SECONDS = 60.0
_SAVE_PART = 0.05  # of the time goes into saving, at most

log = logging.getLogger(__name__)


class Keeper:
    """Saves and restores what an observer and its books know.

    Args:
        host: the host.
        observer, books: what is kept.
        state: where; None keeps nothing.

    Attributes:
        address: where the agent's server is found; None if it has none.
        changed: whether there is anything new to save.
        has_ended: nothing is saved any more, so nobody may be told anything new.
        after_saving: called after each saving.
    """

    def __init__(self, host: Host, observer: Observer, books: Books, state: StateFile | None) -> None:
        self.address: Address | None = None
        self.changed = False
        self.has_ended = False
        self.after_saving: Callable[[], object] = lambda: None
        self._host = host
        self._observer = observer
        self._books = books
        self._state = state
        self._saved_at, self._save_seconds = -math.inf, 0.0

    @property
    def keeps(self) -> bool:
        """Whether anything is kept (still)."""
        return self._state is not None

    def restore(self) -> bool:
        """Take up what an earlier agent of this boot has left; False if there is nothing that fits."""
        saved = self._state.load(self._host.boot_id) if self._state is not None else None
        if saved is None:
            return False
        if not self._observer.can_restore(saved):
            log.warning("the state of an earlier agent is of other meters: ignored")
            return False
        self.address = saved.address
        self._observer.restore(saved)
        self._books.restore(saved)
        for window in self._books.windows.values():
            self._observer.leases.update((lease.id, lease) for lease in window.leases.values() if lease.closed is None)
        self.changed = True
        return True

    def save_if_due(self) -> None:
        """Save, if anything changed: at most ten times a second."""
        pause = max(SAVE_AT_MOST_EVERY_SECONDS, self._save_seconds / _SAVE_PART)
        if self.changed and self._host.clock() - self._saved_at >= pause:
            self.save()

    def save_at_tick(self, began: float) -> None:
        """Save, once a second while anything counts or has changed, else once a minute."""
        if self._books.open_windows() or self.changed or began - self._saved_at >= _SAVE_IDLE_EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Save now."""
        self._saved_at = self._host.clock()
        self.changed = False
        if self._state is not None:
            self._state.save(self._saved())
        self.after_saving()
        self._save_seconds = self._host.clock() - self._saved_at

    def end(self, *, keep_state: bool) -> None:
        """Save for the last time, or leave nothing."""
        if self._state is None:
            return
        if keep_state:
            self.save()
        else:
            self._state.remove()
        self._state = None
        self.has_ended = True

    def _saved(self) -> Saved:
        observer, books = self._observer, self._books
        return Saved(
            boot_id=self._host.boot_id,
            first_window_at=observer.first_window_at,
            advanced=observer.advanced,
            read_at=observer.read_at,
            busy_seconds=observer.busy_seconds,
            counters=list(observer.counters.values()),
            node_joules=books.node.joules,
            windows=[window.saved() for window in books.windows.values()],
            members=sorted(observer.members),
            quiet_watts=books.quiet_watts,
            processes=list((observer.clocks.before or {}).values()),
            address=self.address,
        )
