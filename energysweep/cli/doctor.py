"""``energysweep doctor``: which meters this host has, which it lacks, and how to get them."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from energysweep.core.errors import MeterUnavailable
from energysweep.core.host import BYTES_PER_GIB, confines
from energysweep.meters import KINDS, Device, Host, Opened, Processors, energy_between, open_meters, processors
from energysweep.meters.kinds import Kind, is_model

PACKAGES = ("ray", "torch", "optuna", "codecarbon", "nvidia-ml-py")
CONTAINER_MARKERS = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True, slots=True)
class KindReport:
    """One kind of meter on this host.

    Attributes:
        devices: what it would read; empty if it is not available.
        reason: why it is not available, None if it is.
        hint: the command or step that would make it available, if there is one.
    """

    kind: Kind
    devices: tuple[Device, ...]
    reason: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device that a sweep would use, as it reads now.

    Attributes:
        watts: its mean power over the time the doctor watched, None if a reading failed.
        problem: why it failed, None if it did not.
    """

    device: Device
    watts: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found.

    Attributes:
        confines: what is hidden from a program here, and what that means for the numbers.
    """

    kernel: str
    boot_id: str | None
    cpus: Processors | None
    in_container: bool
    confines: tuple[str, ...]
    kinds: tuple[KindReport, ...]
    summary: str
    devices: tuple[DeviceReport, ...]
    packages: dict[str, str | None]


def examine(
    meters: Sequence[str] = ("auto",),
    host: Host | None = None,
    *,
    seconds: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    container_markers: Sequence[Path] = CONTAINER_MARKERS,
) -> Report:
    """Tries every kind of meter, and measures with those that a sweep would take.

    Args:
        meters: the kinds that a sweep would name.
        host: where to look; this machine if None.
        seconds: how long to watch the devices for their power.
        sleep: waits for so many seconds of the host's clock.
        container_markers: files that exist inside containers only.

    Raises:
        InputError: ``meters`` names an unknown kind, a wrong trace, or the same thing twice.
    """
    host = host or Host()
    kinds = tuple(_examine_kind(kind, host) for kind in KINDS if kind.doctor)
    devices: tuple[DeviceReport, ...] = ()
    try:
        opened = open_meters(meters, host)
    except MeterUnavailable as error:
        summary = f"meters: {error.reason}"
    else:
        summary = opened.summary()
        devices = _watch(opened, host, seconds, sleep)
    return Report(
        kernel=platform.release(),
        boot_id=_boot_id(host.proc_root),
        cpus=_processors(host.proc_root),
        in_container=any(marker.exists() for marker in container_markers),
        confines=tuple(confines(host)),
        kinds=kinds,
        summary=summary,
        devices=devices,
        packages={name: _version(name) for name in PACKAGES},
    )


def render(report: Report) -> str:
    """The report as plain text."""
    return "\n".join(
        [
            *_render_host(report),
            "",
            "Kinds of meter",
            *(line for kind in report.kinds for line in _render_kind(kind)),
            "",
            "What a sweep would use here",
            f"  {report.summary}",
            *(f"  {_render_device(device)}" for device in report.devices),
            "",
            "Packages",
            *(f"  {name} {installed or 'is not installed'}" for name, installed in report.packages.items()),
        ]
    )


def answer(report: Report) -> dict[str, Any]:
    """The report for other programs, as ``cli/shapes_of_sweeps.py`` says."""
    cpus = report.cpus
    return {
        "host": {
            "kernel": report.kernel,
            "boot_id": report.boot_id,
            "processors": None
            if cpus is None
            else {
                "model": cpus.model,
                "sockets": cpus.sockets,
                "logical_cpus": cpus.logical_cpus,
                "is_virtual": cpus.is_virtual,
                "memory_bytes": cpus.memory_bytes,
            },
            "in_container": report.in_container,
            "confines": list(report.confines),
        },
        "kinds": [
            {
                "kind": each.kind.name,
                "gives": each.kind.doctor,
                "available": each.reason is None,
                "devices": [_device(device) for device in each.devices],
                "reason": each.reason,
                "hint": each.hint,
            }
            for each in report.kinds
        ],
        "meters": report.summary,
        "devices": [
            {
                **_device(each.device),
                "source": each.device.source,
                "power_watts": each.watts,
                "estimated": is_model(each.device.source),
                "problem": each.problem or ("the counter was reset" if each.watts is None else None),
            }
            for each in report.devices
        ],
        "packages": report.packages,
    }


def _device(device: Device) -> dict[str, Any]:
    return {"name": device.name, "component": device.component, "index": device.index}


def _examine_kind(kind: Kind, host: Host) -> KindReport:
    try:
        opened = open_meters([kind.name], host)
    except MeterUnavailable as error:
        cause = error.__cause__ if isinstance(error.__cause__, MeterUnavailable) else error
        return KindReport(kind, (), cause.reason, cause.hint)
    opened.close()
    return KindReport(kind, tuple(opened.devices))


def _watch(opened: Opened, host: Host, seconds: float, sleep: Callable[[float], None]) -> tuple[DeviceReport, ...]:
    now = host.clock()
    opened.start(now)
    before = [reading for meter in opened.meters for reading in meter.read()]
    sleep(seconds)
    after = [reading for meter in opened.meters for reading in meter.read()]
    elapsed_seconds = host.clock() - now
    opened.close()
    reports = []
    for first, second in zip(before, after, strict=True):
        watts = None
        if first.energy_joules is not None and second.energy_joules is not None:
            step = energy_between(first.device, first.energy_joules, second.energy_joules, elapsed_seconds)
            watts = None if step.joules is None else step.joules / elapsed_seconds
        reports.append(DeviceReport(first.device, watts, second.problem or first.problem))
    return tuple(reports)


def _render_host(report: Report) -> list[str]:
    place = "in a container" if report.in_container else "not in a container"
    confined = [f"  note: {said}" for said in report.confines]
    if report.cpus is None:
        return ["Host", f"  kernel {report.kernel}; {place}; procfs says nothing about its processors", *confined]
    cpus = report.cpus
    memory = "unknown" if cpus.memory_bytes is None else f"{cpus.memory_bytes / BYTES_PER_GIB:.1f} GiB"
    machine = "a virtual machine" if cpus.is_virtual else "not seen to be a virtual machine"
    return [
        "Host",
        f"  processor: {cpus.model or 'unknown model'}; sockets: {cpus.sockets}; logical CPUs: {cpus.logical_cpus}",
        f"  memory: {memory}; kernel: {report.kernel}; boot_id: {report.boot_id or 'unknown'}",
        f"  {machine}, {place}",
        *confined,
    ]


def _render_kind(report: KindReport) -> list[str]:
    if report.reason is None:
        lines = [f"  {report.kind.name}: available ({report.kind.doctor})"]
        return lines + [f"    {device.component}: {_name(device)}" for device in report.devices]
    lines = [f"  {report.kind.name}: not available: {report.reason}", f"    would give: {report.kind.doctor}"]
    return lines + ([f"    to get it: {report.hint}"] if report.hint else [])


def _render_device(report: DeviceReport) -> str:
    what = f"{report.device.component} {_name(report.device)}, by {report.device.source}"
    if report.watts is None:
        return f"{what}: no reading ({report.problem or 'the counter was reset'})"
    return f"{what}: {report.watts:.1f} W now" + (" (estimate)" if is_model(report.device.source) else "")


def _name(device: Device) -> str:
    return device.name if device.index is None else f"{device.index} = {device.name}"


def _processors(proc_root: Path) -> Processors | None:
    try:
        return processors(proc_root)
    except OSError:
        return None


def _boot_id(proc_root: Path) -> str | None:
    try:
        return (proc_root / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
