"""What a container or a sandbox keeps from whoever measures in it, and what that means for the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from energysweep.host import BYTES_PER_GIB, Host, shows_a_part

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
