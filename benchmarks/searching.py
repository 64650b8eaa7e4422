"""What searches spend on tables of learning curves: ``python -m benchmarks.searching FOLDER``.

The folder holds tables ``task-NAME.csv.gz`` as ``energysweep rehearse --table`` reads them, and ``targets.csv`` with
the columns ``task`` and ``target_accuracy``. Prints a Markdown table: energy as a part of the grid that stops at its
target, mean and largest over the tasks, the largest regret of a task, and how often the best was found, each over
random orders; at first with free starts, then with ones that cost as much as a first report in the median.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from energysweep.core.objective import Objective
from energysweep.driver.rehearsal import Curves, read_table, rehearse

_AT_ONCE = (2, 16)
_ROWS = (*((name, False) for name in ("fifo", "asha", "race", "cap")), ("race", True), ("cap", True))


def main(arguments: Sequence[str]) -> int:
    """Rehearse every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--orders", type=int, default=20, help="Each task is rehearsed in so many orders.")
    given = parser.parse_args(arguments)
    with (given.folder / "targets.csv").open(newline="") as file:
        targets = {row["task"]: float(row["target_accuracy"]) for row in csv.DictReader(file)}
    tasks = [
        (read_table(given.folder / f"task-{name}.csv.gz", "val_accuracy"), Objective("val_accuracy", "max", target))
        for name, target in targets.items()
    ]
    print("| scheduler | starts | at once | energy | dearest task | largest regret of a task | best found | pauses |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for scheduler, starts_cost in _ROWS:
        for at_once in _AT_ONCE:
            print(_row(scheduler, starts_cost, at_once, tasks, given.orders), flush=True)
    return 0


def _row(
    scheduler: str, starts_cost: bool, at_once: int, tasks: Sequence[tuple[Curves, Objective]], orders: int
) -> str:
    energies, regrets, pauses = [], [], []
    best = 0
    for curves, objective in tasks:
        first = statistics.median(reports[0].joules for reports in curves.by_trial.values())
        startup = first if starts_cost else 0.0
        found = [
            rehearse(curves, objective, scheduler, at_once=at_once, order_seed=order, startup_joules=startup)
            for order in range(orders)
        ]
        energies.append(statistics.fmean(each.energy_joules / each.grid_joules for each in found))
        regrets.append(statistics.fmean(math.inf if each.regret is None else each.regret for each in found))
        pauses.append(statistics.fmean(each.pauses for each in found))
        best += sum(each.regret == 1.0 for each in found)
    mean, dearest, regret = statistics.fmean(energies), max(energies), max(regrets)
    starts = "a first report" if starts_cost else "free"
    cells = (scheduler, starts, f"{at_once}", f"{mean:.3f}", f"{dearest:.3f}", f"{regret:.2f}")
    return f"| {' | '.join(cells)} | {best} of {orders * len(tasks)} | {statistics.fmean(pauses):.0f} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
