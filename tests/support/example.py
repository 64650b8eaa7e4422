"""A sweep whose every number can be worked out by hand.

learning_rate {0.001, 0.01, 0.1} x batch_size {16, 64, 256}, seeds 0 and 1, objective accuracy (max), target 0.92.
An iteration costs 20, 10, 5 J for batch size 16, 64, 256; with seed 1 a tenth more. A trial runs 10 iterations at
10 W, 80 % of its energy active, 75 % in the CPU and the rest in memory. The target is first reached at the iterations
of ``ARRIVES_AT``.

Two trials are special: ``t-0.01-64-1`` crashed after its 6th iteration, had its checkpoint after the 5th and went on
from there (66 J + 55 J = 121 J, 11 J lost); ``t-0.001-256-1`` was pruned after 4 iterations (22 J).

All trials: 1050 J (seed 0) + 1155 J (seed 1) + 11 J (lost) - 33 J (pruned early) = 2183 J.
With overhead 100 J, background 150 J, unreserved idle 567 J the meters saw 3000 J.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    SampleRow,
    TrialRow,
)
from energysweep.ledger.store import LedgerData

HOST, WINDOW, NODE = "boot-1", "window-1", "laptop"
STARTED_AT = 1_700_000_000.0
ITERATIONS = 10
POWER_WATTS = 10.0
JOULES_PER_ITERATION = {16: 20.0, 64: 10.0, 256: 5.0}
ARRIVES_AT: dict[tuple[float, int], int | None] = {
    (0.1, 16): 2,
    (0.1, 64): 3,
    (0.1, 256): 4,
    (0.01, 16): 4,
    (0.01, 64): 5,
    (0.01, 256): 8,
    (0.001, 16): 8,
    (0.001, 64): None,
    (0.001, 256): None,
}
NODE_JOULES = {"overhead": 100.0, "background": 150.0, "unreserved_idle": 567.0}
CRASHED, PRUNED = "t-0.01-64-1", "t-0.001-256-1"
CARBON = {"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023, "source": "CodeCarbon", "pue": 1.0}  # 0.0001 g/J


def example(source: str = "rapl", extra: dict[str, Any] | None = None, **run: Any) -> LedgerData:
    """The ledger of that sweep.

    Args:
        source: the kind of meter.
        extra: parameters that every trial has besides.
        run: facts about the run in place of the usual ones.
    """
    trials = list(_trials())
    energy = [*_trial_energy(trials, source), *_node_energy(source)]
    return LedgerData(
        run=_run() | run,
        energy=energy,
        meters=_meters(energy, source),
        leases=[lease for trial in trials for lease in _leases(*trial)],
        trials=[_trial_row(*trial, extra or {}) for trial in trials],
        attempts=[attempt for trial in trials for attempt in _attempts(*trial)],
        results=[result for trial in trials for result in _results(*trial)],
        samples=_samples(trials),
        decisions=list(_decisions(trials)),
    )


def spent_per_attempt(learning_rate: float, batch_size: int, seed: int) -> list[float]:
    """The joules of each attempt of a trial."""
    step = JOULES_PER_ITERATION[batch_size] * (1.1 if seed else 1.0)
    trial = name(learning_rate, batch_size, seed)
    if trial == CRASHED:
        return [6 * step, 5 * step]
    return [4 * step if trial == PRUNED else ITERATIONS * step]


def name(learning_rate: float, batch_size: int, seed: int) -> str:
    """A trial's id."""
    return f"t-{learning_rate:g}-{batch_size}-{seed}"


def _run() -> dict[str, Any]:
    return {
        "id": "mnist-20231114T221320Z",
        "name": "mnist",
        "spec": {"name": "mnist", "workload": "energysweep.workloads.images:train", "scheduler": {"type": "asha"}},
        "started_at": STARTED_AT,
        "duration_seconds": 120.0,
        "status": "done",
        "objective": {"metric": "accuracy", "mode": "max", "target": 0.92, "patience": 1},
        "varying": ["learning_rate", "batch_size"],
        "carbon": CARBON,
        "meters": ["laptop: rapl for cpu and dram"],
        "versions": {"energysweep": "0.1.0", "ray": "2.60.0"},
    }


_Trial = tuple[float, int, int]


def _trials() -> Iterator[_Trial]:
    for learning_rate, batch_size in ARRIVES_AT:
        for seed in (0, 1):
            yield learning_rate, batch_size, seed


def _trial_energy(trials: list[_Trial], source: str) -> Iterator[EnergyRow]:
    for trial in trials:
        for attempt, joules in enumerate(spent_per_attempt(*trial), start=1):
            for component, part in (("cpu", 0.75), ("dram", 0.25)):
                for bucket, share in (("active", 0.8), ("idle", 0.2)):
                    lease, device = f"{name(*trial)}/{attempt}", f"{component}-0"
                    yield EnergyRow(HOST, WINDOW, lease, device, component, bucket, source, joules * part * share)


def _node_energy(source: str) -> Iterator[EnergyRow]:
    for bucket, joules in NODE_JOULES.items():
        yield EnergyRow(HOST, WINDOW, "", "cpu-0", "cpu", bucket, source, joules)


def _meters(energy: list[EnergyRow], source: str) -> list[MeterRow]:
    return [
        MeterRow(
            host=HOST,
            window=WINDOW,
            node=NODE,
            device=f"{component}-0",
            component=component,
            source=source,
            joules=sum(row.joules for row in energy if row.component == component),
            window_seconds=120.0,
            covered_seconds=120.0,
            idle_floor_watts=5.0 if component == "cpu" else 1.0,
            idle_floor_from="quiet seconds",
            resolution_joules=None,
            failures=0,
            resets=0,
        )
        for component in ("cpu", "dram")
    ]


def _leases(learning_rate: float, batch_size: int, seed: int) -> Iterator[LeaseRow]:
    trial = name(learning_rate, batch_size, seed)
    for attempt, joules in enumerate(spent_per_attempt(learning_rate, batch_size, seed), start=1):
        held_seconds = joules / POWER_WATTS
        yield LeaseRow(
            lease=f"{trial}/{attempt}",
            host=HOST,
            window=WINDOW,
            node=NODE,
            trial=trial,
            attempt=attempt,
            pid=100,
            opened_at=STARTED_AT,
            closed_at=STARTED_AT + held_seconds,
            held_seconds=held_seconds,
            covered_seconds=0.9 * held_seconds if trial == CRASHED else held_seconds,
            cpu_seconds=held_seconds,
            reserved_cpus=1.0,
            gpus="{}",
            startup_seconds=0.0,
        )


def _trial_row(learning_rate: float, batch_size: int, seed: int, extra: dict[str, Any]) -> TrialRow:
    trial = name(learning_rate, batch_size, seed)
    return TrialRow(
        trial=trial,
        parameters={"learning_rate": learning_rate, "batch_size": batch_size, **extra},
        seed=seed,
        hardware="cpu",
        status="pruned" if trial == PRUNED else "completed",
        attempts=2 if trial == CRASHED else 1,
        started_at=STARTED_AT,
        ended_at=STARTED_AT + 20,
        error=None,
    )


def _attempts(learning_rate: float, batch_size: int, seed: int) -> list[AttemptRow]:
    trial = name(learning_rate, batch_size, seed)
    if trial == CRASHED:
        return [
            AttemptRow(trial, 1, STARTED_AT, STARTED_AT + 7, "failed", 55.0, "killed"),
            AttemptRow(trial, 2, STARTED_AT + 8, STARTED_AT + 14, "completed", None, None),
        ]
    return [AttemptRow(trial, 1, STARTED_AT, STARTED_AT + 20, "completed", None, None)]


def _results(learning_rate: float, batch_size: int, seed: int) -> Iterator[ResultRow]:
    trial = name(learning_rate, batch_size, seed)
    step = JOULES_PER_ITERATION[batch_size] * (1.1 if seed else 1.0)
    arrives_at = ARRIVES_AT[learning_rate, batch_size]
    for iteration in range(1, 5 if trial == PRUNED else ITERATIONS + 1):
        joules = step * iteration
        if trial == CRASHED and iteration > 5:
            joules += step  # the 6th iteration was done twice
        reached = arrives_at is not None and iteration >= arrives_at
        accuracy = round((0.92 if reached else 0.80) + 0.004 * iteration, 4)
        yield ResultRow(trial, iteration, joules / POWER_WATTS, joules, 0.8 * joules, {"accuracy": accuracy})


def _decisions(trials: list[_Trial]) -> Iterator[DecisionRow]:
    """Each is started, one after the other, and ends as it does."""
    spent = 0.0
    for place, trial in enumerate(trials):
        row = _trial_row(*trial, {})
        joules = sum(spent_per_attempt(*trial))
        at = STARTED_AT + spent / POWER_WATTS
        yield DecisionRow(2 * place + 1, at, row.trial, "started", "", None, None, spent, {})
        spent += joules
        what, why = {"failed": ("failed", "crash"), "pruned": ("ended", "asha")}.get(row.status, ("ended", "itself"))
        at = STARTED_AT + spent / POWER_WATTS
        yield DecisionRow(2 * place + 2, at, row.trial, what, why, joules, None, spent, {})  # type: ignore[arg-type]


def _samples(trials: list[_Trial]) -> list[SampleRow]:
    """Two trials at a time, a sample each two seconds."""
    spans = []
    free_at = [0.0, 0.0]
    for trial in trials:
        lane = free_at.index(min(free_at))
        joules = sum(spent_per_attempt(*trial))
        spans.append((name(*trial), free_at[lane], joules))
        free_at[lane] += joules / POWER_WATTS
    end = int(max(free_at)) + 2
    samples = []
    for second in range(0, end, 2):
        for series, start, joules in spans:
            drawn = min(joules, POWER_WATTS * (second - start))
            if drawn >= 0:
                samples.append(SampleRow(series, float(second), drawn))
        for bucket, joules in NODE_JOULES.items():
            samples.append(SampleRow(f"bucket:{bucket}", float(second), joules * second / end))
    return samples
