"""The .ts files of the time series classification archive, as far as they hold whole series of equal length.

Lines that begin with ``#`` are comments, with ``@`` facts; after ``@data`` each line is a recording: its channels,
separated by colons, each a list of numbers separated by commas; at last its class.
Source: https://www.aeon-toolkit.org/en/latest/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from energysweep.errors import InputError

_Array = np.ndarray[Any, Any]


def read_ts(path: Path) -> tuple[list[_Array], list[str]]:
    """The recordings, each of shape (channels, readings), and their classes.

    Raises:
        InputError: the file is missing, cut off or of another layout.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError("there is no such file", file=str(path)) from error
    facts: dict[str, str] = {}
    recordings: list[_Array] = []
    labels: list[str] = []
    in_data = False
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not in_data:
            name, _, value = line.removeprefix("@").strip().partition(" ")
            facts[name.lower()] = value
            in_data = name.lower() == "data"
            continue
        *channels, label = line.strip().split(":")
        recordings.append(_recording(channels, path, number, recordings))
        labels.append(label)
    if not recordings:
        raise InputError("holds no recordings after @data: it is no .ts file, or cut off", file=str(path))
    known = facts.get("classlabel", "").split()[1:]
    if unknown := [label for label in labels if known and label not in known]:
        raise InputError(f"the class {unknown[0]} is none of {', '.join(known)}", file=str(path))
    expected = (int(facts.get("dimensions", len(recordings[0]))), int(facts.get("serieslength", len(recordings[0][0]))))
    if recordings[0].shape != expected:
        raise InputError(f"recordings have {recordings[0].shape} readings, @ says {expected}", file=str(path))
    return recordings, labels


def _recording(channels: list[str], path: Path, line: int, before: list[_Array]) -> _Array:
    try:
        recording = np.array([channel.split(",") for channel in channels], dtype=np.float64)
    except ValueError as error:
        problem = "channels of different lengths or values that are no numbers: the line is cut off or damaged"
        raise InputError(problem, file=str(path), line=line) from error
    if not np.isfinite(recording).all():
        raise InputError("a reading is missing", file=str(path), line=line)
    if recording.size == 0 or (before and recording.shape != before[0].shape):
        first = before[0].shape if before else "some"
        raise InputError(f"{recording.shape} readings instead of {first}: cut off", file=str(path), line=line)
    return recording
