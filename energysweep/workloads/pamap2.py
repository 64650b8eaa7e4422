"""PAMAP2 (Reiss and Stricker, "Introducing a New Benchmarked Dataset for Activity Monitoring", ISWC 2012).

    PAMAP2_Dataset/Protocol/subject101.dat ... subject109.dat

A line is a hundredth of a second, 54 columns separated by spaces, NaN where the radio lost something: time in seconds;
activity (0: between activities); heart rate; then for each sensor of hand, chest and ankle 17 columns, of which these
are used: acceleration (16 g), gyroscope, magnetometer, 3 each. The others are a temperature, an acceleration that
saturates, and an orientation that the authors call invalid.

Tasks: ``activity`` (of the 12 of the protocol, those that are there) and ``subject``. Of every stretch of an activity
the last fifth is for testing, so that each subject and activity is in both parts and no window in two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from energysweep.core.errors import InputError
from energysweep.workloads.data import Data, numbered, split, standardised

GET = (
    "Get PAMAP2_Dataset.zip from https://archive.ics.uci.edu/dataset/231/pamap2+physical+activity+monitoring and"
    " unpack it; the folder is the one that holds Protocol/subject101.dat and so on."
)
COLUMNS = 54
TEST_PART = 0.2
LONGEST_GAP_SECONDS = 1.0
_PERIOD_SECONDS = 0.01
_SENSORS_BEGIN = (3, 20, 37)  # hand, chest, ankle
# Of each sensor's columns: after the temperature the acceleration; after another acceleration gyroscope, magnetometer.
CHANNELS = [begin + offset for begin in _SENSORS_BEGIN for offset in (1, 2, 3, 7, 8, 9, 10, 11, 12)]
_PROTOCOL = (1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17, 24)
_Array = np.ndarray[Any, Any]


def sources(folder: Path) -> list[Path]:
    """The files that PAMAP2 is read from.

    Raises:
        InputError: there is none.
    """
    protocol = folder / "Protocol" if (folder / "Protocol").is_dir() else folder
    paths = sorted(protocol.glob("subject*.dat"))
    if not paths:
        raise InputError(f"holds no subject*.dat. {GET}", file=str(protocol))
    return paths


def load(folder: Path, window: int, stride: int) -> Data:
    """Windows of shape (n, 27, window) of all subjects, each channel standardised by its training part.

    Raises:
        InputError: a file is missing, cut off or of another layout, or there is no window of this length.
    """
    paths = sources(folder)
    windows: list[_Array] = []
    labels: list[tuple[int, str, bool]] = []
    for path in paths:
        for activity, stretch in stretches(read_subject(path)):
            for part, is_test in _parts(stretch):
                cut = list(_windows(part, window, stride))
                windows += cut
                labels += [(activity, path.stem, is_test)] * len(cut)
    if not {False, True} <= {is_test for _, _, is_test in labels}:
        raise InputError(f"no activity is long enough for windows of {window} readings", file=str(paths[0].parent))
    return _as_data(np.stack(windows), labels)


def read_subject(path: Path) -> _Array:
    """The table of one file: time, activity, and the channels that are used.

    Raises:
        InputError: a line has another number of columns, or something else than numbers.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if (columns := len(line.split())) != COLUMNS:
                problem = f"{columns} columns instead of {COLUMNS}: the file is cut off, or none of PAMAP2's"
                raise InputError(problem, file=str(path), line=number)
    try:
        table = np.loadtxt(path, usecols=[0, 1, *CHANNELS], ndmin=2)
    except ValueError as error:
        raise InputError(f"holds something else than numbers: {error}", file=str(path)) from error
    if not table.size or np.isnan(table[:, :2]).any():
        raise InputError("is empty, or lacks a time or an activity", file=str(path))
    return table


def stretches(table: _Array) -> Iterator[tuple[int, _Array]]:
    """Each activity of the protocol with its readings (n, 27), as long as it went on without a gap.

    A channel that is NaN is drawn straight from the reading before to the one after, over at most a second; where more
    is missing, one stretch ends and the next one begins.
    """
    channels = table[:, 2:].copy()
    for column in channels.T:
        _bridge(column)
    activity = table[:, 1].astype(int)
    broken = np.isnan(channels).any(axis=1) | ~np.isin(activity, _PROTOCOL)
    changed = (np.diff(activity) != 0) | (np.diff(broken) != 0) | (np.diff(table[:, 0]) > LONGEST_GAP_SECONDS)
    edges = [0, *(np.flatnonzero(changed) + 1).tolist(), len(table)]
    for start, end in pairwise(edges):
        if not broken[start]:
            yield int(activity[start]), channels[start:end]


def _bridge(column: _Array) -> None:
    """Fill gaps of at most a second in place."""
    missing = np.isnan(column)
    if missing.all() or not missing.any():
        return
    known = np.flatnonzero(~missing)
    most = round(LONGEST_GAP_SECONDS / _PERIOD_SECONDS)
    for before, after in pairwise(known.tolist()):
        if 1 < after - before <= most + 1:
            column[before : after + 1] = np.linspace(column[before], column[after], after - before + 1)


def _parts(stretch: _Array) -> tuple[tuple[_Array, bool], tuple[_Array, bool]]:
    edge = round(len(stretch) * (1 - TEST_PART))
    return (stretch[:edge], False), (stretch[edge:], True)


def _windows(readings: _Array, window: int, stride: int) -> Iterator[_Array]:
    for start in range(0, len(readings) - window + 1, stride):
        yield readings[start : start + window].T.astype(np.float32)


def _as_data(windows: _Array, labels: list[tuple[int, str, bool]]) -> Data:
    is_test = np.array([is_test for _, _, is_test in labels])
    activities, activity_count = numbered([activity for activity, _, _ in labels])
    subjects, subject_count = numbered([subject for _, subject, _ in labels])
    return split(
        standardised(windows, is_test),
        {"activity": activities, "subject": subjects},
        torch.from_numpy(is_test),
        {"activity": activity_count, "subject": subject_count},
    )
