"""End the agent that serves a socket, of whatever version, so that another one goes on from its state."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from pathlib import Path

from energysweep.agent.client import connected_to_socket
from energysweep.agent.listeners import credentials
from energysweep.agent.server import lock
from energysweep.errors import AgentError, AgentRunning

_TOLD_AGAIN_SECONDS = 5.0  # a trial may have started another one meanwhile; an old one may have slept through it


def end_agent(path: Path, seconds: float = 30.0) -> None:
    """Tell the agent that serves a socket to end, if there is one, and wait until it has.

    Unlike ``retire`` it asks nobody: a daemon ends, too, and one that is in use.

    Args:
        path: of the socket.
        seconds: how long it may take.

    Raises:
        AgentError: it is another user's, or of another pid namespace, or has not ended.
    """
    deadline = time.monotonic() + seconds
    told_at = -math.inf
    while True:
        try:
            lock(path).close()
        except AgentRunning as running:
            if time.monotonic() > deadline:
                raise AgentError(f"{running}, and does not end") from running
        else:
            return
        pid = _listener(path)  # none while it starts or ends
        if pid is not None and time.monotonic() - told_at > _TOLD_AGAIN_SECONDS:
            told_at = time.monotonic()
            _terminate(pid, path)
        time.sleep(0.05)


def _listener(path: Path) -> int | None:
    """The process that listens on a socket, as the kernel has it."""
    try:
        with connected_to_socket(path) as connection:
            return credentials(connection)[0]
    except OSError:
        return None


def _terminate(pid: int, path: Path) -> None:
    if pid == 0:
        raise AgentError(f"the agent at {path} runs in another pid namespace: it has to be ended there")
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise AgentError(
            f"the agent at {path} (process {pid}) is another user's: it has to be ended by that one"
        ) from error
