"""A run's trackers, from the driver's side: a process beside it, of which it waits for nothing while the sweep runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from energysweep.sweepfile.trackers import TRACKERS, Trackers

_LAST_SECONDS: Final = 30.0  # for what is missing, once the sweep is over
_HURRIED_SECONDS: Final = 1.0
_SAY_AFTER_SECONDS: Final = 3.0


class Tracking:
    """To be entered before a run begins; at the end of the block, what is missing is brought, or told.

    Args:
        trackers: those that the sweep names; None: none.
        say: tells a person.
        hurried: whether the run is to end without waiting.
        last_seconds: how long the end may take.
    """

    def __init__(
        self,
        trackers: Trackers | None,
        say: Callable[[str], None],
        hurried: Callable[[], bool] = lambda: False,
        last_seconds: float = _LAST_SECONDS,
    ) -> None:
        self._trackers, self._say, self._hurried, self._last_seconds = trackers, say, hurried, last_seconds
        self._folder: Path | None = None
        self._started: tuple[subprocess.Popen[str], threading.Thread] | None = None
        self._problems: dict[str, str | None] = {}
        self._whole: set[str] = set()
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def begin(self, folder: Path) -> None:
        """The run's folder has a ledger now."""
        if self._trackers is None:
            return
        self._folder = folder
        order = {"folder": str(folder), "trackers": self._trackers.model_dump(exclude_none=True)}
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "energysweep.trackers"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # a Ctrl-C is for the sweep: this one has its last words
            )
            _pipe(process.stdin).write(json.dumps(order) + "\n")
            _pipe(process.stdin).flush()
        except OSError as error:
            for name in self._trackers.named:
                self._note(name, error.strerror or str(error))
            return
        reader = threading.Thread(
            target=self._read, args=[_pipe(process.stdout)], daemon=True, name="energysweep-trackers"
        )
        reader.start()
        self._started = process, reader

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._trackers is None or self._folder is None:
            return
        if self._started is not None:
            self._end(*self._started)
        for name in self._trackers.named:
            if name not in self._whole:
                why = self._problems.get(name)
                reason = f" ({why})" if why else ""
                self._say(
                    f"{TRACKERS[name].title}: not all of the run is there{reason}; it is in the ledger:"
                    f" energysweep export {self._folder} --format {name} brings it"
                )

    def _end(self, process: subprocess.Popen[str], reader: threading.Thread) -> None:
        with suppress(OSError):
            _pipe(process.stdin).close()
        waited = 0.0
        try:
            while reader.is_alive() and waited < (_HURRIED_SECONDS if self._hurried() else self._last_seconds):
                reader.join(0.1)
                waited += 0.1
                if round(waited, 1) == _SAY_AFTER_SECONDS and reader.is_alive():
                    missing = [kind.title for name, kind in TRACKERS.items() if self._is_missing(name)]
                    self._say(f"the last numbers go to {' and '.join(missing)} (at most {self._last_seconds:.0f} s)")
        except KeyboardInterrupt:  # all that a person can mean by it now
            return
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # with what a tracker has started
            process.wait()
            reader.join()
            _pipe(process.stdout).close()

    def _is_missing(self, name: str) -> bool:
        return self._trackers is not None and name in self._trackers.named and name not in self._whole

    def _read(self, answers: IO[str]) -> None:
        for line in answers:
            with suppress(ValueError, KeyError, TypeError):  # killed in mid-word
                self._take(json.loads(line))

    def _take(self, told: dict[str, Any]) -> None:
        name = str(told["tracker"])
        if told.get("is_whole"):
            self._whole.add(name)
        elif "problem" in told:
            self._note(name, told["problem"])

    def _note(self, name: str, problem: str | None) -> None:
        self._problems[name] = problem
        if problem is not None and name not in self._told:
            self._told.add(name)
            self._say(f"{TRACKERS[name].title}: {problem}; the sweep goes on, and what is missing comes later")


def _pipe(stream: IO[str] | None) -> IO[str]:
    """One that was asked for."""
    if stream is None:
        raise OSError("no pipe")
    return stream
