"""Where the sensors' windows come from: BasicMotions as aeon ships it, PAMAP2's published files, an .npz file."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from energysweep.core.errors import InputError
from energysweep.workloads import pamap2
from energysweep.workloads.data import (
    Data,
    every_fifth_of_each,
    find,
    numbered,
    prepared,
    read_arrays,
    split,
    standardised,
)

_Array = np.ndarray[Any, Any]
_MOTIONS = ("Standing", "Walking", "Running", "Badminton")


def load(name: str, window: int, stride: int) -> Data:
    """The windows of a name or a path (see ``sensors.Settings``).

    BasicMotions is read by a worker's first trial; what lies at a path is decoded once and kept (``prepared``).

    Raises:
        InputError: they are not there or are damaged.
    """
    if name == "basic-motions":
        return load_basic_motions(_aeon_folder(), window, stride)
    path = find(name, f"the data set {name!r}", pamap2.GET if name == "pamap2" else "It is a path of your own.")
    if path.is_file():
        return prepared(path, "windows", [path], lambda: load_npz(path))
    reading = f"pamap2-{window}-{stride}"
    return prepared(path, reading, pamap2.sources(path), lambda: pamap2.load(path, window, stride))


@cache
def load_basic_motions(folder: Path, window: int, stride: int) -> Data:
    """Four students with a smart watch: accelerometer and gyroscope, 6 channels at 10 Hz, 40 + 40 recordings of 10 s.

    The published split into training and test recordings stays, so no window of a test recording was trained on. Tasks:
    ``activity`` (standing, walking, running, badminton), ``moving`` (not standing), ``vigorous`` (the last two).

    Raises:
        InputError: a file is missing, cut off or of another layout.
    """
    parts = [read_ts(folder / f"BasicMotions_{part}.ts") for part in ("TRAIN", "TEST")]
    windows, activities, is_test = [], [], []
    for number, (recordings, labels) in enumerate(parts):
        for recording, label in zip(recordings, labels, strict=True):
            if label not in _MOTIONS:
                raise InputError(f"{label} is none of {', '.join(_MOTIONS)}", file=str(folder))
            cut = windows_of(recording, window, stride)
            windows.append(cut)
            activities += [_MOTIONS.index(label)] * len(cut)
            is_test += [number == 1] * len(cut)
    activity = torch.tensor(activities)
    targets = {"activity": activity, "moving": (activity > 0).long(), "vigorous": (activity > 1).long()}
    held_out = torch.tensor(is_test)
    inputs = standardised(np.concatenate(windows), held_out.numpy())
    return split(inputs, targets, held_out, {"activity": 4, "moving": 2, "vigorous": 2})


def load_npz(path: Path) -> Data:
    """Arrays: ``windows`` (n, channels, readings) of numbers, and ``labels``.

    Raises:
        InputError: the arrays are others.
    """
    windows, labels = read_arrays(path, "windows")
    if windows.ndim != 3 or not np.issubdtype(windows.dtype, np.number) or not np.isfinite(windows).all():
        problem = f"windows must be numbers of shape (n, channels, readings), not {windows.dtype} of {windows.shape}"
        raise InputError(problem, file=str(path))
    found = {task: numbered(values) for task, values in labels.items()}
    targets = {task: numbers for task, (numbers, _) in found.items()}
    is_test = every_fifth_of_each(next(iter(targets.values())))
    inputs = standardised(windows, is_test.numpy())
    return split(inputs, targets, is_test, {task: count for task, (_, count) in found.items()})


def windows_of(recording: _Array, window: int, stride: int) -> _Array:
    """Windows of shape (n, channels, window) from a recording of shape (channels, readings).

    Raises:
        InputError: the recording is shorter than a window.
    """
    readings = recording.shape[1]
    if readings < window:
        raise InputError(f"a recording has {readings} readings, a window should have {window}", key="parameters.window")
    starts = range(0, readings - window + 1, stride)
    return np.stack([recording[:, start : start + window] for start in starts])


def _aeon_folder() -> Path:
    """Where aeon keeps BasicMotions. It is looked for and not imported: its files are all that is needed."""
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "BasicMotions comes with aeon, which is not installed: pip install --no-deps aeon (its files are enough),"
            " or pip install aeon",
            key="parameters.data",
        )
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / "BasicMotions"


# .ts files of the time series classification archive, with whole series of equal length ------------------------------
#
# Lines that begin with ``#`` are comments, with ``@`` facts; after ``@data`` each line is a recording: its channels,
# separated by colons, each a list of numbers separated by commas; at last its class.
# Source: https://www.aeon-toolkit.org/en/latest/api_reference/file_specifications/ts.html


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
