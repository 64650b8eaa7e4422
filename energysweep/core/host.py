"""A host: who it is, where its files are, what they say about its processors, and what a container keeps from us.

Everything is found below roots that are arguments, so that a container can look at the host's own mounts and a test at
files of its own.
"""

from __future__ import annotations

import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energysweep.core.errors import InputError, one_line

BYTES_PER_GIB = 1024**3
_MOST_NAME_BYTES = 200  # of a host: files are named after it


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
    def here(cls, proc_root: Path = Path("/proc")) -> Host:
        """This host. ENERGYSWEEP_NODE names it, otherwise its host name does.

        ENERGYSWEEP_HOST replaces its identity, where several hosts are played on one machine, or the kernel has none.

        Raises:
            InputError: the host has no identity; one of the two is no name.
        """
        kernels_own = proc_root / "sys/kernel/random/boot_id"
        boot_id = _name("ENERGYSWEEP_HOST") or _read_or_empty(kernels_own).strip()
        if not boot_id:
            said = f"{kernels_own} cannot be read: give each boot of each host a name of its own"
            raise InputError(said, key="ENERGYSWEEP_HOST")
        node = _name("ENERGYSWEEP_NODE") or socket.gethostname()
        return cls(proc_root=proc_root, node=node, boot_id=boot_id)

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
        logical_cpus: how many CPUs are online: those of the whole host, also inside a container, unless its procfs
            shows a part only (lxcfs).
        is_virtual: the host is itself a virtual machine. Seen on x86 only, where the processor says so.
        memory_bytes: the host's memory, or the container's part of it where procfs shows that; None if unknown.
        cpus_of_sockets: how many logical CPUs these packages have; None if the kernel does not say (not on x86).
    """

    model: str | None
    sockets: int
    logical_cpus: int
    is_virtual: bool
    memory_bytes: int | None
    cpus_of_sockets: int | None = None

    @property
    def part(self) -> float:
        """The part of the packages that procfs shows; 1 if that is all, and of packages that a hypervisor made up."""
        if self.is_virtual or not self.cpus_of_sockets:
            return 1.0
        return min(1.0, self.logical_cpus / self.cpus_of_sockets)


def processors(proc_root: Path) -> Processors:
    """Reads ``cpuinfo``, ``stat`` and ``meminfo``.

    A container's procfs may show its own CPUs in any of them (lxcfs), while each still says how many its package has.

    Raises:
        OSError: neither ``cpuinfo`` nor ``stat`` can be read.
    """
    cpuinfo = _read_or_empty(proc_root / "cpuinfo")
    model = re.search(r"^model name\s*:\s*(\S.*?)\s*$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read_or_empty(proc_root / "meminfo"), re.MULTILINE)
    stat = _read_or_empty(proc_root / "stat") if cpuinfo else (proc_root / "stat").read_text(encoding="ascii")
    listed = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    logical_cpus = len(re.findall(r"^cpu\d+ ", stat, re.MULTILINE)) or listed or 1
    siblings = _siblings(cpuinfo)
    sockets, cpus_of_sockets = len(siblings) or 1, sum(siblings.values()) or None
    if cpus_of_sockets and listed < logical_cpus > cpus_of_sockets:
        # Only cpuinfo is a container's: the packages that it leaves out are like those that it shows.
        sockets = math.ceil(logical_cpus * sockets / cpus_of_sockets)
        cpus_of_sockets = logical_cpus
    return Processors(
        model=model[1] if model else None,
        sockets=sockets,
        logical_cpus=logical_cpus,
        is_virtual=flags is not None and "hypervisor" in flags[1].split(),
        memory_bytes=int(memory[1]) * 1024 or None if memory else None,
        cpus_of_sockets=cpus_of_sockets,
    )


def _siblings(cpuinfo: str) -> dict[str, int]:
    """The logical CPUs of each package that is shown, 0 where that is not said."""
    found: dict[str, int] = {}
    for block in cpuinfo.split("\n\n"):
        package = re.search(r"^physical id\s*:\s*(\d+)", block, re.MULTILINE)
        siblings = re.search(r"^siblings\s*:\s*(\d+)", block, re.MULTILINE)
        if package:
            found[package[1]] = int(siblings[1]) if siblings else 0
    return found


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
        OSError, ValueError: ``stat`` cannot be read, or is none: a sandbox (gVisor) shows zeros.
    """
    with (proc_root / "stat").open(encoding="ascii") as file:
        name, *fields = file.readline().split() or [""]
    if name != "cpu" or len(fields) < 7:
        raise ValueError("its first line is not the sum over all CPUs")
    if not any(int(field) for field in fields):
        raise ValueError("it shows nothing but zeros, as sandboxes do")
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return user + nice + system + irq + softirq


def shows_a_part(proc_root: Path) -> str | None:
    """Why procfs does not say what the whole host does, in one clause; None if it does.

    Then a counter of the whole host cannot be shared out: what others draw would go to those who are shown.
    """
    try:
        busy_ticks(proc_root)
        cpus = processors(proc_root)
    except (OSError, ValueError) as error:
        return f"{proc_root / 'stat'} does not say how busy the host is ({getattr(error, 'strerror', None) or error})"
    if cpus.part < 1:
        return f"{proc_root} shows {cpus.logical_cpus} of the processor's {cpus.cpus_of_sockets} logical CPUs"
    return None


def _name(variable: str) -> str:
    """The name of a host that somebody gives; empty if nobody does."""
    text = os.environ.get(variable, "")
    # Half a character, of bytes that are no text, cannot be printed either.
    if "/" in text or not text.isprintable() or len(os.fsencode(text)) > _MOST_NAME_BYTES:
        allowed = f"at most {_MOST_NAME_BYTES} bytes of characters that can be printed, without /"
        raise InputError(f"{one_line(text, 60)!r} cannot name a host: {allowed}", key=variable)
    return text


def _read_or_empty(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# What a container or a sandbox hides from whoever measures in it -----------------------------------------------------

_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # the kernel's own number for it, include/linux/proc_ns.h
_UNLIMITED_BYTES = 2**60  # version 1 writes the largest number of pages for "no limit"


def confines(host: Host) -> list[str]:
    """What is hidden here, one sentence each; empty where the whole host is seen."""
    part = shows_a_part(host.proc_root)
    said = f"{part}: an estimate is of what is shown, and RAPL, which counts the whole host, is not taken by itself"
    return [*([said] if part else _limits(host)), *_hidden(host.proc_root)]


def _hidden(proc_root: Path) -> Iterator[str]:
    if not _text(proc_root / "1/stat"):
        yield (
            f"{proc_root} hides other users' processes (hidepid): they are background all the same, but a process that"
            " a trial runs as another user is not charged to it, and a GPU that trials share goes by their claims"
        )
    try:
        is_own = str((proc_root / "self/ns/pid").readlink()) != _FIRST_PID_NAMESPACE
    except OSError:
        is_own = False
    if is_own:
        yield (
            "a pid namespace of its own: processes outside of it are background, programs outside of it cannot open"
            " leases here, and a GPU that trials share goes by their claims"
        )


def _limits(host: Host) -> Iterator[str]:
    cpus, memory_bytes = _cpu_limit(host), _memory_limit(host)
    said = [f"{cpus:g} CPUs"] if cpus is not None else []
    said += [f"{memory_bytes / BYTES_PER_GIB:.1f} GiB of memory"] if memory_bytes is not None else []
    if said:
        yield (
            f"limited to {' and '.join(said)} (cgroup): the meters are the whole host's all the same; trials pay for"
            " the CPU time that they use and for the CPUs that they reserve"
        )


def _cpu_limit(host: Host) -> float | None:
    """The CPUs that this process may use at once, None without a limit."""
    limits = []
    for folder in _cgroups(host, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not period:  # version 1
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # not "max", not -1
            limits.append(int(quota) / int(period))
    for folder in _cgroups(host, "cpuset"):
        listed = _text(folder / "cpuset.cpus.effective") or _text(folder / "cpuset.cpus")
        count = _count(listed)
        if count and count < _count(_text(host.sys_root / "devices/system/cpu/online")):
            limits.append(float(count))
    return min(limits, default=None)


def _memory_limit(host: Host) -> int | None:
    texts = [
        _text(folder / name) for folder in _cgroups(host, "memory") for name in ("memory.max", "memory.limit_in_bytes")
    ]
    limits = [int(text) for text in texts if text.isdigit()]
    return min((limit for limit in limits if limit < _UNLIMITED_BYTES), default=None)


def _cgroups(host: Host, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups that may limit it, its own first: of version 2 and of version 1."""
    mounted = host.sys_root / "fs/cgroup"
    for line in _text(host.proc_root / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controller if controllers else mounted
        inside = root / place.strip("/")
        if ".." not in inside.parts:
            yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root))


def _count(listed: str) -> int:
    """How many numbers ``0-3,8`` names; 0 if it is no such list."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in listed.split(",")]
    except ValueError:
        return 0
    return sum(end[-1] - end[0] + 1 for end in ends)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
