"""Commands that say what a search costs: rehearse."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import add_command, at_least_one, count, path, run_folder
from energysweep.cli.planning import add_from, evidence_of
from energysweep.core.errors import InputError
from energysweep.core.objective import OUR_NAMES, TUNES_NAMES, Objective, number
from energysweep.core.records import MAX_TARGET
from energysweep.core.runfolder import LEDGER, SWEEP_FILE
from energysweep.core.terminal import say

if TYPE_CHECKING:
    from energysweep.analysis.forecast import Forecast
    from energysweep.searching.curves import Curves
    from energysweep.searching.ordering import Order
    from energysweep.searching.rehearsal import Rehearsal
    from energysweep.sweepfile.algorithms import SchedulerType


_NOT_TOLD = ("tried", "decided", "last_joules", "is_stopped")  # of each trial, of its own time, or by another name


def add(commands: Any) -> None:
    """Add them to the command line."""
    rehearse = add_command(
        commands, "rehearse", _rehearse, "says what a finished run would have cost under another scheduler"
    )
    rehearse.add_argument(
        "folder", metavar="RUN_DIR", type=path, nargs="?", help="This is the folder of the run whose curves are played."
    )
    rehearse.add_argument(
        "--table",
        metavar="FILE",
        type=path,
        help="The curves are those of a CSV file instead, perhaps packed by gzip: columns configuration, seed,"
        " energy_joules, and the metric.",
    )
    rehearse.add_argument(
        "--scheduler",
        metavar="TYPE",
        default="race",
        help="The curves are played to the scheduler TYPE, as a sweep's file names it; race by default.",
    )
    rehearse.add_argument(
        "--target",
        metavar="T",
        type=_target,
        help="Trials end at T; at the run's own target by default. Without one, they race for the best metric.",
    )
    rehearse.add_argument(
        "--metric",
        metavar="NAME",
        help="The target is one of NAME; of val_accuracy in a table, and of the objective in a run.",
    )
    rehearse.add_argument(
        "--mode",
        choices=("max", "min"),
        help="The metric is to be large (max) or small (min); max in a table, and as the objective in a run.",
    )
    rehearse.add_argument(
        "--winners", metavar="N", type=at_least_one, default=3, help="A race or cap confirms N of them; 3 by default."
    )
    rehearse.add_argument(
        "--concurrent", metavar="N", type=at_least_one, default=1, help="N trials run at once; 1 by default."
    )
    rehearse.add_argument(
        "--order",
        metavar="SEED",
        type=count,
        help="Configurations come in an order drawn by SEED; by default as in the table or the run.",
    )
    add_from(
        rehearse,
        "A cap begins with the configurations that needed the least in the run in RUN_DIR, of the same workload; by"
        " default they are spread over the space. May be given several times.",
    )
    rehearse.add_argument(
        "--budget",
        metavar="JOULES",
        type=_joules,
        help="The sweep has a budget of JOULES for its trials and their starts; by default none.",
    )
    add_json(rehearse)


def _rehearse(arguments: argparse.Namespace) -> int:
    if (arguments.folder is None) == (arguments.table is None):
        raise InputError("rehearse needs either the folder of a run, or --table")
    kind = _kind(arguments.scheduler)
    curves, objective = _of_table(arguments) if arguments.table is not None else _of_run(arguments)
    if not objective.metric or objective.metric in TUNES_NAMES | OUR_NAMES:
        raise InputError(f"{objective.metric!r} is no metric that a workload reports", key="--metric")
    if kind.needs_target and objective.target is None:
        raise InputError(f"there is no target for {objective.metric}, and {kind.name} needs one", key="--target")

    order = _order(arguments, kind, curves, objective)

    from energysweep.searching.forecasting import rehearsed

    found, interval = rehearsed(
        curves,
        objective,
        arguments.scheduler,
        winners=arguments.winners,
        at_once=arguments.concurrent,
        order_seed=arguments.order,
        order=None if order is None else order.places,
        budget_joules=arguments.budget,
    )
    if arguments.json:
        said = {
            "of": curves.of,
            "metric": objective.metric,
            "mode": objective.mode,
            "target": objective.target,
            **{name: value for name, value in asdict(found).items() if name not in _NOT_TOLD},
            "ratio": found.ratio,
            "budget_joules": arguments.budget,
            "stopped_by_budget": found.is_stopped,
            "low": interval.low,
            "high": interval.high,
            "startup_joules": curves.startup_joules,
            "resume_joules": curves.resume_joules,
            "stopped": curves.stopped,
            "left_out": curves.left_out,
            "estimated": curves.estimated,
            "order": order.noted() if order is not None and order.of else None,
        }
        say_answer("rehearse", said)
    else:
        by = [f"{order.sentence[0].upper()}{order.sentence[1:]}."] if order is not None and order.of else []
        say("\n".join([*_sentences(curves, objective, found, interval), *by]))
    return 0


def _of_table(arguments: argparse.Namespace) -> tuple[Curves, Objective]:
    from energysweep.searching.curves import read_table

    metric = "val_accuracy" if arguments.metric is None else arguments.metric
    objective = Objective(metric, arguments.mode or "max", arguments.target)
    return read_table(arguments.table, metric), objective


def _of_run(arguments: argparse.Namespace) -> tuple[Curves, Objective]:
    from energysweep.ledger.run_state import RunState
    from energysweep.ledger.store import read_ledger

    data = read_ledger(run_folder(arguments.folder) / LEDGER)
    own = RunState.of(data).objectives.get("")
    metric = arguments.metric or (own.metric if own else None)
    if metric is None:
        raise InputError("the run has noted no objective; give a metric", key="--metric")
    is_own = own is not None and own.metric == metric
    target = arguments.target if arguments.target is not None else (own.target if own and is_own else None)
    mode = arguments.mode or (own.mode if own and is_own else "max")
    objective = Objective(metric, mode, target, own.patience if own and is_own else 1)

    from energysweep.searching.curves import curves_of

    state = RunState.of(data, {"": objective})
    return curves_of(str(arguments.folder), state, data.run), objective


def _order(arguments: argparse.Namespace, kind: SchedulerType, curves: Curves, objective: Objective) -> Order | None:
    """In which order the configurations begin, by their places among the curves'; None: as they come."""
    if arguments.earlier:
        for given, key in ((arguments.table, "--table"), (arguments.order, "--order")):
            if given is not None:
                raise InputError(
                    f"cannot be used with {key}: the order is that of earlier runs of one's own", key="--from"
                )
        if not kind.is_ordered:
            raise InputError(f"the order of configurations does not matter to {kind.name}", key="--from")
    if not kind.is_ordered or arguments.order is not None or not curves.places:
        return None

    from energysweep.searching.evidence import of_those
    from energysweep.searching.ordering import Order, order_by
    from energysweep.searching.spreading import spread
    from energysweep.sweepfile import load_spec

    names = curves.configurations
    places = [curves.places[name] for name in names]
    if not arguments.earlier:
        return Order(spread(places), 0, len(places), ())
    spec = load_spec(arguments.folder / SWEEP_FILE)
    wanted = {"metric": objective.metric, "mode": objective.mode, "target": objective.target}
    spec = spec.model_copy(update={"objective": spec.objective.model_copy(update=wanted)})
    found = evidence_of(spec, arguments.earlier, needs_length=False)
    order = order_by(spec, of_those(spec, found, places), list(map(str, arguments.earlier)))
    if order is None:
        raise InputError(f"tells no order of these configurations by {objective.metric}", key="--from")
    return order


def _sentences(curves: Curves, objective: Objective, found: Rehearsal, interval: Forecast) -> list[str]:
    from energysweep.core.text import count_text, energy_text, number_text

    estimated = bool(curves.estimated)
    mark = "\N{ALMOST EQUAL TO} " if estimated else ""
    has_target = objective.target is not None
    goal = (
        f"target {objective.metric} {objective.target:g}" if has_target else f"without a target for {objective.metric}"
    )
    grid = "the grid, each of whose trials ends at the target," if has_target else "the full grid"
    ratio = "n/a" if found.ratio is None else f"{mark}{found.ratio:.3f}"
    sentences = [
        f"{found.scheduler} on {curves.of}: {count_text(len(curves.configurations), 'configuration')},"
        f" {count_text(curves.seeds, 'seed')}, {goal}",
        f"It spends {energy_text(found.energy_joules, estimated=estimated)} in {count_text(found.trials, 'trial')} with"
        f" {count_text(found.pauses, 'pause')}; {grid} spends"
        f" {energy_text(found.grid_joules, estimated=estimated)}: {ratio} of it.",
    ]
    if found.is_stopped:
        sentences.append(f"Its budget stops it there, with {count_text(found.open, 'trial')} begun and not ended.")
    low, high = energy_text(interval.low), energy_text(interval.high)
    sentences.append(f"Another run of it would spend \N{ALMOST EQUAL TO} {low} to {high} in 9 of 10 cases.")
    if curves.startup_joules or curves.resume_joules:
        starts = energy_text(curves.startup_joules, estimated=estimated)
        sentences.append(f"Each start of a trial is counted as {starts}{_of_resuming(curves, estimated)}.")
    elif curves.resume_joules is None and found.pauses:
        sentences.append(f"Starts cost nothing there{_of_resuming(curves, estimated)}.")
    if not has_target:
        sentences.append(_chosen_by_value(curves, objective, found))
    elif found.chosen is None:
        sentences.append("It finds no configuration that reaches the target.")
    elif (needed := curves.joules_to(objective, found.chosen)) == math.inf:
        sentences.append(f"It chooses {found.chosen}, which does not reach the target with every seed.")
    else:
        regret = "" if found.regret is None else f": {mark}{number_text(found.regret)} times what the best one needs"
        needs = energy_text(needed, estimated=estimated)
        sentences.append(f"It chooses {found.chosen}, which needs {needs}{regret}.")
    if curves.left_out:
        sentences.append(f"{count_text(curves.left_out, 'configuration')} with fewer seeds than others did not run.")
    if curves.estimated is None:
        sentences.append("The table does not tell whether its joules are measured or estimated.")
    if curves.stopped:
        sentences.append(
            f"{count_text(curves.stopped, 'trial')} of the run had been stopped early: nobody knows what comes after,"
            " so these energies are at least so high."
        )
    return sentences


def _of_resuming(curves: Curves, estimated: bool) -> str:
    from energysweep.core.text import energy_text

    if curves.resume_joules is None:
        return "; what going on from a pause costs nobody has measured: between nothing and a first report"
    more = energy_text(curves.resume_joules, estimated=estimated)
    return f", going on from a pause as {more} more" if curves.resume_joules else ""


def _chosen_by_value(curves: Curves, objective: Objective, found: Rehearsal) -> str:
    from energysweep.core.text import number_text

    if found.chosen is None:
        return f"It finds no configuration that reports {objective.metric}."
    value = curves.value_of(objective, found.chosen)
    if value is None or found.simple_regret is None:
        return f"It chooses {found.chosen}, which does not report {objective.metric} with every seed."
    by = f"{number_text(found.simple_regret)} worse than " if found.simple_regret > 0 else ""
    mean = f"{objective.metric} {number_text(value)} in the mean of its seeds"
    return f"It chooses {found.chosen}: {mean}, {by}the best one."


def _kind(name: str) -> SchedulerType:
    from energysweep.sweepfile.algorithms import SCHEDULERS

    if name not in SCHEDULERS:
        raise InputError(f"{name!r} is none of {', '.join(SCHEDULERS)}", key="--scheduler")
    if SCHEDULERS[name].changes:
        problem = f"{name} changes the parameters of trials while they run, and no curve tells what comes of that"
        raise InputError(problem, key="--scheduler")
    return SCHEDULERS[name]


def _joules(text: str) -> float:
    try:
        value = number(float(text))
    except ValueError:
        value = None
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of joules above 0")
    return value


def _target(text: str) -> float:
    try:
        value = number(float(text))
    except ValueError:
        value = None
    if value is None or abs(value) > MAX_TARGET:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {-MAX_TARGET:g} to {MAX_TARGET:g}")
    return value
