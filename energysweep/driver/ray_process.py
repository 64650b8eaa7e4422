"""The Ray that a driver works with: how it comes up, whether it still lives, and how what a dead one leaves is ended.

Ray itself says too little of all three: it gives up after 30 s on a busy machine, by whatever exception; a driver
whose raylet or GCS was killed waits for minutes without a word, or for ever; and trials outlive their raylet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray._private.services
import ray._private.worker
from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader, Config
from ray.experimental.internal_kv import internal_kv_get_gcs_client
from ray.job_config import JobConfig

from energysweep.accounting.processes import Root, read_process, scan
from energysweep.core.errors import InputError, one_line

# Ray's own settings are for a machine that has nothing else to do. These are read by the processes that it starts.
SETTINGS = {
    "RAY_raylet_start_wait_time_s": "5",  # of each look at the raylet: between them it is seen whether it lives
    "RAY_gcs_server_port_wait_time_s": "60",
    "RAY_worker_register_timeout_seconds": "240",
    # No worker for each CPU before there is a job: a trial needs one with a workload's path, and takes none of these.
    "RAY_prestart_worker_first_driver": "0",
}
_PROC = Path("/proc")
_START_SECONDS = 180.0
_SAY_AFTER_SECONDS = 15.0
_ASK_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 3.0
_SILENT_SECONDS = 25.0  # a head that is restarted is back by then; Ray itself ends the driver after 60 s


def start(
    address: str,
    named_by: str,
    environment: dict[str, Any],
    say: Callable[[str], None],
    folders: Sequence[str] = (),
) -> RayProcess:
    """Connect to a cluster, or start a Ray of one's own; the latter is tried twice, each time at ports of its own.

    Args:
        address: of the cluster, or ``local``.
        named_by: what has given it.
        environment: Ray's runtime_env for trials.
        say: told while it takes long.
        folders: come first on ``sys.path`` in all its workers, as far as a host has them.

    Raises:
        InputError: there is none. Whatever Ray raises, it is said in one line.
    """
    is_local = address == "local"
    if ray.is_initialized():
        raise InputError("this process works with a Ray already: leave it first, by ray.shutdown()")
    read_authentication_mode()
    for is_last in (False, True) if is_local else (True,):
        before = _children()
        try:
            with _said_while_it_takes_long(address, say), _heard() as heard, _patience(is_local, before):
                ray.init(
                    address=address,
                    runtime_env=environment or None,
                    job_config=JobConfig(_py_driver_sys_path=_First(reversed(folders))),
                    include_dashboard=False if is_local else None,
                    log_to_driver=False,
                    configure_logging=False,
                )
            ray._private.worker.print_to_stdstream = _log_what_ray_says  # noqa: SLF001 - standard output is for results
            return RayProcess(address)
        except BaseException as error:
            with contextlib.suppress(Exception):
                ray.shutdown()
            if is_local:
                _kill(_left_of_a_start(before))
            if not isinstance(error, Exception):  # Ctrl-C
                raise
            reason = _without_boilerplate(error) or type(error).__name__
            if not is_local:
                raise InputError(f"cannot connect to Ray at {address}: {reason}", key=named_by) from error
            if is_last or isinstance(error, ValueError | TypeError):  # these are of what the sweep asks for
                raise InputError(f"Ray did not start: {reason}{_advice(heard)}") from error
            say(f"Ray did not start ({reason}); trying once more")
    raise AssertionError


def read_authentication_mode() -> None:
    """Have Ray read RAY_AUTH_MODE again.

    It does so once in a process. If the variable has changed since, because the process has worked with another Ray
    before, this process and the Ray that it starts would not believe each other, and every trial would be lost.
    """
    Config.initialize("")  # as Ray itself does where it sets the variable
    AuthenticationTokenLoader.instance().reset_cache()


class _First(list[str]):
    """Folders that stay before those that Ray adds: a worker puts one after the other at the beginning of its path.

    Ray adds the current folder of the driver, where another sweep's module may have the same name.
    """

    def extend(self, more: Iterable[str]) -> None:
        """What is added comes before, and so ends up behind."""
        self[:0] = more


def _log_what_ray_says(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
    """Ray prints 20 lines for a raylet that has gone, on standard output."""
    logging.getLogger("ray").error("%s", "\n".join(data["lines"]))


class RayProcess:
    """The Ray that this process is connected to.

    Attributes:
        is_local: it is the driver's own, and ends with it.
        address: of the cluster, or ``local``.

    Args:
        address: of the cluster, or ``local``.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
        head: of the cluster, which tells of its nodes; None: the one that this process is connected to.
        node: the id of this driver's node there.
    """

    def __init__(
        self,
        address: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        head: Any = None,
        node: str = "",
    ) -> None:
        self.is_local = address == "local"
        self.address, self._clock, self._sleep = address, clock, sleep
        self._asked_at = self._answered_at = clock()
        self._workers: set[Root] = set()  # of its own raylet, and what they have started
        if self.is_local:
            processes = ray._private.worker._global_node.all_processes  # noqa: SLF001 - nothing public tells of them
            self._own = {name: [each.process for each in found] for name, found in processes.items()}
        else:
            self._head = head or internal_kv_get_gcs_client()
            self._node = bytes.fromhex(node or ray.get_runtime_context().get_node_id())

    def lost(self) -> str | None:
        """Why nothing more can be expected of it, if so. To be asked about once a second; takes at most 3 s.

        A cluster's head is not asked each time, and may be silent for a while, as when it is restarted.
        """
        if self.is_local:
            return self._own_lost()
        if self._clock() - self._asked_at < _ASK_EVERY_SECONDS:
            return None
        return self._cluster_lost()[0]

    def lost_for_sure(self) -> str | None:
        """The same, asked now. A head that is silent is asked until it answers, or has been silent for too long."""
        if self.is_local:
            return self._own_lost()
        while True:
            reason, is_known = self._cluster_lost()
            if is_known:
                return reason
            self._sleep(1.0)

    def _own_lost(self) -> str | None:
        for name in ("raylet", "gcs_server"):
            for process in self._own.get(name, []):
                code = process.poll()
                if code is not None:
                    how = f"was ended by {_signal(-code)}" if code < 0 else f"ended with code {code}"
                    hint = ", as the kernel does it when memory runs out" if code == -signal.SIGKILL else ""
                    return f"Ray's {name} {how}{hint}"
                if name == "raylet":
                    self._workers = _descendants(process.pid)
        return None

    def _cluster_lost(self) -> tuple[str | None, bool]:
        """Why the cluster is lost, if it is; and whether that is known."""
        self._asked_at = self._clock()
        try:
            nodes = self._head.get_all_node_info(timeout=_ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            silent = self._clock() - self._answered_at
            if silent < _SILENT_SECONDS:
                return None, False
            words = f"has not answered for {silent:.0f} s ({one_line(error)})"
            return f"the head of the cluster at {self.address} {words}", True
        self._answered_at = self._clock()
        own = next((info for node, info in nodes.items() if node.binary() == self._node), None)
        if own is None or own.state != 0:  # GcsNodeInfo.ALIVE
            return f"the cluster at {self.address} has lost the node that this driver is on", True
        return None, True

    def end(self) -> None:
        """Kill all that is left of a Ray of one's own: trials that outlive their raylet would go on drawing power."""
        if self.is_local:
            for process in (process for found in self._own.values() for process in found):
                self._workers |= _descendants(process.pid)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            _kill(self._workers)
            for process in (process for found in self._own.values() for process in found):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=2)  # a program that takes this one's place would never reap it


def _signal(number: int) -> str:
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")


def _children() -> set[Root]:
    """Processes that this one has started, those that have ended and were not waited for included."""
    return {process.root for process in scan(_PROC).values() if process.parent == os.getpid()}


def _left_of_a_start(before: set[Root]) -> set[Root]:
    """Processes of a Ray that was started after these were there, and that cannot be reached any more."""
    package = os.fsencode(Path(ray.__file__).parent)
    found: set[Root] = set()
    for root in _children() - before:
        with contextlib.suppress(OSError):
            if package in (_PROC / str(root.pid) / "cmdline").read_bytes():
                found |= {root} | _descendants(root.pid)
    return found


def _kill(roots: Iterable[Root]) -> None:
    for pid, started in roots:
        process = read_process(_PROC, pid)
        if process is not None and process.started == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> set[Root]:
    """Processes that a process, or one of its own, has started; an agent is none of them, it detaches itself."""
    children: dict[int, list[Root]] = {}
    for process in scan(_PROC).values():
        children.setdefault(process.parent, []).append(process.root)
    found: set[Root] = set()
    new = children.get(pid, [])
    while new:
        found.update(new)
        new = [child for root in new for child in children.get(root.pid, []) if child not in found]
    return found


@contextmanager
def _patience(is_local: bool, before: set[Root]) -> Iterator[None]:
    """Ray waits for its raylet for 30 s, which stands in its code (2.60), in no setting: its look is many of ours."""
    services = ray._private.services  # noqa: SLF001
    look, until = services.get_node, time.monotonic() + _START_SECONDS

    def look_longer(*arguments: Any) -> Any:
        while True:
            try:
                return look(*arguments)
            except RuntimeError:
                if time.monotonic() > until or _raylet_has_ended(before):
                    raise
                time.sleep(0.5)

    services.get_node = look_longer if is_local else look
    try:
        yield
    finally:
        services.get_node = look


def _raylet_has_ended(before: set[Root]) -> bool:
    """Whether one has that was started after these were there."""
    for process in scan(_PROC).values():
        if process.parent == os.getpid() and not process.alive and process.root not in before:
            with contextlib.suppress(OSError):
                if (_PROC / str(process.pid) / "comm").read_text(encoding="utf-8").strip() == "raylet":
                    return True
    return False


@contextmanager
def _said_while_it_takes_long(address: str, say: Callable[[str], None]) -> Iterator[None]:
    up = threading.Event()
    what = "Ray to start: this machine is busy" if address == "local" else f"the cluster at {address}"

    def wait() -> None:
        began = time.monotonic()
        while not up.wait(_SAY_AFTER_SECONDS):
            say(f"waiting for {what} ({time.monotonic() - began:.0f} s)")

    thread = threading.Thread(target=wait, daemon=True, name="energysweep-start")
    thread.start()
    try:
        yield
    finally:
        up.set()
        thread.join()


class _Heard(logging.Handler):
    """Keeps Ray's complaints off the terminal, for the one line that may be needed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[_Heard]:
    heard, logger = _Heard(), logging.getLogger("ray")
    before, logger.handlers = logger.handlers, [heard]
    try:
        yield heard
    finally:
        logger.handlers = before


def _advice(heard: _Heard) -> str:
    """What Ray's processes have written last, and what a person can do."""
    sessions = Path(ray._common.utils.get_default_ray_temp_dir()).glob(f"session_*_{os.getpid()}")  # noqa: SLF001
    session = max(sessions, default=None)  # none if it came to nothing before that
    logs = None if session is None else session / "logs"
    said = heard.lines[-1:]
    files = [logs / name for name in ("gcs_server.out", "raylet.out", "raylet.err")] if logs is not None else []
    for file in files:
        with contextlib.suppress(OSError):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            said += [line for line in lines if " E " in line or " C " in line]
    last = f'; the last that it wrote: "{_without_boilerplate(said[-1])}"' if said else ""
    where = f"; its logs are in {logs}" if logs is not None and logs.is_dir() else ""
    return f"{last}{where}; is this machine very busy, or out of memory, open files or room for temporary files?"


def _without_boilerplate(said: object) -> str:
    """Ray's words without the time, and without the plea to report them."""
    text = re.sub(r"\[[0-9-]+ [0-9:,]+ \w [0-9 ]+\] *", "", str(said))
    return one_line(re.sub(r"An unexpected system state has occurred.*?Check failed: ", "", text, flags=re.DOTALL))
