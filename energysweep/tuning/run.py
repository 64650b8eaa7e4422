"""Run a sweep: from its spec to its report."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.trainable import Trainable

from energysweep import carbon
from energysweep import spec as specs
from energysweep.agent.accounts import Sweep
from energysweep.agent.server import DEFAULT_PORT
from energysweep.carbon import Intensity
from energysweep.errors import InputError, SweepError
from energysweep.ledger import FILE_NAME, Ledger
from energysweep.reporting import Summary, write_report, write_whole
from energysweep.spec import SweepSpec
from energysweep.tuning import placement, search
from energysweep.tuning.agent_link import AgentLink
from energysweep.tuning.command import program
from energysweep.tuning.points import KEY, wrap
from energysweep.tuning.progress import Progress, RunningTrial, Silent, Status
from energysweep.tuning.recorder import Recorder
from energysweep.tuning.session import connected, logged_to, terminated_like_interrupted
from energysweep.tuning.totals import Poller
from energysweep.tuning.trial import Metering, metered_class

LOG_NAME = "ray.log"
_SHOWN_OF_ERROR = 300
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


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
    progress: Progress | None = None,
) -> Run:
    """Run a sweep to its end and write its report.

    Args:
        spec: the sweep.
        address: of a Ray cluster; None: RAY_ADDRESS, or a Ray of its own that ends with the run.
        output: the run folder is made in it.
        run_id: name of the run folder; None: the sweep's name and the time.
        metrics_port: where this host's agent serves /metrics, if none runs yet.
        progress: shows how it goes; None: nothing.

    Raises:
        InputError: the workload cannot be loaded, or no node can serve a hardware profile.
        SweepError: nothing could be run.
        LedgerError: the run folder cannot be written.
    """
    trainable = _trainable(spec)
    grid = carbon.resolve(**spec.carbon.model_dump())
    run_id = _checked_id(run_id) if run_id else _new_id(spec.name)
    folder = _free_folder(output, run_id)
    with connected(spec, address):
        placement.check(spec.profiles, ray.nodes())
        sweep = _Sweep(spec, run_id, folder, grid, progress or Silent(), metrics_port)
        problems = sweep.run(trainable)
    with Ledger.open(folder / FILE_NAME) as ledger:
        summary = write_report(folder, ledger.read())
    return Run(run_id, folder, summary, tuple(problems), sweep.interrupted)


class _Sweep:
    """One run, from the opening of its window to its closing."""

    def __init__(
        self, spec: SweepSpec, run_id: str, folder: Path, grid: Intensity, progress: Progress, metrics_port: int
    ) -> None:
        self.interrupted = False
        self._spec = spec
        self._run_id = run_id
        self._folder = folder
        self._grid = grid
        self._progress = progress
        self._varying = specs.varying(spec)
        self._dashboard = Sweep(
            name=spec.name,
            owner=_owner(),
            grams_per_kwh=grid.grams_per_kwh,
            zone=grid.zone,
            carbon_source=grid.source,
            pue=grid.pue,
            started_at=time.time(),
        )
        self._metering = Metering(
            run=run_id,
            meters=tuple(spec.meters),
            idle_power_watts=spec.idle_power_watts,
            sweep=self._dashboard,
            shown=(spec.objective.metric,),
            label=_Label(self._varying),
        )
        self._agent = AgentLink(self._metering.hello(run_id, quiet=True), self._metering.meters, metrics_port)
        self._began = time.monotonic()  # the window is open
        self._duration_seconds = 0.0
        self._scheduler = search.scheduler(spec)
        # Only now: a sweep that is refused leaves no folder behind.
        self._ledger = _make_folder(folder, spec)
        pruned: set[str] = getattr(self._scheduler, "pruned", set())
        self._recorder = Recorder(
            self._ledger, spec.objective, self._began, pruned.__contains__, self._agent.close_trial, self._changed
        )
        self._poller = Poller(
            run_id, self._ledger, self._began, self._agent.addresses, self._recorder.attempt_at, self._update_dashboard
        )

    def run(self, trainable: Any) -> list[str]:
        """Run all trials. Returns what a person must know before trusting the result."""
        with self._ledger, logged_to(self._folder / LOG_NAME), terminated_like_interrupted():
            self._note_beginning()
            self._progress.event(self._agent.notes)
            self._progress.event(f"metrics: {self._agent.url}/metrics")
            self._poller.start()
            self._progress.start(self._status)
            try:
                self._fit(metered_class(trainable, self._metering, placement.request(self._spec.profiles)))
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                self._agent.close_window()
                self._duration_seconds = time.monotonic() - self._began
                self._poller.stop()
                self._progress.stop()
            self.interrupted |= self._recorder.interrupt()
            problems = self._problems()
            self._note_end("interrupted" if self.interrupted else "failed" if problems else "done")
            self._agent.close()
        return problems

    def _fit(self, trainable: type[Trainable]) -> None:
        spec = self._spec
        if spec.search.algorithm == "optuna":
            space: dict[str, Any] = {}
            searcher = search.optuna_search(spec)
            samples = specs.trial_count(spec).trials
        else:
            space = {KEY: tune.grid_search([wrap(point) for point in specs.points(spec)])}
            searcher, samples = None, 1
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=self._scheduler,
                num_samples=samples,
                max_concurrent_trials=spec.max_concurrent_trials,
                reuse_actors=_can_reuse(trainable),
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=self._run_id,
                storage_path=spec.storage or str(self._folder / "tune"),
                stop=search.StopRule(spec),
                failure_config=tune.FailureConfig(max_failures=spec.max_failures),
                callbacks=[self._recorder],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except TuneError as error:
            raise SweepError(f"Ray Tune gave up: {error}") from error

    # What the trials tell -------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        for record in self._recorder.newly_ended():
            self._progress.event(f"{record.row.status}: {self._label(record.row.trial)}{_because(record.row.error)}")

    def _update_dashboard(self) -> None:
        best = self._recorder.best()
        self._dashboard.trials = self._recorder.counts()
        self._dashboard.best = {} if best is None else {self._spec.objective.metric: best}
        self._agent.update(self._dashboard)

    def _label(self, trial_id: str) -> str:
        row = self._recorder.trials[trial_id].row
        parts = [specs.label(row.parameters, self._varying)]
        parts += [] if row.seed is None else [f"seed={row.seed}"]
        parts += [row.hardware] if row.hardware else []
        return " ".join(parts)

    def _status(self) -> Status:
        joules = self._poller.totals.charged_joules
        metric = self._spec.objective.metric
        with self._recorder.lock:
            records = list(self._recorder.trials.values())
        reached = [
            (record.joules_at_target, self._label(record.row.trial))
            for record in records
            if record.joules_at_target is not None
        ]
        return Status(
            trials=specs.trial_count(self._spec).trials,
            counts=self._recorder.counts(),
            metric=metric,
            best=self._recorder.best(),
            cheapest_at_target=min(reached, default=None),
            watts=self._poller.totals.watts,
            joules=joules,
            grams=self._grid.emissions_grams(joules),
            estimated=self._poller.estimated,
            elapsed_seconds=time.monotonic() - self._began,
            running=tuple(
                RunningTrial(
                    self._label(record.row.trial),
                    record.iterations,
                    record.results.get(metric),
                    self._poller.totals.trials.get(record.row.trial, 0.0),
                )
                for record in records
                if record.row.status == "running"
            ),
        )

    # What stays ------------------------------------------------------------------------------------------------------

    def _note_beginning(self) -> None:
        objective = self._spec.objective
        self._ledger.note(
            id=self._run_id,
            name=self._spec.name,
            spec=self._spec.model_dump(mode="json"),
            started_at=self._dashboard.started_at,
            status="running",
            objective=objective.model_dump(include={"metric", "mode", "target", "patience"}),
            varying=list(self._varying),
            carbon=asdict(self._grid),
            owner=_owner(),
            versions=_versions(),
        )

    def _note_end(self, status: str) -> None:
        self._ledger.note(status=status, duration_seconds=self._duration_seconds, meters=dict(self._poller.notes))
        self._dashboard.ended_at = time.time()
        self._update_dashboard()

    def _problems(self) -> list[str]:
        records = list(self._recorder.trials.values())
        problems = ["the sweep was interrupted"] if self.interrupted else []
        for record in records:
            if record.row.status == "failed":
                problems.append(f"trial {record.row.trial} failed{_because(record.row.error)}")
            elif record.iterations == 0:
                problems.append(f"trial {record.row.trial} reported no result")
            elif self._spec.objective.metric not in record.results:
                reported = ", ".join(record.results) or "nothing"
                problems.append(
                    f"trial {record.row.trial} never reported {self._spec.objective.metric!r} (it reported {reported})"
                )
        return problems


class _Label:
    """The short text of a configuration; a class, because it travels to the workers."""

    def __init__(self, varying: tuple[str, ...]) -> None:
        self._varying = varying

    def __call__(self, config: Mapping[str, Any]) -> str:
        return specs.label(config, self._varying)


def _trainable(spec: SweepSpec) -> Callable[[dict[str, Any]], Any] | type[Trainable]:
    if spec.command is not None:
        specs.check_workload(spec)
        return program(spec.command, spec.working_dir or str(spec.folder))
    trainable = specs.load_workload(spec)
    module = sys.modules.get(getattr(trainable, "__module__", ""))
    if module is not None and module.__name__.startswith("energysweep_workload_"):
        # Loaded from a file under a name that no worker knows.
        ray.cloudpickle.register_pickle_by_value(module)
    return trainable


def _can_reuse(trainable: type[Trainable]) -> bool:
    """Functions can; a class only if it says how to be reset."""
    workload: type[Trainable] = trainable.__mro__[1]  # what the metered class was made of
    return workload.reset_config is not Trainable.reset_config


def _new_id(name: str) -> str:
    return f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _checked_id(run_id: str) -> str:
    if not _RUN_ID.match(run_id):
        raise InputError(f"{run_id!r} is no run id: letters, digits, dots, dashes and underscores", key="--run-id")
    return run_id


def _free_folder(output: Path, run_id: str) -> Path:
    folder = (output / run_id).absolute()
    if (folder / FILE_NAME).exists():
        raise InputError(f"{folder} holds a run already; resuming is not supported yet", key="--run-id")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}", key="--output") from error
    return folder


def _make_folder(folder: Path, spec: SweepSpec) -> Ledger:
    try:
        folder.mkdir(exist_ok=True)
        write_whole(folder / "sweep.yaml", spec.to_yaml())
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}", key="--output") from error
    return Ledger.create(folder / FILE_NAME)


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _versions() -> dict[str, str]:
    names = ("energysweep", "ray", "torch", "codecarbon")
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _because(error: str | None) -> str:
    """The error as the rest of a line."""
    text = " ".join((error or "").split())
    return f": {text if len(text) <= _SHOWN_OF_ERROR else text[:_SHOWN_OF_ERROR] + ' ...'}" if text else ""
