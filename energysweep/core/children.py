"""What the processes that a trial starts are told of it, and how they report: programs, workers, forked children.

They hold no lease, and cannot ask the agent: the trial's own process asks for them, over a socket that only processes
of the same user may use. Its name is in their environment.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

TRIAL: Final = "ENERGYSWEEP_TRIAL"
"""Set by energysweep in a trial's process, for those that it starts: the abstract socket at which that one answers."""

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid. unix(7)
_ANSWER_SECONDS = 30.0
_LONGEST_WAIT = 3600.0  # nobody ends the thread that serves but the end of the process

_lock = threading.Lock()
_served: tuple[int, str] = (0, "")  # the process that serves, and where


def begin(answer: Callable[[], Mapping[str, Any] | None]) -> None:
    """Processes that this one starts from now on find its trial.

    Args:
        answer: what they are told; None where nothing is known. The first one that is given stays.
    """
    global _served  # noqa: PLW0603
    with _lock, suppress(OSError):  # then they are told nothing
        if _served[0] != os.getpid():
            _served = (os.getpid(), _serve(answer))
        os.environ[TRIAL] = _served[1]


def end() -> None:
    """The trial has ended: those that are started from now on have none."""
    if _served[0] == os.getpid():
        os.environ.pop(TRIAL, None)


def _serve(answer: Callable[[], Mapping[str, Any] | None]) -> str:
    """Answer from now on in a thread. Returns the name of the socket."""
    name = f"energysweep-{os.getpid()}-{secrets.token_hex(8)}"

    class Handler(_Handler):
        tell = staticmethod(answer)

    serve = _Server(f"\0{name}", Handler).serve_forever
    threading.Thread(target=serve, args=(_LONGEST_WAIT,), daemon=True, name="energysweep-children").start()
    return name


def has_trial() -> bool:
    """Whether a trial has started this process, or one above it."""
    return TRIAL in os.environ and _served[0] != os.getpid()


def ask() -> Mapping[str, Any] | None:
    """What the trial tells that has started this process; None where none has, or it does not answer."""
    if not has_trial():
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(f"\0{os.environ[TRIAL]}")
            with connection.makefile("rb") as lines:
                told = json.loads(lines.readline())
    except (OSError, ValueError):  # ValueError: no JSON, or a name that no socket has
        return None
    return told if isinstance(told, dict) else None


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has gone."""


class _Handler(socketserver.StreamRequestHandler):
    tell: Callable[[], Mapping[str, Any] | None]

    def handle(self) -> None:
        _, uid, _ = _CREDENTIALS.unpack(
            self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid == os.getuid():
            self.wfile.write(json.dumps(self.tell()).encode() + b"\n")
