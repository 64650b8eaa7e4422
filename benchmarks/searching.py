"""What searches spend on tables of learning curves: ``python -m benchmarks.searching FOLDER``.

The folder holds tables ``task-NAME.csv.gz`` as ``energysweep rehearse --table`` reads them, and ``targets.csv`` with
the columns ``task`` and ``target_accuracy``. Prints a Markdown table: energy as a part of the grid that stops at its
target, mean and largest over the tasks, the largest regret of a task, and how often the best was found, each over
random orders; at first with free starts, then with ones that cost as much as a first report in the median. Without
targets: energy as a part of the full grid, and by how much the chosen one is worse than the best.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from energysweep.core.objective import Objective
from energysweep.searching.curves import Curves, read_table
from energysweep.searching.rehearsal import Rehearsal, rehearse

_AT_ONCE = (2, 16)
_ROWS = (*((name, False) for name in ("fifo", "asha", "race", "cap")), ("race", True), ("cap", True))
_ROWS_WITHOUT_TARGET = (("fifo", False), ("asha", False), ("race", False), ("race", True))


def main(arguments: Sequence[str]) -> int:
    """Rehearse every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--orders", type=int, default=20, help="Each task is rehearsed in so many orders.")
    parser.add_argument("--without-target", action="store_true", help="Trials are not for the target, but the best.")
    given = parser.parse_args(arguments)
    tasks = tasks_of(given.folder)
    if given.without_target:
        tasks = [(curves, replace(objective, target=None)) for curves, objective in tasks]
    regret = "mean regret | largest of a task" if given.without_target else "largest regret of a task"
    print(f"| scheduler | starts | at once | energy | dearest task | {regret} | best found | pauses |")
    print(f"|---|---|--:|--:|--:|--:|--:|--:|{'--:|' if given.without_target else ''}")
    for scheduler, starts_cost in _ROWS_WITHOUT_TARGET if given.without_target else _ROWS:
        for at_once in _AT_ONCE:
            print(_row(scheduler, starts_cost, at_once, tasks, given.orders), flush=True)
    return 0


def tasks_of(folder: Path) -> list[tuple[Curves, Objective]]:
    """The tables of a folder, each with its target."""
    with (folder / "targets.csv").open(newline="") as file:
        targets = {row["task"]: float(row["target_accuracy"]) for row in csv.DictReader(file)}
    return [
        (read_table(folder / f"task-{name}.csv.gz", "val_accuracy"), Objective("val_accuracy", "max", target))
        for name, target in targets.items()
    ]


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
        regrets.append(statistics.fmean(_regret(each) for each in found))
        pauses.append(statistics.fmean(each.pauses for each in found))
        best += sum(each.regret == 1.0 or each.simple_regret == 0.0 for each in found)
    without_target = tasks[0][1].target is None
    regret = f"{statistics.fmean(regrets):.3f} | {max(regrets):.3f}" if without_target else f"{max(regrets):.2f}"
    starts = "a first report" if starts_cost else "free"
    cells = (scheduler, starts, f"{at_once}", f"{statistics.fmean(energies):.3f}", f"{max(energies):.3f}", regret)
    return f"| {' | '.join(cells)} | {best} of {orders * len(tasks)} | {statistics.fmean(pauses):.0f} |"


def _regret(found: Rehearsal) -> float:
    known = found.regret if found.simple_regret is None else found.simple_regret
    return math.inf if known is None else known


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
