"""Activities: a one-dimensional CNN or an LSTM learns what people did from windows of what their sensors said.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from energysweep.core.errors import InputError
from energysweep.core.phases import startup
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
from energysweep.workloads.training import Encoder, TrainingSettings, learn


class Settings(TrainingSettings):
    """What ``config`` may hold.

    Attributes:
        model: ``cnn`` (three convolutions over time) or ``lstm`` (one layer).
        width: of the first convolution (the next two have twice as many), or of the LSTM's memory.
        data: ``basic-motions`` (80 recordings that come with aeon; tasks activity, moving, vigorous), ``pamap2`` (tasks
            activity, subject), or the path of PAMAP2's folder or of an .npz file.
        window: readings in a window.
        stride: readings from the beginning of a window to the beginning of the next one.
    """

    model: Literal["cnn", "lstm"] = "cnn"
    width: PositiveInt = 32
    data: str = "basic-motions"
    window: PositiveInt = 50
    stride: PositiveInt = 10


def train(config: dict[str, Any]) -> None:
    """Train one configuration; report ``accuracy`` (test windows) and ``loss`` (training windows) after each epoch.

    Args:
        config: see ``Settings``.

    Raises:
        ValueError: a parameter is unknown, missing or out of range.
        InputError: the data is not there or is damaged.
        RuntimeError: the trial reserved a GPU that PyTorch cannot use.
    """
    settings = Settings.from_config(config)
    learn(settings, read(settings), lambda data: encoder(settings, data))


def read(settings: Settings) -> Data:
    """The windows.

    Raises:
        InputError: they are not there or are damaged.
    """
    with startup():  # a worker does this once for all of its trials
        return load(settings.data, settings.window, settings.stride)


def encoder(settings: Settings, data: Data) -> Encoder:
    """The model without its heads, for windows of shape (n, channels, readings)."""
    channels = data.train_inputs.shape[1]
    return (
        _cnn(channels, settings.width)
        if settings.model == "cnn"
        else Encoder(settings.width, _LastOfMemory(channels, settings.width))
    )


def _cnn(channels: int, filters: int) -> Encoder:
    return Encoder(
        2 * filters,
        nn.Conv1d(channels, filters, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.Conv1d(filters, 2 * filters, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.Conv1d(2 * filters, 2 * filters, kernel_size=3, padding=1),
        nn.ReLU(),
        _MeanOverTime(),
    )


class _MeanOverTime(nn.Module):
    """One number for each channel."""

    def forward(self, windows: Tensor) -> Tensor:
        """The mean of each channel."""
        return windows.mean(dim=2)


class _LastOfMemory(nn.Module):
    """What an LSTM remembers at the end of a window."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(channels, width, batch_first=True)

    def forward(self, windows: Tensor) -> Tensor:
        """The last hidden state."""
        _, (hidden, _) = self.memory(windows.transpose(1, 2))
        last: Tensor = hidden[-1]
        return last


# Where the windows come from: BasicMotions as aeon ships it, PAMAP2's published files, an .npz file ------------------

_Array = np.ndarray[Any, Any]
_MOTIONS = ("Standing", "Walking", "Running", "Badminton")


def load(name: str, window: int, stride: int) -> Data:
    """The windows of a name or a path (see ``Settings``).

    BasicMotions is read by a worker's first trial; what lies at a path is decoded once and kept (``prepared``).

    Raises:
        InputError: they are not there or are damaged.
    """
    if name == "basic-motions":
        return _load_basic_motions(_aeon_folder(), window, stride)
    path = find(name, f"the data set {name!r}", pamap2.GET if name == "pamap2" else "It is a path of your own.")
    if path.is_file():
        return prepared(path, "windows", [path], lambda: load_npz(path))
    reading = f"pamap2-{window}-{stride}"
    return prepared(path, reading, pamap2.sources(path), lambda: pamap2.load(path, window, stride))


@cache
def _load_basic_motions(folder: Path, window: int, stride: int) -> Data:
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
            cut = _windows_of(recording, window, stride)
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


def _windows_of(recording: _Array, window: int, stride: int) -> _Array:
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
