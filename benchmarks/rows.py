"""How a figure is written down."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        what: what is compared.
        energysweep, other: both figures, with their unit.
        ratio: ours to theirs.
        goal: what the ratio should be at most, None if there is no goal.
        spread: lowest and highest ratio of the repetitions, None if there was one.
    """

    what: str
    energysweep: str
    other: str
    ratio: float
    goal: float | None = None
    spread: tuple[float, float] | None = None


def paired(what: str, ours: Sequence[float], theirs: Sequence[float], unit: str, goal: float | None) -> Row:
    """A row of repetitions that ran in turn: the median of the ratios, so that a slow minute hits both sides alike."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Row(
        what,
        f"{statistics.median(ours):.2f} {unit}",
        f"{statistics.median(theirs):.2f} {unit}",
        statistics.median(ratios),
        goal,
        (min(ratios), max(ratios)),
    )


HEADER = "| what | energysweep | compared with | ratio | range | goal |\n|---|--:|--:|--:|--:|--:|"


def as_markdown(row: Row) -> str:
    """The row of a Markdown table."""
    spread = f"{row.spread[0]:.3f} to {row.spread[1]:.3f}" if row.spread else ""
    goal = "" if row.goal is None else f"at most {row.goal:g}"
    return f"| {row.what} | {row.energysweep} | {row.other} | {row.ratio:.3f} | {spread} | {goal} |"
