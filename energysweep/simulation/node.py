"""A simulated node: a host with its processes, its devices and, most of the time, its agent."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from energysweep.accounting.processes import TICKS_PER_SECOND, Process, Root
from energysweep.agent.agent import Agent
from energysweep.agent.state import StateFile
from energysweep.core.host import Host
from energysweep.meters import Opened
from energysweep.meters.base import Component, Device, Meter, Reading

# The processes of a simulated host, as an agent's scan finds them ----------------------------------------------------

INIT = 1


class _SimulatedProcesses:
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


# Counters of a simulated host: what its devices really drew, and readings that lie about it on purpose ---------------

Fault = Literal["reset", "jump", "spike", "frozen readings", "frozen counter"]
FAULTS: tuple[Fault, ...] = ("reset", "jump", "spike", "frozen readings", "frozen counter")

_IMPOSSIBLE_JOULES = 1e9
_LONGEST_GAP_SECONDS = 50.0  # without a reading
_MISSED_PART = 2.0  # readings are missed so much more often than counters break


class Truth(NamedTuple):
    """What really happened to one device until some moment.

    Attributes:
        joules: what it drew since the simulation began.
        doubtful_joules: what of it its counter did not see although nobody could tell.
    """

    joules: float
    doubtful_joules: float


class FaultyMeter(Meter):
    """Cumulative counters of a power that the simulation sets.

    Args:
        devices: its devices; a wrapping one begins somewhere in its range.
        chance: of each fault, by device and reading; 0 for an honest meter.
        random: where the faults come from.

    Attributes:
        faults: how often what happened.
        is_honest: no fault now, whatever was begun before.
    """

    kind = "replay"

    def __init__(self, devices: Sequence[Device], chance: float, random: Random) -> None:
        self.devices = tuple(devices)
        self._truths = {device.name: [Truth(0.0, 0.0)] for device in devices}
        self._times = [-math.inf]
        self.faults: dict[str, int] = {}
        self.is_honest = False
        self._chance = chance
        self._random = random
        self._now = 0.0
        self._counter = {device.name: random.random() * (device.wraps_at_joules or 100_000.0) for device in devices}
        self._shown = dict(self._counter)
        self._shows_until = dict.fromkeys(self._counter, 0.0)
        self._counts_from = dict.fromkeys(self._counter, 0.0)
        self._spikes: set[str] = set()
        self._unseen: set[str] = set()  # what broke since its last reading

    def advance(self, now: float, joules: dict[str, float]) -> None:
        """The devices have drawn so much until now."""
        self._now = now
        self._times.append(now)
        for device in self.devices:
            name, drawn = device.name, joules[device.name]
            before = self._truths[name][-1]
            stands_still = now < self._counts_from[name]
            doubtful_joules = before.doubtful_joules + (drawn if stands_still else 0.0)
            self._truths[name].append(Truth(before.joules + drawn, doubtful_joules))
            if stands_still:
                continue
            self._counter[name] += drawn
            if device.wraps_at_joules is not None and self._counter[name] >= device.wraps_at_joules:
                self._counter[name] -= device.wraps_at_joules
                self._count("wrap")

    def truth(self, device: str, at: float) -> Truth:
        """What had happened to a device at a time to which the simulation moved it (within a microsecond)."""
        return self._truths[device][bisect_right(self._times, at + 1e-6) - 1]

    def read(self) -> list[Reading]:
        """One reading per device, some of them wrong."""
        return [self._read(device) for device in self.devices]

    def _read(self, device: Device) -> Reading:
        name = device.name
        if self.is_honest:
            self._shows_until[name], self._shown[name] = self._now, self._counter[name]
            return Reading(device, self._shown[name])
        if self._random.random() < self._chance:
            self._break(device, self._random.choice(FAULTS))
        if self._random.random() < self._chance * _MISSED_PART:
            self._count("missed")
            return Reading(device, None, "missed")
        self._unseen.discard(name)
        if self._now >= self._shows_until[name]:
            self._shown[name] = self._counter[name]
        if name in self._spikes:
            self._spikes.remove(name)
            return Reading(device, self._shown[name] + _IMPOSSIBLE_JOULES)
        return Reading(device, self._shown[name])

    def _break(self, device: Device, fault: Fault) -> None:
        name = device.name
        if not self._can_be_told(device, fault):
            return
        self._count(fault)
        self._unseen.add(name)
        seconds = self._random.uniform(5.0, 40.0)
        match fault:
            case "reset":
                self._counter[name] = 0.0
            case "jump":
                self._counter[name] += _IMPOSSIBLE_JOULES
            case "spike":
                self._spikes.add(name)
            case "frozen readings":
                self._shows_until[name] = self._now + seconds
            case "frozen counter":
                self._counts_from[name] = self._now + seconds

    def _can_be_told(self, device: Device, fault: Fault) -> bool:
        """Whether anybody who reads the counter could notice: no agent can be right about the others."""
        name, wraps_at = device.name, device.wraps_at_joules
        if self._now < max(self._shows_until[name], self._counts_from[name]) or name in self._unseen:
            return False  # one at a time: after a jump and a reset a counter may be where it might have come to
        match fault:
            case "reset":
                # A low counter would be above its last reading again; one in the upper half of its range has wrapped.
                lowest = (device.maximum_watts or 0.0) * _LONGEST_GAP_SECONDS
                return lowest < self._counter[name] < (wraps_at / 2 if wraps_at else math.inf)
            case "jump" | "spike":
                return wraps_at is None
            case "frozen readings" | "frozen counter":
                return device.moves_within_seconds is not None

    def _count(self, what: str) -> None:
        self.faults[what] = self.faults.get(what, 0) + 1


# A simulated node: a host with its processes, its devices and, most of the time, its agent ---------------------------

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
        self.processes = _SimulatedProcesses(LOGICAL_CPUS)
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
