"""The driver's connection to its own host's agent; if the agent goes away, another one takes its place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from energysweep.agent.accounts import Sweep
from energysweep.agent.client import AgentClient
from energysweep.errors import AgentUnreachable
from energysweep.tuning.board import Board
from energysweep.tuning.trial import UNMEASURED, Metering

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words


class AgentLink:
    """What a driver says to its host's agent. Nothing here stops a sweep: training is worth more than its metering.

    Args:
        metering: how the run is metered.
        board: where its address is pinned up.

    Raises:
        AgentError, InputError: the first agent cannot be reached or started.
    """

    def __init__(self, metering: Metering, board: Board) -> None:
        self._metering, self._board = metering, board
        self._lock = threading.Lock()
        self._complaint = ""
        self._client = self._connect(quiet=True)

    @property
    def notes(self) -> str:
        """Which meters it has, and why not better ones."""
        return str(self._client.agent["notes"])

    @property
    def url(self) -> str:
        """Where its HTTP answers."""
        return str(self._client.agent["url"])

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        """A trial has ended; for good, if it is over."""
        self._say(lambda client: client.close_trial(trial, is_over=is_over))

    def update(self, sweep: Sweep) -> None:
        """How the sweep stands."""
        self._say(lambda client: client.update(sweep))

    def close_window(self) -> None:
        """The sweep is over."""
        self._say(AgentClient.close_window)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _say(self, words: Callable[[AgentClient], None]) -> None:
        with self._lock:
            try:
                try:
                    words(self._client)
                except AgentUnreachable:
                    self._client.close()
                    self._client = self._connect()
                    words(self._client)
                self._complaint = ""
            except UNMEASURED as error:  # tried again at the next word
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.warning("this host's agent does not hear the driver: %s", error)

    def _connect(self, quiet: bool = False) -> AgentClient:
        client = self._metering.connect(self._metering.run or "", quiet)
        try:
            self._board.pin_agent(client.agent["host"], client.agent["url"])
        except BaseException:
            client.close()
            raise
        return client
