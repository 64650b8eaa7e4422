"""How an agent follows one device's counter: what it saw since when, and who used the host meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from energysweep.agent.attribution import Usage
from energysweep.meters.base import Device, Reading, energy_between


@dataclass(slots=True)
class Counter:
    """One device's counter.

    An interval runs from one good reading to the next. So a failed reading loses nothing: the next good one covers both
    intervals, and ``usage`` has grown meanwhile.

    Attributes:
        device: whose counter it is.
        total_joules: what the counter moved by since the agent began, wraps put right.
        covered_seconds: time between readings that could be subtracted.
        failures: readings that failed.
        resets: readings that could not be subtracted from the one before.
        usage: who used and held what since the last good reading.
    """

    device: Device
    total_joules: float = 0.0
    covered_seconds: float = 0.0
    failures: int = 0
    resets: int = 0
    usage: Usage = field(default_factory=Usage)
    _last_joules: float | None = None

    def take(self, reading: Reading) -> tuple[float, Usage] | None:
        """Take a reading. Returns the joules and the usage of the interval that it ends, None if it ends none."""
        if reading.energy_joules is None:
            self.failures += 1
            return None
        earlier, self._last_joules = self._last_joules, reading.energy_joules
        usage, self.usage = self.usage, Usage()
        if earlier is None:
            return None
        step = energy_between(self.device, earlier, reading.energy_joules, usage.seconds)
        if step.joules is None:
            self.resets += 1
            return None
        self.total_joules += step.joules
        self.covered_seconds += usage.seconds
        return step.joules, usage
