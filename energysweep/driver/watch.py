"""What ends a run whose own thread cannot: Ray has gone, its folder has, or another driver has taken it over.

Tune's thread then waits inside of Ray, partly where no signal reaches it, and Ray ends the process after a minute. So
a thread of its own looks once a second whether the run can go on. If not, it closes the gate to Tune's events, ends
what is left of a Ray of the driver's own, and starts the program again or ends the run with its report; the process
ends with it, because a Ray that has gone cannot be left in any other way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from ray.tune import Callback

from energysweep.core.errors import LedgerError
from energysweep.core.terminal import flush, note
from energysweep.driver.ray_process import RayProcess
from energysweep.driver.run_lock import BEAT_SECONDS, RunLock
from energysweep.driver.session import StopSignals

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words
_LOOK_SECONDS = 1.0
_END_SECONDS = 40.0  # for the last readings and the report; then the process ends without


@dataclass(frozen=True)
class Loss:
    """Why a run cannot go on.

    Attributes:
        reason: in words.
        can_start_again: a Ray of the driver's own has gone and nothing else: it may be started again.
        is_ours: the folder still is this driver's; if not, nothing more is written.
    """

    reason: str
    can_start_again: bool = False
    is_ours: bool = True


class Gate(Callback):
    """The first of Tune's callbacks. Once the run cannot go on it lets no event pass, and so holds Tune's thread.

    What Tune hears then, such as the death of a trial's worker, is no failure of the trial.

    Args:
        lost: whether Ray has gone, for sure; asked before a failure is believed.
        signals: of the run.
    """

    def __init__(self, lost: Callable[[], str | None], signals: StopSignals) -> None:
        self._lost = lost
        self._signals = signals
        self._closed = threading.Event()

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        return Callback, ()  # Tune pickles its callbacks for a later restore, which gets a gate of its own

    def close(self) -> None:
        """Let nothing more pass."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """Nothing passes any more."""
        return self._closed.is_set()

    def on_step_begin(self, **info: Any) -> None:
        """Tune goes on."""
        self._signals.hear()
        self._pass()

    def _pass(self, **_: Any) -> None:
        if self._closed.is_set():
            threading.Event().wait()  # for the end of the process

    def _pass_if_ray_lives(self, **_: Any) -> None:
        if self._lost() is not None:
            self.close()
        self._pass()

    on_trial_start = on_trial_result = on_trial_complete = on_checkpoint = on_experiment_end = _pass
    on_trial_recover = on_trial_error = _pass_if_ray_lives


class Watched(Protocol):
    """A run that has begun."""

    def problem(self) -> LedgerError | None:
        """Why its ledger is of no use any more."""

    def abandon(self, reason: str, *, is_ours: bool) -> int:
        """End it without Ray, with what is known; writes nothing if it is not this driver's. Returns the exit code."""


class Watch:
    """Looks after a run from the taking of its lock on.

    Args:
        lock: of the run.
        signals: of the run: one that was told to stop is not started again.
        start_again: replaces this program by one that resumes the run, if the user wants that.
        leave: ends the process with an exit code, and last words if there are any.

    Attributes:
        gate: for Tune.
        failures: looks that told nothing.
    """

    def __init__(
        self,
        lock: RunLock,
        signals: StopSignals,
        start_again: Callable[[str], None] | None,
        leave: Callable[[int, str], None] | None = None,
    ) -> None:
        self.gate = Gate(self._ray_lost_for_sure, signals)
        self._signals = signals
        self.failures = 0
        self._lock, self._start_again, self._leave = lock, start_again, leave or _leave
        self._ray: RayProcess | None = None
        self._run: Watched | None = None
        self._is_finishing = False
        self._deciding = threading.Lock()  # who ends the run: its own thread, or this one's
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="energysweep-watch")
        self._thread.start()

    @contextmanager
    def over(self, ray: RayProcess) -> Iterator[None]:
        """The run has a Ray, for the length of this block."""
        self._ray = ray
        try:
            yield
        finally:
            self.finishing()

    @contextmanager
    def beginning(self) -> Iterator[Callable[[Watched], None]]:
        """What the run's own thread does here is not ended midway; it yields what tells that there is a run to end.

        Nothing here may wait for Ray.
        """
        with self._undisturbed():
            yield self._begin

    def _begin(self, run: Watched) -> None:
        self._run = run

    def finishing(self) -> None:
        """Tune's thread has come back: it ends the run itself. If that is because Ray has gone, the watch does it."""
        if self._is_finishing:
            return
        if self._ray_lost_for_sure() is not None:
            self.gate.close()
        with self._undisturbed():
            self._is_finishing = True

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """For the run's own thread: the watch ends no run meanwhile. If it does so already, it goes no further."""
        with self._deciding:
            if not self.gate.is_closed:
                yield
                return
        while True:  # until the process ends; a Ctrl-C changes nothing of that
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()

    def close(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join()

    def _ray_lost(self) -> str | None:
        return self._ray.lost() if self._ray is not None and not self._is_finishing else None

    def _ray_lost_for_sure(self) -> str | None:
        try:
            return self._ray.lost_for_sure() if self._ray is not None and not self._is_finishing else None
        except Exception:  # whatever Ray may answer: the watch asks again
            self.failures += 1
            log.exception("could not ask whether Ray lives")
            return None

    def _look(self) -> None:
        looks = 0
        while not self._ending.wait(_LOOK_SECONDS):
            looks += 1
            try:
                loss = self._loss(is_time_to_beat=looks % round(BEAT_SECONDS / _LOOK_SECONDS) == 0)
            except Exception:  # whatever Ray may answer: the lock is to be beaten on
                self.failures += 1
                log.exception("could not look after the run")
                continue
            if loss is not None:
                with self._deciding:
                    if self._is_finishing:
                        continue
                    self.gate.close()
                self._end(loss)

    def _loss(self, *, is_time_to_beat: bool) -> Loss | None:
        reason = self._ray_lost()
        if reason is not None:
            return Loss(reason, can_start_again=self._ray is not None and self._ray.is_local)
        problem = self._run.problem() if self._run is not None else None
        if (is_time_to_beat or problem) and (reason := self._lock.beat()) is not None:
            return Loss(reason, is_ours=False)
        return None if problem is None else Loss(str(problem))

    def _end(self, loss: Loss) -> None:
        last = threading.Timer(_END_SECONDS, self._leave, (1, f"energysweep: {loss.reason}; its end took too long"))
        last.daemon = True
        last.start()
        code, words = 1, f"energysweep: {loss.reason}"
        try:
            if self._ray is not None:
                self._ray.end()
            if self._run is None:  # nothing is in the folder
                code = 2
            else:
                if loss.can_start_again and self._start_again is not None and not self._signals.count:
                    with contextlib.suppress(Exception):  # whatever it is, the run is to end with its report
                        self._start_again(loss.reason)
                code, words = self._run.abandon(loss.reason, is_ours=loss.is_ours), ""
            self._lock.release()
        finally:  # also where even that has failed
            self._leave(code, words)


def _leave(code: int, words: str) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        if words:
            note(words)
        flush()
    os._exit(code)
