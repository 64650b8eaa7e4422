"""Mean power: joules over the time between the readings that gave them, never between the moments at which one looks.

A counter that stands still, or cannot be read, for a while gives the joules of that time at once: over one second they
would be many times what the device can draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energysweep.agent.counters import Counter

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
