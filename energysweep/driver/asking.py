"""Asking many agents at the same time, and leaving those alone for a while that do not answer."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

_AT_ONCE = 32
_LONGEST_SECONDS = 16.0  # until a silent agent is asked again
HURRIED_SECONDS = 1.0  # for all answers together, once the run is to end without waiting
_ANSWERS_WITHIN_SECONDS = 10.0  # also of an agent that says a byte now and then
LOOK_SECONDS = 0.1  # how soon a hurry is noticed
_Answer = TypeVar("_Answer")


class Silence:
    """Which agents have not answered, and when to ask them again: in 1 s, then in 2, 4, 8 and 16 s.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent: dict[str, tuple[float, float]] = {}  # for how long it is left alone, and until when

    def is_over(self, url: str) -> bool:
        """It may be asked."""
        _, until = self._silent.get(url, (0.0, -math.inf))  # at once: another thread may hear of it meanwhile
        return self._clock() >= until

    def note(self, url: str) -> None:
        """It has not answered."""
        seconds, _ = self._silent.get(url, (0.5, 0.0))
        seconds = min(2 * seconds, _LONGEST_SECONDS)
        self._silent[url] = (seconds, self._clock() + seconds)

    def end(self, url: str) -> None:
        """It has answered."""
        self._silent.pop(url, None)


class AllAtOnce:
    """Asks agents at the same time, so that the silent ones are waited for once and not one after another.

    Args:
        clock: monotonic seconds.
        hurried: whether the run is to end without waiting.
    """

    def __init__(self, clock: Callable[[], float], hurried: Callable[[], bool]) -> None:
        self._clock, self._hurried = clock, hurried

    def ask(self, urls: Sequence[str], ask: Callable[[str], _Answer]) -> list[tuple[str, Future[_Answer] | None]]:
        """What they answer, in the order of ``urls``, whoever came first.

        Args:
            urls: of the agents.
            ask: asks one of them, in a thread of its own.

        Returns:
            For each agent the future that has its answer or its error; None where it was waited for in vain. An agent
            whose turn has not come in time is left out: of its silence nothing is known.
        """
        if not urls:
            return []
        began = self._clock()
        asked: list[tuple[str, Future[_Answer]]] = [(url, Future()) for url in urls]
        turns: SimpleQueue[tuple[str, Future[_Answer]]] = SimpleQueue()
        for each in asked:
            turns.put(each)

        def take_turns() -> None:
            with suppress(Empty):
                while True:
                    url, future = turns.get_nowait()
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        future.set_result(ask(url))
                    except BaseException as error:  # noqa: BLE001 - whoever takes the answer gets it
                        future.set_exception(error)

        # Daemons, which no pool of the standard library has: who waits for a dead peer keeps no process alive.
        for _ in range(min(len(urls), _AT_ONCE)):
            threading.Thread(target=take_turns, name="energysweep-ask", daemon=True).start()
        waiting = {future for _, future in asked}
        while waiting and self._clock() - began < self._seconds():
            _, waiting = wait(waiting, timeout=LOOK_SECONDS)
        never_begun = {future for future in waiting if future.cancel()}
        return [(url, None if future in waiting else future) for url, future in asked if future not in never_begun]

    def _seconds(self) -> float:
        return HURRIED_SECONDS if self._hurried() else _ANSWERS_WITHIN_SECONDS
