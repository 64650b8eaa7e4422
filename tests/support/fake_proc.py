"""The files of /proc that the meters read."""

from __future__ import annotations

from pathlib import Path


def write_proc(
    root: Path,
    *,
    model: str | None = "AMD EPYC 7763 64-Core Processor",
    logical_cpus: int = 4,
    sockets: int = 1,
    virtual: bool = False,
    memory_kib: int = 16 * 1024 * 1024,
    siblings: int | None = None,
    listed_cpus: int | None = None,
) -> Path:
    """A host with idle CPUs; returns the root.

    Args:
        siblings: how many logical CPUs each of its packages has, as cpuinfo says; not said if None.
        listed_cpus: how many of them cpuinfo lists; all of ``stat`` if None.
    """
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
    blocks = []
    package_cpus = f"siblings\t: {siblings}\n" if siblings else ""
    for cpu in range(logical_cpus if listed_cpus is None else listed_cpus):
        name = f"model name\t: {model}\n" if model else ""
        flags = "fpu hypervisor" if virtual else "fpu"
        blocks.append(f"processor\t: {cpu}\n{name}physical id\t: {cpu % sockets}\n{package_cpus}flags\t\t: {flags}\n")
    (root / "cpuinfo").write_text("\n".join(blocks))
    (root / "meminfo").write_text(f"MemTotal:       {memory_kib} kB\nMemFree:        1 kB\n")
    write_stat(root, logical_cpus=logical_cpus)
    return root


def write_stat(
    root: Path,
    *,
    logical_cpus: int = 4,
    user: int = 0,
    nice: int = 0,
    system: int = 0,
    idle: int = 1,
    iowait: int = 0,
    irq: int = 0,
    softirq: int = 0,
    steal: int = 0,
    guest: int = 0,
) -> None:
    """Ticks of all CPUs since boot."""
    total = f"cpu  {user} {nice} {system} {idle} {iowait} {irq} {softirq} {steal} {guest} 0\n"
    each = "".join(f"cpu{cpu} 0 0 0 0 0 0 0 0 0 0\n" for cpu in range(logical_cpus))
    (root / "stat").write_text(f"{total}{each}intr 0\n")
