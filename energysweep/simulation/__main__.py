"""Simulate a cluster and say whether every joule was booked once: exit code 1 if not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from energysweep.core.terminal import say
from energysweep.simulation.cluster import Cluster, Plan


def simulate(plan: Plan, folder: Path) -> Cluster:
    """The cluster after the whole simulation, its ledgers closed; it stops at the first violation."""
    cluster = Cluster(plan, folder)
    try:
        for _ in range(plan.steps):
            cluster.step()
            if cluster.violations or cluster.is_done:
                break
        cluster.finish()
    finally:
        cluster.close()
    return cluster


def summary(cluster: Cluster) -> str:
    """What happened, in a few lines."""
    faults = Counter[str]()
    for node in cluster.nodes:
        faults.update(node.meter.faults)
    polls = sum(driver.polls for driver in cluster.drivers)
    lines = [
        f"{len(cluster.nodes)} nodes, {len(cluster.trials)} trials, {cluster.seconds - 1000:.0f} simulated seconds,"
        f" {polls} polls",
        "events: " + _list(cluster.events),
        "counters: " + _list(faults),
        *cluster.violations[:10],
        f"{len(cluster.violations)} violations",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m energysweep.simulation", description=__doc__)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.0, metavar="CHANCE", help="of each fault; default: none")
    plan = Plan(**vars(parser.parse_args(argv)))
    with tempfile.TemporaryDirectory() as folder:
        cluster = simulate(plan, Path(folder))
    say(summary(cluster))
    return 1 if cluster.violations else 0


def _list(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} x {what}" for what, number in sorted(numbers.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
