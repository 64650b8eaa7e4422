"""What agents answer: into the state of the run, the picture of its power, and its ledger. The driver, the simulator
and the tests of balance all take answers here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from energysweep.accounting.counters import STALE_SECONDS, MeanPower
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, SampleRow
from energysweep.ledger.run_state import Grown, RunState
from energysweep.ledger.store import Ledger, LedgerData

# Power while a sweep runs, and samples for the picture of it, from what agents tell of their devices' readings -------

_SHORTEST_SECONDS = 0.5  # shorter intervals are too near to a counter's own steps to tell its power


class Drawn(NamedTuple):
    """Joules that a series has drawn more on one device of a window, since the answer before."""

    series: str
    device: str
    joules: float


class Readings:
    """Divides every difference of readings by the time between just these readings.

    An agent tells when, on its own clock, each device was read, and how much time its readings cover. The clocks of its
    host and of the driver run equally fast: what an answer took to come moves nothing.
    """

    def __init__(self) -> None:
        self._power: dict[tuple[str, str], MeanPower] = {}  # by window and device
        self._shown: dict[tuple[str, str], float] = {}  # the watts of those whose power is known now
        self._offsets: dict[str, float] = {}  # of a window's host's clock
        self._covered: dict[tuple[str, str], float] = {}
        self._totals: dict[str, tuple[float, float]] = {}  # by series with its device: when, and the running total
        self._begun: set[str] = set()  # windows of earlier parts

    def take_over(self, before: LedgerData) -> None:
        """Go on with the samples of the parts of the run before this one."""
        self._begun = {meter.window for meter in before.meters}
        for row in before.samples:
            self._totals[row.series] = max((row.elapsed_seconds, row.joules), self._totals.get(row.series, (0.0, 0.0)))

    def take(self, answer: Mapping[str, Any], drawn: Iterable[Drawn], received: float) -> list[SampleRow]:
        """An agent has answered.

        Args:
            answer: as ``Agent.totals`` gives it.
            drawn: what its rows of energy have grown by.
            received: when it came, in seconds since the sweep began.

        Returns:
            What the ledger keeps for the picture: each device's joules end at its reading, and begin where the time
            that they were drawn in did.
        """
        window = answer["window"]
        offset = self._offsets.setdefault(window, received - answer["clock"])
        grown: dict[str, dict[str, float]] = {}  # by device and series
        for each in drawn:
            of_device = grown.setdefault(each.device, {})
            of_device[each.series] = of_device.get(each.series, 0.0) + each.joules
        metered = {meter[3]: meter[6] for meter in answer["meters"]}
        samples: list[SampleRow] = []
        for device, covered, seconds_ago in answer["readings"]:
            key = (window, device)
            first = key not in self._covered
            seconds = covered - self._covered.get(key, 0.0)
            self._covered[key] = covered
            self._note_power(key, metered.get(device, 0.0), covered, seconds_ago, first=first)
            if first and window in self._begun:
                continue  # what was drawn while nobody worked on the run has no place on the sweep's own time
            end = answer["clock"] - seconds_ago + offset
            for series, joules in grown.get(device, {}).items():
                if joules > 0:
                    samples += self._sampled(f"{series} {window} {device}", end - seconds, end, joules)
        return samples

    def watts(self, windows: Iterable[str]) -> float | None:
        """The power of all devices whose agents answer now, by their newest readings; None if none is known."""
        answering = set(windows)
        known = [watts for (window, _), watts in self._shown.items() if window in answering]
        return sum(known) if known else None

    def _note_power(
        self, key: tuple[str, str], joules: float, covered: float, seconds_ago: float, *, first: bool
    ) -> None:
        power = self._power.setdefault(key, MeanPower(joules, covered) if first else MeanPower())
        power.take(joules, covered, _SHORTEST_SECONDS)
        if power.watts is None or seconds_ago > STALE_SECONDS:
            self._shown.pop(key, None)
        else:
            self._shown[key] = power.watts

    def _sampled(self, series: str, begin: float, end: float, joules: float) -> list[SampleRow]:
        known = series in self._totals
        at, total = self._totals.get(series, (begin, 0.0))
        # A part of the run may have ended a moment after the reading; a row before that would be lost in the past.
        begin, end = max(begin, at, 0.0), max(end, at, 0.0)
        rows = [] if known and begin - at < 1e-6 else [SampleRow(series, begin, total)]
        self._totals[series] = (end, total + joules)
        return [*rows, SampleRow(series, end, total + joules)]


# Into the state of the run, the picture and the ledger ---------------------------------------------------------------


_OfLease = TypeVar("_OfLease", EnergyRow, LeaseRow)


class Intake:
    """Takes what the agents of one run answer.

    Args:
        ledger: where it is kept.
        state: the run, as far as it has come.

    Attributes:
        notes: by node, which meters were taken and why not better ones.
        readings: when the devices were read: their power.
    """

    def __init__(self, ledger: Ledger, state: RunState) -> None:
        self.notes: dict[str, str] = {}
        self.readings = Readings()
        self._ledger = ledger
        self._state = state

    def take_over(self, before: LedgerData) -> None:
        """Go on where the parts of the run before this one have ended."""
        self.readings.take_over(before)

    def take(self, answer: Mapping[str, Any], received: float) -> list[Grown]:
        """An agent has answered.

        Args:
            answer: as ``Telling.totals`` gives it, also as it comes out of JSON.
            received: when it came, in seconds since the sweep began.

        Returns:
            The counters that have grown.

        Raises:
            LedgerError: it could not be kept. Then the agent may not be told that it was.
        """
        self.notes[answer["node"]] = answer["notes"]
        energy = [self._of_its_window(EnergyRow(*row)) for row in answer["energy"]]
        meters = [MeterRow(*row) for row in answer["meters"]]
        leases = [self._numbered(self._of_its_window(LeaseRow(*row))) for row in answer["leases"]]
        self._state.merge(leases)
        self._state.merge(meters)
        grown = self._state.merge(energy)
        drawn = [Drawn(self._state.series_of(row), row.device, joules) for row, joules in grown]
        samples = self.readings.take(answer, drawn, received)
        self._ledger.merge(energy, meters, leases, samples)
        return grown

    def _of_its_window(self, row: _OfLease) -> _OfLease:
        """The row, of another lease where one of its id is known in another window.

        A client opens its lease by the same id with an agent that has lost its state. As one row it could tell of one
        of its windows only, and what the other one has seen would be in no account.
        """
        known = self._state.leases.get(row.lease)
        if known is None or (known.host, known.window) == (row.host, row.window):
            return row
        return row._replace(lease=f"{row.lease}~{row.window}")

    def _numbered(self, lease: LeaseRow) -> LeaseRow:
        return lease._replace(attempt=self._state.attempt_at(lease.trial, lease.opened_at))
