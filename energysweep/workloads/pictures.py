"""Picture files as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from energysweep.errors import InputError


def read_pictures(paths: Sequence[Path], size: int) -> Tensor:
    """Red, green, blue bytes of shape (n, 3, size, size); the middle square of each picture, brought to that size.

    Raises:
        InputError: one is missing or cannot be read.
    """
    images = torch.empty((len(paths), 3, size, size), dtype=torch.uint8)
    for number, path in enumerate(paths):
        try:
            with PIL.Image.open(path) as picture:
                square = min(picture.size)
                left, top = (picture.width - square) // 2, (picture.height - square) // 2
                box = (left, top, left + square, top + square)
                pixels = np.asarray(picture.convert("RGB").resize((size, size), PIL.Image.Resampling.BILINEAR, box))
        except FileNotFoundError as error:
            raise InputError("there is no such picture", file=str(path)) from error
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of a file that is cut off or no picture
            raise InputError(f"is no picture that can be read whole: {error}", file=str(path)) from error
        images[number] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return images
