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

import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from energysweep.core.errors import MeterUnavailable
from energysweep.core.host import BYTES_PER_GIB, Processors, busy_ticks, processors
from energysweep.meters.base import Component, Device, Meter, Reading

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
    per_cpu_watts = _default_watts_per_cpu()
    by_count = CpuPower(
        per_cpu_watts * cpus.logical_cpus, f"{per_cpu_watts:g} W for each of {cpus.logical_cpus} logical CPUs"
    )
    socket_watts = tdp_watts(cpus.model) if cpus.model else None
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


class EstimateMeter(Meter):
    """CPU and DRAM of one host by a model.

    Args:
        proc_root: the host's procfs.
        clock: seconds since boot, without time suspended.
        components: which of ``cpu`` and ``dram`` to estimate.
        ticks_per_second: the unit of ``/proc/stat`` (USER_HZ).

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
        lacking: dict[Component, str] = {}
        if "cpu" in components:
            try:
                busy_ticks(proc_root)
            except (OSError, ValueError) as error:
                lacking["cpu"] = f"{self._stat}: {error}"
            else:
                devices.append(self._cpu_device())
        if "dram" in components:
            if cpus.memory_bytes is None:
                lacking["dram"] = f"{proc_root / 'meminfo'} does not say how much memory there is"
            else:
                devices.append(_dram_device(cpus.memory_bytes))
        if not devices:
            raise MeterUnavailable("; ".join(lacking.values()))
        self.devices = tuple(devices)
        self.lacking = {component: f"no estimate: {reason}" for component, reason in lacking.items()}

    def remarks(self, component: Component) -> list[str]:
        """Where its watts are from, as ``Meter`` has it."""
        if component == "cpu":
            return [self.cpu.origin]
        if component != "dram":
            return []
        return [
            f"{device.idle_watts or 0:g} W for its size" for device in self.devices if device.component == component
        ]

    def read(self) -> list[Reading]:
        """The model's energy since boot."""
        uptime_seconds = self._clock()
        return [
            self._read_cpu(device, uptime_seconds) if device.component == "cpu" else _read_dram(device, uptime_seconds)
            for device in self.devices
        ]

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
    return Device("dram", "dram", KIND, idle_watts=memory_watts(memory_bytes / BYTES_PER_GIB))


def _read_dram(device: Device, uptime_seconds: float) -> Reading:
    return Reading(device, (device.idle_watts or 0.0) * uptime_seconds)


# CodeCarbon's tables of processors and memory, the source of the estimate --------------------------------------------
#
# CodeCarbon is imported when a table is needed: an agent with real counters never imports it.

# ruff: noqa: PLC0415 - CodeCarbon takes a while to import, and an agent with real counters needs none of it


@cache
def tdp_watts(cpu_model: str) -> float | None:
    """The thermal design power of one package of this model; None if CodeCarbon's table has no single match.

    Args:
        cpu_model: as in ``/proc/cpuinfo``.
    """
    from codecarbon.core.cpu import TDP

    # Read by csv because CodeCarbon's own reader needs pandas: 50 MB in a process that stays for days.
    table = resources.files("codecarbon").joinpath("data/hardware/cpu_power.csv")
    with table.open(encoding="utf-8") as file:
        # The first of two entries of a name counts, as it does in CodeCarbon.
        watts = {row["Name"]: row["TDP"] for row in reversed(list(csv.DictReader(file)))}
    # The constructor would ask the machine that it runs on. The matching rules themselves need no instance's state.
    matcher = TDP.__new__(TDP)
    name = matcher._get_matching_cpu(cpu_model, {"Name": list(watts)})  # noqa: SLF001 - nothing public takes a model
    try:
        return None if name is None else float(watts[name])
    except ValueError:
        return None  # a few entries are mistyped ("27.29.5")


def _default_watts_per_cpu() -> float:
    """What CodeCarbon takes for each logical CPU of a processor that its table lacks."""
    from codecarbon.core.cpu import DEFAULT_POWER_PER_CORE

    return float(DEFAULT_POWER_PER_CORE)


def memory_watts(memory_gib: float) -> float:
    """CodeCarbon's guess at the power of this much memory: so many modules of a usual size, 5 W each (ARM: 1.5 W)."""
    from codecarbon.external.ram import RAM

    return float(RAM()._calculate_ram_power(memory_gib))  # noqa: SLF001 - total_power() only knows its own machine
