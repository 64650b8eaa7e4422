"""How an agent follows one device's counter: what it saw since when, and who used the host meanwhile.

Counters lie. What is done about it:

* A counter that wraps goes on, if the energy that this implies is possible; otherwise it was reset.
* After a reset, a jump beyond what the device can draw, or an interval in which it may have wrapped unseen, the
  interval's energy is unknown: booked nowhere, and no covered time.
* A reading that fails, or whose file is gone, ends no interval: the next good one covers it.
* Nor does a reading equal to the last one, of a counter that always moves when it works. If it moves again within
  ``moves_within_seconds``, it was only asked too soon. Later it was frozen: if it then shows at least half of the
  lowest power ever seen, only its readings stood still, and the gap is one interval; otherwise the counter itself
  stood still, and the gap's energy is unknown.
* An interval that has been open for an hour is given up: who used what meanwhile cannot be kept for ever. So is that of
  a device which an agent that was started again does not find: should it come back, it begins anew.

The clock stands still while a host is suspended, and most counters do not. What they move by meanwhile is energy of
the device all the same: it is booked with the second around it, if the device could have drawn it in that second, and
is a jump otherwise. A counter that begins again at 0 is a reset. Nothing here depends on the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from energysweep.accounting.attribution import Usage
from energysweep.meters.base import Device, Event, Reading, Step, energy_between

LONGEST_INTERVAL_SECONDS = 3600.0

# Shorter intervals are too near to a counter's own steps to tell its power.
_SHORTEST_POWER_SECONDS = 0.5
_PLAUSIBLE_PART = 0.5


@dataclass(slots=True)
class Counter:
    """One device's counter. An interval runs from one good reading to the next one that tells something.

    Attributes:
        device: whose counter it is.
        total_joules: what the counter moved by since the agent began, wraps put right.
        covered_seconds: time between readings that could be subtracted.
        failures: readings that failed.
        resets: intervals whose energy is unknown.
        events: how often what happened to the counter (``wrap``, ``reset``, ``jump``, ``overrun``, ``frozen``).
        lowest_watts: the lowest mean power of an interval so far.
        is_frozen: whether it stands still for longer than a counter that works can.
        usage: who used and held what since the last reading that told something.
        silent_seconds: how long ago the last interval ended whose energy is known.
        is_absent: an agent that was started again does not find the device.
    """

    device: Device
    total_joules: float = 0.0
    covered_seconds: float = 0.0
    failures: int = 0
    resets: int = 0
    events: dict[Event, int] = field(default_factory=dict)
    lowest_watts: float | None = None
    is_frozen: bool = False
    usage: Usage = field(default_factory=Usage)
    silent_seconds: float = 0.0
    is_absent: bool = False
    _last_joules: float | None = None

    def wait(self, seconds: float) -> None:
        """Time passes until the next reading."""
        self.usage.seconds += seconds
        self.silent_seconds += seconds

    def lose(self) -> None:
        """Nobody reads it any more: what its open interval would have told is unknown."""
        if self._last_joules is not None:
            self.resets += 1
        self._last_joules, self.is_frozen, self.usage = None, False, Usage()

    def take(self, reading: Reading) -> tuple[float, Usage] | None:
        """Take a reading. Returns the joules and the usage of the interval that it ends, None if it ends none."""
        joules = reading.energy_joules
        if joules is None:
            self.failures += 1
            self._give_up_in_time()
            return None
        if joules == self._last_joules and self.device.moves_within_seconds is not None:
            self._stand_still(self.device.moves_within_seconds)
            return None
        earlier, self._last_joules = self._last_joules, joules
        usage, self.usage = self.usage, Usage()
        was_frozen, self.is_frozen = self.is_frozen, False
        if earlier is None:
            return None
        step = self._step(earlier, joules, usage.seconds, was_frozen=was_frozen)
        if step.joules is None:
            self.resets += 1
            return None
        self.total_joules += step.joules
        self.covered_seconds += usage.seconds
        self.silent_seconds = 0.0
        self._note_power(step.joules, usage.seconds)
        return step.joules, usage

    def read_at(self, advanced: float) -> float:
        """The clock when its last known interval ended, by the clock of the last scan."""
        return advanced - self.silent_seconds

    def _step(self, earlier: float, later: float, seconds: float, *, was_frozen: bool) -> Step:
        step = energy_between(self.device, earlier, later, seconds)
        if step.event is not None:
            self._count(step.event)
        if step.joules is not None and was_frozen and self.lowest_watts is not None:
            # It was counted as frozen when it began to be.
            return step if step.joules >= _PLAUSIBLE_PART * self.lowest_watts * seconds else Step(None, "frozen")
        return step

    def _stand_still(self, moves_within_seconds: float) -> None:
        if self.usage.seconds > moves_within_seconds and not self.is_frozen:
            self.is_frozen = True
            self._count("frozen")
        self._give_up_in_time()

    def _give_up_in_time(self) -> None:
        if self._last_joules is None or self.usage.seconds > LONGEST_INTERVAL_SECONDS:
            self.lose()

    def _note_power(self, joules: float, seconds: float) -> None:
        if seconds >= _SHORTEST_POWER_SECONDS:
            watts = joules / seconds
            self.lowest_watts = watts if self.lowest_watts is None else min(self.lowest_watts, watts)

    def _count(self, event: Event) -> None:
        self.events[event] = self.events.get(event, 0) + 1


# Mean power: joules over the time between the readings that gave them ------------------------------------------------
#
# A counter that stands still, or cannot be read, for a while gives the joules of that time at once: over one second
# they would be many times what the device can draw.

STALE_SECONDS = 10.0  # of a counter that has told nothing for so long nobody knows the power


@dataclass(slots=True)
class MeanPower:
    """The mean power over a counter's newest intervals.

    Attributes:
        joules, seconds: the sums up to which it has been worked out.
        watts: None before the first interval.
    """

    joules: float = 0.0
    seconds: float = 0.0
    watts: float | None = None

    def take(self, joules: float, seconds: float, at_least_seconds: float = 0.0) -> float:
        """Take the sums as they are now.

        Args:
            joules: of what is asked about.
            seconds: that the counter's intervals cover.
            at_least_seconds: intervals that are shorter together are left for the next call.

        Returns:
            The seconds over which the power is the mean; 0 if there is no newer one.
        """
        covered = seconds - self.seconds
        if covered <= 0 or covered < at_least_seconds:
            return 0.0
        self.watts = max(0.0, joules - self.joules) / covered
        self.joules, self.seconds = joules, seconds
        return covered


def begun(joules: Mapping[str, float], counters: Mapping[str, Counter]) -> dict[str, MeanPower]:
    """By device: power that is worked out from here on."""
    return {name: MeanPower(joules.get(name, 0.0), counter.covered_seconds) for name, counter in counters.items()}


def is_stale(counter: Counter) -> bool:
    """Whether its last known interval is too old to say what the device draws now."""
    return counter.silent_seconds > STALE_SECONDS
