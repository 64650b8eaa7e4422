"""The registry of a run, which its driver and its workers share wherever they are: Ray's internal key-value store.

Workers register the agent that serves their node; so the driver finds agents on nodes that joined late, and those whose
trials died before their first report. The driver notes what each trial has cost in each window; so a trial that moves
to another node, or goes on in a resumed sweep, begins where the ledger stands.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Protocol

from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put, internal_kv_get_gcs_client

from energysweep.agent.client import NOTHING_SPENT, Spent

_NAMESPACE = b"energysweep"
_ANSWER_SECONDS = 3.0


class Store(Protocol):
    """Values by their keys, for all processes of a run."""

    def put(self, key: str, value: bytes) -> None:
        """Keep it."""

    def get(self, key: str) -> bytes | None:
        """What was put last; None if nothing was."""

    def under(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """All of which the key begins so.

        Raises:
            RayError: it does not answer.
        """


class _RayStore:
    """Ray's internal key-value store."""

    def put(self, key: str, value: bytes) -> None:
        """Keep it."""
        _internal_kv_put(key.encode(), value, namespace=_NAMESPACE)

    def get(self, key: str) -> bytes | None:
        """What was put last; None if nothing was."""
        found: bytes | None = _internal_kv_get(key.encode(), namespace=_NAMESPACE)
        return found

    def under(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """All of which the key begins so, within seconds.

        Raises:
            RayError: it does not answer.
        """
        ray = internal_kv_get_gcs_client()
        for key in ray.internal_kv_keys(prefix.encode(), _NAMESPACE, timeout=_ANSWER_SECONDS):
            yield key.decode(), ray.internal_kv_get(key, _NAMESPACE, timeout=_ANSWER_SECONDS)


class Registry:
    """The registry of one run: its agents, and what its trials have spent.

    Args:
        run: the run id.
        store: where it is kept.
    """

    def __init__(self, run: str, store: Store | None = None) -> None:
        self._run = run
        self._store = store or _RayStore()
        self._agents: dict[str, str] = {}

    def register_agent(self, host: str, url: str) -> None:
        """An agent that serves this run, and where its HTTP answers."""
        self._put(f"agent/{host}", url)

    def has_agent(self, host: str) -> bool:
        """Whether an agent of this host has served the run."""
        return bool(self._get(f"{self._run}/agent/{host}"))

    def agents(self) -> list[str]:
        """Every agent that was registered; those known before while Ray does not answer: agents do not need it."""
        try:
            for key, content in self._store.under(f"{self._run}/agent/"):
                self._agents[key] = json.loads(content)
        except RayError:
            pass
        return [self._agents[key] for key in sorted(self._agents)]

    def note_spent(self, trial: str, by_window: Mapping[str, Spent]) -> None:
        """What a trial has cost so far, by accounting window."""
        self._put(f"trial/{trial}", {window: dataclasses.astuple(spent) for window, spent in by_window.items()})

    def spent_elsewhere(self, trial: str, window: str) -> Spent:
        """What a trial has cost in all windows but this one, of which the window's own agent knows."""
        spent = json.loads(self._get(f"{self._run}/trial/{trial}") or b"{}")
        elsewhere = [Spent(*each) for name, each in spent.items() if name != window]
        return functools.reduce(Spent.plus, elsewhere, NOTHING_SPENT)

    def _put(self, key: str, content: object) -> None:
        self._store.put(f"{self._run}/{key}", json.dumps(content).encode())

    def _get(self, key: str) -> bytes:
        return self._store.get(key) or b""
