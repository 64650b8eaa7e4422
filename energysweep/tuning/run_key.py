"""The key of a run, in a file of its own: whoever goes on with the run needs it, a reader of its report does not."""

from __future__ import annotations

import os
from pathlib import Path

from energysweep.agent.keys import new_key
from energysweep.errors import InputError

FILE_NAME = "run.key"


def key_of(folder: Path) -> str:
    """The key of the run in a folder; a new one if it has none yet.

    Raises:
        InputError: it has one that this user cannot read.
    """
    try:
        return (folder / FILE_NAME).read_text(encoding="ascii").strip() or new_key()
    except FileNotFoundError:
        return new_key()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the run's key: {error}", file=str(folder / FILE_NAME)) from error


def keep_key(folder: Path, key: str) -> None:
    """Write it down, for this user only.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(key + "\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(folder / FILE_NAME)) from error
