"""A simulated node: a host with its processes, its devices and, most of the time, its agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from energysweep.agent.agent import Agent
from energysweep.agent.processes import TICKS_PER_SECOND, Root
from energysweep.agent.state import StateFile
from energysweep.host import Host
from energysweep.meters import Component, Device, Opened
from energysweep.simulation.meter import FaultyMeter
from energysweep.simulation.processes import SimulatedProcesses

LOGICAL_CPUS = 8
# Power is the idle floor and so much per busy CPU, or per GPU that is held: so every trial's joules are known.
IDLE_WATTS: dict[Component, float] = {"cpu": 20.0, "dram": 5.0, "gpu": 50.0}
WATTS_PER_CPU = 20.0
WATTS_PER_GPU = 200.0


class Node:
    """One node.

    Args:
        number: of the node.
        clock: the simulation's.
        random: where its faults come from.
        fault_chance: of each fault, by reading.
        has_gpu: one GPU beside its CPUs.
        state_folder: where agents keep their state; None if they keep none.

    Attributes:
        agent: None while none runs.
        is_lost: the node is gone for good.
        reserved_cpus, reserved_gpu: by the trials that are there.
    """

    def __init__(
        self,
        number: int,
        clock: Callable[[], float],
        random: Random,
        fault_chance: float,
        has_gpu: bool,
        state_folder: Path | None,
    ) -> None:
        self.name = f"node-{number}"
        self.has_gpu = has_gpu
        self.host = Host(clock=clock, node=self.name, boot_id=f"boot-{number}", wall_clock=clock)
        self.processes = SimulatedProcesses(LOGICAL_CPUS)
        self.meter = FaultyMeter(_devices(has_gpu), fault_chance, random)
        self.raylet = self.processes.fork()
        self.others = self.processes.fork()
        self.is_lost = False
        self.reserved_cpus = self.reserved_gpu = 0.0
        self._state_path = state_folder / f"state-{number}.json" if state_folder is not None else None
        self.agent: Agent | None = None
        self.start_agent()

    def start_agent(self) -> None:
        """An agent that goes on from the state of the one before, if there was one."""
        state = StateFile(self._state_path) if self._state_path is not None else None
        # Nobody could tell that the very first reading is an old one.
        self.meter.is_honest = self._state_path is None or not self._state_path.exists()
        self.agent = Agent(self.host, Opened([self.meter]), ("replay",), table=self.processes, state=state)
        self.agent.resume()
        self.meter.is_honest = False

    def kill_agent(self, *, and_its_state: bool = False) -> None:
        """SIGKILL: it writes nothing any more."""
        self.agent = None
        if and_its_state and self._state_path is not None:
            self._state_path.unlink(missing_ok=True)

    def advance(self, now: float, seconds: float, cpus: Mapping[Root, float]) -> dict[Root, float]:
        """Time passes; each process keeps so many CPUs busy.

        Returns:
            CPU seconds by process: whole ticks, as the kernel counts.
        """
        ticks = {root: round(count * seconds * TICKS_PER_SECOND) for root, count in cpus.items()}
        for root, count in ticks.items():
            self.processes.work(root.pid, count)
        busy_seconds = sum(ticks.values()) / TICKS_PER_SECOND
        joules = {
            "package-0": IDLE_WATTS["cpu"] * seconds + WATTS_PER_CPU * busy_seconds,
            "dram-0": IDLE_WATTS["dram"] * seconds,
        }
        if self.has_gpu:
            joules["GPU-0"] = (IDLE_WATTS["gpu"] + WATTS_PER_GPU * self.reserved_gpu) * seconds
        self.meter.advance(now, joules)
        return {root: count / TICKS_PER_SECOND for root, count in ticks.items()}


def _devices(has_gpu: bool) -> list[Device]:
    cpu = Device(
        "package-0",
        "cpu",
        "replay",
        wraps_at_joules=65_536.0,
        wraps_after_seconds=65_536.0 / 400.0,
        moves_within_seconds=2.0,
        maximum_watts=400.0,
    )
    dram = Device("dram-0", "dram", "replay", maximum_watts=100.0)
    gpu = Device("GPU-0", "gpu", "replay", maximum_watts=700.0, moves_within_seconds=2.0, index=0)
    return [cpu, dram, gpu] if has_gpu else [cpu, dram]
