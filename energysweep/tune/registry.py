"""The registry of a run, which its driver and its workers share wherever they are: Ray's internal key-value store.

Workers register the agent that serves their node; so the driver finds agents on nodes that joined late, and those whose
trials died before their first report. The driver notes what each trial has cost in each window; so a trial that moves
to another node, or goes on in a resumed sweep, begins where the ledger stands.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping

from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put, internal_kv_get_gcs_client

from energysweep.agent.client import NOTHING_SPENT, Spent

_NAMESPACE = b"energysweep"
_ANSWER_SECONDS = 3.0


class Registry:
    """The registry of one run: its agents, and what its trials have spent.

    Args:
        run: the run id.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._agents: dict[bytes, str] = {}

    def register_agent(self, host: str, url: str) -> None:
        """An agent that serves this run, and where its HTTP answers."""
        self._put(f"agent/{host}", url)

    def has_agent(self, host: str) -> bool:
        """Whether an agent of this host has served the run."""
        return bool(self._get(f"{self._run}/agent/{host}"))

    def agents(self) -> list[str]:
        """Every agent that was registered; those known before while Ray does not answer: agents do not need it."""
        ray = internal_kv_get_gcs_client()
        try:
            for key in ray.internal_kv_keys(f"{self._run}/agent/".encode(), _NAMESPACE, timeout=_ANSWER_SECONDS):
                self._agents[key] = json.loads(ray.internal_kv_get(key, _NAMESPACE, timeout=_ANSWER_SECONDS))
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
        _internal_kv_put(f"{self._run}/{key}".encode(), json.dumps(content).encode(), namespace=_NAMESPACE)

    def _get(self, key: str) -> bytes:
        return _internal_kv_get(key.encode(), namespace=_NAMESPACE) or b""
