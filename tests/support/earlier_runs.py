"""Run folders of sweeps that never ran: their ledgers say what trials reported, and what that had cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energysweep.core.records import AttemptRow, EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow, TrialStatus
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger, read_ledger
from energysweep.searching.evidence import Evidence, of_earlier_runs
from energysweep.sweepfile import SweepSpec

SWEEP = """
name: planned
workload: work.py:train
parameters: {rate: {grid: [0.1, 0.2, 0.4]}}
objective: {metric: accuracy, mode: max, target: 0.9}
max_concurrent_trials: 1
carbon: {grams_per_kwh: 360}
"""


@dataclass(frozen=True)
class Told:
    """A trial: each report costs ``joules``, and takes a second for each ten of them."""

    parameters: Mapping[str, Any]
    joules: float | None
    values: Sequence[float | None]
    seed: int | None = None
    status: TrialStatus = "completed"
    startup_joules: float = 0.0
    paused_after: int = 0  # so many reports, if any; the one after it costs twice as much
    stage: str = ""
    hardware: str = ""


def write_sweep(folder: Path, text: str = SWEEP) -> Path:
    """The sweep's file and its workload."""
    (folder / "work.py").write_text("def train(config):\n    pass\n")
    (folder / "sweep.yaml").write_text(text)
    return folder / "sweep.yaml"


def write_run(
    folder: Path,
    trials: Sequence[Told],
    *,
    source: str = "rapl",
    places: int = 1,
    between_seconds: float = 0.0,
    **facts: Any,
) -> Path:
    """A folder of a run of them, one after the other on each place, which stands still in between."""
    folder.mkdir()
    noted = {
        "id": folder.name,
        "spec": {"workload": "/elsewhere/work.py:train"},
        "status": "done",
        "varying": ["rate"],
        "started_at": 1000.0,
    } | facts
    ends = [-between_seconds] * places
    with Ledger.create(folder / LEDGER, **noted) as ledger:
        for number, trial in enumerate(trials):
            place = ends.index(min(ends))
            ends[place] = _write(ledger, f"t{number}", trial, ends[place] + between_seconds, source)
        now = max(ends)
        ledger.note(duration_seconds=now)
        ledger.merge(
            [],
            [MeterRow("b", "w", "node", "package-0", "cpu", source, 1e6, now, now, None, "unknown", None, 0, 0)],
            [],
            [],
        )
    return folder


def _write(ledger: Ledger, name: str, trial: Told, now: float, source: str) -> float:
    row = TrialRow(
        name, dict(trial.parameters), trial.seed, trial.hardware, trial.status, 1, now, now, None, trial.stage
    )
    attempt = AttemptRow(name, 1, now, None, "completed", None, None)
    ledger.record([row], [attempt], [])
    leases, spent, began = [], 0.0, now
    for number, value in enumerate(trial.values, start=1):
        cost = (trial.joules or 0.0) * (2 if trial.paused_after and number == trial.paused_after + 1 else 1)
        if trial.paused_after and number == trial.paused_after + 1:
            leases.append((began, now))
            began = now + 0.001
        spent, now = spent + cost, now + cost / 10
        known = None if trial.joules is None else spent
        metrics = {} if value is None else {"accuracy": value}
        ledger.record([], [], [ResultRow(name, number, now, known, known, metrics)])
    leases.append((began, now))
    for number, (a, b) in enumerate(leases):
        lease = f"{name}-{number}"
        held = LeaseRow(lease, "b", "w", "node", name, 1, 1, 1000 + a, 1000 + b, b - a, b - a, b - a, 1.0, "{}")
        energy = EnergyRow("b", "w", lease, "package-0", "cpu", "active", source, spent / len(leases))
        startup = EnergyRow("b", "w", lease, "package-0", "cpu", "startup", source, trial.startup_joules)
        ledger.merge([energy, startup], [], [held], [])
    return now


def evidence(spec: SweepSpec, *folders: Path) -> Evidence:
    """What they say about a sweep."""
    runs = []
    for folder in folders:
        data = read_ledger(folder / LEDGER)
        runs.append((folder.name, RunState.of(data, {"": spec.objective.rule}), data.run))
    return of_earlier_runs(spec, runs)
