"""What the order of earlier evidence saves, on tables of learning curves: ``python -m benchmarks.ordering FOLDER``.

The folder is one as ``benchmarks.searching`` takes it; columns of its tables that are none of the curves' are
parameters. One seed of each table is the earlier run, in turn; the sweep has the others. What is known of the earlier
run is all of it, only what a cap of it would have told, only every second configuration, or both. Prints a Markdown
table: energy as a part of the grid that stops at its target, in the mean and of the dearest task, by the order in which
the configurations begin.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.searching import tasks_of
from energysweep.analysis.forecast import Known
from energysweep.core.objective import Objective
from energysweep.searching.curves import Curves
from energysweep.searching.evidence import Evidence, Power
from energysweep.searching.ordering import order_by
from energysweep.searching.rehearsal import rehearse
from energysweep.searching.spreading import spread
from energysweep.sweepfile import SweepSpec

_AT_ONCE: Final = (2, 16)
_NO_PARAMETERS: Final = ("configuration", "seed", "epoch", "energy_joules", "val_accuracy")


class _Case(NamedTuple):
    """A sweep of some seeds of a table, and the run of another one before it."""

    sweep: Curves
    earlier: Curves
    objective: Objective
    parameters: Sequence[Mapping[str, float]]


# The places of the configurations in the order in which they begin, or a number that draws it; several of them.
_Order = Callable[[_Case], Sequence[Sequence[int] | int]]


def main(arguments: Sequence[str]) -> int:
    """Rehearse every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--orders", type=int, default=20, help="Random orders are so many.")
    given = parser.parse_args(arguments)
    cases = [_cases(given.folder, *task) for task in tasks_of(given.folder)]
    orders: dict[str, _Order] = {
        "random": lambda _: range(given.orders),
        "spread": lambda case: [spread(case.parameters)],
        "by all of the earlier run": lambda case: [_by(case, _whole(case))],
        "by a cap of it": lambda case: [_by(case, _capped(case))],
        "by every second configuration": lambda case: [_by(case, _half(_whole(case)))],
        "by every second one of a cap": lambda case: [_by(case, _half(_capped(case)))],
    }
    print("| scheduler | at once | order | energy | dearest task |")
    print("|---|--:|---|--:|--:|")
    for scheduler in ("cap", "race"):
        for at_once in _AT_ONCE:
            for name, order in orders.items():
                parts = [
                    statistics.fmean(_part(case, scheduler, at_once, each) for case in task for each in order(case))
                    for task in cases
                ]
                print(
                    f"| {scheduler} | {at_once} | {name} | {statistics.fmean(parts):.3f} | {max(parts):.3f} |",
                    flush=True,
                )
    return 0


def _cases(folder: Path, curves: Curves, objective: Objective) -> list[_Case]:
    parameters: dict[str, Mapping[str, float]] = {}
    with gzip.open(folder / curves.of, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["configuration"] not in parameters:
                names = [name for name in row if name not in _NO_PARAMETERS]
                parameters[row["configuration"]] = {name: float(row[name]) for name in names}
    found = []
    for seed in range(curves.seeds):
        others = [each for each in range(curves.seeds) if each != seed]
        sweep = {(name, place): curves.by_trial[name, own] for name in parameters for place, own in enumerate(others)}
        earlier = {(name, 0): curves.by_trial[name, seed] for name in parameters}
        found.append(_Case(Curves("", sweep), Curves("", earlier), objective, [*parameters.values()]))
    return found


def _whole(case: _Case) -> list[int]:
    return [len(reports) for reports in case.earlier.by_trial.values()]


def _capped(case: _Case) -> list[int]:
    """How many reports each trial makes in a cap, spread over the space."""
    played = rehearse(case.earlier, case.objective, "cap", at_once=2, order=spread(case.parameters))
    made = {each.configuration: each.reports for each in played.tried}
    return [made.get(name, 0) for name in case.earlier.configurations]


def _half(made: Sequence[int]) -> list[int]:
    return [reports if place % 2 else 0 for place, reports in enumerate(made)]


def _by(case: _Case, made: Sequence[int]) -> Sequence[int]:
    """The order by so many reports of each configuration."""
    known = [
        {0: Known([each.joules for each in own], [each.value for each in own], len(reports))} if reports_made else {}
        for reports, reports_made in zip(case.earlier.by_trial.values(), made, strict=True)
        for own in [reports[:reports_made]]
    ]
    found = Evidence(
        known, (), length_is_known=True, power=Power(), estimated=False, again=True, places=case.parameters
    )
    order = order_by(_spec(case), found)
    return [] if order is None else order.places


def _spec(case: _Case) -> SweepSpec:
    objective = case.objective
    described: dict[str, Any] = {
        "name": "ordering",
        "workload": "ordering:train",
        "parameters": {"configuration": {"grid": case.sweep.configurations}},
        "objective": {"metric": objective.metric, "mode": objective.mode, "target": objective.target},
    }
    return SweepSpec.model_validate(described)


def _part(case: _Case, scheduler: str, at_once: int, order: Sequence[int] | int) -> float:
    drawn = order if isinstance(order, int) else None
    places = None if isinstance(order, int) else order
    played = rehearse(case.sweep, case.objective, scheduler, at_once=at_once, order_seed=drawn, order=places)
    return played.energy_joules / played.grid_joules


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
