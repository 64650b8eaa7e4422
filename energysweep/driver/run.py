"""Run a sweep: from its spec to its report."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from energysweep.agent.discovery import TargetsFile
from energysweep.agent.remote import RemoteAgent
from energysweep.agent.server import DEFAULT_PORT
from energysweep.core import carbon
from energysweep.core.errors import EnergysweepError, InputError, LedgerError, NotWritten
from energysweep.core.inputs import web_address
from energysweep.core.runfolder import LEDGER, REPORT, SWEEP_FILE
from energysweep.core.terminal import note
from energysweep.driver import placement, run_lock
from energysweep.driver.poller import AgentLink
from energysweep.driver.ray_process import RayProcess
from energysweep.driver.run_facts import CHANGEABLE, beginning, keep_key, key_of, owner_of, to_resume
from energysweep.driver.running import Outside, RunningSweep, metering_of
from energysweep.driver.session import StopSignals, connected
from energysweep.driver.storage import copy_to_storage
from energysweep.driver.tracking import Tracking
from energysweep.driver.tuner import Tune
from energysweep.driver.watch import Watch
from energysweep.ledger.store import Ledger, without_orphans
from energysweep.report import Summary, summarise, write_report, write_whole
from energysweep.report.live import Progress, Silent
from energysweep.searching.ordering import Order
from energysweep.sweepfile import SweepSpec, check_search, check_trackers, load_spec, points
from energysweep.sweepfile.defined import digest, named
from energysweep.tune.registry import Registry
from energysweep.tune.trainable import folders_of, trainable_of

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
        report: the page; None if it could not be written.
        copied: what became of the copy in the sweep's storage; None if it names none.
    """

    id: str
    folder: Path
    summary: Summary
    problems: tuple[str, ...] = ()
    interrupted: bool = False
    report: Path | None = None
    copied: str | None = None

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
    start_again: Callable[[Path, str], None] | None = None,
    tell: Callable[[Run], int] | None = None,
    forecast: Mapping[str, float] | None = None,
    order: Order | None = None,
    pilot: SweepSpec | None = None,
) -> Run:
    """Run a sweep to its end and write its report; resume it if the run id has begun already.

    A run that is done stays as it is: its report is written again, and nothing is started.

    Args:
        spec: the sweep.
        address: of a Ray cluster; None: RAY_ADDRESS. Neither, or ``local``: a Ray of its own that ends with the run.
        output: the run folder is made in it.
        run_id: name of the run folder; None: the sweep's name and the time.
        metrics_port: where agents serve /metrics, if none runs yet.
        file_sd: a file for Prometheus that names the agents; None: none.
        progress: shows how it goes; None: nothing.
        start_again: if a Ray of its own goes away in the midst of the run, replaces this process by one that resumes
            it; called with the run folder and the reason. None: the run ends then.
        tell: if the run has to be ended while its own thread waits for a Ray that has gone, says how it stands and
            returns the exit code of this process, which ends then: nobody can leave such a Ray. None: on standard
            error, 1.
        forecast: what the run is thought to be charged: ``joules``, ``low`` and ``high``; it is scored at the end.
        order: in which the configurations begin, for a scheduler that chooses who does; None: its own. The run keeps
            that with which it began.
        pilot: of the sweep (``sweepfile.pilot``). The run is new, this part of it is the pilot alone, and it is
            interrupted then: ``resume`` goes on with it.

    Raises:
        InputError: the workload cannot be loaded, no node can serve a hardware profile, or another sweep has this id.
        SweepError: nothing could be run.
        LedgerError: the run folder cannot be written.
    """
    how = _How(
        address, metrics_port, file_sd, progress or Silent(), start_again, tell or _only_say, forecast, order, pilot
    )
    named = checked_id(run_id) if run_id else None
    return _work(spec, lambda: _folder(output.absolute(), named, spec), how)


def resume(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    metrics_port: int = DEFAULT_PORT,
    file_sd: Path | None = None,
    progress: Progress | None = None,
    start_again: Callable[[Path, str], None] | None = None,
    tell: Callable[[Run], int] | None = None,
) -> Run:
    """Go on with an interrupted run: finished trials stay, the others go on from their last checkpoint.

    Args:
        folder: the run folder.
        overrides: ``key.path=value`` each, of the sweep's budget and price: nothing else of a run can change.
        address, metrics_port, file_sd, progress, start_again, tell: as in ``run``.

    Raises:
        InputError: there is no such run.
        SweepError, LedgerError: as in ``run``.
    """
    _, spec = to_resume(folder, overrides)
    how = _How(address, metrics_port, file_sd, progress or Silent(), start_again, tell or _only_say)
    return _work(spec, lambda: (folder.absolute(), False), how)


@dataclass(frozen=True)
class _How:
    """What ``run`` and ``resume`` have in common; see there."""

    address: str | None
    metrics_port: int
    file_sd: Path | None
    progress: Progress
    start_again: Callable[[Path, str], None] | None
    tell: Callable[[Run], int]
    forecast: Mapping[str, float] | None = None
    order: Order | None = None
    pilot: SweepSpec | None = None

    @property
    def pilot_noted(self) -> dict[str, Any] | None:
        """As the run's facts have it."""
        if self.pilot is None:
            return None
        return {"trials": len(points(self.pilot)), "reports": int(self.pilot.stop["training_iteration"])}


def _work(spec: SweepSpec, place: Callable[[], tuple[Path, bool]], how: _How) -> Run:
    """Run what is left of a sweep; once all is checked, ``place`` tells its folder, and whether that is new."""
    trainable = trainable_of(spec)
    check_search(spec)
    check_trackers(spec)
    grid = carbon.resolve(**spec.carbon.model_dump())
    owner_of(spec)  # what the environment says of it may be wrong
    grafana_url = os.environ.get(GRAFANA_VARIABLE)
    if grafana_url:
        web_address(grafana_url, GRAFANA_VARIABLE)
    targets_file = TargetsFile(how.file_sd) if how.file_sd else None
    folder, is_new = place()
    run_id = _id_of(folder)
    _check_folder(folder, spec)
    if (done := _done(run_id, spec, folder)) is not None:
        return done
    with run_lock.held(folder, how.progress.event, is_new=is_new) as lock:
        if (done := _done(run_id, spec, folder)) is not None:  # another driver has ended it in this moment
            return done
        key = key_of(folder)

        def go_on(reason: str) -> None:
            how.progress.stop()
            if how.start_again is not None:
                how.start_again(folder, reason)

        signals = StopSignals()
        with (
            Tracking(spec.trackers, how.progress.event, lambda: signals.hurried) as tracking,
            contextlib.closing(Watch(lock, signals, go_on if how.start_again else None)) as watch,
            connected(spec, how.address, how.progress.event, folders_of(spec)) as ray_process,
            watch.over(ray_process),
        ):
            placement.check(spec, ray.nodes(), placement.autoscaler_nodes())
            metering = metering_of(spec, run_id, grid, how.metrics_port, key, is_cluster=not ray_process.is_local)
            registry = Registry(run_id)
            outside = Outside(
                lambda: AgentLink(metering, registry), registry, lambda url: RemoteAgent(url, run_id, key)
            )
            running = RunningSweep(spec, run_id, grid, how.progress, outside, signals, targets_file)
            facts = beginning(run_id, spec, grid, time.time(), how.pilot_noted)
            lock.check()
            # What is in the folder only now: a sweep that is refused leaves none behind.
            with contextlib.closing(running) as sweep, contextlib.ExitStack() as opened, signals.caught():
                with watch.beginning() as begun:  # a folder with a ledger in it is one that the watch can end
                    ledger = opened.enter_context(_fill_folder(folder, spec, key, facts))
                    ledger.note(grafana=grafana_url)
                    if how.forecast is not None and "forecast" not in ledger.facts():  # the first one is scored
                        ledger.note(forecast=how.forecast)
                    tune = Tune(run_id, trainable, metering, spec, folder, watch.gate, signals, _order(ledger, how))
                    sweep.take_up(ledger, tune, watch.finishing, how.pilot)
                    begun(_Begun(run_id, spec, folder, sweep, ledger, ray_process, how))
                tracking.begin(folder)
                problems = sweep.run(folder)
                if gone := lock.beat():  # perhaps why it has ended
                    problems.append(gone)
                interrupted = sweep.interrupted
                return _reported(run_id, spec, folder, ledger, problems, interrupted=interrupted, is_ours=gone is None)


def _order(ledger: Ledger, how: _How) -> Order | None:
    """In which order the configurations begin, as the run has noted it when it began. A person is told."""
    if how.order is not None and not ledger.facts().get("parts"):
        ledger.note(order=how.order.noted())
    order = Order.of_facts(ledger.facts())
    if order is not None:
        how.progress.event(order.sentence)
    return order


def note_plan(folder: Path, forecast: Mapping[str, float] | None = None, order: Order | None = None) -> None:
    """Note for a run that waits to be resumed what its pilot has told: as ``forecast`` and ``order`` of ``run``.

    Of one with which somebody has gone on already, nothing is noted.
    """
    with (
        contextlib.suppress(InputError),
        run_lock.held(folder, lambda _: None, is_new=False),
        Ledger.create(folder / LEDGER) as ledger,
    ):
        if len(ledger.facts().get("parts") or ()) > 1:
            return
        if forecast is not None:
            ledger.note(forecast=forecast)
        if order is not None:
            ledger.note(order=order.noted())


@dataclass(frozen=True)
class _Begun:
    """A run that may have to be ended by another thread than its own, as ``Watch`` does it."""

    run_id: str
    spec: SweepSpec
    folder: Path
    sweep: RunningSweep
    ledger: Ledger
    ray_process: RayProcess
    how: _How

    def problem(self) -> LedgerError | None:
        return self.sweep.ledger_problem

    def abandon(self, reason: str, *, is_ours: bool) -> int:
        if not is_ours:
            self.how.progress.stop()
        problems = [problem for problem in self.sweep.abandon() if problem != reason] if is_ours else []
        where = "" if self.ray_process.is_local else f" --address {self.ray_process.address}"
        last = f"{reason}; to go on: energysweep resume {self.folder}{where}" if is_ours else reason
        problems.append(last)
        return self.how.tell(_reported(self.run_id, self.spec, self.folder, self.ledger, problems, is_ours=is_ours))


def _reported(
    run_id: str,
    spec: SweepSpec,
    folder: Path,
    ledger: Ledger,
    problems: Sequence[str] = (),
    *,
    interrupted: bool = False,
    is_ours: bool = True,
) -> Run:
    """The run with its report and its copy; where these cannot be written, with the numbers and the reason."""
    data = without_orphans(ledger.read())
    if not is_ours:
        return Run(run_id, folder, summarise(data), tuple(problems), interrupted)
    try:
        summary, missing = write_report(folder, data), tuple[str, ...]()
    except NotWritten as error:
        summary, missing, problems = error.summary, error.missing, [str(error), *problems]
    report = None if REPORT in missing else folder / REPORT
    return Run(run_id, folder, summary, tuple(problems), interrupted, report, _copied(run_id, spec, folder, ledger))


def _copied(run_id: str, spec: SweepSpec, folder: Path, ledger: Ledger) -> str | None:
    """A copy that is missing makes no sweep fail: all is in the run folder."""
    if spec.storage is None:
        return None
    try:
        return str(copy_to_storage(folder, ledger, spec.storage, run_id))
    except EnergysweepError as error:
        return f"no copy of the run folder is in the sweep's storage: {error}"


def _only_say(done: Run) -> int:
    for problem in done.problems:
        note(f"energysweep: {problem}")
    return 1


def check_cluster(spec: SweepSpec, address: str) -> None:
    """Whether a cluster can run a sweep.

    Raises:
        InputError: there is no cluster, no node can serve a hardware profile, or several hosts share no storage.
    """
    with connected(spec, address, Silent().event):
        placement.check(spec, ray.nodes(), placement.autoscaler_nodes())


def new_id(spec: SweepSpec) -> str:
    """The run id of a sweep that begins now."""
    return f"{spec.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _folder(output: Path, run_id: str | None, spec: SweepSpec) -> tuple[Path, bool]:
    """The run folder, and whether it was made just now.

    Of two sweeps without a name that begin in the same second the later one gets a number.
    """
    if run_id and (output / run_id).exists():
        return output / run_id, False
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
    """An existing run is resumed only if it is the same sweep."""
    if (folder / LEDGER).exists() and _portable(load_spec(folder / SWEEP_FILE)) != _portable(spec):
        raise InputError(
            f"{folder} holds a run of another sweep: its {SWEEP_FILE} differs; give another run id", key="--run-id"
        )


def _check_space(spec: SweepSpec, ledger: Ledger) -> None:
    """A function that makes other configurations now would give the run another answer."""
    before = ledger.facts().get("space")
    if spec.space is not None and before and before["digest"] != digest(spec):
        problem = (
            f"{named(spec)} makes other configurations than when this run began; put it back as it was (the run's"
            " report has its text), or begin a new run"
        )
        raise spec.document.error(problem, ("space",))


def _id_of(folder: Path) -> str:
    """The run id: the folder's name, or what its ledger says, for a folder that was copied or renamed.

    Raises:
        LedgerError: the ledger does not say.
    """
    if not (folder / LEDGER).exists():
        return folder.name
    with Ledger.open(folder / LEDGER) as ledger:
        return ledger.run_id()


def _portable(spec: SweepSpec) -> str:
    """The sweep's text without where its code lies: on a cluster that is another folder for every job.

    Nor its budget, price and trackers: a run can go on with others. Nor its owner: it stays that of the beginning.
    """
    others = dict.fromkeys((*CHANGEABLE, "owner"))
    same = spec.model_copy(update=others | {"working_dir": spec.working_dir or str(spec.folder)})
    return same.to_bare_yaml().replace(spec.working_dir or str(spec.folder), ".")


def _done(run_id: str, spec: SweepSpec, folder: Path) -> Run | None:
    """A run that has nothing left to do.

    Raises:
        InputError: it has, and its function makes other configurations.
        LedgerError: it has, and its ledger is damaged.
    """
    if not (folder / LEDGER).exists():
        return None
    with Ledger.open(folder / LEDGER) as ledger:
        if ledger.facts().get("status") != "done":
            ledger.read_whole()
            _check_space(spec, ledger)
            return None
        return _reported(run_id, spec, folder, ledger)


def _fill_folder(folder: Path, spec: SweepSpec, key: str, facts: Mapping[str, Any]) -> Ledger:
    write_whole(folder / SWEEP_FILE, spec.to_yaml())
    keep_key(folder, key)
    return Ledger.create(folder / LEDGER, **facts)
