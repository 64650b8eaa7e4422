"""What a run's ledger says, for tests that compare something else with it."""

from __future__ import annotations

from energysweep.ledger import LedgerData
from energysweep.records import TRIAL_BUCKETS


def booked(data: LedgerData) -> dict[str, float]:
    """Joules by trial, of all its leases."""
    trial_of = {lease.lease: lease.trial for lease in data.leases}
    joules: dict[str, float] = {}
    for row in data.energy:
        if row.bucket in TRIAL_BUCKETS:
            trial = trial_of[row.lease]
            joules[trial] = joules.get(trial, 0.0) + row.joules
    return joules
