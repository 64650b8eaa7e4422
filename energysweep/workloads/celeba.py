"""CelebA (Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015) from its published files.

    celeba/
      img_align_celeba/000001.jpg ...     202,599 aligned pictures of 178 x 218
      list_attr_celeba.txt                number of pictures; names of 40 attributes;
                                          then a picture and 40 times 1 or -1
      list_eval_partition.txt             a picture and 0 (training), 1 (validation) or 2 (test)

Every attribute is a task of two classes. Training and test pictures are those of the published partition; those for
validation are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from energysweep.core.errors import InputError
from energysweep.workloads.data import Data, split

PICTURES = "img_align_celeba"
ATTRIBUTES = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
GET = (
    "Get img_align_celeba.zip, list_attr_celeba.txt and list_eval_partition.txt from"
    " https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (for research that is not commercial), and unpack the pictures."
)
_TRAIN, _TEST = 0, 2
_PARTS = ("0", "1", "2")


def sources(folder: Path) -> list[Path]:
    """What CelebA is read from: two lists and the folder of pictures.

    Raises:
        InputError: one is missing.
    """
    return [_there(folder / name) for name in (ATTRIBUTES, PARTITION, PICTURES)]


def load(folder: Path, size: int) -> Data:
    """CelebA's training and test pictures as bytes of shape (n, 3, size, size), with all attributes.

    Raises:
        InputError: a file is missing, cut off or of another layout.
    """
    attribute_list, partition, _ = sources(folder)
    names, pictures, attributes = _read_attributes(attribute_list)
    parts = _read_partition(partition)
    if missing := [picture for picture in pictures if picture not in parts]:
        raise InputError(f"says nothing about {missing[0]}", file=str(partition))
    part_of = torch.tensor([parts[picture] for picture in pictures])
    used = (part_of == _TRAIN) | (part_of == _TEST)
    if not (part_of == _TRAIN).any() or not (part_of == _TEST).any():
        raise InputError("has no pictures for training (0) or none for testing (2)", file=str(partition))
    paths = [folder / PICTURES / picture for picture, is_used in zip(pictures, used.tolist(), strict=True) if is_used]
    targets = {name: attributes[used, number] for number, name in enumerate(names)}
    return split(read_pictures(paths, size), targets, part_of[used] == _TEST, dict.fromkeys(names, 2))


def _read_attributes(path: Path) -> tuple[list[str], list[str], torch.Tensor]:
    """The names of the attributes, the pictures, and 0 or 1 for each picture and attribute.

    Raises:
        InputError: the file is cut off or of another layout.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise InputError("must begin with the number of pictures, then the names of the attributes", file=str(path))
    names, pictures, rows = lines[1].split(), [], []
    for number, line in enumerate(lines[2:], start=3):
        picture, *values = line.split() or [""]
        if len(values) != len(names):
            problem = f"{len(values)} attributes instead of {len(names)}: the file is cut off or of another layout"
            raise InputError(problem, file=str(path), line=number)
        if wrong := set(values) - {"1", "-1"}:
            raise InputError(f"an attribute is 1 or -1, not {min(wrong)}", file=str(path), line=number)
        pictures.append(picture)
        rows.append([int(value == "1") for value in values])
    if len(pictures) != int(lines[0]):
        raise InputError(
            f"holds {len(pictures)} pictures and should hold {lines[0].strip()}: it is cut off", file=str(path)
        )
    return names, pictures, torch.tensor(rows)


def _read_partition(path: Path) -> dict[str, int]:
    """0, 1 or 2 for each picture.

    Raises:
        InputError: the file is of another layout.
    """
    parts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split()
        if len(columns) != 2 or columns[1] not in _PARTS:
            raise InputError("a line is a picture and 0, 1 or 2", file=str(path), line=number)
        parts[columns[0]] = int(columns[1])
    return parts


def _there(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"is missing from CelebA's folder. {GET}", file=str(path))
    return path


# Picture files as tensors --------------------------------------------------------------------------------------------


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
