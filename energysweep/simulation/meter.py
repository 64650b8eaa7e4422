"""Counters of a simulated host: what its devices really drew, and readings that lie about it on purpose."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

from energysweep.meters.base import Component, Device, Reading

Fault = Literal["reset", "jump", "spike", "frozen readings", "frozen counter"]
FAULTS: tuple[Fault, ...] = ("reset", "jump", "spike", "frozen readings", "frozen counter")

_IMPOSSIBLE_JOULES = 1e9
_LONGEST_GAP_SECONDS = 50.0  # without a reading
_MISSED_PART = 2.0  # readings are missed so much more often than counters break


class Truth(NamedTuple):
    """What really happened to one device until some moment.

    Attributes:
        joules: what it drew since the simulation began.
        doubtful_joules: what of it its counter did not see although nobody could tell.
    """

    joules: float
    doubtful_joules: float


class FaultyMeter:
    """Cumulative counters of a power that the simulation sets.

    Args:
        devices: its devices; a wrapping one begins somewhere in its range.
        chance: of each fault, by device and reading; 0 for an honest meter.
        random: where the faults come from.

    Attributes:
        faults: how often what happened.
        is_honest: no fault now, whatever was begun before.
    """

    kind = "replay"

    def __init__(self, devices: Sequence[Device], chance: float, random: Random) -> None:
        self.devices = tuple(devices)
        self._truths = {device.name: [Truth(0.0, 0.0)] for device in devices}
        self._times = [-math.inf]
        self.faults: dict[str, int] = {}
        self.is_honest = False
        self._chance = chance
        self._random = random
        self._now = 0.0
        self._counter = {device.name: random.random() * (device.wraps_at_joules or 100_000.0) for device in devices}
        self._shown = dict(self._counter)
        self._shows_until = dict.fromkeys(self._counter, 0.0)
        self._counts_from = dict.fromkeys(self._counter, 0.0)
        self._spikes: set[str] = set()
        self._unseen: set[str] = set()  # what broke since its last reading

    def advance(self, now: float, joules: dict[str, float]) -> None:
        """The devices have drawn so much until now."""
        self._now = now
        self._times.append(now)
        for device in self.devices:
            name, drawn = device.name, joules[device.name]
            before = self._truths[name][-1]
            stands_still = now < self._counts_from[name]
            doubtful_joules = before.doubtful_joules + (drawn if stands_still else 0.0)
            self._truths[name].append(Truth(before.joules + drawn, doubtful_joules))
            if stands_still:
                continue
            self._counter[name] += drawn
            if device.wraps_at_joules is not None and self._counter[name] >= device.wraps_at_joules:
                self._counter[name] -= device.wraps_at_joules
                self._count("wrap")

    def truth(self, device: str, at: float) -> Truth:
        """What had happened to a device at a time to which the simulation moved it (within a microsecond)."""
        return self._truths[device][bisect_right(self._times, at + 1e-6) - 1]

    def remarks(self, component: Component) -> list[str]:
        """Nothing is to be said."""
        return []

    def read(self) -> list[Reading]:
        """One reading per device, some of them wrong."""
        return [self._read(device) for device in self.devices]

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, device: Device) -> Reading:
        name = device.name
        if self.is_honest:
            self._shows_until[name], self._shown[name] = self._now, self._counter[name]
            return Reading(device, self._shown[name])
        if self._random.random() < self._chance:
            self._break(device, self._random.choice(FAULTS))
        if self._random.random() < self._chance * _MISSED_PART:
            self._count("missed")
            return Reading(device, None, "missed")
        self._unseen.discard(name)
        if self._now >= self._shows_until[name]:
            self._shown[name] = self._counter[name]
        if name in self._spikes:
            self._spikes.remove(name)
            return Reading(device, self._shown[name] + _IMPOSSIBLE_JOULES)
        return Reading(device, self._shown[name])

    def _break(self, device: Device, fault: Fault) -> None:
        name = device.name
        if not self._can_be_told(device, fault):
            return
        self._count(fault)
        self._unseen.add(name)
        seconds = self._random.uniform(5.0, 40.0)
        match fault:
            case "reset":
                self._counter[name] = 0.0
            case "jump":
                self._counter[name] += _IMPOSSIBLE_JOULES
            case "spike":
                self._spikes.add(name)
            case "frozen readings":
                self._shows_until[name] = self._now + seconds
            case "frozen counter":
                self._counts_from[name] = self._now + seconds

    def _can_be_told(self, device: Device, fault: Fault) -> bool:
        """Whether anybody who reads the counter could notice: no agent can be right about the others."""
        name, wraps_at = device.name, device.wraps_at_joules
        if self._now < max(self._shows_until[name], self._counts_from[name]) or name in self._unseen:
            return False  # one at a time: after a jump and a reset a counter may be where it might have come to
        match fault:
            case "reset":
                # A low counter would be above its last reading again; one in the upper half of its range has wrapped.
                lowest = (device.maximum_watts or 0.0) * _LONGEST_GAP_SECONDS
                return lowest < self._counter[name] < (wraps_at / 2 if wraps_at else math.inf)
            case "jump" | "spike":
                return wraps_at is None
            case "frozen readings" | "frozen counter":
                return device.moves_within_seconds is not None

    def _count(self, what: str) -> None:
        self.faults[what] = self.faults.get(what, 0) + 1
