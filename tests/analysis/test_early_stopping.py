"""What early stopping has saved, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.analysis.early_stopping import Effort, Saved, Tried, saved_at_target, saved_joules
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


def reached(name: str, joules: float) -> Tried:
    return Tried(name, "completed", True, 5, joules, joules / 5)


def pruned(name: str, joules: float | None, reports: int = 2, rate: float | None = 10.0) -> Tried:
    return Tried(name, "pruned", False, reports, joules, rate)


def test_what_an_ended_trial_would_have_needed_lies_between_what_it_spent_and_a_full_run() -> None:
    # b has spent 20 J in 2 reports; 18 more at 10 J make 200 J. Half of them on a logarithmic scale is
    # (200 - 20) / ln 10 = 78.2 J, and its 5th and 95th hundredths are 20 * 10 ** 0.05 and 20 * 10 ** 0.95.
    found = saved_at_target([reached("a", 30.0), pruned("b", 20.0)], repeats=1, full_reports=20)
    assert found is not None
    assert found.joules == pytest.approx(180 / math.log(10) - 20)
    assert (found.low, found.high) == (pytest.approx(20 * 10**0.05 - 20), pytest.approx(20 * 10**0.95 - 20))


def test_repeats_that_never_ran_would_have_needed_what_the_others_did() -> None:
    trials = [reached("a", 30.0), reached("a", 50.0), reached("b", 60.0)]
    # One more of a at 40 J, and two of b at 60 J; while it runs, they may yet come.
    assert saved_at_target(trials, repeats=3) == Saved(160.0, 160.0, 160.0)
    assert saved_at_target(trials, repeats=3, is_over=False) is None


def test_however_many_repeats_never_ran_each_counts() -> None:
    trials = [Tried("a", "completed", True, 3, 12.0, 4.0)]
    found = saved_at_target(trials, 1_000_001, 10)
    assert found is not None
    assert found.joules == found.low == found.high == 12.0e6


def test_without_the_length_of_a_full_run_only_the_least_is_known() -> None:
    found = saved_at_target([reached("a", 30.0), pruned("b", 20.0)], repeats=2)
    assert found == Saved(None, 30.0 + 20.0, None)  # a second a, and a second b that ends where the first did
    # One that ran to its own end without the target tells it: 4 reports.
    to_its_end = Tried("c", "completed", False, 4, 80.0, 20.0)
    known = saved_at_target([pruned("b", 20.0), to_its_end], repeats=1)
    assert known is not None
    assert known.high == pytest.approx(20 * 2**0.95 - 20)


def test_what_is_open_or_failed_is_in_neither_sum_and_an_unknown_energy_is_no_saving() -> None:
    open_one = Tried("b", "running", False, 3, 5.0, 1.0)
    assert saved_at_target([reached("a", 30.0), open_one], repeats=1, full_reports=9) is None
    assert saved_at_target([pruned("b", None)], repeats=1, full_reports=9) is None
    assert saved_at_target([], repeats=3) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 1e6), st.integers(1, 50), st.booleans()), max_size=9),
    st.integers(1, 4),
    st.none() | st.integers(1, 100),
)
def test_the_estimate_lies_in_its_interval(
    drawn: list[tuple[str, float, int, bool]], repeats: int, full: int | None
) -> None:
    trials = [reached(n, j) if is_there else pruned(n, j, reports, None) for n, j, reports, is_there in drawn]
    found = saved_at_target(trials, repeats, full)
    if found is not None:
        assert found.low >= 0
        assert (found.joules is None) == (found.high is None)
        if found.joules is not None and found.high is not None:
            assert found.low <= found.joules * (1 + 1e-9) + 1e-6
            assert found.joules <= found.high * (1 + 1e-9) + 1e-6
