"""The processes of a simulated host, as an agent's scan finds them."""

from __future__ import annotations

from energysweep.agent.processes import TICKS_PER_SECOND, Process, Root

INIT = 1


class SimulatedProcesses:
    """A process table that a simulation moves.

    Args:
        logical_cpus: of the host.
    """

    def __init__(self, logical_cpus: int) -> None:
        self.logical_cpus = logical_cpus
        self._processes = {INIT: Process(INIT, 0, 1, 0, 0)}
        self._newest = INIT
        self._busy_ticks = 0

    def scan(self) -> dict[int, Process]:
        """All processes, by pid."""
        return dict(self._processes)

    def read(self, pid: int) -> Process | None:
        """The process; None if there is none."""
        return self._processes.get(pid)

    def busy_seconds(self) -> float:
        """CPU time of all CPUs since boot."""
        return self._busy_ticks / TICKS_PER_SECOND

    def fork(self, parent: int = INIT) -> Root:
        """A new process."""
        self._newest += 1
        process = Process(self._newest, parent, started=self._newest, own_ticks=0, reaped_ticks=0)
        self._processes[process.pid] = process
        return process.root

    def work(self, pid: int, ticks: int) -> None:
        """A process uses CPU time."""
        process = self._processes[pid]
        self._processes[pid] = process._replace(own_ticks=process.own_ticks + ticks)
        self._busy_ticks += ticks

    def kill(self, pid: int) -> None:
        """A process without children ends, and its parent gets its time."""
        ended = self._processes.pop(pid)
        parent = self._processes[ended.parent]
        ticks = parent.reaped_ticks + ended.own_ticks + ended.reaped_ticks
        self._processes[parent.pid] = parent._replace(reaped_ticks=ticks)
