"""Simulate a cluster and say whether every joule was booked once: exit code 1 if not."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from energysweep.core.errors import one_line
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


def parser() -> argparse.ArgumentParser:
    """The options: what a ``Plan`` is made of."""
    made = argparse.ArgumentParser(
        prog="python -m energysweep.simulation",
        description="A cluster is simulated, and every joule counted: the exit code is 1 if one was not booked once.",
    )

    def add(name: str, metavar: str, kind: Callable[[str], object], default: float, text: str) -> None:
        made.add_argument(
            f"--{name}", metavar=metavar, type=kind, default=default, help=f"{text}; {default} by default."
        )

    add("nodes", "N", _number, 5, "The cluster has N nodes, every other one with a GPU")
    add("trials", "N", _number, 200, "The sweeps have N trials together")
    add("sweeps", "N", _number, 2, "So many sweeps run at the same time")
    add("steps", "N", _number, 500, "The simulation ends after N steps of 0.2 to 2 seconds, or with the last trial")
    add("seed", "N", int, 1, "Everything at random comes from the seed N")
    add("faults", "CHANCE", _chance, 0.0, "Each kind of fault happens with this chance, from 0 to 1, at each occasion")
    return made


def _number(text: str) -> int:
    """The type of an option that says how many: at least one."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{one_line(repr(text), 60)} is no whole number from 1 on")
    return int(text)


def _chance(text: str) -> float:
    """The type of an option that is a chance."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{one_line(repr(text), 60)} is no chance: a number from 0 to 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    plan = Plan(**vars(parser().parse_args(argv)))
    with tempfile.TemporaryDirectory() as folder:
        cluster = simulate(plan, Path(folder))
    say(summary(cluster))
    return 1 if cluster.violations else 0


def _list(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} x {what}" for what, number in sorted(numbers.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
