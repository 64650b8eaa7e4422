"""Idle floors: what a device draws when nobody works.

Best first: what the user gave; what the source's own model says (an estimate); the lowest steady second ever seen
on this host, kept in a file; two quiet seconds measured before the first lease. Otherwise it is unknown.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from energysweep.accounting.accounts import UNKNOWN_FLOOR, Floor
from energysweep.meters.base import Component, Device
from energysweep.meters.kinds import is_measured

_STEADY = 0.1  # two seconds are steady if they differ by less than this part


class FloorMemory:
    """The lowest steady second of each device, kept in a file.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lowest: dict[str, float] = {}
        self._previous: dict[str, float] = {}
        if path is not None:
            # A damaged or unreadable file only means that the floor has to be seen again.
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                found = {key: float(watts) for key, watts in json.loads(path.read_text()).items()}
                self._lowest = {key: watts for key, watts in found.items() if 0 < watts < math.inf}

    def observe(self, device: Device, watts: float) -> None:
        """Take note of one second of a device."""
        if not is_measured(device.source):  # what is invented or estimated says nothing about this host
            return
        key = f"{device.source}:{device.name}"
        previous = self._previous.get(key)
        self._previous[key] = watts
        # A counter that stands still says nothing of the floor.
        if previous is None or watts <= 0 or abs(watts - previous) > _STEADY * watts:
            return
        steady = max(watts, previous)
        if steady < self._lowest.get(key, float("inf")):
            self._lowest[key] = steady
            self._save()

    def lowest_watts(self, device: Device) -> float | None:
        """The lowest steady second, None if there was none yet."""
        return self._lowest.get(f"{device.source}:{device.name}")

    def _save(self) -> None:
        if self._path is None:
            return
        # A floor that cannot be kept (read-only home, full disk) is seen again next time.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self._lowest))
            temporary.replace(self._path)


def freeze_floors(
    devices: Sequence[Device],
    given_watts: Mapping[Component, float],
    memory: FloorMemory,
    quiet_watts: Mapping[str, float],
) -> dict[str, Floor]:
    """The floor of every device for a new window, by device name.

    Args:
        devices: all devices of the host.
        given_watts: what the user gave, for all devices of a component together.
        memory: the lowest steady seconds.
        quiet_watts: mean power of each device over two quiet seconds; empty if it was not quiet.
    """
    floors = {}
    for device in devices:
        if device.component in given_watts:
            sharing = sum(1 for other in devices if other.component == device.component)
            floors[device.name] = Floor(given_watts[device.component] / sharing, "given")
        elif device.idle_watts is not None:
            floors[device.name] = Floor(device.idle_watts, "model")
        elif (lowest := memory.lowest_watts(device)) is not None:
            floors[device.name] = Floor(lowest, "lowest second")
        elif device.name in quiet_watts:
            floors[device.name] = Floor(quiet_watts[device.name], "quiet seconds")
        else:
            floors[device.name] = UNKNOWN_FLOOR
    return floors
