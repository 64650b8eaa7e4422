"""A powercap tree of files, as Linux lays it out."""

from __future__ import annotations

from pathlib import Path

SERVER_RANGE_UJ = 262_143_328_850
LIMIT_UW = 200_000_000


class FakePowercap:
    """Zones below ``sys_root``; their files can be changed while a meter reads them.

    Args:
        sys_root: gets ``devices/virtual/powercap`` and, beside it, the flat ``class/powercap`` of links.
    """

    def __init__(self, sys_root: Path) -> None:
        self.devices = sys_root / "devices/virtual/powercap"
        self.flat = sys_root / "class/powercap"
        self.flat.mkdir(parents=True)

    def zone(
        self, zone: str, name: str, energy_uj: int, range_uj: int = SERVER_RANGE_UJ, limit_uw: int | None = None
    ) -> None:
        """Adds ``intel-rapl:0`` or ``intel-rapl:0:1``; the parent of a subzone comes first."""
        folder = self._folder(zone)
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "subsystem").symlink_to(self.flat)
        if limit_uw is not None:
            for constraint, constraint_name in enumerate(("long_term", "short_term")):
                (folder / f"constraint_{constraint}_name").write_text(f"{constraint_name}\n")
                (folder / f"constraint_{constraint}_power_limit_uw").write_text(f"{limit_uw * (constraint + 1)}\n")
        (self.flat / zone).symlink_to(folder)
        self.set(zone, energy_uj)

    def set(self, zone: str, energy_uj: int) -> None:
        """Sets the counter; makes it readable again if it was not."""
        file = self._energy(zone)
        if file.is_dir():
            file.rmdir()
        file.write_text(f"{energy_uj}\n")

    def make_unreadable(self, zone: str) -> None:
        """A folder in the file's place: root can read any file, so permissions would not stop the tests."""
        self._energy(zone).unlink()
        self._energy(zone).mkdir()

    def _energy(self, zone: str) -> Path:
        return self._folder(zone) / "energy_uj"

    def _folder(self, zone: str) -> Path:
        interface, *numbers = zone.split(":")
        folder = self.devices / interface
        for depth in range(len(numbers)):
            folder /= ":".join([interface, *numbers[: depth + 1]])
        return folder


def two_packages(sys_root: Path) -> FakePowercap:
    """Two packages at 10 and 20 J, DRAM inside each at 1 and 2 J, a core, psys, and package 0 again by MMIO."""
    tree = FakePowercap(sys_root)
    tree.zone("intel-rapl:0", "package-0", 10_000_000, limit_uw=LIMIT_UW)
    tree.zone("intel-rapl:0:0", "core", 6_000_000)
    tree.zone("intel-rapl:0:1", "dram", 1_000_000)
    tree.zone("intel-rapl:1", "package-1", 20_000_000, limit_uw=LIMIT_UW)
    tree.zone("intel-rapl:1:0", "uncore", 3_000_000)
    tree.zone("intel-rapl:1:1", "dram", 2_000_000)
    tree.zone("intel-rapl:2", "psys", 90_000_000)
    tree.zone("intel-rapl-mmio:0", "package-0", 77_000_000)
    return tree
