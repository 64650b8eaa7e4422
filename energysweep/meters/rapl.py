"""RAPL: the energy counters of Intel and AMD processors, through Linux's powercap tree.

Zones nest. A package's counter includes its cores and its uncore, which are listed below it, but not its DRAM, which is
listed there too; ``psys`` contains the whole platform. So packages and DRAM zones are counted, cores and uncore never,
and psys only on a host that shows no packages. AMD's zones have Intel's names.

Two zones are one counter, which is counted once,

* if another interface (``intel-rapl-mmio``, ``intel-rapl-tpmi``) lists a zone of the same name;
* if they are dies of one socket, zones of one name in one interface, or several psys, and read the same: an AMD Zen 1
  or 2 shows the counter of its socket at each of its dies. "The same" is the same range, and at each of several moments
  a value between two readings of the other. Counters of their own that are alike by chance part within these moments;
  if they part later, that reading fails and says so, until a new agent counts each of them.

All others are counted, under names of their own; what is not counted is said.

Source: https://docs.kernel.org/power/powercap/powercap.html; mirrored dies: mlco2/codecarbon#1274
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from energysweep.core.errors import MeterUnavailable
from energysweep.meters.base import Component, Device, Meter, Reading

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

# Beyond these it is none: firmware writes 0, or all bits, for "no limit". 32 bits of the finest known step are 65 kJ.
_LIMITS_WATTS = (1.0, 4000.0)
_SHORTEST_RANGE_JOULES = 100.0

# Whether two zones are one counter: how often they are compared, how far apart, and by what a counter that moves every
# millisecond may differ between two looks at it.
_COMPARISONS = 3
_COMPARISON_SECONDS = 0.02
_STEP_MICROJOULES = 500_000

_ZONE = re.compile(r"(?P<interface>intel-rapl(?:-tpmi|-mmio)?):(?P<numbers>\d+(?::\d+)*)")
_DIE = re.compile(r"(?P<socket>(?:package|dram)-\d+)-die-\d+")
_PSYS = re.compile(r"psys(?:-\d+)?")  # of the second socket and later: psys-1
_INSIDE_A_PACKAGE = ("core", "uncore")
_MICROJOULES_PER_JOULE = 1_000_000
_MICROWATTS_PER_WATT = 1_000_000

_Remarks = dict[Component, list[str]]


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone that counts something.

    Attributes:
        place: its interface's preference, and its numbers.
        family: what it has in common with the zones that may be the same counter.
        problem: why it could not be read at the opening.
        mirrors: other zones that read the same counter.
    """

    place: tuple[int, tuple[int, ...]]
    family: str
    device: Device
    energy_file: Path
    problem: OSError | ValueError | None = None
    mirrors: tuple[_Zone, ...] = ()

    @property
    def is_platform(self) -> bool:
        """Whether it is a psys."""
        return self.family == "psys"

    def microjoules(self) -> int:
        """What the counter says.

        Raises:
            OSError, ValueError: it cannot be read, or is no energy.
        """
        return _energy(self.energy_file)


class RaplMeter(Meter):
    """The packages and DRAM of one host.

    Args:
        powercap_roots: folders that may hold the tree, flat (``/sys/class/powercap``) or nested. A zone is read in the
            first that really has it: in a container the links of ``/sys/class/powercap`` may lead nowhere.
        components: which of ``cpu`` and ``dram`` to read.
        pause: waits for so many seconds, between two looks at zones that read alike.

    Raises:
        MeterUnavailable: there is no tree, it has no zones of these components, or none of them can be read.
    """

    kind = KIND

    def __init__(
        self,
        powercap_roots: Sequence[Path],
        components: Sequence[Component] = ("cpu", "dram"),
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._remarks: _Remarks = {"cpu": [], "dram": []}
        found = _zones(_discover(powercap_roots), self._remarks)
        counted = _counted(found, self._remarks, pause)
        self._zones = [zone for zone in counted if zone.device.component in components]
        if not self._zones:
            raise MeterUnavailable(f"RAPL has no zone for {' and '.join(components)} here")
        self.devices = tuple(zone.device for zone in self._zones)
        if any(zone.is_platform for zone in self._zones):
            self.lacking, self.contained = {"dram": "psys contains it"}, frozenset({"dram"})
        elif not any(device.component == "dram" for device in self.devices):
            none = "RAPL has no DRAM zone here; a processor that counts DRAM in its package has it twice"
            self.lacking = {"dram": "; ".join(self._remarks["dram"]) or none}

    def remarks(self, component: Component) -> list[str]:
        """What of the tree is not counted, and what is counted once although it stands there several times."""
        return self._remarks.get(component, [])

    def read(self) -> list[Reading]:
        """Reads every counter; one that fails gives a reading of None with the reason."""
        return [_read(zone) for zone in self._zones]


def _read(zone: _Zone) -> Reading:
    try:
        energy = zone.microjoules()
    except (OSError, ValueError) as error:
        return Reading(zone.device, None, f"{zone.energy_file}: {error}")
    parted = next((mirror for mirror in zone.mirrors if not _is_alike(zone, energy, mirror)), None)
    if parted is not None:
        problem = (
            f"{parted.device.name} read what {zone.device.name} did and no longer does; the next agent counts both"
        )
        return Reading(zone.device, None, problem)
    return Reading(zone.device, energy / _MICROJOULES_PER_JOULE)


# The tree -----------------------------------------------------------------------------------------------------------


def _discover(roots: Sequence[Path]) -> dict[str, Path]:
    """The folder of each zone by the zone's name, in the first root where it can be read, or at least is.

    Raises:
        MeterUnavailable: no root has a zone that leads anywhere.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for folder in _zone_folders(root):
            if folder.name not in found or _presence(found[folder.name]) < _presence(folder):
                found[folder.name] = folder
    if any(_presence(folder) for folder in found.values()):
        return found
    if found:
        reason = f"the zones in {next(iter(found.values())).parent} are links that lead nowhere"
    else:
        exists = any(root.is_dir() for root in roots)
        reason = f"{roots[0]} {'has no RAPL zones' if exists else 'does not exist'}"
    raise MeterUnavailable(
        reason,
        "virtual machines have none; on a physical one: sudo modprobe intel_rapl_msr (AMD: Linux 5.8 or later); "
        f"in a container: mount the host's /sys/devices/virtual/powercap at {roots[-1]}, read-only",
    )


def _zone_folders(folder: Path) -> Iterator[Path]:
    """Every zone below a folder. Links such as ``subsystem`` would lead round in circles: they have other names."""
    try:
        children = sorted(folder.iterdir())
    except OSError:  # no folder, or a link that leads nowhere
        return
    for child in children:
        if _ZONE.fullmatch(child.name):
            yield child
        if child.name.startswith("intel-rapl"):
            yield from _zone_folders(child)


def _presence(folder: Path) -> int:
    """How much of a zone there is in a folder: 2 a counter that can be read, 1 something else, 0 nothing."""
    try:
        _energy(folder / "energy_uj")
    except (OSError, ValueError):
        return 1 if _text(folder / "name") is not None else 0
    return 2


def _zones(folders: Mapping[str, Path], remarks: _Remarks) -> list[_Zone]:
    found = []
    for name, folder in folders.items():
        if not _presence(folder):
            remarks["cpu"].append(f"{name} leads nowhere and is not counted")
        elif (zone := _zone(name, folder, folders)) is not None:
            found.append(zone)
        elif (said := _text(folder / "name")) not in _INSIDE_A_PACKAGE:
            what = f"is called {said!r}" if said else "has no name"
            remarks["cpu"].append(f"{name} {what} and is not counted")
    return found


def _zone(zone: str, folder: Path, folders: Mapping[str, Path]) -> _Zone | None:
    """The zone in a folder, or None if it is inside another one, or nobody knows what it counts."""
    name = _text(folder / "name") or ""
    component: Component = "cpu"
    if name == "dram":
        package = folders.get(zone.rpartition(":")[0])
        socket = package and (_text(package / "name") or "").removeprefix("package-")
        component, name = "dram", f"dram-{socket}" if socket else f"dram-{_numbers(zone)}"
    elif not (name.startswith("package-") or _PSYS.fullmatch(name)):
        return None
    die = _DIE.fullmatch(name)
    family = "psys" if _PSYS.fullmatch(name) else die["socket"] if die else name
    energy_file, problem, energy = folder / "energy_uj", None, 0
    try:
        energy = _energy(energy_file)
    except (OSError, ValueError) as error:
        problem = error
    device = _device(name, component, folder, energy / _MICROJOULES_PER_JOULE)
    match = _ZONE.fullmatch(zone)
    interface = INTERFACES.index(match["interface"]) if match else len(INTERFACES)
    place = interface, tuple(int(number) for number in _numbers(zone).split("-"))
    return _Zone(place, family, device, energy_file, problem)


def _device(name: str, component: Component, folder: Path, now_joules: float) -> Device:
    limit_watts = _limit_watts(folder)
    assumed_watts = limit_watts or ASSUMED_LIMIT_WATTS
    wraps_at_joules = _wraps_at_joules(folder)
    if wraps_at_joules is not None and wraps_at_joules < max(now_joules, _SHORTEST_RANGE_JOULES):
        wraps_at_joules = None  # a range that the counter has left is none
    return Device(
        name=name,
        component=component,
        source=KIND,
        wraps_at_joules=wraps_at_joules,
        wraps_after_seconds=None if wraps_at_joules is None else wraps_at_joules / assumed_watts,
        moves_within_seconds=MOVES_WITHIN_SECONDS,
        resolution_joules=RESOLUTION_JOULES,
        # A platform has no size that could be assumed.
        maximum_watts=None if limit_watts is None and _PSYS.fullmatch(name) else LIMIT_FACTOR * assumed_watts,
    )


def _numbers(zone: str) -> str:
    """``0-1`` of ``intel-rapl:0:1``."""
    return zone.partition(":")[2].replace(":", "-")


# Which zones are counted -------------------------------------------------------------------------------------------


def _counted(zones: Sequence[_Zone], remarks: _Remarks, pause: Callable[[float], object]) -> list[_Zone]:
    """Each counter once, packages first; or else psys, which contains packages and DRAM: it stands for all of them.

    Raises:
        MeterUnavailable: neither packages nor psys, or none that can be read.
    """
    distinct = _of_one_interface(zones)
    packages = [zone for zone in distinct if zone.device.component == "cpu" and not zone.is_platform]
    main = packages or [zone for zone in distinct if zone.is_platform]
    if not main:
        raise MeterUnavailable("; ".join(["the powercap tree has neither packages nor psys", *remarks["cpu"]]))
    if all(zone.problem for zone in main):
        raise _unreadable(main[0].energy_file, main[0].problem)
    drams = [zone for zone in distinct if zone.device.component == "dram"] if packages else []
    if drams and all(zone.problem for zone in drams):
        reason = _unreadable(drams[0].energy_file, drams[0].problem).reason
        remarks["dram"].append(f"RAPL's DRAM is not counted: {reason}")
        drams = []
    # A zone that cannot be read beside one that can stays a device: its failures are counted, not hidden.
    return [counted for group in (main, drams) for counted in _without_mirrors(group, remarks, pause)]


def _of_one_interface(zones: Sequence[_Zone]) -> list[_Zone]:
    """Of each name the zones of one interface, the first that has one that can be read; each with a name of its own."""
    chosen: list[_Zone] = []

    def name(zone: _Zone) -> str:
        return zone.device.name

    for _, same_name in groupby(sorted(zones, key=lambda zone: (name(zone), zone.place)), key=name):
        together = list(same_name)
        best = next((zone for zone in together if zone.problem is None), together[0]).place[0]
        first, *others = (zone for zone in together if zone.place[0] == best)
        chosen.append(first)
        for zone in others:
            own_name = f"{name(zone)}-zone-{'-'.join(map(str, zone.place[1]))}"
            chosen.append(replace(zone, device=replace(zone.device, name=own_name)))
    return sorted(chosen, key=lambda zone: zone.place)


def _without_mirrors(zones: Sequence[_Zone], remarks: _Remarks, pause: Callable[[float], object]) -> Iterator[_Zone]:
    """Each of these zones, or one in place of those that are the same counter."""
    families: dict[str, list[_Zone]] = {}
    for zone in zones:
        families.setdefault(zone.family, []).append(zone)
    for family, members in families.items():
        readable = [zone for zone in members if zone.problem is None]
        if len(readable) < 2 or not _are_one_counter(readable, pause):
            yield from members
            continue
        first, *mirrors = readable
        names = ", ".join(zone.device.name for zone in members)
        remarks[first.device.component].append(f"{names} read the same counter, which is counted once, as {family}")
        yield replace(first, device=replace(first.device, name=family), mirrors=tuple(mirrors))


def _are_one_counter(zones: Sequence[_Zone], pause: Callable[[float], object]) -> bool:
    first, *others = zones
    if any(zone.device.wraps_at_joules != first.device.wraps_at_joules for zone in others):
        return False
    for comparison in range(_COMPARISONS):
        if comparison:
            pause(_COMPARISON_SECONDS)
        try:
            energy = first.microjoules()
        except (OSError, ValueError):
            return False
        if not all(_is_alike(first, energy, zone) for zone in others):
            return False
    return True


def _is_alike(zone: _Zone, energy: int, other: _Zone) -> bool:
    """Whether another zone reads a value between this one's, read just now, and what this one reads next."""
    try:
        others_energy, later = other.microjoules(), zone.microjoules()
    except (OSError, ValueError):
        return True  # it says nothing now
    span = round((zone.device.wraps_at_joules or 0) * _MICROJOULES_PER_JOULE)

    def since(begin: int, end: int) -> int:
        return (end - begin) % span if span else end - begin

    begin = energy - _STEP_MICROJOULES
    return 0 <= since(begin, others_energy) <= since(begin, later) + _STEP_MICROJOULES


def _unreadable(path: Path, error: Exception | None) -> MeterUnavailable:
    if isinstance(error, PermissionError):
        return MeterUnavailable(
            f"{path} may be read by root only",
            "sudo chmod a+r /sys/devices/virtual/powercap/intel-rapl*/*/energy_uj "
            "/sys/devices/virtual/powercap/intel-rapl*/*/*/energy_uj (until the next boot), "
            "or run `energysweep agent` as root",
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MeterUnavailable(f"{path} cannot be read: {reason}")


# Files --------------------------------------------------------------------------------------------------------------


def _wraps_at_joules(folder: Path) -> float | None:
    microjoules = _positive(folder / "max_energy_range_uj")
    return None if microjoules is None else microjoules / _MICROJOULES_PER_JOULE


def _limit_watts(folder: Path) -> float | None:
    """The zone's long-term limit, as set now or as the maker allows, whichever is higher; None without one."""
    for name_file in sorted(folder.glob("constraint_*_name")):
        if _text(name_file) == "long_term":
            stem = name_file.name.removesuffix("_name")
            microwatts = (_positive(folder / f"{stem}_{which}_uw") for which in ("max_power", "power_limit"))
            limits = [limit / _MICROWATTS_PER_WATT for limit in microwatts if limit is not None]
            lowest, highest = _LIMITS_WATTS
            return max((limit for limit in limits if lowest <= limit <= highest), default=None)
    return None


def _positive(path: Path) -> int | None:
    try:
        value = _integer(path)
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def _energy(path: Path) -> int:
    value = _integer(path)
    if value < 0:
        raise ValueError(f"{value} is no energy")
    return value


def _integer(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
