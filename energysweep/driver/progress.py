"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from energysweep import sweepfile as specs
from energysweep.accounting.accounts import SweepSample
from energysweep.core.carbon import Intensity
from energysweep.core.naming import trial_text
from energysweep.core.records import OPEN, PILOT
from energysweep.core.terminal import console, note
from energysweep.core.text import clock_text, emissions_text, energy_text, power_text
from energysweep.driver.poller import Poller
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.saving import Plan
from energysweep.ledger.sweep_metrics import About, Cheapest, cheapest, sweep_numbers
from energysweep.searching.budgeting import budget_of, left_text
from energysweep.sweepfile import SweepSpec
from energysweep.tune.points import row_text

PLAIN_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial at work: its configuration, its reports, its last value of the objective, its energy so far.

    What nobody has told of yet is None.
    """

    name: str
    iterations: int
    objective: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """How a sweep stands.

    Attributes:
        trials: how many there will be.
        counts: number of trials by state.
        metric: the objective's name.
        best: best last value of the objective so far, None before the first.
        cheapest_at_target: the configuration whose trials took the least to reach the target. None before any has.
        watts: mean power of all metered devices over the last second, None before.
        joules: of trials, start-up and overhead so far; None before an agent has told of any.
        grams: CO2e of them.
        estimated: some of it is an estimate.
        elapsed_seconds: since the sweep began.
        running: the trials at work.
        forecast: what it is expected to be charged, None if nobody knows.
        is_about: there may be more trials: a race replaces winners that fail.
        budget: what is left of it; None without one.
    """

    trials: int
    counts: Mapping[str, int]
    metric: str
    best: float | None
    cheapest_at_target: Cheapest | None
    watts: float | None
    joules: float | None
    grams: float | None
    estimated: bool
    elapsed_seconds: float
    running: tuple[RunningTrial, ...]
    is_about: bool = False
    budget: str | None = None
    forecast: RunForecast | None = None

    @property
    def done(self) -> int:
        """Trials that have ended, well or badly; one that an earlier part of the run has left goes on."""
        return sum(number for state, number in self.counts.items() if state not in OPEN)

    @property
    def seconds_left(self) -> float | None:
        """By what the ended trials took; None before the first has, and where nobody knows how many will come."""
        if not self.done or self.is_about:
            return None
        return self.elapsed_seconds / self.done * (self.trials - self.done)


class Progress(Protocol):
    """Shows how a sweep stands."""

    def start(self, status: Callable[[], Status]) -> None:
        """Begin; ``status`` tells how it stands, at any time and from any thread."""

    def event(self, text: str) -> None:
        """Something that a person should read once."""

    def stop(self) -> None:
        """End, with how it stands at last."""


class Silent:
    """Shows nothing."""

    def start(self, status: Callable[[], Status]) -> None:
        """Nothing."""

    def event(self, text: str) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class PlainLines:
    """One line per event, and one now and then."""

    def __init__(self) -> None:
        self._status: Callable[[], Status] | None = None
        self._said = 0.0

    def start(self, status: Callable[[], Status]) -> None:
        """Begin."""
        self._status = status

    def event(self, text: str) -> None:
        """Print the event; the status, too, if the last one is some time ago."""
        note(text)
        now = time.monotonic()
        if self._status is not None and now - self._said > PLAIN_EVERY_SECONDS:
            self._said = now
            note(line(self._status()))

    def stop(self) -> None:
        """Print how it stands at last."""
        if self._status is not None:
            note(line(self._status()))


class LiveTable:
    """A table that is drawn anew twice a second."""

    def __init__(self, on: Console) -> None:
        self._console = on
        self._live: Live | None = None

    def start(self, status: Callable[[], Status]) -> None:
        """Begin to draw."""
        self._live = Live(
            get_renderable=lambda: table(status()), console=self._console, refresh_per_second=2, transient=True
        )
        with _for_whoever_looks():
            self._live.start()

    def event(self, text: str) -> None:
        """Print the event above the table."""
        with _for_whoever_looks():
            self._console.print(Text(text))

    def stop(self) -> None:
        """Draw it a last time and leave."""
        if self._live is not None:
            with _for_whoever_looks():
                self._live.stop()


def _for_whoever_looks() -> AbstractContextManager[None]:
    """A terminal that has gone ends no sweep: its report is still to be written."""
    return suppress(OSError, ValueError)


def progress_for_terminal() -> Progress:
    """A live table if standard error is a terminal, plain lines otherwise."""
    to = console(stderr=True)
    return LiveTable(to) if to.is_terminal else PlainLines()


def line(status: Status) -> str:
    """The status in one line."""
    return ", ".join(f"{name} {value}" for name, value in _facts(status))


def table(status: Status) -> Table:
    """The status as a table: the facts, then the trials at work."""
    grid = Table.grid(padding=(0, 2))
    for name, value in _facts(status):
        grid.add_row(Text(name, style="dim"), Text(value))
    trials = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("running", "reports", status.metric, "energy"):
        trials.add_column(Text(column), justify="left" if column == "running" else "right")
    for trial in status.running[:12]:
        trials.add_row(
            Text(trial.name),
            str(trial.iterations),
            "" if trial.objective is None else f"{trial.objective:.4g}",
            energy_text(trial.joules, estimated=status.estimated),
        )
    both = Table.grid()
    both.add_row(grid)
    both.add_row(trials)
    return both


def _facts(status: Status) -> list[tuple[str, str]]:
    states = ", ".join(f"{number} {state}" for state, number in status.counts.items() if state != "pending")
    trials = f"{status.done} of about {status.trials}" if status.is_about else f"{status.done}/{status.trials}"
    facts = [("trials", f"{trials} ({states})" if states else trials)]
    if status.best is not None:
        facts.append((f"best {status.metric}", f"{status.best:.4g}"))
    if status.cheapest_at_target is not None:
        config, hardware, joules = status.cheapest_at_target
        text = trial_text(config, hardware=hardware)
        facts.append(("cheapest at target", f"{energy_text(joules, estimated=status.estimated)} ({text})"))
    facts.append(("now", power_text(status.watts, estimated=status.estimated)))
    energy = energy_text(status.joules, estimated=status.estimated)
    grams = emissions_text(status.grams, estimated=status.estimated)
    facts.append(("energy", f"{energy}, {grams} of CO2e"))
    if status.budget is not None:
        facts.append(("budget", status.budget))
    if (forecast := status.forecast) is not None:
        ends = f"{energy_text(forecast.low)} to {energy_text(forecast.high)}"
        facts.append(("expected in all", f"\N{ALMOST EQUAL TO} {energy_text(forecast.joules)} ({ends})"))
    left = status.seconds_left
    facts.append(
        ("time", clock_text(status.elapsed_seconds) + ("" if left is None else f", about {clock_text(left)} left"))
    )
    return facts


# How a sweep stands while it runs: for the person who watches it, and for the dashboards -----------------------------


class Standing:
    """Puts together what Tune and what the agents have told so far.

    Args:
        spec: the sweep.
        grid: the carbon intensity.
        state: what they have told.
        poller: knows the power of now.
        began: the sweep's beginning on ``clock``.
        started_at: of this part of the run, in Unix time.
        owner: whose the run is.
        clock: monotonic seconds.
        forecast: tells what the run is expected to be charged, as far as anybody knows.
    """

    def __init__(
        self,
        spec: SweepSpec,
        grid: Intensity,
        state: RunState,
        poller: Poller,
        began: float,
        started_at: float,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        forecast: Callable[[], RunForecast | None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._forecast = forecast
        self._varying = specs.varying(spec)
        self._grid = grid
        self._state = state
        self._poller = poller
        self._began = began
        self._clock = clock
        self._budget = budget_of(spec, grid)
        self._about = About(
            name=spec.name,
            owner=owner,
            planned=self._planned,
            varying=self._varying,
            plan=Plan.of(spec),
            intensity=grid,
            started_at=started_at,
            budget=self._budget,
            tags=spec.tags,
        )

    @property
    def _planned(self) -> int:
        """How many trials there will be, those of a pilot included."""
        return specs.trial_count(self._spec).expected_trials + len(self._state.of_stage(PILOT))

    def samples(self, ended_at: float | None) -> list[SweepSample]:
        """What dashboards show of the sweep now; ``ended_at`` is None while it runs."""
        about = replace(self._about, ended_at=ended_at, duration_seconds=self._clock() - self._began)
        about = replace(about, planned=self._planned)
        return [SweepSample(family.name, labels, value) for family, labels, value in sweep_numbers(self._state, about)]

    def status(self) -> Status:
        """For the progress display."""
        trials = self._state.all_trials()
        joules = self._state.charged_joules
        metric = self._spec.objective.metric
        counts = self._state.counts()
        seconds = self._clock() - self._began
        estimated = self._state.estimated
        budget = self._budget
        return Status(
            # More than planned, if a driver was killed before Tune had written its state: trials began anew.
            trials=max(self._planned, sum(counts.values())),
            counts=counts,
            metric=metric,
            best=self._state.best(),
            cheapest_at_target=cheapest(
                trials,
                self._varying,
                self._spec.objective.rule,
                only_winners_repeat=self._spec.scheduler.kind.needs_all,
            ),
            watts=self._poller.watts,
            joules=joules,
            grams=None if joules is None else self._grid.emissions_grams(joules),
            estimated=estimated,
            elapsed_seconds=seconds,
            budget=None if budget is None else left_text(budget, joules, seconds, estimated=estimated),
            running=tuple(
                RunningTrial(
                    row_text(trial.row, self._varying),
                    trial.iterations,
                    trial.objective,
                    self._state.joules(trial.row.trial),
                )
                for trial in trials
                if trial.status == "running"
            ),
            forecast=self._forecast(),
            is_about=self._spec.scheduler.kind.needs_all,
        )
