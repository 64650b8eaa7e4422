"""Examples in memory, where data sets lie, and what is kept of them decoded. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from energysweep.core.errors import InputError
from energysweep.core.inputs import checked_path, is_there, variable_path

FOLDER_VARIABLE = "ENERGYSWEEP_DATA"


@dataclass(frozen=True)
class Data:
    """A data set in memory.

    Attributes:
        train_inputs, test_inputs: one example per row.
        train_targets, test_targets: by task, the class of each example (of each position of it, in a text).
        classes: by task, how many classes it has. The first task is the data's own.
    """

    train_inputs: Tensor
    train_targets: Mapping[str, Tensor]
    test_inputs: Tensor
    test_targets: Mapping[str, Tensor]
    classes: Mapping[str, int]

    def to(self, device: torch.device) -> Data:
        """The same on a device."""
        return self._mapped(lambda tensor: tensor.to(device), lambda tensor: tensor.to(device))

    def of_tasks(self, tasks: Sequence[str] | None) -> Data:
        """With these tasks only; without names, the first.

        Raises:
            InputError: the data has no such task.
        """
        chosen = tuple(tasks or list(self.classes)[:1])
        unknown = [task for task in chosen if task not in self.classes]
        if unknown or len(set(chosen)) < len(chosen):
            problem = f"has no task {', '.join(unknown)}" if unknown else "names a task twice"
            raise InputError(f"{problem}; there are {', '.join(self.classes)}", key="parameters.tasks")
        return Data(
            self.train_inputs,
            {task: self.train_targets[task] for task in chosen},
            self.test_inputs,
            {task: self.test_targets[task] for task in chosen},
            {task: self.classes[task] for task in chosen},
        )

    def of_classes(self, classes: Sequence[int] | None) -> Data:
        """With the examples of these classes of the first task only, numbered anew in this order.

        Raises:
            InputError: the task has no such class.
        """
        if classes is None:
            return self
        task = next(iter(self.classes))
        if max(classes) >= self.classes[task] or len(set(classes)) < len(classes):
            raise InputError(f"{task} has the classes 0 to {self.classes[task] - 1}", key="parameters.classes")
        numbers = torch.full((self.classes[task],), -1)
        numbers[list(classes)] = torch.arange(len(classes))
        train, test = numbers[self.train_targets[task]], numbers[self.test_targets[task]]
        chosen = self._mapped(lambda tensor: tensor[train >= 0], lambda tensor: tensor[test >= 0])
        return Data(
            chosen.train_inputs,
            {**chosen.train_targets, task: train[train >= 0]},
            chosen.test_inputs,
            {**chosen.test_targets, task: test[test >= 0]},
            {**self.classes, task: len(classes)},
        )

    def with_few(self, per_class: int | None, seed: int) -> Data:
        """With so many training examples of each class of the first task; the tests stay."""
        if per_class is None:
            return self
        task = next(iter(self.classes))
        order = torch.randperm(len(self.train_inputs), generator=torch.Generator().manual_seed(seed))
        targets = self.train_targets[task][order]
        chosen = torch.cat([order[targets == number][:per_class] for number in range(self.classes[task])])
        return self._mapped(lambda tensor: tensor[chosen], lambda tensor: tensor)

    def _mapped(self, train: Callable[[Tensor], Tensor], test: Callable[[Tensor], Tensor]) -> Data:
        return Data(
            train(self.train_inputs),
            {task: train(targets) for task, targets in self.train_targets.items()},
            test(self.test_inputs),
            {task: test(targets) for task, targets in self.test_targets.items()},
            self.classes,
        )


def find(name: str, what: str, get: str) -> Path:
    """Where a data set lies.

    Args:
        name: an absolute path, or one that begins in the folder that ENERGYSWEEP_DATA names (without it, where
            energysweep was started).
        what: what should be there, for the message.
        get: where people get it, for the message.

    Raises:
        InputError: it is not there.
    """
    # Tune gives each trial a working folder of its own and leaves the first one's name behind.
    start = os.environ.get(FOLDER_VARIABLE) or os.environ.get("TUNE_ORIG_WORKING_DIR") or Path.cwd()
    try:
        path = Path(start) / checked_path(name)
    except ValueError as error:
        raise InputError(str(error), key="data") from None
    if not is_there(path):
        raise InputError(
            f"{what} is not there. {get} Put it there, or say where it is: by the parameter data (a path), or by the"
            f" environment variable {FOLDER_VARIABLE} (the folder in which {name} lies). Nothing is downloaded.",
            file=str(path),
        )
    return path


def split(inputs: Tensor, targets: Mapping[str, Tensor], is_test: Tensor, classes: Mapping[str, int]) -> Data:
    """Data of examples, of which some are for testing."""
    return Data(
        inputs[~is_test],
        {task: values[~is_test] for task, values in targets.items()},
        inputs[is_test],
        {task: values[is_test] for task, values in targets.items()},
        classes,
    )


def every_fifth_of_each(labels: Tensor) -> Tensor:
    """Which examples are for testing: the first, sixth, ... of each class, so that each has the same share."""
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        is_test[torch.nonzero(labels == label).flatten()[::5]] = True
    return is_test


def standardised(windows: np.ndarray[Any, Any], is_test: np.ndarray[Any, Any]) -> Tensor:
    """Windows (n, channels, readings) with mean 0 and deviation 1 of each channel over those for training.

    A channel that is constant there is 0.
    """
    train = windows[~is_test]
    mean = train.mean(axis=(0, 2), keepdims=True, dtype=np.float64)
    std = train.std(axis=(0, 2), keepdims=True, dtype=np.float64)
    return torch.from_numpy(((windows - mean) / np.where(std > 0, std, 1.0)).astype(np.float32))


def read_arrays(path: Path, inputs: str) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """The inputs of an .npz file, and its labels by task: ``labels`` is the task ``label``, ``labels_x`` the task x.

    Raises:
        InputError: it is no such file, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"is no .npz file that NumPy can read: {error}", file=str(path)) from error
    labels = {name.removeprefix("labels_"): array for name, array in arrays.items() if name.startswith("labels_")}
    if "labels" in arrays:
        labels = {"label": arrays["labels"], **labels}
    if inputs not in arrays or not labels:
        raise InputError(f"has the arrays {', '.join(arrays)}; needed are {inputs} and labels", file=str(path))
    for task, values in labels.items():
        if values.shape != (len(arrays[inputs]),):
            shapes = f"{values.shape}; {inputs} has {arrays[inputs].shape}"
            raise InputError(f"the labels of {task} must be one for each of {inputs}, not {shapes}", file=str(path))
    return arrays[inputs], labels


def numbered(labels: np.ndarray[Any, Any] | Sequence[Any]) -> tuple[Tensor, int]:
    """Labels of any kind as numbers from 0, in their order, and how many kinds there are."""
    kinds, numbers = np.unique(np.asarray(labels), return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64)), len(kinds)


# Decoded once: tensors on disk that every trial maps into memory at the same small cost ------------------------------
#
# <data set>/.energysweep/<reading>/<fingerprint>/   data.json, train_inputs.npy, ...
#
# A reading is how the data set was decoded (``celeba-64``); the fingerprint is made of the names, sizes and times of
# its files, so that a data set that has changed is decoded anew, in place of the old one. ENERGYSWEEP_CACHE names
# another folder, for data sets that lie where nothing can be written.

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
