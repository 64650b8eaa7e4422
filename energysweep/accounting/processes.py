"""CPU time of process trees, from /proc alone.

A process's clock in /proc/PID/stat has two parts: its own time, and the time of its children that ended and were
waited for. A scan credits what each process used itself since the scan before. When a child has ended, its parent's
second part grows by the child's whole life; what earlier scans had credited of it is subtracted, so that nothing counts
twice, and the rest, which no scan saw, goes to the owner of the child. So a short-lived child is charged to its tree,
and a worker that dies is not charged to the raylet that reaps it.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from energysweep.accounting.attribution import Owner, inside
from energysweep.core.errors import AgentError
from energysweep.core.host import busy_ticks, processors

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# It has ended, before or after its file was opened; or procfs is mounted with hidepid, and it is another user's.
_NOT_SEEN = frozenset({errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM})


class Process(NamedTuple):
    """One line of /proc/PID/stat.

    Attributes:
        pid, parent: in the pid namespace of ``/proc``.
        started: clock ticks after boot; a pid that is used again has another one.
        own_ticks: user and system time of all its threads.
        reaped_ticks: the same of its ended and waited-for descendants.
        alive: not a zombie.
    """

    pid: int
    parent: int
    started: int
    own_ticks: int
    reaped_ticks: int
    alive: bool = True

    @property
    def root(self) -> Root:
        """What tells it from another process that gets its pid later."""
        return Root(self.pid, self.started)


class Root(NamedTuple):
    """The root of a process tree that somebody owns."""

    pid: int
    started: int


def read_process(proc_root: Path, pid: int) -> Process | None:
    """The process, zombies included; None if there is none that can be seen."""
    return _parse(f"{proc_root}/{pid}/stat", pid)


def scan(proc_root: Path) -> dict[int, Process]:
    """All processes that can be seen. Costs about 10 microseconds for each: 1 to 2 ms on a small machine."""
    root = str(proc_root)
    processes = {}
    for entry in os.listdir(root):  # noqa: PTH208 - Path.iterdir costs twice as much on this hot path
        if entry.isdigit():
            process = _parse(f"{root}/{entry}/stat", int(entry))
            if process is not None:
                processes[process.pid] = process
    return processes


def _parse(path: str, pid: int) -> Process | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            line = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_SEEN:
            return None
        raise
    # The name may hold spaces and parentheses: the fields begin after the last one.
    fields = line[line.rfind(b")") + 2 :].split(None, 20)
    try:
        return Process(
            pid,
            parent=int(fields[1]),
            started=int(fields[19]),
            own_ticks=int(fields[11]) + int(fields[12]),
            reaped_ticks=int(fields[13]) + int(fields[14]),
            alive=fields[0] != b"Z",
        )
    except (IndexError, ValueError):  # nothing, or what only a sandbox makes of it
        return None


class ProcessTable(Protocol):
    """The processes of a host and its CPUs: ``Proc``, or those of a simulated host."""

    @property
    def logical_cpus(self) -> int:
        """How many CPUs are online."""

    def scan(self) -> dict[int, Process]:
        """All processes, by pid."""

    def read(self, pid: int) -> Process | None:
        """The process, zombies included; None if there is none."""

    def busy_seconds(self) -> float:
        """CPU time of all CPUs since boot."""


class Proc:
    """The process table that Linux shows in a procfs.

    Args:
        root: where it is mounted.

    Raises:
        AgentError: nothing is.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            os.scandir(root).close()
        except OSError as error:
            raise AgentError(f"{root} cannot be read ({error.strerror}): an agent needs a procfs there") from error
        try:
            self.logical_cpus = processors(root).logical_cpus
        except OSError:
            self.logical_cpus = os.cpu_count() or 1
        try:
            self._busy_seconds = busy_ticks(root) / TICKS_PER_SECOND
            self._tells_busy = True
        except (OSError, ValueError):
            self._busy_seconds, self._tells_busy = 0.0, False

    def scan(self) -> dict[int, Process]:
        """All processes, by pid."""
        return scan(self._root)

    def read(self, pid: int) -> Process | None:
        """The process, zombies included; None if there is none."""
        return read_process(self._root, pid)

    def busy_seconds(self) -> float:
        """CPU time of all CPUs since boot, as it was said last; 0 where procfs does not tell it.

        Then only the processes that can be seen count: no counter of the whole host is taken there.
        """
        if self._tells_busy:
            with suppress(OSError, ValueError):
                self._busy_seconds = busy_ticks(self._root) / TICKS_PER_SECOND
        return self._busy_seconds


class CpuClocks:
    """CPU time by owner between two scans.

    Args:
        table: the processes.

    Attributes:
        before: the last scan; None before the first.
    """

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self.before: dict[int, Process] | None = None

    def advance(self, roots: Mapping[Root, Owner]) -> dict[Owner, float]:
        """Scan, and say what CPU seconds each owner's trees used since the scan before.

        The ancestors that are roots own a process, see ``attribution``. The first scan only sets the clocks.

        Args:
            roots: the owned trees.
        """
        before, after = self.before, self._table.scan()
        self.before = after
        if before is None:
            return {}
        self._read_again_who_reaped(before, after)
        ticks = _ticks_by_owner(before, after, roots)
        return {owner: count / TICKS_PER_SECOND for owner, count in ticks.items() if owner is not None and count > 0}

    def _read_again_who_reaped(self, before: Mapping[int, Process], after: dict[int, Process]) -> None:
        """A scan takes time: a child that is missing may have been reaped after its parent was read."""
        parents = {process.parent for process in before.values() if not _same(process, after.get(process.pid))}
        for pid in parents & after.keys():
            parent = self._table.read(pid)
            if parent is not None:
                after[pid] = parent

    def owners(self, roots: Mapping[Root, Owner]) -> Callable[[int], Owner | None]:
        """Says whose process a pid was at the last scan; None if nobody's."""
        return _Owners(self.before or {}, roots)

    def sees(self, pid: int) -> bool:
        """Whether the process was there at the last scan, zombies included."""
        return pid in (self.before or {})

    def alive(self, root: Root) -> bool:
        """Whether the process was there at the last scan, and no zombie."""
        process = (self.before or {}).get(root.pid)
        return process is not None and process.started == root.started and process.alive


def _ticks_by_owner(
    before: Mapping[int, Process], after: Mapping[int, Process], roots: Mapping[Root, Owner]
) -> dict[Owner | None, int]:
    ticks: dict[Owner | None, int] = defaultdict(int)
    owner_after = _Owners(after, roots)
    owner_before = _Owners(before, roots)
    ended: dict[Root | None, list[Process]] = defaultdict(list)
    for process in before.values():
        if not _same(process, after.get(process.pid)):
            parent = before.get(process.parent)
            ended[parent.root if parent else None].append(process)
    unseen: dict[int, int] = {}
    for process in after.values():
        earlier = before.get(process.pid)
        if earlier is None or earlier.started != process.started:
            earlier = process._replace(own_ticks=0, reaped_ticks=0)
        ticks[owner_after(process.pid)] += max(0, process.own_ticks - earlier.own_ticks)
        seen = _seen_ticks(ended.get(process.root, ()), ended)
        unseen[process.pid] = process.reaped_ticks - earlier.reaped_ticks - seen
    _move_deficits_up(unseen, after)
    for pid, count in unseen.items():
        if count > 0:
            owners = {owner_before(child.pid) for child in ended.get(after[pid].root, ())}
            ticks[owners.pop() if len(owners) == 1 else owner_after(pid)] += count
    return ticks


def _move_deficits_up(unseen: dict[int, int], after: Mapping[int, Process]) -> None:
    """Take seen ticks off where they have come up.

    A process that ended shortly after its parent did was reaped by an ancestor.
    """
    for pid, deficit in [(pid, -count) for pid, count in unseen.items() if count < 0]:
        _take_off(deficit, after[pid].parent, unseen, after)


def _take_off(ticks: int, pid: int, unseen: dict[int, int], after: Mapping[int, Process]) -> None:
    visited: set[int] = set()  # a pid that was used again during the scan could close a circle
    while ticks > 0 and pid in after and pid not in visited:
        visited.add(pid)
        taken = min(ticks, max(0, unseen[pid]))
        unseen[pid] -= taken
        ticks -= taken
        pid = after[pid].parent


def _seen_ticks(processes: Sequence[Process], ended: Mapping[Root | None, list[Process]]) -> int:
    """What earlier scans credited of processes that have ended, their ended descendants included."""
    return sum(
        process.own_ticks + process.reaped_ticks + _seen_ticks(ended.get(process.root, ()), ended)
        for process in processes
    )


def _same(process: Process, later: Process | None) -> bool:
    return later is not None and later.started == process.started


class _Owners:
    """Looks up the owned ancestors, remembering what it found on the way."""

    def __init__(self, processes: Mapping[int, Process], roots: Mapping[Root, Owner]) -> None:
        self._processes = processes
        self._roots = roots
        self._found: dict[int, Owner | None] = {0: None}

    def __call__(self, pid: int) -> Owner | None:
        path = []
        while pid not in self._found:
            self._found[pid] = None  # a pid that was used again during the scan could close a circle
            path.append(pid)
            process = self._processes.get(pid)
            if process is None:
                break
            pid = process.parent
        owner = self._found[pid]
        for pid in reversed(path):
            process = self._processes.get(pid)
            claim = self._roots.get(process.root) if process is not None else None
            owner = owner if claim is None else inside(claim, owner)
            self._found[pid] = owner
        return owner
