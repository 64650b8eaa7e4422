"""Log lines about what clients do: few and short, because a client decides how many there would be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from energysweep.errors import one_line

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
