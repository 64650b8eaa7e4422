"""How a program talks to its host's agent: connect, say hello, open leases."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from energysweep.agent import protocol
from energysweep.agent.accounts import Sweep
from energysweep.errors import AgentUnreachable, LeaseRefused

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a trial had cost at one moment.

    Attributes:
        energy_joules: active energy and idle share, over all its leases on this host.
        active_energy_joules: of that, what its work drew.
        at_seconds: on this process's monotonic clock.
    """

    energy_joules: float
    active_energy_joules: float
    at_seconds: float = field(default_factory=time.monotonic)


class AgentClient:
    """A connection of this process to the agent of its host. Thread-safe.

    Args:
        path: the agent's socket.
        hello: what this process says first.

    Raises:
        AgentUnreachable: nobody listens there.
        LeaseRefused: the agent says no.

    Attributes:
        agent: the agent's answer: ``host``, ``node``, ``window``, ``url``, ``token``, ``notes``.
    """

    def __init__(self, path: Path, hello: protocol.Hello) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise AgentUnreachable(f"no agent answers at {path}: {error.strerror or error}") from error
        self._lines = self._socket.makefile("rb")
        try:
            self.agent = self._ask(hello)
        except BaseException:
            self.close()
            raise

    def open(
        self,
        trial: str,
        cpus: float = 0.0,
        gpus: Mapping[str, float] | None = None,
        config: str = "",
        hardware: str = "",
    ) -> Lease:
        """Open a lease for this process's tree.

        Args:
            trial: the trial's id.
            cpus: logical CPUs that it has reserved.
            gpus: fractions of GPUs, by UUID or index.
            config, hardware: short readable texts for the dashboards.

        Raises:
            AgentUnreachable, LeaseRefused
        """
        request = protocol.Open(
            lease=uuid.uuid4().hex,
            trial=trial,
            cpus=cpus,
            gpus=dict(gpus or {}),
            config=config[:300],
            hardware=hardware[:100],
        )
        return Lease(self, request.lease, before=_spent(self._ask(request)))

    def close_trial(self, trial: str) -> None:
        """Close the leases of a trial that has ended."""
        self._ask(protocol.CloseTrial(trial=trial))

    def update(self, sweep: Sweep) -> None:
        """Tell how the sweep stands."""
        self._ask(protocol.Update(sweep=sweep))

    def close_window(self) -> None:
        """The sweep is over: take a last reading, count no further."""
        self._ask(protocol.CloseWindow())

    def close(self) -> None:
        """Hang up; the agent closes what is open."""
        # shutdown, because a forked child may hold the same socket
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()

    def _ask(self, request: BaseModel) -> dict[str, Any]:
        line = request.model_dump_json(exclude_unset=False).encode() + b"\n"
        try:
            with self._lock:
                self._socket.sendall(line)
                answer = self._lines.readline()
        except (OSError, ValueError) as error:
            raise AgentUnreachable(f"the agent does not answer: {error}") from error
        if not answer:
            raise AgentUnreachable("the agent has gone")
        content: dict[str, Any] = json.loads(answer)
        if not content.pop("ok"):
            raise LeaseRefused(content["error"])
        return content


class Lease:
    """An open lease of this process."""

    def __init__(self, client: AgentClient, lease_id: str, before: Spent) -> None:
        self.id = lease_id
        self.before = before
        self._client = client

    def report(self, results: Mapping[str, float] | None = None) -> Spent:
        """What the trial has cost until now.

        Args:
            results: up to 8 numbers for the dashboards.
        """
        return _spent(self._client._ask(protocol.Report(lease=self.id, results=dict(results or {}))))  # noqa: SLF001

    def close(self) -> Spent:
        """Close it, if it is still open; what the trial has cost in the end."""
        return _spent(self._client._ask(protocol.Close(lease=self.id)))  # noqa: SLF001


def _spent(answer: Mapping[str, Any]) -> Spent:
    return Spent(answer["energy_joules"], answer["active_energy_joules"])
