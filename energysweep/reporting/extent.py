"""How far a run has come: which trials it was to make, which have ended, and what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energysweep.reporting.text import count_text
from energysweep.reporting.trials import TrialSummary


@dataclass(frozen=True, slots=True)
class Extent:
    """The trials of a run, counted.

    Attributes:
        status: of the run: ``running``, ``done``, ``failed`` or ``interrupted``.
        planned: how many trials it makes, those of its stages included; at least as many as it has begun.
        ended: how many ran to their end or were stopped for being worse than others.
        failed: how many gave up.
        open: the others: never begun, running, or interrupted.
    """

    status: str
    planned: int
    ended: int
    failed: int
    open: int

    def to_dict(self) -> dict[str, int]:
        """Its entry in summary.json."""
        return {"planned": self.planned, "ended": self.ended, "failed": self.failed, "open": self.open}


def extent(run: Mapping[str, Any], trials: Sequence[TrialSummary]) -> Extent:
    """How far a run has come.

    Args:
        run: what the driver noted. A trial that never began is in no row of the ledger: only the plan knows of it.
        trials: all that began.
    """
    status = str(run.get("status", "running"))
    ended = sum(1 for trial in trials if trial.ended_as_planned)
    failed = sum(1 for trial in trials if trial.status == "failed")
    noted = run.get("planned_trials")
    # More than planned, if a driver was killed before Tune had written its state: trials began anew.
    planned = max(noted if isinstance(noted, int) and status != "done" else 0, len(trials))
    return Extent(status, planned, ended, failed, planned - ended - failed)


def open_text(found: Extent) -> str:
    """What is open, and how it goes on; empty if nothing is."""
    if not found.open:
        return ""
    many = f"{found.open} of {count_text(found.planned, 'trial')} {'is' if found.open == 1 else 'are'} open"
    how = "energysweep resume RUN_DIR goes on with what is left"
    if found.status == "running":
        return f"The run has not ended: {many}. If its driver was killed, {how}."
    return f"{'Interrupted' if found.status == 'interrupted' else 'Not all was run'}: {many}; {how}."
