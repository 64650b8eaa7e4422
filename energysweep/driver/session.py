"""The Ray that a sweep runs on, where its chatter goes, and how a signal ends it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import ray

from energysweep.core.errors import InputError
from energysweep.driver import ray_process
from energysweep.driver.ray_process import RayProcess
from energysweep.sweepfile import SweepSpec, trial_count

_CONNECTS_WITHIN_SECONDS = 5.0


@contextmanager
def connected(
    spec: SweepSpec, address: str | None, say: Callable[[str], None], folders: Sequence[str] = ()
) -> Iterator[RayProcess]:
    """Connect to a Ray cluster, or have a Ray of one's own for the time of the run.

    Args:
        spec: the sweep, with its trials' environment.
        address: of the cluster; None: RAY_ADDRESS, which Ray sets in each of its jobs. Neither, or ``local``: a Ray of
            one's own.
        say: told while it takes long.
        folders: come first on ``sys.path`` in all workers, as far as a host has them.

    Raises:
        InputError: there is no cluster, or Ray does not start.
    """
    named_by = "--address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    is_cluster = address != "local"
    environment: dict[str, Any] = dict(spec.runtime_env)
    if spec.environment:
        environment["env_vars"] = {**environment.get("env_vars", {}), **spec.environment}
    if spec.working_dir is not None and is_cluster:
        environment["working_dir"] = spec.working_dir
    for key in _brought_by_the_job():
        environment.pop(key, None)
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # in a Ray job: the sweep's environment variables are the last word
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints its boxes at verbose=0, too
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a report need not have every metric
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger holds every result
        # What a resumed run goes on from. Each time Tune writes down all trials: less often where they are many.
        "TUNE_GLOBAL_CHECKPOINT_S": str(max(1, trial_count(spec).trials // 50)),
    }
    if is_cluster:
        _check_answers(address, named_by)
    else:
        settings["RAY_AUTH_MODE"] = "disabled"  # loopback only; otherwise Ray may write a token into HOME
        settings |= ray_process.SETTINGS
    try:
        with _environment_variables(settings):
            process = ray_process.start(address, named_by, environment, say, folders)
            try:
                yield process
            finally:
                ray.shutdown()
    finally:
        if not ray.is_initialized():  # or it is somebody else's, who is at work
            ray_process.read_authentication_mode()  # for the next Ray of this process


def _brought_by_the_job() -> set[str]:
    """What a Ray job has given its driver already, such as its working folder and packages: trials inherit it."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return set(job.get("runtime_env") or {}) - {"env_vars"}


def _check_answers(address: str, named_by: str) -> None:
    """Ray itself goes on trying for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address:  # of the Ray client, or of the dashboard
        raise InputError(
            f"{address}: a sweep has to be part of the cluster; give the address of its GCS (host:6379), run it on"
            " the head with --address auto, or use energysweep submit",
            key=named_by,
        )
    if not port.isdigit():
        return  # "auto", or something that Ray knows better
    try:
        socket.create_connection((host, int(port)), _CONNECTS_WITHIN_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # of a port, of a name that no host can have
        raise InputError(f"nothing answers at {address}: {error}", key=named_by) from error


@contextmanager
def _environment_variables(settings: Mapping[str, str]) -> Iterator[None]:
    """Set those that the user has not set, and take them back: a notebook goes on after its sweep."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


class _LogFile(logging.FileHandler):
    """A log is worth no sweep: on a full disk, or without its folder, its lines are lost, and nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, if the folder is still there to open the file in."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Say nothing."""

    def close(self) -> None:
        """Close the file, whether or not its last lines could be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Ray's and Tune's log lines go to a file, not to the terminal. To be entered after ``connected``."""
    handler = _LogFile(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("ray")
    before, logger.handlers = logger.handlers, [handler]
    try:
        yield
    finally:
        logger.handlers = before
        handler.close()


class StopSignals:
    """What a run makes of Ctrl-C and of SIGTERM, which are one.

    The first ends its trials; the second hurries, so that it waits neither for trials nor for silent agents, but still
    writes the ledger's end and the report; the third ends it at once. Tune catches Ctrl-C itself while it runs: the
    first is handed on to it.

    Attributes:
        count: how many have come.
    """

    def __init__(self) -> None:
        self.count = 0
        self._is_caught = False
        self._may_raise = False
        self._of_tune: Any = None

    @property
    def hurried(self) -> bool:
        """It is to end without waiting."""
        return self.count >= 2

    @property
    def at_once(self) -> bool:
        """It is to end whatever is lost: a resumed run goes on from what the ledger has."""
        return self.count >= 3

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them, for the length of this block, in the main thread. To be entered after ``connected``, which sets
        its own.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
        self._is_caught = True
        try:
            for which in before:
                signal.signal(which, self._caught)
            yield
        finally:
            self._is_caught = False
            for which, handler in before.items():
                signal.signal(which, signal.SIG_DFL if handler is None else handler)  # None: one that is not Python's

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """What the first one interrupts (by KeyboardInterrupt, as one that came before); in Tune, the second does."""
        if self.count:
            raise KeyboardInterrupt
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    @contextmanager
    def with_tune(self) -> Iterator[None]:
        """Tune runs, and catches Ctrl-C: ``hear`` takes that back from it. Not entered once the run is to end."""
        if self.count:
            raise KeyboardInterrupt
        try:
            yield
        finally:
            self._of_tune = None
            if self._is_caught:  # Tune leaves its own behind
                signal.signal(signal.SIGINT, self._caught)

    def hear(self) -> None:
        """Called at each step of Tune's: it hears of a Ctrl-C from here, and not itself."""
        if self._is_caught and self._of_tune is None:
            self._of_tune = signal.getsignal(signal.SIGINT)
            if self._of_tune == self._caught:  # before its first step it has heard of one, and put this one back
                self._of_tune = None
                self.count = max(self.count, 1)
            signal.signal(signal.SIGINT, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        tune, self._of_tune = self._of_tune, None
        if self.at_once:
            raise KeyboardInterrupt
        if self.count == 1 and callable(tune):
            tune(number, frame)
        elif self._may_raise:
            self._may_raise = False  # once: what is done about it is not interrupted
            raise KeyboardInterrupt
