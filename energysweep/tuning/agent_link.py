"""The driver's connection to its host's agent; if the agent goes away, another one takes its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from energysweep.agent.accounts import Sweep
from energysweep.agent.client import AgentClient
from energysweep.agent.connect import connect
from energysweep.agent.protocol import Hello
from energysweep.errors import AgentError, AgentUnreachable


@dataclass(frozen=True)
class AgentAddress:
    """Where an agent answers, and what it wants to hear before it does."""

    url: str
    token: str


class AgentLink:
    """What a driver says to its host's agent. Nothing here stops a sweep: training is worth more than its metering.

    Args:
        hello: what the driver says first.
        meters, port: as in ``connect``.

    Raises:
        AgentError, InputError: the first agent cannot be reached or started.
    """

    def __init__(self, hello: Hello, meters: Sequence[str], port: int) -> None:
        self._hello, self._meters, self._port = hello, meters, port
        self._lock = threading.Lock()
        self._addresses: list[AgentAddress] = []
        self._client = self._connect()

    @property
    def notes(self) -> str:
        """Which meters it has, and why not better ones."""
        return str(self._client.agent["notes"])

    @property
    def url(self) -> str:
        """Where its HTTP answers."""
        return str(self._client.agent["url"])

    def addresses(self) -> list[AgentAddress]:
        """Every agent that the driver has talked to; those that have gone included, their last word may come late."""
        return list(self._addresses)

    def close_trial(self, trial: str) -> None:
        """A trial has ended."""
        self._say(lambda client: client.close_trial(trial))

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
                words(self._client)
            except AgentUnreachable:
                self._client.close()
                try:
                    self._client = self._connect()
                    words(self._client)
                except AgentError:
                    return  # tried again at the next word

    def _connect(self) -> AgentClient:
        client = connect(self._hello, self._meters, self._port)
        address = AgentAddress(client.agent["url"], client.agent["token"])
        if address not in self._addresses:
            self._addresses.append(address)
        return client
