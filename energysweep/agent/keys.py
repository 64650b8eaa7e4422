"""The secret key of a run: whoever has it belongs to the run.

A driver makes it, and its workers get it with their trainable. The first hello of a run binds the run to it; later
ones, and every request about the run over HTTP, have to bring it. The agent keeps only its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_key() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def fingerprint(key: str) -> str:
    """What an agent remembers of a key; empty for none: a run without a key is open to everybody."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


def fits(key: str, known: str) -> bool:
    """Whether it is the key with this fingerprint; takes as long whatever the answer is."""
    return hmac.compare_digest(fingerprint(key), known)
