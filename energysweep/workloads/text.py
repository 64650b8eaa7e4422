"""Text: a small transformer learns to guess the next byte of a file that the user gives.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep. The model is GPT's (Radford et al., 2018),
with normalisation before each part, over bytes.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from energysweep.core.errors import InputError
from energysweep.core.phases import startup
from energysweep.workloads.data import Data, find
from energysweep.workloads.training import Encoder, TrainingSettings, learn

_BYTES = 256
_TEST_PART = 0.1


class Settings(TrainingSettings):
    """What ``config`` may hold.

    Attributes:
        data: path of the file; its last tenth is for testing.
        context: bytes that a guess may look back on; the file is cut into pieces of so many.
        width: features of a byte, divisible by ``heads``.
        layers: attention and feed-forward, one after the other, so many times.
        heads: of each attention.
    """

    data: str
    context: PositiveInt = 64
    width: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 4


def train(config: dict[str, Any]) -> None:
    """Train one configuration; report ``accuracy`` (share of the test bytes that it guesses) and ``loss`` each epoch.

    Args:
        config: see ``Settings``.

    Raises:
        ValueError: a parameter is unknown, missing or out of range.
        InputError: the file is not there or too short.
        RuntimeError: the trial reserved a GPU that PyTorch cannot use.
    """
    settings = Settings.from_config(config)
    learn(settings, read(settings), lambda data: encoder(settings))


def read(settings: Settings) -> Data:
    """The pieces of the text.

    Raises:
        InputError: the file is not there or too short.
    """
    with startup():  # a worker does this once for all of its trials
        return load(settings.data, settings.context)


@cache  # a worker reads it once for all of its trials
def load(name: str, context: int) -> Data:
    """The pieces of a file: each byte's target is the byte after it.

    Raises:
        InputError: the file is not there or too short.
    """
    path = find(name, f"the text {name!r}", "It is a file of your own: any text of some hundred kilobytes.")
    if not path.is_file():
        raise InputError("is a folder, not a text", file=str(path))
    content = torch.frombuffer(bytearray(path.read_bytes() or b"\0"), dtype=torch.uint8)
    edge = round(len(content) * (1 - _TEST_PART))
    (train_inputs, train_targets), (test_inputs, test_targets) = (
        _pieces(part, context) for part in (content[:edge], content[edge:])
    )
    if not len(train_inputs) or not len(test_inputs):
        needed = math.ceil((context + 1) / _TEST_PART)
        raise InputError(f"has {len(content)} bytes; contexts of {context} need at least {needed}", file=str(path))
    task = "next_byte"
    return Data(train_inputs, {task: train_targets}, test_inputs, {task: test_targets}, {task: _BYTES})


def _pieces(part: Tensor, context: int) -> tuple[Tensor, Tensor]:
    count = max(0, (len(part) - 1) // context)
    used = count * context
    return part[:used].reshape(count, context), part[1 : used + 1].reshape(count, context)


def encoder(settings: Settings) -> Encoder:
    """The model without its head: features of each byte from all up to it.

    Raises:
        InputError: the width does not divide by the heads.
    """
    width, heads = settings.width, settings.heads
    if width % heads:
        raise InputError(f"{width} cannot be divided by {heads} heads", key="parameters.width")
    layers = [_Layer(width, heads, settings.context) for _ in range(settings.layers)]
    return Encoder(width, _Embedding(width, settings.context), *layers, nn.LayerNorm(width))


class _Embedding(nn.Module):
    """What a byte means, and where it stands."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.byte = nn.Embedding(_BYTES, width)
        self.place = nn.Embedding(context, width)

    def forward(self, pieces: Tensor) -> Tensor:
        """Features of shape (pieces, bytes, width)."""
        places = torch.arange(pieces.shape[1], device=pieces.device)
        features: Tensor = self.byte(pieces.long()) + self.place(places)
        return features


class _Layer(nn.Module):
    """Attention to the bytes before, then a feed-forward network, each added to what goes past it."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.register_buffer("later", torch.ones(context, context).triu(1).bool(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        features = features + self._attend(self.before_attention(features))
        added: Tensor = features + self.network(self.before_network(features))
        return added

    def _attend(self, features: Tensor) -> Tensor:
        pieces, length, width = features.shape
        parts = self.query_key_value(features).reshape(pieces, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        later = self.get_buffer("later")[:length, :length]
        attended = scores.masked_fill(later, -math.inf).softmax(dim=-1) @ value
        out: Tensor = self.out(attended.transpose(1, 2).reshape(pieces, length, width))
        return out
