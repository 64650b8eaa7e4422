"""A host whose time, power and processes a test moves, and its agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from energysweep.accounting.floors import FloorMemory
from energysweep.accounting.processes import Root
from energysweep.agent.agent import Agent
from energysweep.agent.state import StateFile
from energysweep.core.host import Host
from energysweep.meters import Device, Meter, Opened, Reading
from tests.support.fake_clock import FakeClock
from tests.support.fake_tree import FakeTree, ticks

CPU = Device("package-0", "cpu", "rapl")
DRAM = Device("dram-0", "dram", "rapl")
GPU = Device("GPU-1", "gpu", "nvml_counter", index=0)


class FakeMeter(Meter):
    """Counters of a power that a test sets, in watts by device; it counts its readings and can fail."""

    kind = "rapl"

    def __init__(self, watts: Mapping[Device, float]) -> None:
        self.watts = dict(watts)
        self.joules = dict.fromkeys(watts, 1000.0)
        self.failing: set[Device] = set()
        self.readings = 0

    @property
    def devices(self) -> Sequence[Device]:  # type: ignore[override]  # they are those whose power a test has set
        return tuple(self.watts)

    def advance(self, seconds: float) -> None:
        for device, watts in self.watts.items():
            self.joules[device] += watts * seconds

    def read(self) -> list[Reading]:
        self.readings += 1
        return [
            Reading(device, None, "broken") if device in self.failing else Reading(device, joules)
            for device, joules in self.joules.items()
        ]


class FakeHost:
    """Four CPUs that draw 100 W together, if nothing else is said; nobody works at first."""

    def __init__(
        self, folder: Path, watts: Mapping[Device, float] | None = None, floors: FloorMemory | None = None
    ) -> None:
        self.clock = FakeClock(500.0)
        self.tree = FakeTree(folder / "proc")
        self.meter = FakeMeter(watts or {CPU: 100.0})
        self.host = Host(
            proc_root=self.tree.root, clock=self.clock, node="node-a", boot_id="boot-a", wall_clock=self.wall_clock
        )
        self.own: Root | None = None
        self.state = folder / "agent-state-boot-a.json"
        self.agent = self.start_agent(floors)

    def wall_clock(self) -> float:
        return 1_000_000.0 + self.clock.seconds

    def start_agent(self, floors: FloorMemory | None = None) -> Agent:
        meters: list[Meter] = [self.meter]
        state = StateFile(self.state)
        self.agent = Agent(self.host, Opened(meters), ("rapl",), floors, self.own, state=state)
        self.agent.resume()
        return self.agent

    def kill_agent(self) -> None:
        """It is gone without a word; what it does from now on is written nowhere."""
        self.agent._keeper._state = None

    def wait(self, seconds: float) -> None:
        """Time passes and nobody works."""
        self.work(seconds, {})

    def work(self, seconds: float, cpus: Mapping[int, float]) -> None:
        """Time passes; each process keeps so many CPUs busy."""
        self.clock.advance(seconds)
        self.meter.advance(seconds)
        for pid, count in cpus.items():
            self.tree.work(pid, ticks(seconds * count))

    def open(
        self, trial: str, pid: int, cpus: float = 0.0, run: str = "r", lease: str | None = None, **gpus: float
    ) -> str:
        """Opens a lease of the process; returns its id."""
        lease = lease or f"lease-{trial}"
        named = {name.replace("_", "-"): fraction for name, fraction in gpus.items()}
        self.agent.open_lease(run, lease, trial, self.tree.of(pid), cpus, named)
        return lease

    def buckets(self, run: str = "r") -> dict[str, float]:
        """Joules by bucket in the window of a run; of leases by ``lease bucket``."""
        sums: dict[str, float] = {}
        for row in self.agent.windows[run].energy_rows(0):
            key = f"{row.lease} {row.bucket}".strip()
            sums[key] = sums.get(key, 0.0) + row.joules
        return sums
