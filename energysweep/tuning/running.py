"""A sweep while it runs: from the opening of its window to its closing."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune.error import TuneError

from energysweep import spec as specs
from energysweep.agent.accounts import Sweep
from energysweep.carbon import Intensity
from energysweep.errors import SweepError
from energysweep.ledger import Ledger, LedgerData
from energysweep.spec import Objective, SweepSpec
from energysweep.tuning import placement
from energysweep.tuning.agent_link import AgentLink
from energysweep.tuning.board import Board
from energysweep.tuning.points import Checkpoints, parameters_of, stage_of
from energysweep.tuning.progress import Progress, RunningTrial, Status
from energysweep.tuning.recorder import Recorder
from energysweep.tuning.session import logged_to, terminated_like_interrupted
from energysweep.tuning.stages import run_stages
from energysweep.tuning.totals import Poller
from energysweep.tuning.trial import Metering, metered_class
from energysweep.tuning.tuner import last_checkpoints, make_tuner

LOG_NAME = "ray.log"
_SHOWN_OF_ERROR = 300


class RunningSweep:
    """One run, or one part of it: an interrupted run goes on in a second part.

    Args:
        spec: the sweep.
        run_id: the run id.
        grid: the carbon intensity.
        progress: shows how it goes.
        metrics_port: for this host's agent, if none runs yet.
        is_cluster: trials may run on other hosts than this one.

    Attributes:
        interrupted: it was stopped before its end.
    """

    def __init__(
        self, spec: SweepSpec, run_id: str, grid: Intensity, progress: Progress, metrics_port: int, is_cluster: bool
    ) -> None:
        self.interrupted = False
        self._spec = spec
        self._run_id = run_id
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
            shown=tuple(dict.fromkeys(objective.metric for objective in _objectives(spec).values())),
            label=_Label(self._varying),
            is_cluster=is_cluster,
        )
        self._board = Board(run_id)
        self._agent = AgentLink(self._metering, self._board, metrics_port)
        self._opened = time.monotonic()  # the window is open

    def run(self, trainable: Any, ledger: Ledger, folder: Path) -> list[str]:
        """Run all trials that have not ended yet.

        Args:
            trainable: the workload.
            ledger: a new one, or that of the parts before.
            folder: the run folder.

        Returns:
            What a person must know before trusting the result.
        """
        before = ledger.read()
        self._parts = list(before.run.get("parts", []))
        # Time in which the sweep did not run is no part of its time.
        self._began = self._opened - sum(part["duration_seconds"] for part in self._parts)
        self._duration_seconds: float | None = None
        self._ledger = ledger
        self._scheduler: Any = None
        self._stage_problems: list[str] = []
        self._poller = Poller(
            self._run_id, ledger, self._began, self._attempt_at, self._polled, self._agent, self._board
        )
        objective = self._spec.objective
        self._recorder = Recorder(ledger, objective, self._began, self._is_pruned, self._ended, self._changed)
        self._take_over(before)
        with logged_to(folder / LOG_NAME), terminated_like_interrupted():
            self._note_beginning()
            self._progress.event(self._agent.notes)
            self._progress.event(f"metrics: {self._agent.url}/metrics")
            self._poller.start()
            self._progress.start(self._status)
            try:
                self._fit(trainable, folder)
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                self._poller.close_windows()
                self._duration_seconds = time.monotonic() - self._opened
                self._poller.stop()
                self._progress.stop()
            self.interrupted |= self._recorder.interrupt()
            problems = self._problems()
            self._note_end("interrupted" if self.interrupted else "failed" if problems else "done")
            self._agent.close()
        return problems

    def _take_over(self, before: LedgerData) -> None:
        self._recorder.take_over(before)
        self._poller.take_over(before)
        for trial in self._recorder.trials:
            self._pin(trial)

    def _pin(self, trial: str) -> None:
        """Tell whoever goes on with a trial, perhaps elsewhere, what it has cost."""
        reported = self._recorder.trials[trial].reported
        self._board.pin_trial(trial, self._poller.spent(trial, at_least=reported))

    def _fit(self, workload: Any, folder: Path) -> None:
        trainable = metered_class(workload, self._metering, placement.request(self._spec.profiles))
        storage = self._spec.storage or str(folder / "tune")

        def fit(spec: SweepSpec, stage: str, checkpoints: Checkpoints) -> Mapping[str, str]:
            name = f"{self._run_id}~{stage}" if stage else self._run_id  # no run id holds a tilde
            tuner, self._scheduler = make_tuner(spec, name, storage, trainable, self._recorder, stage, checkpoints)
            try:
                return last_checkpoints(tuner.fit(), storage)
            except TuneError as error:
                raise SweepError(f"Ray Tune gave up: {error}") from error

        checkpoints, self._stage_problems = run_stages(self._spec, fit, self._recorder.of_stage)
        if checkpoints is not None:
            fit(self._spec, "", checkpoints)

    # What the trials tell --------------------------------------------------------------------------------------------

    def _attempt_at(self, trial: str, at: float) -> int:
        return self._recorder.attempt_at(trial, at)

    def _is_pruned(self, trial: str) -> bool:
        return trial in getattr(self._scheduler, "pruned", ())

    def _ended(self, trial: str, will_retry: bool) -> None:
        self._poller.close_trial(trial)
        if will_retry:
            self._poller.poll()
            self._pin(trial)

    def _polled(self) -> None:
        best = self._recorder.best()
        self._dashboard.trials = self._recorder.counts()
        self._dashboard.best = {} if best is None else {self._spec.objective.metric: best}
        self._agent.update(self._dashboard)
        self._note_parts()  # a driver that is killed has said how far it came

    def _changed(self) -> None:
        for record in self._recorder.newly_ended():
            self._progress.event(f"{record.row.status}: {self._label(record.row.trial)}{_because(record.row.error)}")

    def _label(self, trial_id: str) -> str:
        row = self._recorder.trials[trial_id].row
        parts = [f"stage={row.stage}" if row.stage else specs.label(row.parameters, self._varying)]
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
        self._ledger.note(
            id=self._run_id,
            name=self._spec.name,
            spec=self._spec.model_dump(mode="json"),
            started_at=self._parts[0]["started_at"] if self._parts else self._dashboard.started_at,
            status="running",
            objective=_noted(self._spec.objective),
            stages={
                name: {"objective": _noted(objective)} for name, objective in _objectives(self._spec).items() if name
            },
            varying=list(self._varying),
            carbon=asdict(self._grid),
            owner=_owner(),
            versions=_versions(),
        )

    def _note_end(self, status: str) -> None:
        self._dashboard.ended_at = time.time()
        self._polled()
        self._ledger.note(status=status)

    def _note_parts(self) -> None:
        seconds = self._duration_seconds
        if seconds is None:
            seconds = time.monotonic() - self._opened
        parts = [*self._parts, {"started_at": self._dashboard.started_at, "duration_seconds": seconds}]
        self._ledger.note(
            parts=parts,
            duration_seconds=sum(part["duration_seconds"] for part in parts),
            meters=dict(self._poller.notes),
        )

    def _problems(self) -> list[str]:
        records = list(self._recorder.trials.values())
        problems = ["the sweep was interrupted"] if self.interrupted else []
        problems += self._stage_problems
        objectives = _objectives(self._spec)
        for record in records:
            if record.row.status == "failed":
                problems.append(f"trial {record.row.trial} failed{_because(record.row.error)}")
            elif record.iterations == 0:
                problems.append(f"trial {record.row.trial} reported no result")
            elif (metric := objectives[record.row.stage].metric) not in record.results:
                reported = ", ".join(record.results) or "nothing"
                problems.append(f"trial {record.row.trial} never reported {metric!r} (it reported {reported})")
        return problems


def _objectives(spec: SweepSpec) -> dict[str, Objective]:
    """By stage; the sweep's own under the empty name."""
    return {"": spec.objective} | {name: stage.objective or spec.objective for name, stage in spec.stages.items()}


def _noted(objective: Objective) -> dict[str, Any]:
    return objective.model_dump(include={"metric", "mode", "target", "patience"})


class _Label:
    """The short text of a trial's configuration; a class, because it travels to the workers."""

    def __init__(self, varying: tuple[str, ...]) -> None:
        self._varying = varying

    def __call__(self, config: Mapping[str, Any]) -> str:
        stage = stage_of(config)
        return f"stage={stage}" if stage else specs.label(parameters_of(config), self._varying)


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
