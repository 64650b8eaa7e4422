"""What a driver asks of an agent for its run, whichever way it asks: one table says what each request does.

A request is checked by its model in ``protocol``, the same over a socket and over HTTP. Which run it is about, and that
the one who asks belongs to it, is the way in's to find out: a connection has said hello with the run's key, and a
request over HTTP brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from energysweep.agent import protocol
from energysweep.agent.agent import Agent

OPERATIONS: Mapping[type[protocol.RunRequest], Callable[[Agent, str, Any], None]] = {
    protocol.CloseTrial: lambda agent, run, asked: agent.close_trial(run, asked.trial, is_over=asked.is_over),
    protocol.CloseWindow: lambda agent, run, _: agent.close_window(run),
    protocol.Update: lambda agent, run, asked: agent.update_sweep(run, asked.sweep),
    protocol.Agents: lambda agent, run, asked: agent.update_agents(run, asked.agents),
}


def carry_out(agent: Agent, run: str, request: protocol.RunRequest) -> None:
    """Do what is asked.

    Raises:
        LeaseRefused: the run has no window here.
    """
    OPERATIONS[type(request)](agent, run, request)
