"""The secret key of a run: whoever has it belongs to the run.

A driver makes it, and its workers get it with their trainable. The first hello of a run binds the run to it; later
ones, and every request about the run over HTTP, have to bring it. The agent keeps only its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from energysweep.agent.windows import Window
from energysweep.errors import LeaseRefused

REBIND_SECONDS = 30.0  # how long a closed window waits for its driver's last poll before its run may get another key


def new_key() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def fingerprint(key: str) -> str:
    """What an agent remembers of a key; empty for none: a run without a key is open to everybody."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


def fits(key: str, known: str) -> bool:
    """Whether it is the key with this fingerprint; takes as long whatever the answer is."""
    return hmac.compare_digest(fingerprint(key), known)


def check(run: str, key: str, peer: str, window: Window | None, now: float) -> None:
    """Whether somebody may open a run's window, or join it.

    Args:
        run, key: what is said.
        peer: who says it.
        window: the run's, None if it has none.
        now: the host's clock.

    Raises:
        LeaseRefused: the run has another key.
    """
    if window is None or fits(key, window.key):
        return
    # Its owner may begin again under the same name once nothing of it can be lost.
    if window.closed is None or window.peer != peer or now - window.closed < REBIND_SECONDS:
        raise LeaseRefused(
            f"run {run!r} on this host has another key: it is somebody else's, or was begun by another driver less"
            " than two minutes ago"
        )
