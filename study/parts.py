"""How much of the trials' energy is idle power, and how much the memory's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from energysweep.analysis.trials import grouped
from energysweep.core.text import energy_text, percent_text, table
from energysweep.ledger.trials import TrialSummary
from energysweep.report import Summary

MEMORY: Final = "dram"


def energy_parts_table(summaries: Sequence[Summary]) -> str:
    """The trials' energy of each run, those of its stages included, in its active and its idle part."""
    head = ("run", "hardware", "trials' energy", "active", "share of idle power", "idle part", "memory's part")
    rows = []
    for run in summaries:
        by_hardware = grouped(run.trials, lambda trial: trial.hardware)
        rows.append([run.name, "all", *_parts(run.trials, run.estimated)])
        if len(by_hardware) > 1:
            rows += [[run.name, name, *_parts(trials, run.estimated)] for name, trials in by_hardware.items()]
    return table(head, rows)


def _parts(trials: Sequence[TrialSummary], estimated: bool) -> list[str]:
    whole = _total(trial.energy_joules for trial in trials)
    active = _total(trial.active_energy_joules for trial in trials)
    idle = _total(trial.idle_energy_joules for trial in trials)
    return [
        *(energy_text(joules, estimated=estimated, brief=True) for joules in (whole, active, idle)),
        percent_text(idle / whole if whole and idle is not None else None),
        percent_text(memory_part(trials)),
    ]


def memory_part(trials: Sequence[TrialSummary]) -> float | None:
    """Of the trials' energy, from 0 to 1; None where a trial's is not known."""
    whole = _total(trial.energy_joules for trial in trials)
    memory = _total(trial.component_joules.get(MEMORY) for trial in trials)
    return memory / whole if whole and memory is not None else None


def _total(values: Iterable[float | None]) -> float | None:
    """None if any is not known: a part of a sum is not the sum."""
    known = list(values)
    return None if not known or None in known else math.fsum(value for value in known if value is not None)
