"""What a large sweep costs: agents, polls, ledger and report of up to 100 nodes x 10,000 trials, simulated.

``python -m benchmarks.simulation [NODESxTRIALS ...]`` prints a Markdown table; each line is a process of its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from energysweep.core.records import ResultRow, TrialRow
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger
from energysweep.report import write_report
from energysweep.simulation.cluster import Cluster, Plan

SIZES = ("10x1000", "100x1000", "10x10000", "100x10000")
RESULTS_PER_TRIAL = 10
HEADER = (
    "| nodes x trials | simulated time | polls | per poll | ledger | rows | all agents and polls | report | memory |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def measure(size: str) -> None:
    """Simulate one sweep of that size and print its line."""
    nodes, trials = (int(number) for number in size.split("x"))
    plan = Plan(nodes=nodes, trials=trials, sweeps=1, steps=100_000, seed=1, keeps_state=False)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        cluster = Cluster(plan, Path(folder))
        while not cluster.is_done:
            cluster.step()
        cluster.finish()
        cluster.close()
        simulated = time.monotonic()
        if cluster.violations:
            sys.exit(cluster.violations[0])
        run_folder = cluster.drivers[0].ledger.path.parent
        with Ledger.create(run_folder / LEDGER) as ledger:
            _record(ledger, cluster)
            data = ledger.read()
            write_report(run_folder, data)
        reported = time.monotonic()
        megabytes = (run_folder / LEDGER).stat().st_size / 1e6
    driver = cluster.drivers[0]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = len(data.energy) + len(data.leases) + len(data.samples) + len(data.results)
    print(
        f"| {nodes} x {trials} | {cluster.seconds - 1000:.0f} s | {driver.polls} |"
        f" {driver.poll_seconds / driver.polls * 1000:.2f} ms | {megabytes:.0f} MB | {rows} |"
        f" {simulated - began:.0f} s | {reported - simulated:.1f} s | {memory:.0f} MiB |",
        flush=True,
    )


def _record(ledger: Ledger, cluster: Cluster) -> None:
    """What a driver knows beside the agents' answers."""
    ledger.note(
        id="simulated",
        name="simulated",
        spec={"name": "simulated"},
        started_at=1000.0,
        duration_seconds=cluster.seconds - 1000.0,
        status="done",
        objective={"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1},
        varying=["learning_rate"],
        carbon={"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023, "source": "CodeCarbon", "pue": 1.0},
        meters={},
        versions={},
    )
    ledger.record(
        trials=[
            TrialRow(trial.id, {"learning_rate": index}, 0, "cpu", "completed", 1, 1000.0, cluster.seconds, None)
            for index, trial in enumerate(cluster.trials)
        ],
        results=[
            ResultRow(trial.id, step, float(step), 10.0 * step, 8.0 * step, {"accuracy": step / RESULTS_PER_TRIAL})
            for trial in cluster.trials
            for step in range(1, RESULTS_PER_TRIAL + 1)
        ],
    )


def main(sizes: Sequence[str]) -> None:
    """Measure the given sizes, each in a fresh process: memory is a process's highest."""
    print(HEADER, flush=True)
    for size in sizes or SIZES:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(size,))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)


if __name__ == "__main__":
    main(sys.argv[1:])
