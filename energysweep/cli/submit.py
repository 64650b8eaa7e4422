"""The command that hands a sweep to a cluster: submit."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energysweep.cli.common import EXIT_INPUT, EXIT_INTERRUPTED, add_command, add_run_id, add_set, fail, path
from energysweep.core.errors import EnergysweepError, InputError
from energysweep.core.terminal import note, say

if TYPE_CHECKING:
    from energysweep.jobs.submit import Job


def add(commands: Any) -> None:
    """Add it to the command line."""
    submit = add_command(
        commands, "submit", _submit, "runs a sweep as a job of a cluster, shows its log, and ends with its exit status"
    )
    submit.add_argument(
        "sweep", metavar="SWEEP.yaml", type=path, nargs="?", help="This file, and what lies beside it, is uploaded."
    )
    submit.add_argument(
        "--address",
        metavar="URL",
        help="The cluster's dashboard answers at URL; by default at RAY_API_SERVER_ADDRESS.",
    )
    submit.add_argument("--fetch", metavar="DIR", type=path, help="The run folder is brought back into DIR at the end.")
    submit.add_argument("--no-wait", action="store_true", help="The command ends as soon as the cluster has the job.")
    submit.add_argument("--job", metavar="ID", help="The job ID, submitted before, is followed instead of a new one.")
    add_run_id(submit)
    submit.add_argument(
        "--dry-run", action="store_true", help="What would be uploaded is listed, and nothing is submitted."
    )
    add_set(submit)


def _submit(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return _list_upload(arguments)
    address = arguments.address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not address:
        raise InputError("submit needs the address of a cluster's dashboard: --address http://HEAD:8265")
    if (arguments.sweep is None) == (arguments.job is None):
        raise InputError("submit needs a sweep's file, or --job ID")
    if arguments.job and (arguments.overrides or arguments.run_id or arguments.no_wait):
        raise InputError("--job is of a sweep that is there already: no --set, --run-id or --no-wait with it")
    if arguments.no_wait and arguments.fetch:
        raise InputError("--no-wait has nothing to fetch yet: use submit --job ID --fetch DIR later")
    job = _found(arguments, address) if arguments.job else _submitted(arguments, address)
    if arguments.no_wait:
        note(f"follow it: {_later(job)} [--fetch DIR]\nstop it: {_stop(job)}")
        say(job.id)
        return 0
    return _follow(job, arguments.fetch)


def _list_upload(arguments: argparse.Namespace) -> int:
    from energysweep.jobs.upload import upload_of
    from energysweep.sweepfile import load_spec

    if arguments.sweep is None or arguments.job:
        raise InputError("--dry-run lists what a sweep would bring along: give its file, and no --job")
    for line in upload_of(load_spec(arguments.sweep, arguments.overrides)).listing():
        say(line)
    return 0


def _submitted(arguments: argparse.Namespace, address: str) -> Job:
    from energysweep.sweepfile import count_sentence, load_spec

    spec = load_spec(arguments.sweep, arguments.overrides)
    note(f"{spec.name}: {count_sentence(spec)}")
    from energysweep.driver.run import checked_id, new_id
    from energysweep.jobs.submit import check_target, submit

    run_id = checked_id(arguments.run_id) if arguments.run_id else new_id(spec)
    if arguments.fetch:
        check_target(arguments.fetch / run_id, run_id)
    return submit(spec, address, run_id, note)


def _found(arguments: argparse.Namespace, address: str) -> Job:
    from energysweep.jobs.submit import check_target, find

    job = find(arguments.job, address)
    if arguments.fetch:
        check_target(arguments.fetch / job.run_id, job.run_id)
    return job


def _follow(job: Job, folder: Path | None) -> int:
    from energysweep.jobs.submit import fetch, wait

    try:
        end = wait(job, _log, note)
    except KeyboardInterrupt:
        note(f"\nno longer following; the job goes on\nfollow it: {_later(job)}\nstop it: {_stop(job)}")
        return EXIT_INTERRUPTED
    if end.code == EXIT_INPUT:
        return end.code  # the cluster could not use what it got: there is no run
    if folder is None:
        say(f"run: {job.run_id} (on the cluster; bring it with {_later(job)} --fetch DIR)")
        return end.code
    try:
        fetch(job, end, folder / job.run_id, note)
    except EnergysweepError as error:
        return fail(str(error), end.code or 1)
    say(f"report: {folder / job.run_id / 'report.html'}")
    return end.code


def _later(job: Job) -> str:
    return f"energysweep submit --job {job.id} --address {job.url}"


def _stop(job: Job) -> str:
    return f"ray job stop {job.id} --address {job.url}"


def _log(text: str) -> None:
    note(text, end="")
