"""What agents answer: into the state of the run, the picture of its power, and its ledger. The driver, the simulator
and the tests of balance all take answers here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from energysweep.core.records import EnergyRow, LeaseRow, MeterRow
from energysweep.ledger.readings import Drawn, Readings
from energysweep.ledger.run_state import Grown, RunState
from energysweep.ledger.store import Ledger, LedgerData


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
        energy = [EnergyRow(*row) for row in answer["energy"]]
        meters = [MeterRow(*row) for row in answer["meters"]]
        leases = [self._numbered(LeaseRow(*row)) for row in answer["leases"]]
        self._state.merge(leases)
        self._state.merge(meters)
        grown = self._state.merge(energy)
        drawn = [Drawn(self._state.series_of(row), row.device, joules) for row, joules in grown]
        samples = self.readings.take(answer, drawn, received)
        self._ledger.merge(energy, meters, leases, samples)
        return grown

    def _numbered(self, lease: LeaseRow) -> LeaseRow:
        return lease._replace(attempt=self._state.attempt_at(lease.trial, lease.opened_at))
