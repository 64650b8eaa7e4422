"""Sweeps of other training regimes whose numbers can be worked out by hand: pretraining, multitask, two hardwares.

A trial has a row: its parameters, seed, hardware, stage, joules of an epoch, the epoch at which it reaches the target
(None: never), and how many epochs it runs. Accuracy is 0.95 from that epoch on, 0.5 before; the target is 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow
from energysweep.ledger.store import LedgerData

HOST, WINDOW, NODE = "boot-1", "window-1", "laptop"


class Run(NamedTuple):
    parameters: dict[str, Any]
    seed: int
    joules: float
    arrives_at: int | None
    epochs: int
    hardware: str = ""
    stage: str = ""


def ledger(name: str, runs: Sequence[Run], varying: Sequence[str], source: str = "rapl", **facts: Any) -> LedgerData:
    """The ledger of these trials, with 10 J of overhead."""
    ids = [f"{name}-{index}" for index in range(len(runs))]
    named = list(zip(ids, runs, strict=True))
    energy = [
        EnergyRow(HOST, WINDOW, trial, "cpu-0", "cpu", "active", source, run.joules * run.epochs)
        for trial, run in named
    ]
    energy.append(EnergyRow(HOST, WINDOW, "", "cpu-0", "cpu", "overhead", source, 10.0))
    seconds = float(sum(run.epochs for run in runs))
    return LedgerData(
        run={
            "id": f"{name}-20231114T221320Z",
            "name": name,
            "status": "done",
            "started_at": 1_700_000_000.0,
            "duration_seconds": seconds,
            "objective": {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1},
            "varying": list(varying),
            "carbon": {"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023, "source": "CodeCarbon", "pue": 1.0},
            **facts,
        },
        energy=energy,
        meters=[
            MeterRow(
                HOST,
                WINDOW,
                NODE,
                "cpu-0",
                "cpu",
                source,
                sum(row.joules for row in energy),
                seconds,
                seconds,
                5.0,
                "given",
                None,
                0,
                0,
            )
        ],
        leases=[
            LeaseRow(
                trial, HOST, WINDOW, NODE, trial, 1, 7, 0.0, 1.0, run.epochs, run.epochs, run.epochs, 1.0, "{}", 0.0
            )
            for trial, run in named
        ],
        trials=[
            TrialRow(trial, run.parameters, run.seed, run.hardware, "completed", 1, 0.0, 1.0, None, run.stage)
            for trial, run in named
        ],
        results=[result(trial, run, epoch) for trial, run in named for epoch in range(1, run.epochs + 1)],
    )


def result(trial: str, run: Run, epoch: int) -> ResultRow:
    joules = run.joules * epoch
    accuracy = 0.95 if run.arrives_at is not None and epoch >= run.arrives_at else 0.5
    return ResultRow(trial, epoch, float(epoch), joules, joules, {"accuracy": accuracy})


FROZEN = {"from": "base", "freeze_encoder": True}
UNFROZEN = {"from": "base", "freeze_encoder": False}


def pretraining(source: str = "rapl") -> LedgerData:
    """A pretraining of 100 J; from scratch 20 J (10 epochs of 2 J), frozen 10 J (10 of 1), unfrozen 12 J (6 of 2).

    Seed 1 needs a tenth more energy everywhere, seed 2 a tenth less. Break-even: 10 and 12.5 reuses.
    """
    runs = []
    for seed, factor in enumerate((1.0, 1.1, 0.9)):
        runs += [
            Run({}, seed, 10 * factor, 10, 10, stage="base"),
            Run({"lr": 0.1, "pretrained": None}, seed, 2 * factor, 10, 10),
            Run({"lr": 0.1, "pretrained": FROZEN}, seed, 1 * factor, 10, 10),
            Run({"lr": 0.1, "pretrained": UNFROZEN}, seed, 2 * factor, 6, 6),
        ]
    stages = {"base": {"objective": {"metric": "accuracy", "mode": "max"}}}
    return ledger("pretraining", runs, ["pretrained"], source, stages=stages)


def multitask(source: str = "rapl") -> LedgerData:
    """Separate models take 30 J (10 epochs of 3 J) and 10 J (10 of 1 J), a shared one 24 J (8 of 3 J): 0.6 of 40 J."""
    runs = []
    for seed, factor in enumerate((1.0, 1.1, 0.9)):
        runs += [
            Run({"tasks": ["digit"]}, seed, 3 * factor, 10, 10),
            Run({"tasks": ["parity"]}, seed, 1 * factor, 10, 10),
            Run({"tasks": ["digit", "parity"]}, seed, 3 * factor, 8, 8),
        ]
    return ledger("multitask", runs, ["tasks"], source)


def hardware(source: str = "rapl") -> LedgerData:
    """Two learning rates on two profiles; `two` needs half the energy for an epoch. A third rate never arrives."""
    runs = []
    for rate, arrives_at in ((0.1, 4), (0.01, 8), (10.0, None)):
        for profile, joules in (("one", 2.0), ("two", 1.0)):
            for seed, factor in enumerate((1.0, 1.1, 0.9)):
                runs.append(Run({"lr": rate}, seed, joules * factor, arrives_at, arrives_at or 10, profile))
    return ledger("hardware", runs, ["lr"], source)


def random_search(configurations: int, reports: int = 20) -> LedgerData:
    """A random search in which nothing but ``lr`` tells how soon the target is reached, and ``width`` what it costs.

    Each configuration has one trial, and begins after the one before it. ``lr`` goes from 1e-4 to 1 by equal factors,
    in an order that mixes them; ``optimizer`` is one of three, ``dropout`` and ``note`` do nothing.
    """
    runs = []
    for number in range(configurations):
        mixed = number * 137 % configurations / configurations
        arrives = 2 + round(abs(mixed - 0.6) * 2 * reports)
        width = 16 * 2 ** (number % 5)
        parameters = {
            "lr": float(f"{10 ** (4 * mixed - 4):.4g}"),
            "width": width,
            "optimizer": ("sgd", "adam", "rmsprop")[number * 7 % 3],
            "dropout": number * 61 % 100 / 200,
            "note": f"seen {number * 31 % 47}",
        }
        runs.append(Run(parameters, 0, width / 16, arrives if arrives <= reports else None, reports))
    data = ledger("random", runs, ["lr", "width", "optimizer", "dropout", "note"])
    trials = [row._replace(started_at=float(place)) for place, row in enumerate(data.trials)]
    return replace(data, trials=trials)
