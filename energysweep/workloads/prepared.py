"""Data sets as tensors on disk: decoded once, and then mapped into memory by every trial at the same small cost.

    <data set>/.energysweep/<reading>/<fingerprint>/   data.json, train_inputs.npy, ...

A reading is how the data set was decoded (``celeba-64``); the fingerprint is made of the names, sizes and times of its
files, so that a data set that has changed is decoded anew, in place of the old one. ENERGYSWEEP_CACHE names another
folder, for data sets that lie where nothing can be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from energysweep.errors import InputError
from energysweep.inputs import variable_path
from energysweep.workloads.data import Data

CACHE_VARIABLE: Final = "ENERGYSWEEP_CACHE"
FOLDER: Final = ".energysweep"
_FACTS: Final = "data.json"
_FORMAT: Final = 1  # raise it when what is kept, or how it is decoded, has changed


def prepared(path: Path, reading: str, sources: Iterable[Path], decode: Callable[[], Data]) -> Data:
    """A data set's tensors from disk; decoded and kept there first if they are not.

    Args:
        path: the data set's file or folder.
        reading: how it is decoded, with all that ``decode`` depends on beside the files: part of a file's name.
        sources: the files and folders that it is decoded from; all at ``path`` or below it.
        decode: does it.

    Raises:
        InputError: a file is missing or damaged, or the tensors cannot be kept.
    """
    home = _home(path) / reading
    folder = home / _fingerprint(path, sources)
    if not folder.is_dir():
        _keep(home, folder, decode)
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return Data(
        _mapped(folder / "train_inputs.npy"),
        _mapped_targets(folder, "train", facts["classes"]),
        _mapped(folder / "test_inputs.npy"),
        _mapped_targets(folder, "test", facts["classes"]),
        facts["classes"],
    )


def _home(path: Path) -> Path:
    if named := os.environ.get(CACHE_VARIABLE):
        place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
        return variable_path(CACHE_VARIABLE, named) / f"{path.name}-{place}"
    return path / FOLDER if path.is_dir() else path.parent / FOLDER / path.name


def _fingerprint(path: Path, sources: Iterable[Path]) -> str:
    """Of names below ``path``, sizes and times: reading the files themselves would cost nearly as much as decoding."""
    found = hashlib.sha256(f"{_FORMAT}".encode())
    for source in sources:
        for name, facts in _files(str(source)):
            below = name.removeprefix(str(path))  # the same on nodes that have it at another place
            found.update(f"\n{below} {facts.st_size} {facts.st_mtime_ns}".encode())
    return found.hexdigest()[:16]


def _files(name: str) -> Iterator[tuple[str, os.stat_result]]:
    """A file, or all files of a folder that are not hidden."""
    facts = os.stat(name)  # noqa: PTH116 - CelebA has 200,000 files, for which pathlib takes four times as long
    if not stat.S_ISDIR(facts.st_mode):
        yield name, facts
        return
    for each in sorted(os.listdir(name)):  # noqa: PTH208
        if not each.startswith("."):
            yield from _files(f"{name}/{each}")


def _keep(home: Path, folder: Path, decode: Callable[[], Data]) -> None:
    """Decode and write to a folder of its own first: nobody ever sees a half of it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        begun = Path(tempfile.mkdtemp(prefix="begun-", dir=home))
    except OSError as error:
        problem = (
            f"decoded data cannot be kept here ({error.strerror}): make it a folder that can be written, or name one by"
            f" the environment variable {CACHE_VARIABLE}"
        )
        raise InputError(problem, file=str(home)) from error
    try:
        _publish(decode(), begun, folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _publish(data: Data, begun: Path, folder: Path) -> None:
    try:
        _write(data, begun)
        begun.chmod(0o755)  # others may read what the first one has decoded
        for old in folder.parent.iterdir():
            if old != folder and not old.name.startswith("begun-"):  # which is of another one, who is at it as well
                shutil.rmtree(old, ignore_errors=True)
        begun.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another one was faster
            raise InputError(f"decoded data cannot be kept here: {error}", file=str(folder.parent)) from error


def _write(data: Data, folder: Path) -> None:
    for part, inputs, targets in (
        ("train", data.train_inputs, data.train_targets),
        ("test", data.test_inputs, data.test_targets),
    ):
        np.save(folder / f"{part}_inputs.npy", inputs.numpy())
        for number, values in enumerate(targets.values()):
            np.save(folder / f"{part}_targets_{number}.npy", values.numpy())
    (folder / _FACTS).write_text(json.dumps({"classes": dict(data.classes)}), encoding="utf-8")


def _mapped_targets(folder: Path, part: str, classes: Mapping[str, int]) -> dict[str, Tensor]:
    return {task: _mapped(folder / f"{part}_targets_{number}.npy") for number, task in enumerate(classes)}


def _mapped(path: Path) -> Tensor:
    # Copy on write: PyTorch wants memory that it may write to, and what it wrote would not reach the file.
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
