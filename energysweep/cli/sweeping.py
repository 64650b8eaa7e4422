"""Commands that run sweeps: run, resume, validate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    add_address,
    add_command,
    add_file_sd,
    add_metrics_port,
    add_run_folder,
    add_run_id,
    add_set,
    count,
    path,
)
from energysweep.cli.planning import UNKNOWN_LENGTH, add_from, evidence_of
from energysweep.core.errors import InputError
from energysweep.core.jsontext import json_text
from energysweep.core.terminal import flush, note, say, show

if TYPE_CHECKING:
    from energysweep.driver.run import Run
    from energysweep.searching.evidence import Evidence
    from energysweep.searching.ordering import Order
    from energysweep.sweepfile import SweepSpec


def add(commands: Any) -> None:
    """Add them to the command line."""
    run = add_command(commands, "run", _run, "runs a sweep, then writes its report")
    run.add_argument("sweep", metavar="SWEEP.yaml", type=path, help="This file says what the sweep is.")
    add_address(run)
    run.add_argument(
        "--output",
        metavar="DIR",
        type=path,
        default=Path("results"),
        help="The run folder is made in DIR; in results by default.",
    )
    add_run_id(run)
    add_metrics_port(run)
    add_file_sd(run, "the sweep's agents")
    _add_ray_restarts(run)
    add_from(
        run,
        "What the run will be charged is forecast from the run in RUN_DIR, of the same workload, and scored at its end;"
        " the configurations of a cap begin in the order of what they needed there. May be given several times.",
    )
    add_set(run)

    resume = add_command(commands, "resume", _resume, "resumes an interrupted run, and loses no joule")
    add_run_folder(resume)
    add_address(resume)
    add_metrics_port(resume)
    add_file_sd(resume, "the sweep's agents")
    _add_ray_restarts(resume)
    add_set(resume)

    validate = add_command(commands, "validate", _validate, "checks a sweep's file and says how many trials it makes")
    validate.add_argument(
        "sweep", metavar="SWEEP.yaml", type=path, nargs="?", help="This file is checked, and what it names."
    )
    validate.add_argument(
        "--address", metavar="ADDR", help="The Ray cluster at ADDR is asked whether it could run the trials."
    )
    how = validate.add_mutually_exclusive_group()
    how.add_argument(
        "--schema", action="store_true", help="The JSON Schema of sweep files is printed instead, for editors."
    )
    add_json(how)
    add_set(validate)


def _add_ray_restarts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray-restarts",
        metavar="N",
        type=count,
        default=3,
        help="A Ray of the run's own that dies, as for want of memory, is started again up to N times; 3 by default.",
    )


def _run(arguments: argparse.Namespace) -> int:
    from energysweep.sweepfile import check_search, check_trackers, check_workload, count_sentence, load_spec

    spec = load_spec(arguments.sweep, arguments.overrides)
    check_workload(spec)
    check_search(spec)
    check_trackers(spec)
    note(f"{spec.name}: {count_sentence(spec)}")

    # Only now: bad input is told before Ray's second of import time, and nothing has been started.
    from energysweep.driver.run import run
    from energysweep.report.live import progress_for_terminal

    forecast, order = _by_earlier_runs(spec, arguments.earlier) if arguments.earlier else (None, None)
    done = run(
        spec,
        address=arguments.address,
        output=arguments.output,
        run_id=arguments.run_id,
        metrics_port=arguments.metrics_port,
        file_sd=arguments.file_sd,
        progress=progress_for_terminal(),
        start_again=_start_again(arguments),
        tell=_tell,
        forecast=forecast,
        order=order,
    )
    return _tell(done)


def _by_earlier_runs(spec: SweepSpec, folders: list[Path]) -> tuple[dict[str, float] | None, Order | None]:
    """What they forecast, and the order in which the configurations begin; each None where they do not tell."""
    from energysweep.searching.ordering import order_by

    found = evidence_of(spec, folders, needs_length=False)
    order = order_by(spec, found, list(map(str, folders))) if spec.scheduler.kind.is_ordered else None
    if spec.scheduler.kind.is_ordered and order is None:
        note(
            f"order: spread over the space; no trial of {', '.join(map(str, folders))} reports {spec.objective.metric}"
        )
    return _forecast(spec, found), order


def _forecast(spec: SweepSpec, found: Evidence) -> dict[str, float] | None:
    from energysweep.core.text import energy_text, forecast_text
    from energysweep.searching.forecasting import own_way, planned

    if not found.length_is_known:
        note(f"no forecast: {UNKNOWN_LENGTH}")
        return None
    way = own_way(spec)
    if way is None:
        note(f"no forecast: what {spec.scheduler.type} will cost cannot be rehearsed")
        return None
    for each in found.notes:
        note(each)
    try:
        joules = planned(spec, found, way).joules
    except InputError as error:  # the sweep is worth more than its forecast
        note(f"no forecast: {error}")
        return None
    note(f"forecast: {forecast_text(joules, energy_text)}")
    return {"joules": joules.value, "low": joules.low, "high": joules.high}


def _resume(arguments: argparse.Namespace) -> int:
    from energysweep.driver.run_facts import to_resume

    to_resume(arguments.folder, arguments.overrides)  # what is wrong with it is told before Ray is imported

    from energysweep.driver.run import resume
    from energysweep.report.live import progress_for_terminal

    done = resume(
        arguments.folder,
        overrides=arguments.overrides,
        address=arguments.address,
        metrics_port=arguments.metrics_port,
        file_sd=arguments.file_sd,
        progress=progress_for_terminal(),
        start_again=_start_again(arguments),
        tell=_tell,
    )
    return _tell(done)


def _start_again(arguments: argparse.Namespace) -> Callable[[Path, str], None] | None:
    """Replace this program by one that resumes the run, as often as the user wants it."""
    left = arguments.ray_restarts
    if left == 0:
        return None

    def again(folder: Path, reason: str) -> None:
        note(f"{reason}: starting Ray again, and resuming ({left} of --ray-restarts left)")
        flush()
        command = [sys.executable, "-m", "energysweep", "resume", str(folder), "--address", "local"]
        command += ["--metrics-port", str(arguments.metrics_port), "--ray-restarts", str(left - 1)]
        if arguments.file_sd is not None:
            command += ["--file-sd", str(arguments.file_sd)]
        os.execv(sys.executable, command)  # noqa: S606 - this program itself

    return again


def _tell(done: Run) -> int:
    from energysweep.report import terminal_table

    show(terminal_table(done.summary))
    if done.report is not None:
        say(f"report: {done.report}")
    for problem in done.problems:
        note(f"energysweep: {problem}")
    if done.copied is not None:
        note(done.copied)  # the last line: submit looks for it in the end of a job's log
    if done.interrupted:
        return EXIT_INTERRUPTED
    return 0 if done.succeeded else EXIT_FAILED


def _validate(arguments: argparse.Namespace) -> int:
    from energysweep.sweepfile import (
        check_search,
        check_trackers,
        check_workload,
        count_sentence,
        json_schema,
        load_spec,
    )

    if arguments.schema:
        say(json_text(json_schema()))
        return 0
    if arguments.sweep is None:
        raise InputError("validate needs a sweep's file, or --schema")
    spec = load_spec(arguments.sweep, arguments.overrides)
    check_workload(spec)
    check_search(spec)
    check_trackers(spec)
    if arguments.address:
        from energysweep.driver.run import check_cluster

        check_cluster(spec, arguments.address)
    if arguments.json:
        say_answer("validate", _valid(spec, arguments.address))
        return 0
    say(f"{spec.name}: {count_sentence(spec)}")
    if spec.space is not None:
        from energysweep.sweepfile.defined import names_sentence

        say(names_sentence(spec))
    return 0


def _valid(spec: SweepSpec, address: str | None) -> dict[str, Any]:
    """What is said of a sweep that can be run."""
    from energysweep.sweepfile import count_sentence, trial_count, varying

    count = trial_count(spec)
    made = None
    if spec.space is not None:
        from energysweep.sweepfile.defined import made_names

        made = dict(zip(("always", "sometimes"), made_names(spec), strict=True))
    return {
        "sweep": spec.name,
        "sentence": count_sentence(spec),
        "configurations": count.configurations,
        "repeats": count.repeats,
        "hardware": count.hardware,
        "stages": count.stages,
        "trials": count.trials,
        "expected_trials": count.expected_trials,
        "estimated": count.expected_trials < count.trials,
        "varying": list(varying(spec)),
        "made": made,
        "objective": spec.objective.metric,
        "target": spec.objective.target,
        "search": spec.search.algorithm,
        "scheduler": spec.scheduler.type,
        "address": address,
    }
