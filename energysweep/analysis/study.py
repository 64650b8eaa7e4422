"""What a study itself has cost: the sum over its runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Protocol


class TotalsLike(Protocol):
    """The totals of a run; a report's ``Totals`` is one."""

    @property
    def energy_joules(self) -> float | None: ...
    @property
    def trials_energy_joules(self) -> float | None: ...
    @property
    def startup_joules(self) -> float | None: ...
    @property
    def overhead_joules(self) -> float | None: ...
    @property
    def other_sweeps_joules(self) -> float | None: ...
    @property
    def background_joules(self) -> float | None: ...
    @property
    def unreserved_idle_joules(self) -> float | None: ...
    @property
    def emissions_grams(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class StudyEnergy:
    """The sums over the runs; None where no run knows.

    Attributes:
        energy_joules: what the meters saw while the runs' windows were open = all the others together.
        emissions_grams: of trials, their start-up and overhead.
        runs: how many runs they are over.
        unknown: how many of them measured nothing.
    """

    energy_joules: float | None
    trials_energy_joules: float | None
    startup_joules: float | None
    overhead_joules: float | None
    other_sweeps_joules: float | None
    background_joules: float | None
    unreserved_idle_joules: float | None
    emissions_grams: float | None
    runs: int
    unknown: int


def study_energy(totals: Iterable[TotalsLike]) -> StudyEnergy:
    """Add up runs. Runs at the same time on one host each count the other as ``other_sweeps``: the sum has both."""
    runs = list(totals)
    names = [each.name for each in fields(StudyEnergy) if each.name not in ("runs", "unknown")]
    sums = {name: _total(getattr(run, name) for run in runs) for name in names}
    return StudyEnergy(**sums, runs=len(runs), unknown=sum(run.energy_joules is None for run in runs))


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None
