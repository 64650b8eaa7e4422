"""A host: who it is, where its files are, and what they say about its processors.

Everything is found below roots that are arguments, so that a container can look at the host's own mounts and a test at
files of its own.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES_PER_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Host:
    """A host as its meters and its agent see it; tests make their own, several on one machine included.

    Attributes:
        sys_root: its sysfs.
        proc_root: its procfs.
        mounted_powercap: where a container has the host's powercap tree; runtimes mask it below ``/sys``.
        clock: seconds since its boot without the time it was suspended (Linux's CLOCK_MONOTONIC).
        nvml: nvidia-ml-py's module or a stand-in with its functions; None imports ``pynvml`` when it is needed.
        node: the readable name of the host; a replay takes the rows of this node.
        boot_id: the kernel's identity of this boot, the same in every container of a host; agents need it.
        wall_clock: seconds since the Unix epoch, only for people.
    """

    sys_root: Path = Path("/sys")
    proc_root: Path = Path("/proc")
    mounted_powercap: Path = Path("/host/powercap")
    clock: Callable[[], float] = time.monotonic
    nvml: Any = None
    node: str = ""
    boot_id: str = ""
    wall_clock: Callable[[], float] = time.time

    @classmethod
    def here(cls) -> Host:
        """This host. ENERGYSWEEP_NODE names it, otherwise its host name does.

        ENERGYSWEEP_HOST replaces its identity, where several hosts are played on one machine.
        """
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return cls(
            node=os.environ.get("ENERGYSWEEP_NODE") or socket.gethostname(),
            boot_id=os.environ.get("ENERGYSWEEP_HOST") or boot_id,
        )

    @property
    def powercap_roots(self) -> tuple[Path, ...]:
        """The places where RAPL may be found, in the order in which they are tried."""
        return (
            self.sys_root / "class" / "powercap",
            self.sys_root / "devices" / "virtual" / "powercap",
            self.mounted_powercap,
        )


@dataclass(frozen=True, slots=True)
class Processors:
    """What the kernel says about a host's processors and memory.

    Attributes:
        model: the processor's name, None if the kernel gives none (most ARM machines).
        sockets: how many packages there are.
        logical_cpus: how many CPUs are online; those of the whole host, also inside a container.
        is_virtual: the host is itself a virtual machine. Seen on x86 only, where the processor says so.
        memory_bytes: the host's memory, None if unknown.
    """

    model: str | None
    sockets: int
    logical_cpus: int
    is_virtual: bool
    memory_bytes: int | None


def processors(proc_root: Path) -> Processors:
    """Reads ``cpuinfo``, ``stat`` and ``meminfo``.

    Raises:
        OSError: ``stat`` cannot be read; without it nothing is known.
    """
    cpuinfo = _read_or_empty(proc_root / "cpuinfo")
    model = re.search(r"^model name\s*:\s*(\S.*?)\s*$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read_or_empty(proc_root / "meminfo"), re.MULTILINE)
    stat = (proc_root / "stat").read_text(encoding="ascii")
    return Processors(
        model=model[1] if model else None,
        sockets=len(set(re.findall(r"^physical id\s*:\s*(\d+)", cpuinfo, re.MULTILINE))) or 1,
        logical_cpus=len(re.findall(r"^cpu\d+ ", stat, re.MULTILINE)) or 1,
        is_virtual=flags is not None and "hypervisor" in flags[1].split(),
        memory_bytes=int(memory[1]) * 1024 if memory else None,
    )


def nvidia_boards(sys_root: Path) -> int:
    """How many boards of NVIDIA the PCI buses of the host have, whichever of them this container may use."""
    count = 0
    for device in (sys_root / "bus/pci/devices").glob("*"):
        vendor, kind = _read_or_empty(device / "vendor").strip(), _read_or_empty(device / "class").strip()
        count += vendor == "0x10de" and kind.startswith("0x03")  # display and 3D controllers
    return count


def busy_ticks(proc_root: Path) -> int:
    """User, nice, system, irq and softirq time of all CPUs since boot, in the kernel's ticks.

    Guests are inside user time. Stolen time is another machine's.

    Raises:
        OSError, ValueError: ``stat`` cannot be read, or is none.
    """
    with (proc_root / "stat").open(encoding="ascii") as file:
        name, *fields = file.readline().split()
    if name != "cpu" or len(fields) < 7:
        raise ValueError("its first line is not the sum over all CPUs")
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return user + nice + system + irq + softirq


def _read_or_empty(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
