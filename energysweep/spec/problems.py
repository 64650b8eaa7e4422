"""What is wrong with a sweep, before it becomes an error with a file and a line."""

from __future__ import annotations

from typing import NamedTuple

from energysweep.spec.yaml import KeyPath


class Problem(NamedTuple):
    """What is wrong at one key path, and what is allowed there."""

    path: KeyPath
    text: str
