"""Activities: a one-dimensional CNN or an LSTM learns what people did from windows of what their sensors said.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from energysweep.core.phases import startup
from energysweep.workloads.data import Data
from energysweep.workloads.sensor_data import load
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
        else Encoder(settings.width, LastOfMemory(channels, settings.width))
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
        MeanOverTime(),
    )


class MeanOverTime(nn.Module):
    """One number for each channel."""

    def forward(self, windows: Tensor) -> Tensor:
        """The mean of each channel."""
        return windows.mean(dim=2)


class LastOfMemory(nn.Module):
    """What an LSTM remembers at the end of a window."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(channels, width, batch_first=True)

    def forward(self, windows: Tensor) -> Tensor:
        """The last hidden state."""
        _, (hidden, _) = self.memory(windows.transpose(1, 2))
        last: Tensor = hidden[-1]
        return last
