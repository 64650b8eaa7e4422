"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from energysweep.agent.accounts import Cheapest
from energysweep.records import OPEN
from energysweep.reporting.text import emissions_text, energy_text, power_text
from energysweep.terminal import console, note

PLAIN_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial at work: its configuration, its reports, its last value of the objective, its energy so far.

    What nobody has told of yet is None.
    """

    label: str
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

    @property
    def done(self) -> int:
        """Trials that have ended, well or badly; one that an earlier part of the run has left goes on."""
        return sum(number for state, number in self.counts.items() if state not in OPEN)

    @property
    def seconds_left(self) -> float | None:
        """By what the ended trials took, None before the first has."""
        return self.elapsed_seconds / self.done * (self.trials - self.done) if self.done else None


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
        self._live.start()

    def event(self, text: str) -> None:
        """Print the event above the table."""
        self._console.print(Text(text))

    def stop(self) -> None:
        """Draw it a last time and leave."""
        if self._live is not None:
            self._live.stop()


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
            Text(trial.label),
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
    facts = [("trials", f"{status.done}/{status.trials} ({states})" if states else f"0/{status.trials}")]
    if status.best is not None:
        facts.append((f"best {status.metric}", f"{status.best:.4g}"))
    if status.cheapest_at_target is not None:
        config, hardware, joules = status.cheapest_at_target
        label = f"{config} {hardware}".rstrip()
        facts.append(("cheapest at target", f"{energy_text(joules, estimated=status.estimated)} ({label})"))
    facts.append(("now", power_text(status.watts, estimated=status.estimated)))
    energy = energy_text(status.joules, estimated=status.estimated)
    grams = emissions_text(status.grams, estimated=status.estimated)
    facts.append(("energy", f"{energy}, {grams} of CO2e"))
    left = status.seconds_left
    facts.append(("time", _clock(status.elapsed_seconds) + ("" if left is None else f", about {_clock(left)} left")))
    return facts


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
