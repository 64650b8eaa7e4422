"""Ports for servers that a test starts a while later."""

from __future__ import annotations

import secrets
import socket

# Below the range from which Linux takes a port for whoever connects, or binds port 0: one of those may soon be taken.
_RANGE = range(20000, 32768)
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, at any address, and that no test of this process has been given before."""
    while True:
        port = secrets.choice(_RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
