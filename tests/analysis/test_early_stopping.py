"""What early stopping has saved, by hand."""

from __future__ import annotations

import pytest

from energysweep.analysis.early_stopping import Effort, saved_joules
from energysweep.sweepfile import Scheduler

ASHA = Scheduler(type="asha")
IN_JOULES = Scheduler(type="asha", resource="energy_joules", max_resource=100)
COMPLETED = Effort("completed", 10, 500.0)


@pytest.mark.parametrize(
    ("trials", "scheduler", "saved"),
    [
        # 2 reports cost 60 J; 10 would have cost 300 J.
        ([COMPLETED, Effort("pruned", 2, 60.0)], ASHA, 240.0),
        # The ends of the completed: 10 and 20 reports, 15 on average; 1 report at 4 J would have become 15.
        ([COMPLETED, Effort("completed", 20, 1.0), Effort("pruned", 1, 4.0)], ASHA, 56.0),
        # Two pruned ones, each at its own rate: 8 x 1 J and 8 x 5 J.
        ([COMPLETED, Effort("pruned", 2, 2.0), Effort("pruned", 2, 10.0)], ASHA, 48.0),
        # It was pruned later than others end: nothing saved, and no less than nothing.
        ([COMPLETED, Effort("pruned", 12, 60.0)], ASHA, 0.0),
        ([COMPLETED, Effort("running", 2, 60.0), Effort("failed", 2, 60.0)], ASHA, 0.0),
        ([], ASHA, 0.0),
        # How long a trial takes to its end is not known yet.
        ([Effort("running", 3, 5.0), Effort("pruned", 2, 60.0)], ASHA, None),
        ([Effort("completed", 0, 5.0), Effort("pruned", 2, 60.0)], ASHA, None),
        ([COMPLETED, Effort("pruned", 2, 60.0), Effort("pruned", 2, None)], ASHA, None),
        ([COMPLETED, Effort("pruned", 2, 60.0), Effort("running", 2, None)], ASHA, 240.0),
        # The limit in joules is known at once: 100 - 60; and it holds where a trial would have used more.
        ([Effort("pruned", 2, 60.0)], IN_JOULES, 40.0),
        ([COMPLETED, Effort("pruned", 2, 60.0)], IN_JOULES, 40.0),
        ([COMPLETED, Effort("pruned", 2, 6.0)], IN_JOULES, 24.0),
        # A limit in another unit says nothing of joules.
        ([Effort("pruned", 2, 60.0)], Scheduler(type="asha", max_resource=100), None),
        # Nothing is stopped early.
        ([COMPLETED], Scheduler(), None),
    ],
)
def test_what_is_saved_is_what_pruned_trials_would_have_used_less_what_they_used(
    trials: list[Effort], scheduler: Scheduler, saved: float | None
) -> None:
    assert saved_joules(trials, scheduler) == (saved if saved is None else pytest.approx(saved))
