"""Run a sweep: from its spec to its report."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from energysweep import carbon
from energysweep.agent.discovery import TargetsFile
from energysweep.agent.server import DEFAULT_PORT
from energysweep.errors import InputError
from energysweep.ledger import FILE_NAME, Ledger
from energysweep.links import web_address
from energysweep.reporting import Summary, write_report, write_whole
from energysweep.spec import SweepSpec, load_spec
from energysweep.tuning import placement, run_lock
from energysweep.tuning.progress import Progress, Silent
from energysweep.tuning.run_facts import beginning
from energysweep.tuning.run_key import keep_key, key_of
from energysweep.tuning.running import RunningSweep
from energysweep.tuning.session import connected
from energysweep.tuning.workload import trainable_of

SPEC_NAME = "sweep.yaml"
GRAFANA_VARIABLE = "ENERGYSWEEP_GRAFANA"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Run:
    """A sweep that has been run.

    Attributes:
        id: the run id, the label ``sweep`` of all metrics.
        folder: the run folder, with the ledger and the report.
        summary: what it cost and reached.
        problems: what a person must know before trusting it: failed trials, an interruption. Empty if all went well.
        interrupted: it was stopped before its end.
    """

    id: str
    folder: Path
    summary: Summary
    problems: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def succeeded(self) -> bool:
        """Every trial has a result."""
        return not self.problems


def run(
    spec: SweepSpec,
    *,
    address: str | None = None,
    output: Path = Path("results"),
    run_id: str | None = None,
    metrics_port: int = DEFAULT_PORT,
    file_sd: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a sweep to its end and write its report; go on with it if the run id has begun already.

    A run that is done stays as it is: its report is written again, and nothing is started.

    Args:
        spec: the sweep.
        address: of a Ray cluster; None: RAY_ADDRESS. Neither, or ``local``: a Ray of its own that ends with the run.
        output: the run folder is made in it.
        run_id: name of the run folder; None: the sweep's name and the time.
        metrics_port: where agents serve /metrics, if none runs yet.
        file_sd: a file for Prometheus that names the agents; None: none.
        progress: shows how it goes; None: nothing.

    Raises:
        InputError: the workload cannot be loaded, no node can serve a hardware profile, or another sweep has this id.
        SweepError: nothing could be run.
        LedgerError: the run folder cannot be written.
    """
    trainable = trainable_of(spec)
    grid = carbon.resolve(**spec.carbon.model_dump())
    progress = progress or Silent()
    grafana_url = os.environ.get(GRAFANA_VARIABLE)
    if grafana_url:
        web_address(grafana_url, GRAFANA_VARIABLE)
    targets_file = TargetsFile(file_sd) if file_sd else None
    folder, is_new = _folder(output.absolute(), checked_id(run_id) if run_id else None, spec)
    run_id = folder.name
    _check_folder(folder, spec)
    if (done := _done(run_id, folder)) is not None:
        return done
    with run_lock.held(folder, progress.event, is_new=is_new) as lock:
        if (done := _done(run_id, folder)) is not None:  # another driver has ended it in this moment
            return done
        key = key_of(folder)
        with connected(spec, address) as is_cluster:
            placement.check(spec, ray.nodes(), placement.autoscaler_nodes())
            running = RunningSweep(spec, run_id, grid, progress, metrics_port, is_cluster, key, targets_file)
            facts = beginning(run_id, spec, grid, time.time())
            lock.check()
            # What is in the folder only now: a sweep that is refused leaves none behind.
            with contextlib.closing(running) as sweep, _fill_folder(folder, spec, key, facts) as ledger:
                ledger.note(grafana=grafana_url)
                problems = sweep.run(trainable, ledger, folder)
                summary = write_report(folder, ledger.read())
    return Run(run_id, folder, summary, tuple(problems), sweep.interrupted)


def resume(
    folder: Path,
    *,
    address: str | None = None,
    metrics_port: int = DEFAULT_PORT,
    file_sd: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Go on with an interrupted run: finished trials stay, the others go on from their last checkpoint.

    Args:
        folder: the run folder.
        address, metrics_port, file_sd, progress: as in ``run``.

    Raises:
        InputError: there is no such run.
        SweepError, LedgerError: as in ``run``.
    """
    if not (folder / FILE_NAME).is_file():
        raise InputError(f"this is no run folder: it has no {FILE_NAME}", file=str(folder))
    with Ledger.open(folder / FILE_NAME) as ledger:
        run_id = str(ledger.facts()["id"])
    return run(
        load_spec(folder / SPEC_NAME),
        address=address,
        output=folder.absolute().parent,
        run_id=run_id,
        metrics_port=metrics_port,
        file_sd=file_sd,
        progress=progress,
    )


def check_cluster(spec: SweepSpec, address: str) -> None:
    """Whether a cluster can run a sweep.

    Raises:
        InputError: there is no cluster, no node can serve a hardware profile, or several hosts share no storage.
    """
    with connected(spec, address):
        placement.check(spec, ray.nodes(), placement.autoscaler_nodes())


def new_id(spec: SweepSpec) -> str:
    """The run id of a sweep that begins now."""
    return f"{spec.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _folder(output: Path, run_id: str | None, spec: SweepSpec) -> tuple[Path, bool]:
    """The run folder, and whether it was made just now.

    Of two sweeps without a name that begin in the same second the later one gets a number.
    """
    first = new_id(spec)
    names = [run_id] if run_id else itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
    try:
        for name in names:
            try:
                (output / name).mkdir(parents=True)
            except FileExistsError:
                continue
            return output / name, True
    except OSError as error:
        raise InputError(f"{output}: {error.strerror or error}", key="--output") from error
    return output / str(run_id), False


def checked_id(run_id: str, key: str = "--run-id") -> str:
    """The run id, if it is one.

    Args:
        run_id: what may be one.
        key: the option that it came with.

    Raises:
        InputError
    """
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(f"{run_id!r} is no run id: letters, digits, dots, dashes and underscores", key=key)
    return run_id


def _check_folder(folder: Path, spec: SweepSpec) -> None:
    """An existing run is gone on with only if it is the same sweep."""
    if (folder / FILE_NAME).exists() and _portable(load_spec(folder / SPEC_NAME)) != _portable(spec):
        raise InputError(
            f"{folder} holds a run of another sweep: its {SPEC_NAME} differs; give another run id", key="--run-id"
        )


def _portable(spec: SweepSpec) -> str:
    """The sweep's text without where its code lies: on a cluster that is another folder for every job."""
    return spec.to_yaml().replace(spec.working_dir or str(spec.folder), ".")


def _done(run_id: str, folder: Path) -> Run | None:
    """A run that has nothing left to do."""
    if not (folder / FILE_NAME).exists():
        return None
    with Ledger.open(folder / FILE_NAME) as ledger:
        if ledger.facts().get("status") != "done":
            return None
        return Run(run_id, folder, write_report(folder, ledger.read()))


def _fill_folder(folder: Path, spec: SweepSpec, key: str, facts: Mapping[str, Any]) -> Ledger:
    write_whole(folder / SPEC_NAME, spec.to_yaml())
    keep_key(folder, key)
    return Ledger.create(folder / FILE_NAME, **facts)
