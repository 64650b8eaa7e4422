"""What dashboards are told of a sweep that runs, by hand."""

from __future__ import annotations

import pytest

from energysweep.tuning.standing import with_waiting


@pytest.mark.parametrize(
    ("counts", "planned", "shown"),
    [
        ({}, 6, {"pending": 6}),
        ({"running": 2}, 6, {"pending": 4, "running": 2}),
        # One whose attempt has failed waits for the next one, beside those that have not begun.
        ({"completed": 1, "pending": 1, "running": 2}, 6, {"pending": 3, "completed": 1, "running": 2}),
        # A run that was resumed: what was interrupted goes on when there is room.
        ({"completed": 1, "interrupted": 3, "running": 2}, 6, {"pending": 3, "completed": 1, "running": 2}),
        ({"completed": 4, "failed": 1, "pruned": 1}, 6, {"completed": 4, "failed": 1, "pruned": 1}),
        # Tune had lost its state and began all over again: more trials than planned, and none waits.
        ({"completed": 7}, 6, {"completed": 7}),
    ],
)
def test_what_neither_runs_nor_has_ended_waits(counts: dict[str, int], planned: int, shown: dict[str, int]) -> None:
    assert with_waiting(counts, planned) == shown
