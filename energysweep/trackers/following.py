"""Brings a run's ledger to its trackers: once (``catch_up``), or as long as its driver lives (``main``).

The live one is a process of its own, so that a tracker that is slow, hangs or crashes takes nothing from the driver:
neither its time nor its interpreter. Each tracker has a thread there, so that none waits for another one. Its driver
writes one line of JSON to its standard input, ``{"folder": ..., "trackers": {...}}``, and closes it at the end; however
a driver ends, that closes it, too. It writes lines of JSON: ``{"tracker": ..., "problem": text or null}`` whenever that
changes, and ``{"tracker": ..., "is_whole": ...}`` once all has been tried for the last time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from energysweep.core.errors import EnergysweepError, TrackerError
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData, without_orphans
from energysweep.sweepfile.distributions import Model
from energysweep.sweepfile.trackers import TRACKERS, Trackers
from energysweep.trackers.records import Record, records
from energysweep.trackers.tracker import Tracker, alone, open_tracker, said

_LOOK_SECONDS: Final = 5.0
_AT_MOST_BUSY: Final = 0.05  # of the time: a large ledger is read less often
_SILENT_SECONDS: Final = 60.0  # then a person is told; the tracker is waited for, in its own thread
_LAST_SECONDS: Final = 60.0  # after the driver's end

Told = Callable[[dict[str, Any]], object]


def catch_up(name: str, settings: Model, folder: Path, data: LedgerData) -> int:
    """Bring all that the ledger has of a run to a tracker, as it stands now.

    Args:
        name: of the tracker.
        settings: what the sweep's file says of it.
        folder: the run folder.
        data: its ledger.

    Returns:
        How many trials are there now.

    Raises:
        TrackerError: the tracker is away, or refuses something; or the run's own driver brings it there now.
    """
    title = TRACKERS[name].title
    with alone(name, folder) as is_alone:
        if not is_alone:
            raise TrackerError(f"{title}: another energysweep brings this run there now; it does so to its end")
        found = records(data, as_it_stands=True)
        try:
            tracker = open_tracker(name, settings, folder)
            try:
                tracker.take(found)
            finally:
                tracker.forget()
        except TrackerError as error:
            raise TrackerError(f"{title}: {error}") from error
    return len(found) - 1


class _Courier:
    """Brings records to one tracker, in a thread of its own.

    Args:
        name, settings, folder: as of ``catch_up``.
        tell: what a person is told.
        clock: monotonic seconds.
    """

    def __init__(
        self, name: str, settings: Model, folder: Path, tell: Told, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_whole = False
        self._name, self._settings, self._folder = name, settings, folder
        self._tell, self._clock = tell, clock
        self._problem: str | None = None
        self._tracker: Tracker | None = None
        self._given: Sequence[Record] | None = None
        self._is_last = False
        self._changed = threading.Condition()
        self._alive_at = clock()
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"energysweep-{name}")
        self._thread.start()

    def give(self, found: Sequence[Record], *, is_last: bool = False) -> None:
        """The newest records; those that it has not begun with are old now."""
        with self._changed:
            self._given, self._is_last = found, is_last
            self._changed.notify()
        if self._clock() - self._alive_at > _SILENT_SECONDS and self._problem is None:
            self._note(f"has not answered for {_SILENT_SECONDS:.0f} s")

    def join(self, seconds: float) -> None:
        """Wait for the last ones."""
        self._thread.join(max(0.0, seconds))

    def _work(self) -> None:
        is_last = False
        while not is_last:
            with alone(self._name, self._folder) as is_alone:
                if is_alone:
                    self._serve()
                    return
            _, is_last = self._next()  # that of a driver that was killed still has its last words
        self._note("another energysweep brings this run there now")

    def _serve(self) -> None:
        while True:
            found, is_last = self._next()
            self._alive_at = self._clock()
            try:
                self._bring(found)
            except TrackerError as error:
                self._note(str(error))
                self.is_whole = False
            else:
                self._note(None)
                self.is_whole = is_last
            self._alive_at = float("inf")  # it waits for us, and not we for it
            if is_last:
                if self._tracker is not None:
                    self._tracker.forget()
                return

    def _bring(self, found: Sequence[Record]) -> None:
        if self._tracker is None:
            self._tracker = open_tracker(self._name, self._settings, self._folder)

        def alive() -> None:
            self._alive_at = self._clock()

        self._tracker.take(found, alive)

    def _next(self) -> tuple[Sequence[Record], bool]:
        with self._changed:
            while self._given is None:
                self._changed.wait()
            found, self._given = self._given, None
            return found, self._is_last

    def _note(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._tell({"tracker": self._name, "problem": problem})


def follow(folder: Path, trackers: Trackers, ended: threading.Event, tell: Told) -> None:
    """Bring a run to its trackers until its driver has ended.

    Args:
        folder: the run folder.
        trackers: those that its sweep names.
        ended: its driver has.
        tell: what the driver is told.
    """
    couriers = {name: _Courier(name, settings, folder, tell) for name, settings in trackers.named.items()}
    with Ledger.open(folder / LEDGER) as ledger:
        is_last = False
        while not is_last:
            is_last = ended.is_set()  # what is read after that is all
            began = time.monotonic()
            found = records(without_orphans(ledger.read()))
            took_seconds = time.monotonic() - began
            for courier in couriers.values():
                courier.give(found, is_last=is_last)
            if not is_last:
                ended.wait(max(_LOOK_SECONDS, took_seconds / _AT_MOST_BUSY))
    until = time.monotonic() + _LAST_SECONDS
    for name, courier in couriers.items():
        courier.join(until - time.monotonic())
        tell({"tracker": name, "is_whole": courier.is_whole})


def main() -> None:
    """What the driver starts: see above."""
    ended = threading.Event()
    # Whatever a library prints is nobody's.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    told = threading.Lock()

    def tell(what: dict[str, Any]) -> None:
        with told:
            _write(answers, what)

    order = json.loads(sys.stdin.readline())

    def listen() -> None:
        while sys.stdin.read(1):
            pass
        ended.set()

    threading.Thread(target=listen, daemon=True, name="energysweep-driver").start()
    trackers = Trackers.model_validate(order["trackers"])
    try:
        follow(Path(order["folder"]), trackers, ended, tell)
    except EnergysweepError as error:  # of the ledger: its driver tells of that itself
        for name in trackers.named:
            tell({"tracker": name, "problem": said(error)})
    os._exit(0)  # a thread may wait for a tracker for ever


def _write(answers: TextIO, what: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(what) + "\n")
        answers.flush()
    except OSError:  # the driver has ended
        return
