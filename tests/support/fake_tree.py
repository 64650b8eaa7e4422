"""Simulated processes, as /proc shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from energysweep.accounting.processes import TICKS_PER_SECOND, Root
from tests.support.fake_proc import write_proc, write_stat

INIT = 1


@dataclass
class FakeProcess:
    """One process; its times are in ticks. ``reaper`` stands for PR_SET_CHILD_SUBREAPER."""

    pid: int
    parent: int
    started: int
    name: str = "a (strange) name"
    own: int = 0
    reaped: int = 0
    zombie: bool = False
    reaper: bool = False
    children: set[int] = field(default_factory=set)


class FakeTree:
    """A host of processes that fork, work, exit and are reaped; its files follow at once.

    Attributes:
        root: the root of its procfs.
        used: ticks that all processes together really used.
    """

    def __init__(self, root: Path, logical_cpus: int = 4) -> None:
        self.root = root
        self.logical_cpus = logical_cpus
        write_proc(root, logical_cpus=logical_cpus)
        self.processes = {INIT: FakeProcess(INIT, 0, 1, reaper=True)}
        self.used = 0
        self._busy_elsewhere = 0
        self._next = 2
        self._started = 1
        self._write(INIT)

    def fork(self, parent: int = INIT, pid: int | None = None, reaper: bool = False) -> int:
        """A new child; ``pid`` may be one that was used before."""
        if pid is None:
            while self._next in self.processes:
                self._next += 1
            pid = self._next
            self._next += 1
        self._started += 1
        self.processes[pid] = FakeProcess(pid, parent, self._started, reaper=reaper)
        self.processes[parent].children.add(pid)
        self._write(pid)
        return pid

    def work(self, pid: int, ticks: int) -> None:
        """Uses CPU time; the host's busy time grows with it."""
        assert not self.processes[pid].zombie
        self.processes[pid].own += ticks
        self.used += ticks
        self._write(pid)
        self._write_busy()

    def work_elsewhere(self, ticks: int) -> None:
        """CPU time of the kernel, or of processes that nobody can see."""
        self._busy_elsewhere += ticks
        self._write_busy()

    def exit(self, pid: int) -> None:
        """Becomes a zombie; its children go to the nearest reaper above it."""
        process = self.processes[pid]
        process.zombie = True
        heir = self.processes[process.parent]
        while not heir.reaper or heir.zombie:
            heir = self.processes[heir.parent]
        for child in process.children:
            self.processes[child].parent = heir.pid
            heir.children.add(child)
            self._write(child)
        process.children = set()
        self._write(pid)

    def reap(self, pid: int, *, waited_for: bool = True) -> None:
        """Its parent waits for it and gets its time; not ``waited_for``: the parent ignores SIGCHLD."""
        process = self.processes.pop(pid)
        assert process.zombie
        parent = self.processes[process.parent]
        parent.children.discard(pid)
        if waited_for:
            parent.reaped += process.own + process.reaped
            self._write(parent.pid)
        folder = self.root / str(pid)
        (folder / "stat").unlink()
        folder.rmdir()

    def end(self, pid: int) -> None:
        """Exits and is reaped."""
        self.exit(pid)
        self.reap(pid)

    def of(self, pid: int) -> Root:
        """The process as a root."""
        return Root(pid, self.processes[pid].started)

    def _write(self, pid: int) -> None:
        process = self.processes[pid]
        state = "Z" if process.zombie else "S"
        user, system = process.own - process.own // 3, process.own // 3
        reaped_user, reaped_system = process.reaped - process.reaped // 4, process.reaped // 4
        times = f"{user} {system} {reaped_user} {reaped_system}"
        fields = f"{state} {process.parent} 0 0 0 -1 0 0 0 0 0 {times} 20 0 1 0 {process.started} 0 0"
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(f"{pid} ({process.name}) {fields}\n")

    def _write_busy(self) -> None:
        write_stat(self.root, logical_cpus=self.logical_cpus, user=self.used + self._busy_elsewhere)


def ticks(seconds: float) -> int:
    """The kernel's ticks in so many seconds."""
    return round(seconds * TICKS_PER_SECOND)
