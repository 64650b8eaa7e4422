"""What a tracker is, what goes wrong with one, and how one is made."""

from __future__ import annotations

import fcntl
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from energysweep.core.errors import TrackerError, one_line
from energysweep.core.naming import value_text
from energysweep.core.objective import number
from energysweep.core.runfolder import TRACKERS_STATE
from energysweep.sweepfile.distributions import Model
from energysweep.sweepfile.trackers import TRACKERS, without_secrets
from energysweep.trackers.records import Record

log = logging.getLogger(__name__)

PATIENT_SECONDS: Final = 10  # for one answer of a server


class RecordRefused(Exception):
    """A tracker does not take something of one record; the others may be fine."""


class Tracker(ABC):
    """One tracker, for one run. It is brought up to date as often as one likes; what is there stays as it is.

    Args:
        settings: what the sweep's file says of it.
        folder: the run folder.
    """

    def __init__(self, settings: Any, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._brought: dict[str, tuple[Any, ...]] = {}

    def take(self, records: Sequence[Record], alive: Callable[[], object] = lambda: None) -> None:
        """Bring it up to these records, the sweep's first.

        Args:
            records: all of the run's.
            alive: called after each that was brought.

        Raises:
            TrackerError: it is away or refuses something; the rest is there, and what is not may be tried again.
        """
        refused: list[str] = []
        for record in records:
            mark = (len(record.reports), record.status, record.is_over, record.final, record.labels, record.parameters)
            if self._brought.get(record.trial) == mark:
                continue
            try:
                self.bring(record, records)
            except RecordRefused as error:
                refused.append(f"{record.trial or 'the sweep'}: {said(error)}")
                continue
            except Exception as error:  # of somebody else's library: any
                self.forget()
                raise TrackerError(said(error)) from error
            self._brought[record.trial] = mark
            alive()
        if refused:
            self.forget()
            others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise TrackerError(f"refuses {refused[0]}{others}")

    @abstractmethod
    def bring(self, record: Record, records: Sequence[Record]) -> None:
        """Bring there what is missing of a record; ``records`` are all of them.

        Raises:
            RecordRefused: it does not take something of this one.
            Exception: anything else is believed to concern all of them.
        """

    def forget(self) -> None:
        """Something went wrong, or it is let go of: what is believed to be there is looked up anew."""
        self._brought.clear()


def open_tracker(name: str, settings: Model, folder: Path) -> Tracker:
    """The tracker of a name.

    Args:
        name: one of ``TRACKERS``.
        settings: what the sweep's file says of it.
        folder: the run folder.

    Raises:
        TrackerError: its package cannot be imported, or it refuses its settings.
    """
    module, _, attribute = TRACKERS[name].made_by.partition(":")
    try:
        made: Tracker = getattr(import_module(module), attribute)(settings, folder)
    except Exception as error:  # of somebody else's library: any
        raise TrackerError(said(error)) from error
    return made


@contextmanager
def alone(name: str, folder: Path) -> Iterator[bool]:
    """Whether nobody else brings this run to this tracker, for the length of this block: it would be told twice.

    A folder that cannot be written has nobody else.
    """
    place = folder / TRACKERS_STATE / f"{name}.lock"
    try:
        place.parent.mkdir(exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield True
        return
    try:
        is_ours = False
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)


def said(error: BaseException) -> str:
    """An error of somebody else's library in one line, without what only its owner should know."""
    text = one_line(without_secrets(str(error)), 200)
    return text or type(error).__name__


def flat(parameters: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as ``optimizer.lr``."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def plain(value: Any) -> bool | int | float | str:
    """A parameter as a tracker takes it: a number or a truth value as it is, all else as its text."""
    if isinstance(value, bool | str) or (isinstance(value, int | float) and number(value) is not None):
        return value
    return value_text(value)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers, NaN and infinities included."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
    }
