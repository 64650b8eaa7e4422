"""Which agents of a run Prometheus should scrape: those that answer, and for a while those that do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from energysweep.agent.discovery import address_of

SILENT_SECONDS = 10.0  # several polls
KEPT_SECONDS = 300.0  # an agent that is down is an alert, which needs its target


class Roster:
    """Who has answered the driver, and when last.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered: dict[str, tuple[str, float]] = {}

    def note(self, url: str, node: str) -> None:
        """An agent has just answered."""
        self._answered[url] = (node, self._clock())

    def keep(self, urls: Iterable[str]) -> None:
        """Forget the others: another agent has taken their place."""
        known = set(urls)
        self._answered = {url: answered for url, answered in self._answered.items() if url in known}

    def listed(self, lost_addresses: Callable[[], set[str]]) -> dict[str, str]:
        """The names of nodes by address (host:port) of the agents to scrape.

        One that has not answered for a while has left if its node has; otherwise it is kept for five minutes, so that
        its being down is seen.

        Args:
            lost_addresses: of nodes that the cluster has lost; asked only if somebody is silent.
        """
        now = self._clock()
        silent = {url: now - at for url, (_, at) in self._answered.items() if now - at > SILENT_SECONDS}
        lost = lost_addresses() if silent else set()
        return {
            address_of(url): node
            for url, (node, _) in self._answered.items()
            if url not in silent or (silent[url] <= KEPT_SECONDS and urlsplit(url).hostname not in lost)
        }
