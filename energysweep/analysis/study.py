"""What a study itself has cost: the sum over its runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from energysweep.core.buckets import BY_NAME


class TotalsLike(Protocol):
    """The totals of a run; a report's ``Totals`` is one."""

    @property
    def energy_joules(self) -> float | None: ...
    @property
    def trials_energy_joules(self) -> float | None: ...
    @property
    def buckets(self) -> Mapping[str, float | None]: ...
    @property
    def emissions_grams(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class StudyEnergy:
    """The sums over the runs; None where no run knows.

    Attributes:
        energy_joules: what the meters saw while the runs' windows were open = all buckets together.
        trials_energy_joules: the buckets of the trials' work together.
        buckets: joules by the names of ``core.buckets``.
        emissions_grams: of what the runs are charged with.
        runs: how many runs they are over.
        unknown: how many of them measured nothing.
    """

    energy_joules: float | None
    trials_energy_joules: float | None
    buckets: Mapping[str, float | None]
    emissions_grams: float | None
    runs: int
    unknown: int


def study_energy(totals: Iterable[TotalsLike]) -> StudyEnergy:
    """Add up runs. Runs at the same time on one host each count the other as ``other_sweeps``: the sum has both."""
    runs = list(totals)
    return StudyEnergy(
        energy_joules=_total(run.energy_joules for run in runs),
        trials_energy_joules=_total(run.trials_energy_joules for run in runs),
        buckets={name: _total(run.buckets.get(name) for run in runs) for name in BY_NAME},
        emissions_grams=_total(run.emissions_grams for run in runs),
        runs=len(runs),
        unknown=sum(run.energy_joules is None for run in runs),
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None
