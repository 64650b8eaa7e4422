"""The cells that effects are fitted to, and the algebra of their least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from energysweep.analysis.trials import TrialLike, canonical, value_order

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """A configuration on its hardware: its settings, its repeats, and the logarithm of the quantity of each."""

    settings: dict[str, Any]
    logs: tuple[float, ...]
    trials: tuple[TrialLike, ...]

    @property
    def mean(self) -> float:
        """The mean logarithm."""
        return math.fsum(self.logs) / len(self.logs)


def trials_at(cells: Sequence[Cell], name: str, *levels: Any) -> list[list[TrialLike]]:
    """The trials at each of these levels, in the cells that differ in nothing else where there are such.

    In a grid with holes the others may have been read by meters that the levels have nothing to do with.
    """

    def rest(cell: Cell) -> str:
        return canonical({key: value for key, value in cell.settings.items() if key != name})

    sides = [[cell for cell in cells if canonical(cell.settings[name]) == canonical(level)] for level in levels]
    common = set.intersection(*({rest(cell) for cell in side} for side in sides))
    return [[trial for cell in side if not common or rest(cell) in common for trial in cell.trials] for side in sides]


def design_of(cells: Sequence[Cell], names: Sequence[str], levels: dict[str, list[Any]]) -> Array:
    """A column of ones, and one for each level of each parameter but its first."""
    columns = [np.ones(len(cells))]
    for name in names:
        columns += [
            np.array([float(canonical(cell.settings[name]) == canonical(level)) for cell in cells])
            for level in levels[name][1:]
        ]
    return np.column_stack(columns)


def squares_left(design: Array, y: Array) -> float:
    """What least squares leave of ``y``."""
    residuals = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(residuals @ residuals)


def pooled_variance(cells: Sequence[Cell]) -> tuple[float | None, int]:
    """The variance of the repeats within their cells, and its degrees of freedom; None without two repeats anywhere."""
    degrees = sum(len(cell.logs) - 1 for cell in cells)
    squares = math.fsum((log - cell.mean) ** 2 for cell in cells for log in cell.logs)
    return (squares / degrees if degrees else None), degrees


def mean_repeats(cells: Sequence[Cell]) -> float:
    """The harmonic mean of the numbers of repeats: what divides the noise of a mean cell."""
    return len(cells) / math.fsum(1 / len(cell.logs) for cell in cells)


def levels_of(cells: Sequence[Cell], name: str) -> list[Any]:
    """The values of a parameter, in order."""
    values = {canonical(cell.settings[name]): cell.settings[name] for cell in cells}
    return sorted(values.values(), key=value_order)
