"""The energy of a training in somebody else's loop: what a callback of Lightning or Transformers logs and reports."""

from __future__ import annotations

import inspect
import logging
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import CodeType, FrameType
from typing import Any, Final

from energysweep.agent.tracking import BlockOptions, Tracking, track
from energysweep.core import spending
from energysweep.core.errors import AgentError, InputError
from energysweep.core.objective import number

_ADDED_UP: Final = ("energy_joules", "active_energy_joules", "emissions_grams")
_LOGGED: Final = (*_ADDED_UP, "power_watts")

_LOOKS_EVERY_SECONDS: Final = 1.0
_ENOUGH_MISSED: Final = 2

log = logging.getLogger(__name__)

_ending = threading.Lock()  # of all: a callback, which is sent to other processes, can have none of its own


class TrainingEnergy:
    """What a training has cost: the trial's number in a trial, elsewhere that of a ``track`` block of its own.

    Args:
        report: whether what is given to ``reported`` is reported to Tune, where a trial's function trains.
        options: of the block.

    Attributes:
        latest: the numbers that were told last, to go on from in a resumed training.
    """

    def __init__(self, report: bool, options: BlockOptions) -> None:
        self._report, self._options = report, options
        try:
            inspect.signature(track).bind("training", **options)
        except TypeError as error:
            raise InputError(f"EnergyCallback: {error}") from error
        self._block: Tracking | None = None
        self._before: dict[str, float] = {}
        self._stop: SystemExit | None = None
        self.latest: dict[str, float] = {}

    def begin(self, gpus: Sequence[int | str], processes: int, before: Mapping[str, Any]) -> None:
        """Training begins. What goes wrong with its metering does not stop it.

        Args:
            gpus: those that it uses, if the options name none.
            processes: how many train together.
            before: ``latest`` of the training that this one resumes; a trial's own number includes it anyway.

        Raises:
            InputError: an option cannot be.
        """
        self.end()
        in_trial = spending.trial() is not None
        known = {} if in_trial else {name: number(before.get(name)) for name in _ADDED_UP}
        self._before = {name: size for name, size in known.items() if size is not None}
        self.latest = dict(self._before)
        if in_trial:
            return
        block = track("training", **(BlockOptions(gpus=gpus) | self._options))
        try:
            block.__enter__()
        except AgentError as error:
            log.warning("this training is not measured: %s", error)
            return
        self._block = block
        log.info("what meters this training: %s", block.source)
        if processes > 1:
            log.warning(
                "of %d processes that train, energy is that of this one and of those that it has started", processes
            )

    def end_with(self, call: FrameType) -> None:
        """End also when a call that this thread is in is over: an error may leave it, of which no callback is told.

        It is looked for once a second, by a thread: nothing else tells.
        """
        if (block := self._block) is not None:
            # Its address and code, not the frame: that would keep all that the training had in memory.
            of = (threading.get_ident(), id(call), call.f_code)
            threading.Thread(
                target=self._end_after, args=(block, *of), name="energysweep-training", daemon=True
            ).start()

    def _end_after(self, block: Tracking, thread: int, address: int, code: CodeType) -> None:
        missed = 0  # a generator that goes back to its caller just now cuts a stack short: once is not enough
        while missed < _ENOUGH_MISSED and self._block is block:
            time.sleep(_LOOKS_EVERY_SECONDS)
            missed = 0 if _is_in(thread, address, code) else missed + 1
        self._end(block)

    def end(self) -> None:
        """Training has ended, or was broken off."""
        self._end(self._block)

    def _end(self, block: Tracking | None) -> None:
        with _ending:
            if block is None or self._block is not block:
                return
            self._block = None
        block.__exit__(None, None, None)

    def logged(self) -> dict[str, float]:
        """What it has cost so far, by the names of a trial's results, as far as it is known.

        ``power_watts`` is the mean since the time before; in a trial only its reports tell that.
        """
        trial = spending.trial()
        if trial is None:
            return self._told(self._with_before({} if self._block is None else self._block.report()))
        measured = trial.spent()
        return self._told({} if measured is None else vars(measured))

    def reported(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Report to Tune, if that is to be, and what the training has cost: in a trial that very result's numbers."""
        trial = spending.trial()
        if trial is None or not (self._report and trial.can_report):
            return self.logged()
        try:
            trial.report(metrics)
        except SystemExit as stop:
            self._stop = stop
        return self._told(trial.added) or self.logged()

    def stop_if_told(self) -> None:
        """To be called when all that was reported is logged, too.

        Raises:
            SystemExit: Tune wants no more of this trial.
        """
        if self._stop is not None:
            stop, self._stop = self._stop, None
            raise stop

    def _with_before(self, numbers: Mapping[str, float]) -> dict[str, float]:
        return {name: value + self._before.get(name, 0.0) for name, value in numbers.items()}

    def _told(self, numbers: Mapping[str, Any]) -> dict[str, float]:
        told = {name: value for name in _LOGGED if (value := numbers.get(name)) is not None and not math.isnan(value)}
        self.latest |= {name: value for name, value in told.items() if name in _ADDED_UP}
        return told


def _is_in(thread: int, address: int, code: CodeType) -> bool:
    """Whether a thread is in a call, which it was in before."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001
    while frame is not None:
        if id(frame) == address and frame.f_code is code:
            return True
        frame = frame.f_back
    return False
