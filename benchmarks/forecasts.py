"""How often forecasts hold what comes, on tables of learning curves: ``python -m benchmarks.forecasts FOLDER``.

The folder is one as ``benchmarks.searching`` takes it. Of every configuration the first reports of one seed are known,
as after the first rung of a race; the rest is forecast, and then played. With ``--pilot N`` only N configurations are
known so far, drawn at random, as after a pilot. Prints a Markdown table: in how many of the tasks the truth lay in the
90 % interval, how wide that was (its upper end over its lower one, in the median), and what was forecast over what came
(the geometric mean).
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Container, Sequence
from pathlib import Path

from benchmarks.searching import tasks_of
from energysweep.analysis.forecast import Forecast, Known
from energysweep.core.objective import Objective
from energysweep.searching.curves import Curves
from energysweep.searching.evidence import Evidence, Power
from energysweep.searching.forecasting import WORLDS, Way, planned
from energysweep.searching.rehearsal import rehearse
from energysweep.sweepfile import SweepSpec

_WAYS = (Way("fifo", stops_at_target=False), *(Way(name, stops_at_target=True) for name in ("fifo", "race", "cap")))
_AT_ONCE = 2


def main(arguments: Sequence[str]) -> int:
    """Forecast every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--reports", type=int, nargs="+", default=[3, 6], help="So many are known of each trial.")
    parser.add_argument("--pilot", type=int, help="Only so many configurations are known.")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="Each forecast is made of so many.")
    given = parser.parse_args(arguments)
    tasks = tasks_of(given.folder)
    print("| sweep | known reports | held by the interval | width | forecast over truth |")
    print("|---|--:|--:|--:|--:|")
    for reports in given.reports:
        held = 0
        for way in _WAYS:
            row, number = _row(way, tasks, reports, given.worlds, given.pilot)
            held += number
            print(row, flush=True)
        print(f"| together | {reports} | {held} of {len(tasks) * len(_WAYS)} | | |", flush=True)
    return 0


def _row(
    way: Way, tasks: Sequence[tuple[Curves, Objective]], reports: int, worlds: int, pilot: int | None
) -> tuple[str, int]:
    chance = random.Random(0)  # noqa: S311 - repeatable, not secret
    found = [
        (_forecast(curves, objective, way, reports, worlds, _piloted(curves, pilot, chance)), curves, objective)
        for curves, objective in tasks
    ]
    truths = [_truth(curves, objective, way) for _, curves, objective in found]
    forecasts = [forecast for forecast, *_ in found]
    held = sum(each.contains(truth) for each, truth in zip(forecasts, truths, strict=True))
    width = statistics.median(each.high / each.low for each in forecasts)
    off = math.exp(
        statistics.fmean(math.log(each.value / truth) for each, truth in zip(forecasts, truths, strict=True))
    )
    return f"| {way.name} | {reports} | {held} of {len(tasks)} | {width:.2f} | {off:.2f} |", held


def _piloted(curves: Curves, pilot: int | None, chance: random.Random) -> set[str]:
    names = curves.configurations
    return set(names if pilot is None else chance.sample(names, min(pilot, len(names))))


def _forecast(
    curves: Curves, objective: Objective, way: Way, reports: int, worlds: int, piloted: Container[str]
) -> Forecast:
    spec = SweepSpec.model_validate(
        {
            "name": "forecast",
            "workload": "forecast:train",
            "parameters": {"configuration": {"grid": curves.configurations}},
            "objective": {"metric": objective.metric, "mode": objective.mode, "target": objective.target},
            "repeats": curves.seeds,
            "max_concurrent_trials": _AT_ONCE,
        }
    )
    known = []
    for name in curves.configurations:
        curve = curves.by_trial[name, 0]
        first = curve[:reports]
        one = Known([each.joules for each in first], [each.value for each in first], len(curve))
        known.append({0: one} if name in piloted else {})
    evidence = Evidence(known, (), length_is_known=True, power=Power(), estimated=False, again=False)
    return planned(spec, evidence, way, count=worlds).joules


def _truth(curves: Curves, objective: Objective, way: Way) -> float:
    played = rehearse(curves, objective, way.scheduler, at_once=_AT_ONCE, stops_at_target=way.stops_at_target)
    return played.energy_joules


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
