"""Small files in the layouts in which PAMAP2, CelebA and the time series archive are published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image

NAMES = ["5_o_Clock_Shadow", "Male", "Smiling"]
COLUMNS = 54


def pamap2_line(number: int, activity: int, subject: int, missing: tuple[int, ...] = ()) -> str:
    """A hundredth of a second: time, activity, heart rate, and 3 x 17 columns of sensors."""
    values = [f"{8.38 + number / 100:.2f}", str(activity), "NaN" if number % 11 else "104"]
    for column in range(3, COLUMNS):
        wave = np.sin(number * activity / 10 + column) + 0.1 * subject
        values.append("NaN" if column in missing else f"{wave:.5g}")
    return " ".join(values)


def pamap2(
    folder: Path,
    subjects: tuple[int, ...] = (101, 102),
    readings: int = 300,
    missing: Mapping[int, tuple[int, ...]] | None = None,
) -> Path:
    """Two activities (1 lying, 4 walking) of each subject, with 0 (none) before, between and after.

    ``missing`` are the columns that are NaN, by line (both counted from 0); of the first subject only.
    """
    protocol = folder / "PAMAP2_Dataset" / "Protocol"
    protocol.mkdir(parents=True)
    for subject in subjects:
        activities = [0] * 20 + [1] * readings + [0] * 20 + [4] * readings + [0] * 20
        lost = (missing or {}) if subject == subjects[0] else {}
        lines = [
            pamap2_line(number, activity, subject - 100, lost.get(number, ()))
            for number, activity in enumerate(activities)
        ]
        (protocol / f"subject{subject}.dat").write_text("\n".join(lines) + "\n")
    return folder / "PAMAP2_Dataset"


def celeba(folder: Path, pictures: int = 12, more: tuple[str, ...] = ()) -> Path:
    """Pictures of 178 x 218; who smiles is bright; the first 8 for training, then 2 for validation, 2 for testing.

    ``more`` are further attributes of those who smile.
    """
    root = folder / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    attributes = [f"{pictures}", " ".join((*NAMES, *more))]
    partition = []
    for number in range(1, pictures + 1):
        name, smiles = f"{number:06d}.jpg", number % 2 == 0
        PIL.Image.new("RGB", (178, 218), (220, 200, 180) if smiles else (20, 30, 40)).save(
            root / "img_align_celeba" / name
        )
        # Published with two spaces before a positive value: columns are divided by any number of spaces.
        values = [" 1" if each else "-1" for each in (False, number % 3 == 0, smiles, *(smiles for _ in more))]
        attributes.append(" ".join((name, *values)))
        partition.append(f"{name} {0 if number <= 8 else 1 if number <= 10 else 2}")
    (root / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return root


TS = """\
#A comment.
@problemName Tiny
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength true
@seriesLength 3
@classLabel true Standing Running
@data
1,2,3:4,5,6:Standing
7,8,9:1,0,-1.5:Running
"""
