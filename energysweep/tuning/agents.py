"""The agent of the node that a process runs on: use the one that is there, or have Ray host one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Hello, socket_path
from energysweep.agent.server import DEFAULT_PORT, LINGER_SECONDS
from energysweep.agent.start import start_agent
from energysweep.errors import AgentRunning, AgentUnreachable, EnergysweepError

_NAMESPACE = "energysweep"


def connect(hello: Hello, meters: Sequence[str], port: int = DEFAULT_PORT) -> AgentClient:
    """Talk to this host's agent; start one on this node if there is none.

    Args:
        hello: what this process says first.
        meters: kinds of meters, if one has to be started.
        port: for its HTTP, likewise.

    Raises:
        AgentUnreachable, LeaseRefused
        InputError, MeterUnavailable: no such meter.
    """
    try:
        return AgentClient(socket_path(), hello)
    except AgentUnreachable:
        _start_on_this_node(meters, port)
        return AgentClient(socket_path(), hello)


def _start_on_this_node(meters: Sequence[str], port: int) -> None:
    """Have Ray host an agent in an actor of its own, pinned here. It ends when nobody has needed it for 30 s."""
    node = ray.get_runtime_context().get_node_id()
    actor = _EmbeddedAgent.options(  # type: ignore[attr-defined]
        name=f"agent-{node}",
        namespace=_NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(tuple(meters), port)
    try:
        problem = ray.get(actor.problem.remote())
    except ray.exceptions.RayActorError as error:
        raise AgentUnreachable(f"the agent's actor did not start: {error}") from error
    if problem is not None:
        raise problem


@ray.remote(num_cpus=0)
class _EmbeddedAgent:
    def __init__(self, meters: tuple[str, ...], port: int) -> None:
        self._problem: EnergysweepError | None = None
        try:
            server = start_agent(meters, port=port, linger_seconds=LINGER_SECONDS)
        except AgentRunning:
            pass  # another raylet's on this host: that one serves
        except EnergysweepError as error:
            self._problem = error
        else:
            threading.Thread(target=_end_with, args=(server,), daemon=True).start()

    def problem(self) -> EnergysweepError | None:
        """Why it could not start, None if it serves."""
        return self._problem


def _end_with(server: Any) -> None:
    server.wait()
    server.stop()
    # The actor would keep its node busy for the autoscaler; Ray ends a worker in order on SIGTERM.
    os.kill(os.getpid(), signal.SIGTERM)
