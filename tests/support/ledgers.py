"""A run's ledger: what it says, for tests that compare something else with it, and one of a test's own rows."""

from __future__ import annotations

from pathlib import Path

from energysweep.core.buckets import WORK_BUCKETS
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData


def write_ledger(folder: Path, data: LedgerData) -> Path:
    """A folder with this ledger: to all that only read, a run's folder."""
    folder.mkdir(exist_ok=True)
    with Ledger.create(folder / LEDGER, **data.run) as ledger:
        ledger.merge(data.energy, data.meters, data.leases, data.samples)
        ledger.record(data.trials, data.attempts, data.results, data.decisions)
    return folder


def window_seconds(data: LedgerData, elapsed_seconds: float) -> float:
    """How long the run's one window was open: while it held leases at least, and at most while the run went on.

    Args:
        data: of a run whose host has one device.
        elapsed_seconds: how long whoever started the run waited for its end.
    """
    (meter,) = data.meters
    held = max(lease.closed_at or 0 for lease in data.leases) - min(lease.opened_at for lease in data.leases)
    assert 0 < held <= meter.window_seconds <= elapsed_seconds
    return meter.window_seconds


def booked(data: LedgerData) -> dict[str, float]:
    """Joules by trial, of all its leases."""
    trial_of = {lease.lease: lease.trial for lease in data.leases}
    joules: dict[str, float] = {}
    for row in data.energy:
        if row.bucket in WORK_BUCKETS:
            trial = trial_of[row.lease]
            joules[trial] = joules.get(trial, 0.0) + row.joules
    return joules
