"""Two seconds in which nobody works, to see what the devices draw then."""

from __future__ import annotations

from collections.abc import Collection

from energysweep.agent.books import Books
from energysweep.agent.observer import Observer
from energysweep.agent.power import MeanPower
from energysweep.meters import Component

QUIET_SECONDS = 2.0
_QUIET_LOAD = 0.1  # of all CPUs


class QuietSeconds:
    """What devices whose idle floor is not known better draw while the host is quiet.

    Args:
        observer, books: of the host.
        without: components whose floor the user gave.
    """

    def __init__(self, observer: Observer, books: Books, without: Collection[Component]) -> None:
        self._observer = observer
        self._unknown = [
            counter
            for counter in observer.counters.values()
            if counter.device.component not in without and not books.has_floor(counter.device)
        ]

    @property
    def are_needed(self) -> bool:
        """Whether there is such a device, and no lease yet."""
        return bool(self._unknown) and not self._observer.leases

    def begin(self) -> None:
        """They begin with the last reading."""
        self._powers = {each.device.name: MeanPower(each.total_joules, each.covered_seconds) for each in self._unknown}
        self._busy, self._since = self._observer.busy_seconds, self._observer.advanced

    def watts(self) -> dict[str, float] | None:
        """Mean power of each device until the last reading; None if it was not quiet."""
        seconds = self._observer.advanced - self._since
        load = (self._observer.busy_seconds - self._busy) / self._observer.logical_cpus
        if self._observer.leases or load > _QUIET_LOAD * seconds:
            return None
        for each in self._unknown:
            self._powers[each.device.name].take(each.total_joules, each.covered_seconds)
        # A counter that stands still says nothing of the floor.
        return {name: power.watts for name, power in self._powers.items() if power.watts}
