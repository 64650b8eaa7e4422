"""The command that says beforehand what a sweep will cost: plan."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import add_address, add_command, add_metrics_port, add_set, at_least_one, path, run_folder
from energysweep.core.errors import InputError, SweepError
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import note, say

if TYPE_CHECKING:
    from energysweep.analysis.forecast import Forecast
    from energysweep.core.carbon import Intensity
    from energysweep.ledger.budget import Budget
    from energysweep.searching.evidence import Evidence
    from energysweep.searching.forecasting import Planned
    from energysweep.searching.ordering import Order
    from energysweep.sweepfile import SweepSpec

_UNKNOWN = (
    "Unknown: nothing has been measured of this workload. What would tell: an earlier run of it (--from RUN_DIR), or a"
    " pilot of a few reports (--pilot 3), which is metered and part of the run"
)


def add(commands: Any) -> None:
    """Add it to the command line."""
    plan = add_command(commands, "plan", _plan, "says beforehand what a sweep will cost under each scheduler")
    plan.add_argument("sweep", metavar="SWEEP.yaml", type=path, help="This file says what the sweep is.")
    add_from(plan, "The forecast is made from the run in RUN_DIR, of the same workload. May be given several times.")
    plan.add_argument(
        "--pilot",
        metavar="N",
        type=at_least_one,
        help="A run of the sweep begins with N configurations for a few reports each, which tell what the rest costs;"
        " energysweep resume goes on with it.",
    )
    plan.add_argument(
        "--pilot-reports",
        metavar="N",
        type=at_least_one,
        default=3,
        help="A pilot's trials make N reports; 3 by default.",
    )
    plan.add_argument(
        "--reports",
        metavar="N",
        type=at_least_one,
        help="A trial that nobody stops makes N reports; by default as earlier ones that ran to their end.",
    )
    plan.add_argument(
        "--output",
        metavar="DIR",
        type=path,
        default=Path("results"),
        help="With a pilot, the run folder is made in DIR; in results by default.",
    )
    add_address(plan)
    add_metrics_port(plan)
    add_set(plan)
    add_json(plan)


def add_from(parser: argparse.ArgumentParser, text: str) -> None:
    """The option --from."""
    parser.add_argument("--from", metavar="RUN_DIR", dest="earlier", type=path, action="append", default=[], help=text)


def _plan(arguments: argparse.Namespace) -> int:
    from energysweep.core import carbon
    from energysweep.sweepfile import check_search, check_workload, count_sentence, load_spec

    spec = load_spec(arguments.sweep, arguments.overrides)
    check_workload(spec)
    check_search(spec)
    grid = carbon.resolve(**spec.carbon.model_dump())
    if arguments.earlier and arguments.pilot:
        raise InputError("give either --from or --pilot, not both", key="--pilot")
    planned_spec = _with_reports(spec, arguments.reports)
    pilot = None
    if arguments.pilot:
        pilot = _piloted(arguments, spec, planned_spec)
        folders = [pilot.folder]
    else:
        folders = arguments.earlier
    if not folders:
        if arguments.json:
            say_answer("plan", _json(spec, grid, None, [], [], None, None))
        else:
            say(f"{spec.name}: {count_sentence(spec)}\n{_UNKNOWN}.")
        return 0
    with _named_if_it_fails(pilot):
        found, plans, order = _planned(spec, planned_spec, folders, pilot)
    if arguments.json:
        say_answer("plan", _json(spec, grid, found, plans, folders, pilot, order))
    else:
        sentences = _sentences(spec, grid, found, plans, folders, pilot, order)
        say("\n".join([f"{spec.name}: {count_sentence(spec)}", *sentences]))
    return 0


def _planned(
    spec: SweepSpec, planned_spec: SweepSpec, folders: list[Path], pilot: _Piloted | None
) -> tuple[Evidence, list[Planned], Order | None]:
    """What is known of the sweep, what it will cost in each way, and in which order a cap of it would begin."""
    from energysweep.searching.forecasting import own_way, planned, ways
    from energysweep.searching.ordering import order_by
    from energysweep.sweepfile.algorithms import SCHEDULERS

    found = evidence_of(planned_spec, folders)
    every = ways(planned_spec)
    order = None
    if any(SCHEDULERS[way.scheduler].is_ordered for way in every):
        order = order_by(planned_spec, found, ["the pilot"] if pilot else [str(each) for each in folders])
    if pilot is None:
        return found, [planned(planned_spec, found, way) for way in every], order

    from energysweep.driver.run import note_plan

    note_plan(pilot.folder, order=order if spec.scheduler.kind.is_ordered else None)  # forecasts take a while
    plans = [
        planned(planned_spec, found, way, pilot_joules=pilot.joules or 0.0, pilot_seconds=pilot.seconds)
        for way in every
    ]
    own = next((each.joules for each in plans if each.way == own_way(planned_spec)), None)
    if own is not None:
        note_plan(pilot.folder, forecast={"joules": own.value, "low": own.low, "high": own.high})
    return found, plans, order


@contextmanager
def _named_if_it_fails(pilot: _Piloted | None) -> Iterator[None]:
    """Whatever comes after a pilot: it is paid for, and its run can go on."""
    try:
        yield
    except BaseException:
        if pilot is not None:
            note(f"energysweep: to go on with this run: energysweep resume {pilot.folder}")
        raise


def _with_reports(spec: SweepSpec, reports: int | None) -> SweepSpec:
    """The sweep, each of whose trials makes so many reports at the most."""
    if reports is None:
        return spec
    at_most = min(reports, spec.stop.get("training_iteration", reports))
    return spec.model_copy(update={"stop": {**spec.stop, "training_iteration": at_most}})


UNKNOWN_LENGTH = (
    "nobody knows how many reports a trial makes, because no trial of the runs ended by itself; say it with"
    " stop.training_iteration"
)


def evidence_of(spec: SweepSpec, folders: list[Path], *, needs_length: bool = True) -> Evidence:
    """What the runs in these folders say about a sweep.

    Args:
        spec: the sweep.
        folders: of the runs.
        needs_length: somebody has to know how many reports a trial makes.

    Raises:
        InputError: one is of no use, or none tells how many reports a trial makes.
    """
    from energysweep.ledger.run_state import RunState
    from energysweep.ledger.store import read_ledger
    from energysweep.searching.evidence import of_earlier_runs

    runs = []
    for folder in folders:
        data = read_ledger(run_folder(folder) / LEDGER)
        runs.append((str(folder), RunState.of(data, {"": spec.objective.rule}), data.run))
    found = of_earlier_runs(spec, runs)
    if needs_length and not found.length_is_known:
        raise InputError(f"{UNKNOWN_LENGTH} (of plan also --reports)", key="--from")
    return found


class _Piloted(NamedTuple):
    """A run whose pilot is over: its folder, and what that was charged and took."""

    folder: Path
    joules: float | None
    seconds: float


def _piloted(arguments: argparse.Namespace, spec: SweepSpec, planned: SweepSpec) -> _Piloted:
    """Begin the run of a sweep that is to be planned with its pilot."""
    from energysweep.sweepfile.pilot import pilot_of

    pilot = pilot_of(spec, arguments.pilot, arguments.pilot_reports)

    from energysweep.searching.evidence import tells_length
    from energysweep.searching.forecasting import check_reports
    from energysweep.sweepfile import trial_count
    from energysweep.sweepfile.reports import full_reports

    if not tells_length(planned):  # before anything is paid for
        raise InputError(
            "a pilot does not tell how many reports a trial makes; say it with --reports or stop.training_iteration",
            key="--pilot",
        )
    check_reports(trial_count(planned).expected_trials * (full_reports(planned) or 0))

    from energysweep.driver.run import run
    from energysweep.ledger.budget import STOPPED
    from energysweep.ledger.run_state import RunState
    from energysweep.ledger.store import read_ledger
    from energysweep.report.live import progress_for_terminal

    done = run(
        spec,
        address=arguments.address,
        output=arguments.output,
        metrics_port=arguments.metrics_port,
        progress=progress_for_terminal(),
        pilot=pilot,
    )
    for problem in done.problems:
        note(f"energysweep: {problem}")
    if done.interrupted:
        raise SweepError(
            f"the pilot was interrupted; what it has measured: energysweep plan ... --from {done.folder}; without it:"
            f" energysweep resume {done.folder}"
        )
    data = read_ledger(done.folder / LEDGER)
    if data.run.get("status") == STOPPED:
        raise SweepError("the budget did not hold the pilot")
    return _Piloted(done.folder, RunState.of(data).charged_joules, float(data.run.get("duration_seconds") or 0.0))


def _sentences(
    spec: SweepSpec,
    grid: Intensity,
    found: Evidence,
    plans: list[Planned],
    folders: list[Path],
    pilot: _Piloted | None,
    order: Order | None,
) -> list[str]:
    from energysweep.core.text import duration_text, emissions_text, energy_text, forecast_text
    from energysweep.searching.evidence import said
    from energysweep.searching.forecasting import own_way

    lines = []
    if pilot is not None:
        spent = energy_text(pilot.joules, estimated=found.estimated)
        lines.append(f"The pilot spent {spent}, booked to this run and counted in all that follows.")
    lines.append(said(found, "the pilot" if pilot else ", ".join(map(str, folders))))
    lines += found.notes
    if found.estimated:
        lines.append("The joules that it rests on are partly of an estimate.")
    own = own_way(spec)
    budget = _budget(spec, grid)
    names = [f"{each.way.name}{' (the file)' if each.way == own else ''}" for each in plans]
    for name, each in zip(names, plans, strict=True):
        grams = _grams(grid, each.joules)
        parts = [
            forecast_text(each.joules, energy_text),
            f"{forecast_text(grams, emissions_text)} of CO2e",
            *(
                [forecast_text(cost, partial(budget.text, "cost"))]
                if budget and (cost := _cost(budget, each.joules))
                else []
            ),
            "n/a" if each.seconds is None else forecast_text(each.seconds, duration_text),
        ]
        lines.append(f"{name.ljust(max(map(len, names)))}  {', '.join(parts)}")
    if own is None:
        lines.append(f"What {spec.scheduler.type} will cost cannot be rehearsed.")
    if order is not None:
        lines.append(f"A cap's {order.sentence}.")
    lines += _of_budget(budget, plans)
    lines.append("Each interval holds what comes in 9 of 10 cases.")
    if pilot is not None:
        lines.append(f"To go on with this run: energysweep resume {pilot.folder}")
    return lines


def _json(
    spec: SweepSpec,
    grid: Intensity,
    found: Evidence | None,
    plans: list[Planned],
    folders: list[Path],
    pilot: _Piloted | None,
    order: Order | None,
) -> dict[str, Any]:
    from energysweep.analysis.forecast import LEVEL
    from energysweep.searching.forecasting import own_way

    own = own_way(spec)
    budget = _budget(spec, grid)
    return {
        "sweep": spec.name,
        "unknown": f"{_UNKNOWN}." if found is None else None,
        "from": [str(folder) for folder in folders],
        "pilot": None if pilot is None else {"run": str(pilot.folder), "energy_joules": pilot.joules},
        "trials": None if found is None else found.trials,
        "configurations": None if found is None else len(found.configurations),
        "seen": None if found is None else found.seen,
        "estimated": None if found is None else found.estimated,
        "notes": [] if found is None else list(found.notes),
        "order": None if order is None else order.noted(),
        "level": LEVEL,
        "plans": [
            {
                "scheduler": each.way.scheduler,
                "stops_at_target": each.way.stops_at_target,
                "is_own": each.way == own,
                "energy_joules": asdict(each.joules),
                "emissions_grams": asdict(_grams(grid, each.joules)),
                "cost": None if budget is None or (cost := _cost(budget, each.joules)) is None else asdict(cost),
                "budget": {} if budget is None else _verdicts(budget, each),
                "duration_seconds": None if each.seconds is None else asdict(each.seconds),
            }
            for each in plans
        ],
    }


def _grams(grid: Intensity, joules: Forecast) -> Forecast:
    return joules.times(grid.emissions_grams(1.0))


# Its budget ----------------------------------------------------------------------------------------------------------


def _budget(spec: SweepSpec, grid: Intensity) -> Budget | None:
    from energysweep.ledger.budget import Budget

    return Budget.noted({"spec": spec.model_dump(mode="json")}, grid)


def _cost(budget: Budget, joules: Forecast) -> Forecast | None:
    each = budget.per_joule("cost")
    return None if each is None else joules.times(each)


def _verdicts(budget: Budget, plan: Planned) -> dict[str, str]:
    """By kind of limit: whether it ``holds`` the sweep, ``may not``, ``does not``, or ``unknown``."""
    found = {}
    for kind, limit in budget.limits.items():
        each = budget.per_joule(kind)
        needs = plan.seconds if kind == "duration_seconds" else None if each is None else plan.joules.times(each)
        if needs is None:
            found[kind] = "unknown"
        else:
            found[kind] = "holds" if needs.high <= limit else "does not" if needs.low > limit else "may not"
    return found


def _of_budget(budget: Budget | None, plans: list[Planned]) -> list[str]:
    words = {"holds": "holds", "may not": "may not hold", "does not": "does not hold", "unknown": "may or may not hold"}
    lines = []
    for kind, limit in budget.limits.items() if budget else ():
        by_way = [f"{words[_verdicts(budget, each)[kind]]} {each.way.name}" for each in plans] if budget else []
        lines.append(f"The budget of {budget.text(kind, limit) if budget else ''} {'; '.join(by_way)}.")
    return lines
