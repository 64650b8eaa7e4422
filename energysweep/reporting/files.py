"""Writing a run folder's files, each whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from energysweep.errors import EnergysweepError


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; a reader sees the old file or the new one, never a half.

    Raises:
        EnergysweepError: the folder cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise EnergysweepError(f"{path}: cannot be written ({error.strerror or error})") from error
