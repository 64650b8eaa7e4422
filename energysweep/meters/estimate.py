"""An estimate of CPU and DRAM energy for hosts without counters. It is a model, not a measurement.

CPU: the power rises from a tenth of the TDP when idle to the whole TDP when all logical CPUs are busy:

    power = TDP * (0.1 + 0.9 * load)

CodeCarbon has the same ends: its floor is a tenth of the TDP, its ceiling the TDP (codecarbon/external/hardware.py).
Because the line is straight, the energy since boot follows from two cumulative numbers, uptime and busy CPU time:

    energy = 0.1 * TDP * uptime + 0.9 * TDP * busy CPU seconds / logical CPUs

so nothing is lost between two readings, and an agent that restarts goes on where it was.

DRAM: CodeCarbon's constant for the amount of memory, busy or not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from energysweep.errors import MeterUnavailable
from energysweep.host import BYTES_PER_GIB, Processors, busy_ticks, processors
from energysweep.meters import tables
from energysweep.meters.base import Component, Device, Reading

KIND = "estimate"
IDLE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class CpuPower:
    """The full power of a host's processors, and where the number is from (in words, for people)."""

    watts: float
    origin: str


def cpu_power(cpus: Processors) -> CpuPower:
    """What the host's processors draw when all are busy.

    The TDP of each socket where CodeCarbon's table has the model; otherwise CodeCarbon's 4 W per logical CPU. A virtual
    machine has a part of its host's processor and cannot see how large a part: it gets the smaller of the two. A
    container whose procfs shows its own CPUs only (lxcfs) gets their part of the TDP.
    """
    per_cpu_watts = tables.default_watts_per_cpu()
    by_count = CpuPower(
        per_cpu_watts * cpus.logical_cpus, f"{per_cpu_watts:g} W for each of {cpus.logical_cpus} logical CPUs"
    )
    socket_watts = tables.tdp_watts(cpus.model) if cpus.model else None
    if socket_watts is None:
        return by_count
    watts = socket_watts * cpus.sockets * cpus.part
    origin = f"{socket_watts:g} W TDP" + (f" each of {cpus.sockets} sockets" if cpus.sockets > 1 else "")
    if cpus.part < 1:
        origin = f"{watts:g} W for {cpus.logical_cpus} of {cpus.cpus_of_sockets} logical CPUs of {origin}"
    by_model = CpuPower(watts, origin)
    if cpus.is_virtual and by_count.watts < by_model.watts:
        return CpuPower(by_count.watts, f"{by_count.origin} of a virtual machine")
    return by_model


class EstimateMeter:
    """CPU and DRAM of one host by a model.

    Args:
        proc_root: the host's procfs.
        clock: seconds since boot, without time suspended.
        components: which of ``cpu`` and ``dram`` to estimate.
        ticks_per_second: the unit of ``/proc/stat`` (USER_HZ).

    Attributes:
        lacking: why there is no estimate of a component that was asked for.

    Raises:
        MeterUnavailable: procfs does not say how busy the CPUs are, nor how much memory there is.
    """

    kind = KIND

    def __init__(
        self,
        proc_root: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
        components: tuple[Component, ...] = ("cpu", "dram"),
        ticks_per_second: int | None = None,
    ) -> None:
        self._proc_root = proc_root
        self._stat = proc_root / "stat"
        self._clock = clock
        self._ticks_per_second = ticks_per_second or os.sysconf("SC_CLK_TCK")
        try:
            cpus = processors(proc_root)
        except (OSError, ValueError) as error:
            raise MeterUnavailable(f"{self._stat}: {error}") from error
        self._logical_cpus = cpus.logical_cpus
        self.cpu = cpu_power(cpus)
        devices: list[Device] = []
        self.lacking: dict[Component, str] = {}
        if "cpu" in components:
            try:
                busy_ticks(proc_root)
            except (OSError, ValueError) as error:
                self.lacking["cpu"] = f"{self._stat}: {error}"
            else:
                devices.append(self._cpu_device())
        if "dram" in components:
            if cpus.memory_bytes is None:
                self.lacking["dram"] = f"{proc_root / 'meminfo'} does not say how much memory there is"
            else:
                devices.append(_dram_device(cpus.memory_bytes))
        if not devices:
            raise MeterUnavailable("; ".join(self.lacking.values()))
        self.devices = tuple(devices)

    def remarks(self, component: Component) -> list[str]:
        """Where its watts are from, as ``Meter`` has it."""
        if component == "cpu":
            return [self.cpu.origin]
        return [f"{device.idle_watts or 0:g} W for its size" for device in self.devices if device.component == "dram"]

    def read(self) -> list[Reading]:
        """The model's energy since boot."""
        uptime_seconds = self._clock()
        return [
            self._read_cpu(device, uptime_seconds) if device.component == "cpu" else _read_dram(device, uptime_seconds)
            for device in self.devices
        ]

    def close(self) -> None:
        """Nothing is held open."""

    def _cpu_device(self) -> Device:
        tick_joules = (1 - IDLE_SHARE) * self.cpu.watts / self._logical_cpus / self._ticks_per_second
        return Device("cpu", "cpu", KIND, resolution_joules=tick_joules, idle_watts=IDLE_SHARE * self.cpu.watts)

    def _read_cpu(self, device: Device, uptime_seconds: float) -> Reading:
        try:
            busy_seconds = busy_ticks(self._proc_root) / self._ticks_per_second
        except (OSError, ValueError) as error:
            return Reading(device, None, f"{self._stat}: {error}")
        idle_joules = IDLE_SHARE * self.cpu.watts * uptime_seconds
        busy_joules = (1 - IDLE_SHARE) * self.cpu.watts * busy_seconds / self._logical_cpus
        return Reading(device, idle_joules + busy_joules)


def _dram_device(memory_bytes: int) -> Device:
    # All of its power is there without any load: the model knows no other.
    return Device("dram", "dram", KIND, idle_watts=tables.memory_watts(memory_bytes / BYTES_PER_GIB))


def _read_dram(device: Device, uptime_seconds: float) -> Reading:
    return Reading(device, (device.idle_watts or 0.0) * uptime_seconds)
