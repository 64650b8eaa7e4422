"""Watches a web application's scrapes, so that an agent that is told to end can serve its last values once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from energysweep.agent.http import Environ, StartResponse, WsgiApplication

_SCRAPER_SECONDS = 60.0  # a scraper that has not come for so long is gone


class Scrapes:
    """When ``/metrics`` was asked for, and when the answer was out.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest_began: float | None = None  # of those that have been answered
        self._answered = threading.Condition()

    def of(self, application: WsgiApplication) -> WsgiApplication:
        """The application, watched."""

        def watched(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/metrics":
                return application(environ, start_response)
            began = self._clock()
            return _Told(application(environ, start_response), lambda: self._note(began))

        return watched

    def wait_for_one(self, seconds: float) -> bool:
        """Wait until a scrape that begins from now on is answered; not at all if nobody has scraped for a minute.

        Returns:
            There was one.
        """
        since = self._clock()
        with self._answered:
            if self._newest_began is None or since - self._newest_began > _SCRAPER_SECONDS:
                return False
            return self._answered.wait_for(lambda: (self._newest_began or 0.0) >= since, seconds)

    def _note(self, began: float) -> None:
        with self._answered:
            self._newest_began = max(began, self._newest_began or began)
            self._answered.notify_all()


class _Told:
    """A WSGI answer; the server calls ``close`` when it is out (PEP 3333)."""

    def __init__(self, body: Iterable[bytes], told: Callable[[], Any]) -> None:
        self._body = body
        self._told = told

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def __len__(self) -> int:  # of one part the server knows the Content-Length
        return len(self._body) if isinstance(self._body, list) else 2

    def close(self) -> None:
        """The answer is out."""
        self._told()
