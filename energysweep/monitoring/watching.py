"""A run that works elsewhere, watched: by its ledger, or by what its agents tell everybody. Nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from energysweep.accounting.counters import STALE_SECONDS, MeanPower
from energysweep.core.carbon import Intensity
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import console, say
from energysweep.core.text import duration_text
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData, read_ledger
from energysweep.ledger.sweep_metrics import about_of
from energysweep.report.live import LiveTable, Progress, Status, ended_text, line, status_of

LOOK_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 15.0  # a driver writes once a second


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a run at one moment.

    Attributes:
        status: how it stands.
        ended: how it has ended, in a word; None while it works.
        news: what a person should read once.
    """

    status: Status
    ended: str | None = None
    news: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether there will be no more to see."""
        return self.ended is not None


class Watched(Protocol):
    """A run that is watched."""

    def look(self) -> Seen:
        """How it stands now.

        Raises:
            EnergysweepError: it cannot be seen, or not any more.
        """


class WatchedFolder:
    """A run by the ledger in its folder, also while its driver writes, and after it has ended.

    Args:
        folder: the run folder.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._told: set[str] | None = None  # trials that have ended; None before the first look
        self._power: dict[tuple[str, ...], tuple[MeanPower, float]] = {}  # of each device, and when that was new
        self._moved = (-1.0, clock())  # how far the run had come, and when that was seen first
        self._is_silent = False

    def look(self) -> Seen:
        """How it stands now."""
        data = read_ledger(self._folder / LEDGER, untouched=True)
        state, run = RunState.of(data), data.run
        intensity = Intensity(**run["carbon"]) if run.get("carbon") else None
        how = str(run.get("status", "running"))
        ended = None if how == "running" else how
        told = about_of(data, state, intensity, None)
        watts = self._watts(data) if ended is None else None
        status = status_of(state, told, watts, RunForecast.noted(run, None))
        rows = [row for row in data.trials if row.ended_at]
        news = [ended_text(row, told.varying) for row in rows if self._told is not None and row.trial not in self._told]
        self._told = {row.trial for row in rows}
        if ended is None and (silence := self._silence(told.duration_seconds or 0.0)) is not None:
            news.append(silence)
        return Seen(status, ended, tuple(news))

    def _watts(self, data: LedgerData) -> float | None:
        """Mean power between the readings of the last two looks; None before there are any."""
        now = self._clock()
        for row in data.meters:
            key = (row.host, row.window, row.device, row.source)
            power, at = self._power.get(key, (MeanPower(row.joules, row.covered_seconds), now))
            is_new = power.take(row.joules, row.covered_seconds) > 0
            self._power[key] = (power, now if is_new else at)
        known = [
            power.watts for power, at in self._power.values() if power.watts is not None and now - at <= STALE_SECONDS
        ]
        return math.fsum(known) if known else None

    def _silence(self, seconds: float) -> str | None:
        """A line, once, where the run has not come any further for a while."""
        now = self._clock()
        if seconds != self._moved[0]:
            self._moved, self._is_silent = (seconds, now), False
        if self._is_silent or now - self._moved[1] < SILENT_SECONDS:
            return None
        self._is_silent = True
        return (
            f"nothing new for {duration_text(now - self._moved[1])}; if its driver was killed,"
            f" energysweep resume {self._folder} goes on"
        )


# Watching ------------------------------------------------------------------------------------------------------------


class Lines:
    """One line for each thing that has happened, to standard output: for a file, or another program."""

    def start(self, status: Callable[[], Status]) -> None:
        """Say how it stands."""
        say(line(status()))

    def event(self, text: str) -> None:
        """Say it."""
        say(text)

    def stop(self) -> None:
        """Nothing: how it has ended is said by whoever knows."""


def shown_here() -> Progress:
    """The run's own live table if standard output is a terminal, else a line for each change."""
    to = console()
    return LiveTable(to) if to.is_terminal else Lines()


def watch(run: Watched, shown: Progress, pause: Callable[[float], object] = time.sleep) -> Seen:
    """Show a run until it has ended.

    Args:
        run: it.
        shown: where; ``Lines`` are told every change of its trials, too, which a table shows by itself.
        pause: waits so many seconds.

    Returns:
        Its end.

    Raises:
        EnergysweepError: it cannot be seen, or not any more.
    """
    seen = run.look()
    if seen.is_over:
        return seen
    latest = [seen.status]
    shown.start(lambda: latest[0])
    try:
        return _to_its_end(run, shown, pause, latest)
    finally:
        shown.stop()


def _to_its_end(run: Watched, shown: Progress, pause: Callable[[float], object], latest: list[Status]) -> Seen:
    while True:
        pause(LOOK_SECONDS)
        seen = run.look()
        for text in seen.news:
            shown.event(text)
        if isinstance(shown, Lines) and not seen.is_over and _changed(latest[0], seen.status):
            shown.event(line(seen.status))
        latest[0] = seen.status
        if seen.is_over:
            return seen


def _changed(before: Status, after: Status) -> bool:
    """Whether more has happened than that trials went on, time passed and joules were drawn."""
    told = [(each.trials, each.counts, each.best, each.cheapest_at_target) for each in (before, after)]
    return told[0] != told[1]
