"""Start-up told apart from work, in the process of a trial.

What is loaded once in a process would be paid by whichever trial comes first. So it is booked apart, as the trial's
start-up: until the trial's own work begins, then while a module is loaded for the first time, and in the blocks of
``with energysweep.startup():``. How it is told, and what is left, is in docs/accuracy.md.

Modules are noticed by a finder in ``sys.meta_path``. It only asks the others, and has the loader of what they found
tell when it runs the module's code; a loader that has done so is as it was. Where nothing is loaded, nothing happens.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any, Final

COMMAND_OUTPUT: Final = "ENERGYSWEEP_COMMAND_OUTPUT"
"""Tells a program that a trial runs which file its reports go to: device and inode, as of ``os.fstat``."""
PHASE_LINE: Final = "energysweep"
"""The one key of a line with which such a program says what it does from now on: ``startup`` or ``work``."""


class StartUp:
    """Whether a trial of this process is in start-up. Thread-safe; of no effect in forked children.

    It is, from the beginning until ``work_begins``, and then as long as anything has entered and not left.

    Args:
        tell: called when that changes; returns once it is known. Never by two threads at a time, and with no lock
            held, so that it may import what another thread is loading. Who changes it meanwhile does not wait: the
            thread that tells will tell that, too.
        has_begun: whether its own work has begun already.
    """

    def __init__(self, tell: Callable[[bool], object], has_begun: bool = False) -> None:
        self._tell = tell
        self._lock = threading.RLock()  # a finalizer may run anywhere
        self._pid = os.getpid()
        self._is_telling = False
        self._told = not has_begun
        self._reasons = 0 if has_begun else 1  # to be left by ``work_begins``
        self._has_begun = has_begun

    @property
    def is_on(self) -> bool:
        """Whether it is in start-up now."""
        return self._reasons > 0

    def work_begins(self) -> None:
        """The trial's own work begins; again, it says nothing."""
        if not self._has_begun:
            self._has_begun = True
            self.leave()

    def enter(self) -> None:
        """Something is loaded from now on."""
        self._add(1)

    def leave(self) -> None:
        """It is loaded."""
        self._add(-1)

    def begin_in_child(self) -> None:
        """Be of effect in this forked child, too, unless it is in start-up: its parent will say when that ends."""
        if not self.is_on:
            self._pid, self._lock = os.getpid(), threading.RLock()
            self._is_telling = self._told = False  # the thread that may have been telling is its parent's

    def _add(self, reasons: int) -> None:
        if os.getpid() != self._pid:
            return
        with unwatched():  # what telling loads is no start-up
            with self._lock:
                self._reasons += reasons
                if self._is_telling:
                    return
                self._is_telling = True
            try:
                while self._has_news():
                    self._tell(self._told)
            except BaseException:
                self._is_telling = False
                raise

    def _has_news(self) -> bool:
        """Whether there is anything to tell, which counts as told from then on. If not, nobody is telling any more."""
        with self._lock:
            has_news = self._told != self.is_on
            self._told, self._is_telling = self.is_on, has_news
            return has_news


_thread = threading.local()


def watch(trial: StartUp) -> None:
    """From now on what this process loads is the trial's start-up."""
    with _finder.lock:
        _finder.trials = (*_finder.trials, trial)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def unwatch(trial: StartUp) -> None:
    """The trial has ended."""
    with _finder.lock:
        _finder.trials = tuple(each for each in _finder.trials if each is not trial)
        if not _finder.trials and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)


@contextmanager
def startup() -> Iterator[None]:
    """What the block does is start-up of the trial that runs it: measured apart, no part of what trials cost.

    For what is done once however much is trained: reading data, loading a model's weights, compiling. A block may be
    in a function trainable, in a class, or in a program that a sweep runs as its ``command``. Blocks may be nested and
    in several threads: while one is open, it is start-up. Where nothing is metered it does nothing.
    """
    entered = _finder.trials or ((_program,) if is_command() else ())
    for trial in entered:
        trial.enter()
    try:
        yield
    finally:
        for trial in entered:
            trial.leave()


def is_command() -> bool:
    """Whether this process prints where a trial reads its program's reports."""
    named = os.environ.get(COMMAND_OUTPUT)
    if named is None:
        return False
    with suppress(OSError):
        return named == output_name(1)
    return False


def output_name(descriptor: int) -> str:
    """Which file an open descriptor leads to."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def say(content: Mapping[str, Any]) -> None:
    """Print an object as a line of its own, where a trial reads its program's reports."""
    if sys.stdout is not None:
        sys.stdout.flush()
    # A line of its own also after one that the program, or what started it, has not ended yet: "loading ... ".
    os.write(1, b"\n" + json.dumps(content).encode() + b"\n")


_program = StartUp(lambda is_startup: say({PHASE_LINE: "startup" if is_startup else "work"}), has_begun=True)
"""Of this process, where it is a program that a trial runs."""


os.register_at_fork(after_in_child=_program.begin_in_child)


@contextmanager
def unwatched() -> Iterator[None]:
    """What this thread loads here counts as what the trial does anyway: for code that itself talks to the agent."""
    before, _thread.loads = getattr(_thread, "loads", False), True
    try:
        yield
    finally:
        _thread.loads = before


class _Finder(MetaPathFinder):
    """Finds what the finders after it find; their loaders will tell when they run code.

    It always asks them, also when nobody is watched any more: so whoever goes through ``sys.meta_path`` while it is
    removed misses nothing.

    Attributes:
        trials: whose start-up it is now; replaced, never changed.
        lock: held by whoever replaces them.
    """

    def __init__(self) -> None:
        self.trials: tuple[StartUp, ...] = ()
        self.lock = threading.Lock()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 if self in finders else 0 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                _announce(spec.loader)
                return spec
        return None


_finder = _Finder()


def _announce(loader: Any) -> None:
    """Have a loader tell once when it runs a module's code."""
    # An extension runs its code when it is created. The interpreter's own modules (their loaders are classes) cost
    # nothing, and what keeps no attributes of its own cannot be asked.
    methods = ("create_module", "exec_module") if isinstance(loader, ExtensionFileLoader) else ("exec_module",)
    has_own = hasattr(loader, "__dict__") and not isinstance(loader, type)
    for method in methods if has_own else ():
        if method not in vars(loader) and hasattr(loader, method):
            with suppress(AttributeError, TypeError):
                setattr(loader, method, _telling(loader, method, getattr(loader, method)))


def _telling(loader: Any, method: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def tell_and_load(*args: Any, **kwargs: Any) -> Any:
        with suppress(AttributeError):
            delattr(loader, method)
        if getattr(_thread, "loads", False):  # for a module that is being loaded already
            return original(*args, **kwargs)
        entered = _finder.trials
        _thread.loads = True
        for trial in entered:
            trial.enter()
        try:
            return original(*args, **kwargs)
        finally:
            for trial in entered:
                trial.leave()
            _thread.loads = False

    return tell_and_load
