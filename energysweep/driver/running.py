"""A sweep while it runs: its stages, then its trials, from the opening of its window to its closing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from energysweep import sweepfile as specs
from energysweep.accounting.accounts import Sweep
from energysweep.agent.client import RemoteAgent
from energysweep.agent.discovery import TargetsFile
from energysweep.core.carbon import Intensity
from energysweep.core.errors import EnergysweepError, LedgerError, SweepError, one_line
from energysweep.core.records import TrialRow
from energysweep.core.runfolder import RAY_LOG, TUNE_STATE
from energysweep.driver import placement
from energysweep.driver.poller import POLL_SECONDS, AgentLink, Poller
from energysweep.driver.progress import Progress, Standing
from energysweep.driver.recorder import Recorder, without_objective
from energysweep.driver.run_facts import RunFacts, objectives, shown_first
from energysweep.driver.session import logged_to, terminated_like_interrupted
from energysweep.driver.tuner import last_checkpoints, make_tuner
from energysweep.driver.watch import Watch
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.sweepfile import SweepSpec, points, stage_spec
from energysweep.tune.points import Checkpoints, because, row_text
from energysweep.tune.registry import Registry
from energysweep.tune.trial import Metering, metered_class

# Stages: what runs first, and leaves a checkpoint to go on from ------------------------------------------------------

_NOT_RUN = "the configurations were not run, because some of them go on from stage"

# Runs the trials of a spec that have not ended yet, for a stage; returns the last checkpoints by trial id.
Fit = Callable[[SweepSpec, str, Checkpoints], Mapping[str, str]]


def _run_stages(
    spec: SweepSpec, fit: Fit, trials_of: Callable[[str], Sequence[TrialRow]]
) -> tuple[Checkpoints | None, list[str]]:
    """Run all stages of a sweep.

    Args:
        spec: the sweep.
        fit: runs one of them.
        trials_of: the trials of a stage, as far as they have come.

    Returns:
        What they have left, None if some trial of a stage has left nothing: then none may go on from it. And what a
        person must know.
    """
    checkpoints: dict[tuple[str, str, int | None], str] = {}
    for stage in spec.stages:
        part = stage_spec(spec, stage)
        places = fit(part, stage, checkpoints)
        rows = trials_of(stage)
        for row in rows:
            if row.status == "completed" and row.trial in places:
                checkpoints[stage, row.hardware, row.seed] = places[row.trial]
        if any((stage, point.hardware, point.seed) not in checkpoints for point in points(part)):
            without = [row.trial for row in rows if row.status == "completed" and row.trial not in places]
            failed = [row.trial for row in rows if row.status == "failed"]
            problems = [_left_nothing(stage, trial) for trial in without]
            return None, [*problems, *([f"{_NOT_RUN} {stage}"] if without or failed else [])]
    return checkpoints, []


def _left_nothing(stage: str, trial: str) -> str:
    return (
        f"trial {trial} of stage {stage} left no checkpoint, so no trial can go on from it: the workload has"
        " to report one, by tune.report(metrics, checkpoint=...); the built-in ones do with checkpoint_every: 1"
    )


# The run -------------------------------------------------------------------------------------------------------------

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words


class RunningSweep:
    """One run, or one part of it: an interrupted run goes on in a second part.

    Args:
        spec: the sweep.
        run_id: the run id.
        grid: the carbon intensity.
        progress: shows how it goes.
        metrics_port: for agents, where none runs yet.
        is_cluster: trials may run on other hosts than this one.
        key: of the run, for its agents.
        targets_file: names the agents to Prometheus.

    Attributes:
        interrupted: it was stopped before its end.
    """

    def __init__(
        self,
        spec: SweepSpec,
        run_id: str,
        grid: Intensity,
        progress: Progress,
        metrics_port: int,
        is_cluster: bool,
        key: str,
        targets_file: TargetsFile | None = None,
    ) -> None:
        self.interrupted = False
        self._spec = spec
        self._run_id = run_id
        self._grid = grid
        self._progress = progress
        self._targets_file = targets_file
        self._varying = specs.varying(spec)
        self._started_at = time.time()
        self._ended_at: float | None = None
        self._shown = Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.source, pue=grid.pue)
        self._metering = Metering(
            run=run_id,
            meters=tuple(spec.meters),
            idle_power_watts=spec.idle_power_watts,
            sweep=self._shown,
            shown=shown_first(spec),
            varying=self._varying,
            is_cluster=is_cluster,
            port=metrics_port,
            key=key,
        )
        self._registry = Registry(run_id)
        self._agent = AgentLink(self._metering, self._registry)
        self._opened = time.monotonic()  # the window is open

    def take_up(self, ledger: Ledger, watch: Watch) -> None:
        """Go on where the parts of the run before this one have ended. From then on it can be run, or abandoned.

        Args:
            ledger: a new one, or that of the parts before.
            watch: looks after it meanwhile.
        """
        self._watch = watch
        before = ledger.read_whole()
        self._facts = RunFacts(ledger, before.run.get("parts", []), self._started_at)
        # Time in which the sweep did not run is no part of its time.
        began = self._opened - self._facts.earlier_seconds
        self._duration_seconds: float | None = None
        self._scheduler: Any = None
        self._told_notes = 0  # of the scheduler
        self._stage_problems: list[str] = []
        rules = {stage: objective.rule for stage, objective in objectives(self._spec).items()}
        self._state = RunState.of(before, rules)
        intake = Intake(ledger, self._state)
        intake.take_over(before)
        self._poller = Poller(intake, self._state, began, self._polled, self._agent, self._registry, self._remote_agent)
        self._recorder = Recorder(ledger, self._state, began, self._is_pruned, self._ended, self._changed)
        self._recorder.take_over()
        self._standing = Standing(self._spec, self._grid, self._state, self._poller, began, self._started_at)

    def run(self, trainable: Any, folder: Path) -> list[str]:
        """Run all trials that have not ended yet.

        Whatever goes wrong meanwhile, the last readings are taken, and the ledger says how it ended.

        Args:
            trainable: the workload.
            folder: the run folder.

        Returns:
            What a person must know before trusting the result.
        """
        failures = []
        with logged_to(folder / RAY_LOG), terminated_like_interrupted():
            try:
                self._facts.note_beginning(self._run_id, self._spec, self._grid)
                for trial in [*self._state.trials]:
                    self._pin(trial)
                self._progress.event(self._agent.notes)
                self._progress.event(f"metrics: {self._agent.url}/metrics")
                self._poller.start()
                self._progress.start(self._standing.status)
                self._fit(trainable, folder)
            except KeyboardInterrupt:
                self.interrupted = True
            except Exception as error:  # of Tune, Ray, the storage or ourselves: any
                log.exception("Ray Tune gave up")
                failures = [str(_told(error))]
            self._watch.finishing()
            failures += self._take_last_readings()
            problems = [*self._problems(), *failures]
            self._ended_at = time.time()
            with self._kept(problems):
                self._polled()
            status = "interrupted" if self.interrupted else "failed" if problems else "done"
            with self._kept(problems):
                self._facts.note_end(status)
        return list(dict.fromkeys(problems))

    def _take_last_readings(self, within_seconds: float | None = None) -> list[str]:
        """Whatever fails, the rest is done: the ledger is to be as complete as it can be. Returns what has failed."""
        problems: list[str] = []
        with self._kept(problems):
            self._poller.close_windows()
        self._duration_seconds = time.monotonic() - self._opened
        with self._kept(problems):
            self._poller.stop(within_seconds)
        self._progress.stop()
        with self._kept(problems):
            self.interrupted |= self._recorder.interrupt()
        return problems

    @contextmanager
    def _kept(self, problems: list[str]) -> Iterator[None]:
        try:
            yield
        except LedgerError as error:
            problems.append(str(error))
        except Exception as error:  # the rest is to be done all the same
            log.exception("at the end of the run")
            problems.append(f"at the end of the run: {one_line(f'{type(error).__name__}: {error}')}")

    @property
    def ledger_problem(self) -> LedgerError | None:
        """Why the ledger could not be written, if it could not."""
        return self._poller.problem

    def abandon(self) -> list[str]:
        """End without Ray, in another thread than the one that runs it and that may wait for Ray for ever.

        Returns:
            What a person must know beyond that.
        """
        problems = self._take_last_readings(POLL_SECONDS)
        with self._kept(problems):
            self._facts.note_part(time.monotonic() - self._opened, self._poller.notes)
            self._facts.note_end("interrupted")
        return list(dict.fromkeys(problems))

    def close(self) -> None:
        """Hang up on the agent, however the run ended."""
        self._agent.close()

    def _pin(self, trial: str) -> None:
        """Tell whoever goes on with a trial, perhaps elsewhere, what it has cost."""
        spent = self._poller.spent(trial, at_least=self._recorder.reported(trial))
        with suppress(RayError):  # of a head that is restarted: the next attempt shows less, the ledger does not
            self._registry.note_spent(trial, spent)

    def _fit(self, workload: Any, folder: Path) -> None:
        trainable = metered_class(workload, self._metering, placement.request(self._spec.profiles))
        storage = self._spec.storage or str(folder / TUNE_STATE)
        if self._spec.storage is None:  # for this user only: Tune keeps the trainable there, which has the run's key
            (folder / TUNE_STATE).mkdir(mode=0o700, exist_ok=True)

        def fit(spec: SweepSpec, stage: str, checkpoints: Checkpoints) -> Mapping[str, str]:
            name = f"{self._run_id}~{stage}" if stage else self._run_id  # no run id holds a tilde
            tuner, self._scheduler = make_tuner(
                spec, name, storage, trainable, self._recorder, self._watch.gate, stage, checkpoints
            )
            return last_checkpoints(tuner.fit(), storage)

        checkpoints, self._stage_problems = _run_stages(self._spec, fit, self._state.of_stage)
        if checkpoints is not None:
            fit(self._spec, "", checkpoints)

    # What the trials tell --------------------------------------------------------------------------------------------

    def _remote_agent(self, url: str) -> RemoteAgent:
        return RemoteAgent(url, self._run_id, self._metering.key)

    def _is_pruned(self, trial: str) -> bool:
        return self._scheduler is not None and trial in self._scheduler.pruned

    def _ended(self, trial: str, will_retry: bool) -> None:
        self._poller.close_trial(trial, is_over=not will_retry)
        if will_retry:
            self._poller.poll()
            self._pin(trial)

    def _polled(self) -> None:
        seconds = self._duration_seconds
        if seconds is None:
            seconds = time.monotonic() - self._opened
        self._facts.note_part(seconds, self._poller.notes)  # a driver that is killed has said how far it came
        agents = self._poller.targets.listed(placement.lost_addresses)
        if self._targets_file is not None:
            self._targets_file.write(agents)
        self._agent.update(replace(self._shown, agents=agents, samples=self._standing.samples(self._ended_at)))
        self._poller.tell_agents(agents)

    def _changed(self) -> None:
        for note in self._scheduler.notes[self._told_notes :] if self._scheduler is not None else ():
            self._told_notes += 1
            self._progress.event(note)
        for row in self._recorder.newly_ended():
            self._progress.event(f"{row.status}: {row_text(row, self._varying)}{because(row.error)}")

    # What stays ------------------------------------------------------------------------------------------------------

    def _problems(self) -> list[str]:
        problems = ["the sweep was interrupted"] if self.interrupted else []
        problems += self._stage_problems
        wanted = objectives(self._spec)
        for trial in self._state.all_trials():
            row = trial.row
            if row.status == "failed":
                problems.append(f"trial {row.trial} failed{because(row.error)}")
            elif trial.iterations == 0:
                problems.append(f"trial {row.trial} reported no result")
            elif (why := without_objective(trial, wanted[row.stage].metric)) is not None:
                problems.append(f"trial {row.trial} {why}")
        for name, reason in self._recorder.unrecorded.items():
            problems.append(f"trial {name}: not all that it told could be taken down{because(reason)}")
        return problems


def _told(error: BaseException) -> EnergysweepError:
    """What a run was given up for: our own error, if there is one below Tune's, a traceback; else its last line."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, EnergysweepError):
            return below
        below = below.__cause__ or below.__context__
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return SweepError(f"Ray Tune gave up: {one_line(last[0])}")
