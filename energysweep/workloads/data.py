"""Examples in memory, and where data sets lie. Nothing is ever downloaded."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from energysweep.errors import InputError
from energysweep.inputs import checked_path, is_there

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
