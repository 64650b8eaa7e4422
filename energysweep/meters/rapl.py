"""RAPL: the energy counters of Intel and AMD processors, through Linux's powercap tree.

Zones nest. A package's counter includes its cores and its uncore, which are listed below it, but not its DRAM, which is
listed there too; ``psys`` contains the whole platform. So packages and DRAM zones are counted, cores and uncore never,
and psys only on a host that shows no packages. The same package may be listed again by another interface
(``intel-rapl-mmio``, ``intel-rapl-tpmi``); it is counted once. AMD's zones have Intel's names.

Source: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from energysweep.errors import MeterUnavailable
from energysweep.meters.base import Component, Device, Reading

KIND = "rapl"

# The usual unit of the counter, 2^-14 J. Some servers count DRAM in finer steps.
RESOLUTION_JOULES = 2.0**-14

# Turbo may exceed the long-term limit for a while; four times it is beyond what any power supply path allows.
LIMIT_FACTOR = 4.0

# Where the tree names no limit (AMD; DRAM): no socket sold today is made for more.
ASSUMED_LIMIT_WATTS = 500.0

# The counter moves about every millisecond, and no package or DRAM that is powered draws nothing.
MOVES_WITHIN_SECONDS = 10.0

# Preferred interface first: where two list the same package, the first that can be read is taken.
INTERFACES = ("intel-rapl", "intel-rapl-tpmi", "intel-rapl-mmio")

_ZONE = re.compile(r"(?P<interface>intel-rapl(?:-tpmi|-mmio)?):\d+(?::\d+)*")
_MICROJOULES_PER_JOULE = 1_000_000
_MICROWATTS_PER_WATT = 1_000_000


@dataclass(frozen=True, slots=True)
class _Zone:
    device: Device
    energy_file: Path


class RaplMeter:
    """The packages and DRAM of one host.

    Args:
        powercap_roots: folders that may hold the tree, flat (``/sys/class/powercap``) or nested; the first that has
            zones is taken.

        components: which of ``cpu`` and ``dram`` to read.

    Raises:
        MeterUnavailable: there is no tree, it has no zones of these components, or none of them can be read.
    """

    kind = KIND

    def __init__(self, powercap_roots: Sequence[Path], components: Sequence[Component] = ("cpu", "dram")) -> None:
        zones = _choose(_discover(powercap_roots))
        self._zones = [zone for zone in zones if zone.device.component in components]
        if not self._zones:
            raise MeterUnavailable(f"RAPL has no zone for {' and '.join(components)} here")
        self.devices = tuple(zone.device for zone in self._zones)

    @property
    def includes_dram(self) -> bool:
        """Whether the DRAM's energy is counted: by zones of its own, or inside psys."""
        return any(device.component == "dram" or device.name == "psys" for device in self.devices)

    def read(self) -> list[Reading]:
        """Reads every counter; one that fails gives a reading of None with the reason."""
        return [_read(zone) for zone in self._zones]

    def close(self) -> None:
        """Nothing is held open."""


def _read(zone: _Zone) -> Reading:
    try:
        return Reading(zone.device, _integer(zone.energy_file) / _MICROJOULES_PER_JOULE)
    except (OSError, ValueError) as error:
        return Reading(zone.device, None, f"{zone.energy_file}: {error}")


def _discover(roots: Sequence[Path]) -> list[_Zone]:
    for root in roots:
        folders = sorted(_zone_folders(root), key=_by_interface)
        if folders:
            return [zone for folder in folders if (zone := _zone(folder)) is not None]
    exists = any(root.is_dir() for root in roots)
    raise MeterUnavailable(
        f"{roots[0]} {'has no RAPL zones' if exists else 'does not exist'}",
        "virtual machines have none; on a physical one: sudo modprobe intel_rapl_msr (AMD: Linux 5.8 or later); "
        f"in a container: mount the host's /sys/devices/virtual/powercap at {roots[-1]}, read-only",
    )


def _zone_folders(folder: Path) -> Iterator[Path]:
    """Every zone below a folder. Links such as ``subsystem`` would lead round in circles: they have other names."""
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if _ZONE.fullmatch(child.name):
            yield child
        if child.name.startswith("intel-rapl") and child.is_dir():
            yield from _zone_folders(child)


def _by_interface(folder: Path) -> tuple[int, str]:
    match = _ZONE.fullmatch(folder.name)
    return (INTERFACES.index(match["interface"]) if match else len(INTERFACES), folder.name)


def _zone(folder: Path) -> _Zone | None:
    """The zone in a folder, or None if what it counts is counted by another one."""
    name = _text(folder / "name")
    component: Component = "cpu"
    if name == "dram":
        component = "dram"
        package = _text(_parent(folder) / "name") or ""
        name = "dram-" + package.removeprefix("package-")
    elif name is None or not (name.startswith("package-") or name == "psys"):
        return None
    wraps_at_joules, limit_watts = _wraps_at_joules(folder), _limit_watts(folder)
    device = Device(
        name=name,
        component=component,
        source=KIND,
        wraps_at_joules=wraps_at_joules,
        wraps_after_seconds=None if wraps_at_joules is None else wraps_at_joules / (limit_watts or ASSUMED_LIMIT_WATTS),
        moves_within_seconds=MOVES_WITHIN_SECONDS,
        resolution_joules=RESOLUTION_JOULES,
        maximum_watts=None if limit_watts is None else LIMIT_FACTOR * limit_watts,
    )
    return _Zone(device, folder / "energy_uj")


def _parent(folder: Path) -> Path:
    """``intel-rapl:0`` of ``intel-rapl:0:1``: beside it in a flat tree, above it in a nested one."""
    name = folder.name.rpartition(":")[0]
    return folder.parent if folder.parent.name == name else folder.parent / name


def _choose(zones: Iterable[_Zone]) -> list[_Zone]:
    """Each device once, packages first. Unavailable if no package (or else psys) can be read."""
    candidates: dict[str, _Zone] = {}
    reasons: dict[str, OSError | ValueError] = {}
    for zone in zones:
        name = zone.device.name
        if name in candidates and name not in reasons:
            continue
        try:
            _integer(zone.energy_file)
        except (OSError, ValueError) as error:
            reasons.setdefault(name, error)
            candidates.setdefault(name, zone)
        else:
            reasons.pop(name, None)
            candidates[name] = zone
    packages = sorted(name for name in candidates if name.startswith("package-"))
    drams = sorted(name for name in candidates if name.startswith("dram-"))
    # psys contains packages and DRAM: it stands for all of them, or for nothing.
    main = packages or [name for name in candidates if name == "psys"]
    if not main:
        raise MeterUnavailable("the powercap tree has neither packages nor psys")
    if all(name in reasons for name in main):
        raise _unreadable(candidates[main[0]].energy_file, reasons[main[0]])
    # A package that cannot be read beside one that can stays a device: its failures are counted, not hidden.
    readable_drams = [name for name in drams if name not in reasons] if packages else []
    return [candidates[name] for name in main + readable_drams]


def _unreadable(path: Path, error: OSError | ValueError) -> MeterUnavailable:
    if isinstance(error, PermissionError):
        return MeterUnavailable(
            f"{path} may be read by root only",
            "sudo chmod a+r /sys/devices/virtual/powercap/intel-rapl*/*/energy_uj "
            "/sys/devices/virtual/powercap/intel-rapl*/*/*/energy_uj (until the next boot), "
            "or run `energysweep agent` as root",
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MeterUnavailable(f"{path} cannot be read: {reason}")


def _wraps_at_joules(folder: Path) -> float | None:
    microjoules = _positive(folder / "max_energy_range_uj")
    return None if microjoules is None else microjoules / _MICROJOULES_PER_JOULE


def _limit_watts(folder: Path) -> float | None:
    """The zone's long-term limit, as set now or as the maker allows, whichever is higher; None without one."""
    for name_file in sorted(folder.glob("constraint_*_name")):
        if _text(name_file) == "long_term":
            stem = name_file.name.removesuffix("_name")
            limits = (_positive(folder / f"{stem}_{which}_uw") for which in ("max_power", "power_limit"))
            known = [limit for limit in limits if limit is not None]
            return max(known) / _MICROWATTS_PER_WATT if known else None
    return None


def _positive(path: Path) -> int | None:
    try:
        value = _integer(path)
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def _integer(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
