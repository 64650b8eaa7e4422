"""How a sweep stands while it runs, and how a person sees that: a live table on a terminal, plain lines elsewhere.

The same for the driver that runs it and for whoever watches it from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from energysweep.core.errors import because
from energysweep.core.naming import row_text, trial_text
from energysweep.core.records import OPEN, PILOT, TrialRow
from energysweep.core.terminal import console, note
from energysweep.core.text import clock_text, emissions_text, energy_text, power_text
from energysweep.ledger.budget import left_text
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.sweep_metrics import About, Cheapest, cheapest

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


# What stands in it, of a run's state ---------------------------------------------------------------------------------


def status_of(state: RunState, about: About, watts: float | None, forecast: RunForecast | None) -> Status:
    """How a sweep stands.

    Args:
        state: the run so far.
        about: what else is known of the sweep.
        watts: mean power of all metered devices now; None if it is not known.
        forecast: what the run is expected to be charged; None if nobody knows.
    """
    joules, counts, estimated = state.charged_joules, state.counts(), state.estimated
    objective, seconds = state.objectives.get(""), about.duration_seconds or 0.0
    only_winners_repeat = about.plan is not None and about.plan.scheduler.kind.needs_all
    trials = state.all_trials()
    budget = None
    if about.budget is not None and about.budget.limits:
        charges = about.budget.charges(joules, seconds)
        budget = left_text(about.budget, charges, seconds, estimated=estimated)
    return Status(
        # More than planned, if a driver was killed before Tune had written its state: trials began anew.
        trials=max(about.planned, sum(counts.values())),
        counts=counts,
        metric="objective" if objective is None else objective.metric,
        best=state.best(),
        cheapest_at_target=None
        if objective is None
        else cheapest(trials, about.varying, objective, only_winners_repeat=only_winners_repeat),
        watts=watts,
        joules=joules,
        grams=None if joules is None or about.intensity is None else about.intensity.emissions_grams(joules),
        estimated=estimated,
        elapsed_seconds=seconds,
        budget=budget,
        running=tuple(
            RunningTrial(
                row_text(trial.row, about.varying), trial.iterations, trial.objective, state.joules(trial.row.trial)
            )
            for trial in trials
            if trial.status == "running"
        ),
        forecast=forecast,
        is_about=only_winners_repeat,
    )


def ended_text(row: TrialRow, varying: Sequence[str]) -> str:
    """What is said of a trial that has ended: ``failed: rate=0.1 seed=2: out of memory``."""
    pilot = "pilot " if row.stage == PILOT else ""
    text = row_text(row._replace(stage="") if pilot else row, varying)
    return f"{row.status}: {pilot}{text}{because(row.error)}"
