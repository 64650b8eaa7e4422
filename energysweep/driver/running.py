"""A sweep while it runs: its stages, then its trials, from the opening of its window to its closing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from ray.exceptions import RayError

from energysweep import sweepfile as specs
from energysweep.accounting.accounts import Sweep
from energysweep.agent.discovery import TargetsFile
from energysweep.core.carbon import Intensity
from energysweep.core.errors import LedgerError, because, one_line
from energysweep.core.records import OPEN, PILOT, What
from energysweep.core.runfolder import RAY_LOG
from energysweep.driver import placement
from energysweep.driver.poller import POLL_SECONDS, Answering, OwnAgent, Poller
from energysweep.driver.progress import Standing
from energysweep.driver.recorder import Recorder, without_objective
from energysweep.driver.run_facts import RunFacts, objectives, shown_first
from energysweep.driver.session import StopSignals, logged_to
from energysweep.driver.stages import run_stages
from energysweep.driver.tuner import why_tune_gave_up
from energysweep.ledger.budget import STOPPED
from energysweep.ledger.intake import Intake
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.report.live import Progress, ended_text
from energysweep.searching.budget import Spending
from energysweep.searching.budgeting import ending, numbers_of, spending_of, stopped_text
from energysweep.searching.ordering import Order
from energysweep.searching.revising import Revising
from energysweep.searching.schedulers import Decided
from energysweep.sweepfile import SweepSpec
from energysweep.tune.metering import Metering
from energysweep.tune.points import Checkpoints
from energysweep.tune.registry import Registry

# The run -------------------------------------------------------------------------------------------------------------

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words


_ENDS: Final[Mapping[str, tuple[What, str]]] = {
    "done": ("ended", "run"),
    "failed": ("failed", "run"),
    "interrupted": ("interrupted", "run"),
}


class Trains(Protocol):
    """What carries out trials; ``Tune`` does."""

    def fit(
        self, spec: SweepSpec, stage: str, checkpoints: Checkpoints, recorder: Recorder, spending: Spending | None
    ) -> Mapping[str, str]: ...

    def is_pruned(self, trial: str) -> bool: ...

    def newly_decided(self) -> Sequence[Decided]: ...

    def newly_said(self) -> Sequence[str]: ...


class Link(OwnAgent, Protocol):
    """The agent of the driver's host, to which it holds a connection; an ``AgentLink`` is one."""

    @property
    def notes(self) -> str: ...

    def update(self, sweep: Sweep) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outside:
    """What a run works with beyond its own process, and its clocks.

    Attributes:
        connect: opens the run's window at the agent of this host.
        registry: of the run.
        remote: the agent at an address.
        lost_addresses: of nodes that the cluster has lost.
        start: has the poller look once a second.
        clock: monotonic seconds.
        wall_clock: Unix time.
        pause: waits so many seconds.
    """

    connect: Callable[[], Link]
    registry: Registry
    remote: Callable[[str], Answering]
    lost_addresses: Callable[[], set[str]] = placement.lost_addresses
    start: Callable[[Poller], None] = Poller.start
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    pause: Callable[[float], object] = time.sleep


def metering_of(
    spec: SweepSpec, run_id: str, grid: Intensity, metrics_port: int, key: str, *, is_cluster: bool
) -> Metering:
    """How the trials of a run are metered.

    Args:
        spec: the sweep.
        run_id: the run id.
        grid: the carbon intensity.
        metrics_port: for agents, where none runs yet.
        key: of the run, for its agents.
        is_cluster: trials may run on other hosts than this one.
    """
    return Metering(
        run=run_id,
        meters=tuple(spec.meters),
        idle_power_watts=spec.idle_power_watts,
        sweep=_shown_of(grid),
        shown=shown_first(spec),
        varying=specs.varying(spec),
        is_cluster=is_cluster,
        port=metrics_port,
        key=key,
    )


def _shown_of(grid: Intensity) -> Sweep:
    return Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.told, pue=grid.pue)


class RunningSweep:
    """One run, or one part of it: an interrupted run goes on in a second part.

    Args:
        spec: the sweep.
        run_id: the run id.
        grid: the carbon intensity.
        progress: shows how it goes.
        outside: its agents, and its clocks.
        signals: tell it to end.
        targets_file: names the agents to Prometheus.

    Raises:
        AgentError, InputError: this host's agent cannot be reached or started.

    Attributes:
        interrupted: it was stopped before its end.
    """

    def __init__(
        self,
        spec: SweepSpec,
        run_id: str,
        grid: Intensity,
        progress: Progress,
        outside: Outside,
        signals: StopSignals,
        targets_file: TargetsFile | None = None,
    ) -> None:
        self.interrupted = False
        self._spec = spec
        self._run_id = run_id
        self._grid = grid
        self._progress = progress
        self._outside = outside
        self._signals = signals
        self._targets_file = targets_file
        self._varying = specs.varying(spec)
        self._started_at = outside.wall_clock()
        self._ended_at: float | None = None
        self._shown = _shown_of(grid)
        self._registry = outside.registry
        self._agent = outside.connect()
        self._opened = outside.clock()  # the window is open

    def take_up(
        self,
        ledger: Ledger,
        tune: Trains,
        finishing: Callable[[], None] = lambda: None,
        pilot: SweepSpec | None = None,
    ) -> None:
        """Go on where the parts of the run before this one have ended. From then on it can be run, or abandoned.

        Args:
            ledger: a new one, or that of the parts before.
            tune: carries out the trials.
            finishing: called when it has come back, before the last readings.
            pilot: this part of the run is its pilot, and nothing else.
        """
        outside = self._outside
        self._tune, self._finishing, self._pilot = tune, finishing, pilot
        before = ledger.read_whole()
        self._is_resumed = bool(before.run.get("parts"))
        self._facts = RunFacts(ledger, before.run, self._spec, self._started_at)
        # Time in which the sweep did not run is no part of its time.
        began = self._opened - self._facts.earlier_seconds
        self._duration_seconds: float | None = None
        self._asked_all = False
        self._stage_problems: list[str] = []
        rules = {stage: objective.rule for stage, objective in objectives(self._spec).items()}
        self._state = RunState.of(before, rules)
        intake = Intake(ledger, self._state)
        intake.take_over(before)
        self._poller = Poller(
            intake,
            self._state,
            began,
            self._polled,
            self._agent,
            self._registry,
            outside.remote,
            outside.clock,
            hurried=lambda: self._signals.hurried,
            pause=outside.pause,
        )
        self._recorder = Recorder(
            ledger,
            self._state,
            began,
            tune.is_pruned,
            self._ended,
            self._changed,
            outside.clock,
            outside.wall_clock,
            tune.newly_decided,
        )
        self._recorder.take_over()
        self._spending = spending_of(self._spec, self._grid, self._state, lambda: outside.clock() - began)
        first, order = RunForecast.noted(before.run, None), Order.of_facts(before.run)
        forecast = Revising(self._spec, self._state, first, self._seconds, order=order).latest
        at, who = self._started_at, self._facts.owner
        self._standing = Standing(
            self._spec, self._grid, self._state, self._poller, began, at, who, outside.clock, forecast
        )

    def run(self, folder: Path) -> list[str]:
        """Run all trials that have not ended yet.

        Whatever goes wrong meanwhile, the last readings are taken, and the ledger says how it ended. A second signal
        to stop hurries that, and does not break it off; the third does.

        Args:
            folder: the run folder.

        Returns:
            What a person must know before trusting the result.
        """
        failures = []
        with logged_to(folder / RAY_LOG):
            try:
                with self._signals.interrupting():
                    self._facts.note_beginning(self._run_id, self._spec, self._grid)
                    self._recorder.decide("resumed" if self._is_resumed else "started", "run")
                    for trial in [*self._state.trials]:
                        self._pin(trial)
                    self._progress.event(self._agent.notes)
                    self._progress.event(f"metrics: {self._agent.url}/metrics")
                    self._outside.start(self._poller)
                    self._progress.start(self._standing.status)
                    self._fit()
            except KeyboardInterrupt:
                if self._signals.at_once:
                    self._progress.stop()
                    raise
                self.interrupted = True
            except Exception as error:  # of Tune, Ray, the storage or ourselves: any
                log.exception("Ray Tune gave up")
                failures = [str(why_tune_gave_up(error))]
            self._finishing()
            failures += self._take_last_readings()
            problems = [*self._problems(), *failures]
            self._ended_at = self._outside.wall_clock()
            with self._kept(problems):
                self._polled()
            status = "interrupted" if self.interrupted else "failed" if problems else "done"
            with self._kept(problems):
                if status == "done" and self._spending is not None and self._spending.stopped:
                    status = STOPPED
                    self._note_stop(self._spending, folder)
                elif self._pilot is not None and not self.interrupted:
                    status = "interrupted"
                    self._recorder.decide("interrupted", PILOT)
                else:
                    self._recorder.decide(*_ENDS[status])
            with self._kept(problems):
                self._facts.note_end(status, asked_all=self._asked_all)
        return list(dict.fromkeys(problems))

    def _take_last_readings(self, within_seconds: float | None = None) -> list[str]:
        """Whatever fails, the rest is done: the ledger is to be as complete as it can be. Returns what has failed."""
        problems: list[str] = []
        try:
            with self._kept(problems):
                self._poller.close_windows()
            self._duration_seconds = self._seconds()
            with self._kept(problems):
                self._poller.stop(within_seconds)
                self._asked_all = True
        finally:  # also when it ends at once: a terminal wants its cursor back
            self._progress.stop()
        with self._kept(problems):
            were_open = self._recorder.interrupt()
            self.interrupted |= were_open and not self._is_stopped
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
            self._recorder.decide(*_ENDS["interrupted"])
            self._facts.note_part(self._seconds(), self._poller.notes)
            self._facts.note_end("interrupted", asked_all=self._asked_all)
        return list(dict.fromkeys(problems))

    def close(self) -> None:
        """Hang up on the agent, however the run ended."""
        self._agent.close()

    def _pin(self, trial: str) -> None:
        """Tell whoever goes on with a trial, perhaps elsewhere, what it has cost."""
        spent = self._poller.spent(trial, at_least=self._recorder.reported(trial))
        with suppress(RayError):  # of a head that is restarted: the next attempt shows less, the ledger does not
            self._registry.note_spent(trial, spent)

    def _fit(self) -> None:
        def fit(spec: SweepSpec, stage: str, checkpoints: Checkpoints) -> Mapping[str, str]:
            if self._is_stopped:
                return {}
            return self._tune.fit(spec, stage, checkpoints, self._recorder, self._spending)

        if self._pilot is not None:
            fit(self._pilot, PILOT, {})
            return
        checkpoints, self._stage_problems = run_stages(self._spec, fit, self._state.of_stage)
        if checkpoints is not None:
            fit(self._spec, "", checkpoints)

    @property
    def _is_stopped(self) -> bool:
        """Whether the budget has ended it."""
        return self._spending is not None and self._spending.stopped

    def _note_stop(self, spending: Spending, folder: Path) -> None:
        end = ending(spending, self._spec, self._state)
        self._facts.note_budget(end)
        self._recorder.decide("stopped", "budget", **numbers_of(spending))
        self._progress.event(stopped_text(spending, end, str(folder), estimated=self._state.estimated))

    def _seconds(self) -> float:
        """How long this part has taken: until its windows were closed."""
        return self._outside.clock() - self._opened if self._duration_seconds is None else self._duration_seconds

    # What the trials tell --------------------------------------------------------------------------------------------

    def _ended(self, trial: str, will_retry: bool) -> None:
        self._poller.close_trial(trial, is_over=not will_retry)
        if will_retry:
            self._poller.poll()
            self._pin(trial)

    def _polled(self) -> None:
        self._facts.note_part(self._seconds(), self._poller.notes)  # a driver that is killed has said how far it came
        agents = self._poller.targets.listed(self._outside.lost_addresses)
        if self._targets_file is not None:
            self._targets_file.write(agents)
        self._agent.update(replace(self._shown, agents=agents, samples=self._standing.samples(self._ended_at)))
        self._poller.tell_agents(agents)

    def _changed(self) -> None:
        for said in self._tune.newly_said():
            self._progress.event(said)
        for row in self._recorder.newly_ended():
            self._progress.event(ended_text(row, self._varying))

    # What stays ------------------------------------------------------------------------------------------------------

    def _problems(self) -> list[str]:
        problems = ["the sweep was interrupted"] if self.interrupted else []
        problems += self._stage_problems
        wanted = objectives(self._spec)
        for trial in self._state.all_trials():
            row = trial.row
            if row.stage == PILOT and self._pilot is None:
                continue  # it was told of in its own time, and nothing goes on from it
            if row.status == "failed":
                problems.append(f"trial {row.trial} failed{because(row.error)}")
            elif self._is_stopped and row.status in OPEN:
                continue  # it goes on with a larger budget
            elif trial.iterations == 0:
                problems.append(f"trial {row.trial} reported no result")
            elif (why := without_objective(trial, wanted[row.stage].metric)) is not None:
                problems.append(f"trial {row.trial} {why}")
        for name, reason in self._recorder.unrecorded.items():
            problems.append(f"trial {name}: not all that it told could be taken down{because(reason)}")
        return problems
