"""What searches spend on tables of learning curves: ``python -m benchmarks.searching FOLDER [orders]``.

The folder holds tables ``task-NAME.csv.gz`` as ``energysweep rehearse --table`` reads them, and ``targets.csv`` with
the columns ``task`` and ``target_accuracy``. Prints a Markdown table: energy as a part of the grid that stops at its
target, mean and largest over the tasks, and the largest regret of a task, each over random orders.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from pathlib import Path

from energysweep.core.objective import Objective
from energysweep.driver.rehearsal import Curves, read_table, rehearse

_SCHEDULERS = ("fifo", "asha", "race", "cap")
_AT_ONCE = (2, 16)


def main(arguments: list[str]) -> int:
    """Rehearse every task."""
    folder, orders = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 20
    with (folder / "targets.csv").open(newline="") as file:
        targets = {row["task"]: float(row["target_accuracy"]) for row in csv.DictReader(file)}
    tasks = {
        name: (read_table(folder / f"task-{name}.csv.gz", "val_accuracy"), Objective("val_accuracy", "max", target))
        for name, target in targets.items()
    }
    print("| scheduler | at once | energy | dearest task | largest regret of a task | pauses |")
    print("|---|--:|--:|--:|--:|--:|")
    for scheduler in _SCHEDULERS:
        for at_once in _AT_ONCE:
            print(_row(scheduler, at_once, tasks, orders), flush=True)
    return 0


def _row(scheduler: str, at_once: int, tasks: dict[str, tuple[Curves, Objective]], orders: int) -> str:
    energies, regrets, pauses = [], [], []
    for curves, objective in tasks.values():
        found = [rehearse(curves, objective, scheduler, at_once=at_once, order_seed=order) for order in range(orders)]
        energies.append(statistics.fmean(each.ratio or 0.0 for each in found))
        regrets.append(statistics.fmean(math.inf if each.regret is None else each.regret for each in found))
        pauses.append(statistics.fmean(each.pauses for each in found))
    mean = statistics.fmean(energies)
    cells = (scheduler, f"{at_once}", f"{mean:.3f}", f"{max(energies):.3f}", f"{max(regrets):.2f}")
    return f"| {' | '.join(cells)} | {statistics.fmean(pauses):.0f} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
