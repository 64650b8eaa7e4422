"""What this process is metered by, and what that has cost so far: its trial, and the ``track`` blocks that are open.

Whoever meters says here when it begins and when it ends; ``spent`` asks the one that is meant. A process that a trial
has started, as a program or as a forked child, asks the trial's process: the connection to the agent is that one's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from energysweep.core import children
from energysweep.core.objective import scalar
from energysweep.core.phases import is_command, say, unwatched


@dataclass
class Measurement:
    """What a piece of code, or a trial, has cost. None: not known yet, or not measured.

    Attributes:
        name: a block's as given, a trial's id.
        energy_joules: what its work drew, and its share of the idle floor for the CPUs that it reserved. A trial's is
            that of its results: over all its attempts, without start-up.
        active_energy_joules: of that, what its work drew.
        duration_seconds: how long the block took; None for a trial, which may have worked elsewhere before.
        emissions_grams: CO2e of its energy.
        source: which meters measured it, and why not better ones. A sentence; says so where it is an estimate, and why
            where it was not measured.
    """

    name: str
    energy_joules: float | None = None
    active_energy_joules: float | None = None
    duration_seconds: float | None = None
    emissions_grams: float | None = None
    source: str = ""

    @property
    def power_watts(self) -> float | None:
        """Mean power of a block, None before the end and where nothing was measured."""
        if self.energy_joules is None or not self.duration_seconds:
            return None
        return self.energy_joules / self.duration_seconds


class Metered(Protocol):
    """Something that is metered now."""

    def spent(self) -> Measurement | None:
        """What it has cost so far; None where that is not known now. Raises nothing for the agent's sake."""


class MeteredTrial(Metered, Protocol):
    """The trial that this process works for.

    Attributes:
        can_report: it is a function's, which reports when it likes.
        added: what energysweep has added to the last result, by the result's names; NaN where it is not known.
    """

    @property
    def can_report(self) -> bool: ...

    @property
    def added(self) -> Mapping[str, float]: ...

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Report to Tune; comes back once ``added`` is that of this result.

        Raises:
            SystemExit: the same, and the trial ends here.
        """


def spent() -> Measurement | None:
    """What the innermost metered thing around this call has cost so far: a ``track`` block, or the trial.

    That is the innermost block that this thread or asyncio task is in; in none, the trial that this process works for,
    or that has started it; without one, the block of this process that is open longest. A block that a generator leaves
    open at a ``yield`` is around its caller, too, until the generator goes on: so it has to be with a
    ``contextlib.contextmanager``, and nothing tells other generators from that. The agent reads its meters at most ten
    times a second: the number is at most so old. It never goes down, and what a trial's next report says is never below
    it.

    Returns:
        Joules, grams of CO2e and where they are from; None where nothing meters, or its agent does not answer.
    """
    metered = _innermost()
    if metered is None:
        return None
    with unwatched():  # what asking loads is no start-up of the trial's
        return metered.spent()


def trial() -> MeteredTrial | None:
    """The trial that this process works for, or that has started it; None outside of one."""
    if _trial is not None and _trial_pid == os.getpid():
        return _trial
    return _above if children.has_trial() else None


class _TrialAbove:
    """The trial that has started this process. It reports where it is the trial's program, by a line that it prints."""

    added: Mapping[str, float] = {}  # the trial's process knows that

    @property
    def can_report(self) -> bool:
        return is_command()

    def spent(self) -> Measurement | None:
        told = children.ask()
        try:
            return None if told is None else Measurement(**told)
        except TypeError:  # of another version
            return None

    def report(self, metrics: Mapping[str, Any]) -> None:
        values = {str(name): scalar(value) for name, value in metrics.items()}
        say({name: value for name, value in values.items() if isinstance(value, str | int | float | None)})


_above = _TrialAbove()


@dataclass(eq=False)
class Block:
    """A block that is open: who was around it, in the thread or task that opened it.

    Attributes:
        metered: what it meters with; one that nobody holds any more is over, too.
    """

    metered: weakref.ref[Metered]
    outer: Block | None
    pid: int = field(default_factory=os.getpid)
    is_open: bool = True


_lock = threading.Lock()
_blocks: list[Block] = []  # of this process that are open, in the order of their opening
_block: ContextVar[Block | None] = ContextVar("energysweep_block", default=None)
_trial: MeteredTrial | None = None
_trial_pid = 0


def begin_trial(begun: MeteredTrial) -> None:
    """This process works for it from now on, in whichever thread, and those that it starts."""
    global _trial, _trial_pid
    _trial, _trial_pid = begun, os.getpid()
    children.begin(_told)


def _told() -> dict[str, Any] | None:
    """What is told to a process that this one has started."""
    mine = _trial
    with unwatched():
        measured = None if mine is None else mine.spent()
    return None if measured is None else vars(measured)


def end_trial(ended: MeteredTrial) -> None:
    """It has ended."""
    global _trial  # noqa: PLW0603
    if _trial is ended:
        _trial = None
        children.end()


def begin_block(metered: Metered) -> Block:
    """A block begins in this thread or task."""
    block = Block(weakref.ref(metered), _open_block())
    with _lock:
        _blocks[:] = [each for each in _blocks if _is_here(each)] + [block]
    _block.set(block)
    return block


def end_block(block: Block) -> None:
    """It ends, perhaps in another thread than the one that it began in, which then finds it closed."""
    block.is_open = False
    with _lock:
        if block in _blocks:
            _blocks.remove(block)
    if _block.get() is block:
        _block.set(_open_block())


def _open_block() -> Block | None:
    """The innermost one of this thread or task."""
    block = _block.get()
    while block is not None and not _is_here(block):
        block = block.outer
    return block


def _is_here(block: Block) -> bool:
    return block.is_open and block.pid == os.getpid() and block.metered() is not None


def _innermost() -> Metered | None:
    block = _open_block()
    if block is not None:
        return block.metered()
    if (mine := trial()) is not None:
        return mine
    with _lock:
        return next((each.metered() for each in _blocks if _is_here(each)), None)


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)
