"""One driver at a time works on a run: a lock in its folder.

Two rules, because a run folder may lie on a file system that several hosts share. On one host the kernel knows: the
lock's file is locked by ``flock`` for as long as its driver lives. Between hosts some file systems do not pass that on,
so the driver also writes into the file who it is, and a number that it raises every two seconds. A driver of another
host is alive if that number moves while it is watched; no two clocks are compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from energysweep.core.errors import InputError, SweepError
from energysweep.core.host import Host
from energysweep.core.runfolder import DRIVER_LOCK, LEDGER

BEAT_SECONDS = 2.0
WATCH_SECONDS = 15.0  # several beats: a busy host may be late
_BYTES = 1024  # always as many: whoever reads while it is written finds no shorter text


@dataclass(frozen=True)
class Holder:
    """Who works on a run.

    Attributes:
        node: the name of its host.
        boot_id: its host's identity.
        pid: its process.
        since: Unix time at which it began, by its own clock; for people.
        token: drawn anew by each driver.
        beats: grows while it lives.
    """

    node: str
    boot_id: str
    pid: int
    since: float
    token: str
    beats: int = 0

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC)
        return f"process {self.pid} on {self.node} since {since:%Y-%m-%d %H:%M:%S} UTC"


class RunLock:
    """The lock of one run, held by this process. Made by ``take``.

    Attributes:
        folder_is_new: if the run folder is empty without the lock, it goes with it.
    """

    def __init__(self, path: Path, descriptor: int, holder: Holder) -> None:
        self.folder_is_new = False
        self._path, self._descriptor, self._holder = path, descriptor, holder
        self._write()

    @classmethod
    def take(
        cls,
        folder: Path,
        say: Callable[[str], None],
        *,
        host: Host | None = None,
        flock: Callable[[int, int], None] = fcntl.flock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> RunLock:
        """Take the lock of a run folder that exists.

        Args:
            folder: the run folder.
            say: told if it takes a while, and why.
            host: this one.
            flock: locks a file, as ``fcntl.flock``.
            sleep: waits for so many seconds.

        Raises:
            InputError: another driver works on the run.
            OSError: the folder cannot be written, or has gone.
        """
        host = host or Host.here()
        while True:
            try:
                return cls._take_once(folder, say, host, flock, sleep)
            except FileNotFoundError:  # its holder gave it back, and removed the file, in this moment
                if not folder.is_dir():
                    raise

    @classmethod
    def _take_once(
        cls,
        folder: Path,
        say: Callable[[str], None],
        host: Host,
        flock: Callable[[int, int], None],
        sleep: Callable[[float], None],
    ) -> RunLock:
        path = folder / DRIVER_LOCK
        descriptor, is_sure = _opened(path, flock)
        try:
            before = _read(path)
            # The kernel that has given the lock knows all processes of this host that may have held it.
            is_elsewhere = before is not None and not (is_sure and before.boot_id == host.boot_id)
            if before is not None and is_elsewhere:
                say(f"{folder} was left by {before}; watching for {WATCH_SECONDS:.0f} s whether it still works on it")
                _check_is_still(path, before, sleep)
            me = Holder(host.node, host.boot_id, os.getpid(), host.wall_clock(), secrets.token_hex(8))
            lock = cls(path, descriptor, me)
            if is_elsewhere or not is_sure:
                sleep(BEAT_SECONDS)  # another one may have done the same in this moment: the last one has it
                _check_is(path, me)
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    def beat(self) -> str | None:
        """Show that this driver lives, every BEAT_SECONDS. Returns why it must not go on, if so."""
        try:
            there, mine = self._path.stat(), os.fstat(self._descriptor)
            now = _read(self._path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if (self._path.parent / LEDGER).exists():  # Tune makes the folder itself anew
                return f"its {DRIVER_LOCK} was removed ({self._path.parent}): another driver could work on the run"
            return f"the run folder has gone ({self._path.parent}: {error.strerror})"
        except OSError:  # no file may be opened now, or a server does not answer: the next beat tells
            return None
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            return f"the run folder was replaced ({self._path.parent})"
        if now is not None and now.token != self._holder.token:
            return f"another driver has taken over this run ({now})"
        self._holder = replace(self._holder, beats=self._holder.beats + 1)
        with contextlib.suppress(OSError):  # a disk that is full for a while: the ledger tells of it
            self._write()
        return None

    def check(self) -> None:
        """Beat once more.

        Raises:
            SweepError: this driver must not go on.
        """
        if (lost := self.beat()) is not None:
            raise SweepError(lost)

    def release(self) -> None:
        """Give it back; the file goes, too, if it still is this driver's. May be called twice."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            there, mine = self._path.stat(), os.fstat(self._descriptor)
            now = _read(self._path)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino) and now and now.token == self._holder.token:
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1
        if self.folder_is_new:
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()

    def _write(self) -> None:
        # Closed each time: a network's file system shows it to others then, and a local disk need not sync for it.
        with Path(f"/proc/self/fd/{self._descriptor}").open("r+b", buffering=0) as same:
            same.write(json.dumps(asdict(self._holder)).encode().ljust(_BYTES - 1) + b"\n")


@contextmanager
def held(folder: Path, say: Callable[[str], None], *, is_new: bool) -> Iterator[RunLock]:
    """Hold the lock of a run folder, for ``watch.Watch`` to beat; if it is new and stays empty, it is removed again.

    Raises:
        InputError: another driver works on the run, or the folder cannot be written.
    """
    try:
        lock = RunLock.take(folder, say)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=str(folder)) from error
    lock.folder_is_new = is_new
    try:
        yield lock
    finally:
        lock.release()


def _opened(path: Path, flock: Callable[[int, int], None]) -> tuple[int, bool]:
    """The file, locked as far as its file system can; and whether it can."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            is_sure = True
            try:
                flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _busy(path, _read(path)) from None
            except OSError:  # no locks on this file system
                is_sure = False
            mine = os.fstat(descriptor)
            with contextlib.suppress(FileNotFoundError):  # its last holder removed it in this moment
                there = path.stat()
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    return descriptor, is_sure
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _check_is_still(path: Path, before: Holder, sleep: Callable[[float], None]) -> None:
    for _ in range(round(WATCH_SECONDS / BEAT_SECONDS * 2)):
        sleep(BEAT_SECONDS / 2)
        now = _read(path)
        if now is not None and (now.token, now.beats) != (before.token, before.beats):
            raise _busy(path, now)


def _check_is(path: Path, me: Holder) -> None:
    now = _read(path)
    if now is not None and now.token != me.token:
        raise _busy(path, now)


def _read(path: Path) -> Holder | None:
    """Who has written himself into the file; None if nobody has, or not wholly."""
    try:
        holder = Holder(**json.loads(path.read_bytes()))
        str(holder)
    except (ValueError, TypeError, OverflowError):
        return None
    return holder


def _busy(path: Path, holder: Holder | None) -> InputError:
    who = f" ({holder})" if holder else ""
    return InputError(
        f"another driver works on this run{who}: wait for its end, or end it and resume", file=str(path.parent)
    )
