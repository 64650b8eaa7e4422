"""What windows on one host have seen together, each joule once: worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.ledger.shared import Once, Seen, once

PLACE = ("boot", "package-0", "rapl")


def window(
    run: int,
    begin: float,
    end: float,
    joules: float,
    opened_joules: float | None = None,
    books: str = "",
    **booked: float,
) -> Seen:
    """One; all of its joules are background unless it is told what they are booked as."""
    return Seen(run, PLACE, books, opened_joules, joules, booked or {"background": joules}, begin, end)


def booked_by(run: int, begin: float, end: float, at: float, **booked: float) -> Seen:
    """One of the books ``a``, which has seen what it has booked."""
    return window(run, begin, end, math.fsum(booked.values()), at, "a", **booked)


def joules_of(found: Once) -> tuple[float, float, float]:
    """Metered, seen by several exactly, and by an estimate."""
    return found.metered_joules, found.shared_joules, found.estimated_joules


def apart(found: Once) -> dict[str, float]:
    return {**found.nobodys, "other_sweeps": found.other_sweeps, "booked_twice": found.booked_twice}


def parts(found: Once, windows: Sequence[Seen]) -> float:
    """What was booked: all that is charged, and what stands apart."""
    charged = ("active", "idle", "startup", "overhead")
    return math.fsum([*(each.booked.get(name, 0.0) for each in windows for name in charged), *apart(found).values()])


# The same books: ranges of one counter -------------------------------------------------------------------------------


def test_ranges_that_do_not_overlap_are_not_compared_by_time() -> None:
    windows = [window(0, 0, 10, 100, 0, "a"), window(1, 3, 13, 200, 100, "a")]  # a clock was set meanwhile
    assert joules_of(once(windows)) == (300, 0, 0)
    assert once(windows).nobodys["background"] == 300


def test_of_a_window_inside_of_another_all_is_in_the_longer_one() -> None:
    windows = [
        booked_by(0, 0, 10, 0.0, active=120, background=30, unreserved_idle=70, other_sweeps=80),
        booked_by(1, 4, 8, 100.0, active=60, background=10, unreserved_idle=20, other_sweeps=30),
    ]
    found = once(windows)
    assert joules_of(found) == (300, 120, 0)
    # Of what the longer one has booked to other sweeps 60 J are the shorter one's.
    assert apart(found) == {"background": 30, "unreserved_idle": 70, "other_sweeps": 20, "booked_twice": 0}
    assert found.divided_joules == 0
    assert parts(found, windows) == 300


def test_of_windows_that_overlap_in_part_what_both_have_seen_counts_once() -> None:
    # 40 J from 60 J on are both's: 10 J of the floor, 15 J of each.
    windows = [
        booked_by(0, 0, 10, 0.0, active=60, unreserved_idle=25, other_sweeps=15),
        booked_by(1, 6, 16, 60.0, active=60, unreserved_idle=25, other_sweeps=15),
    ]
    found = once(windows)
    assert joules_of(found) == (160, 40, 0)
    assert apart(found) == {"background": 0, "unreserved_idle": 40, "other_sweeps": 0, "booked_twice": 0}
    assert (found.divided_joules, found.runs_joules, parts(found, windows)) == (40, 200, 160)


def test_three_windows_in_a_chain_count_once_what_two_have_seen() -> None:
    windows = [booked_by(run, 8 * run, 8 * run + 10, 80.0 * run, background=100) for run in range(3)]
    found = once(windows)
    assert joules_of(found) == (260, 40, 0)
    assert (found.nobodys["background"], found.divided_joules) == (pytest.approx(260), 40)


def test_three_windows_of_the_same_time_count_once() -> None:
    windows = [booked_by(run, 0, 10, 0.0, overhead=10, background=70, other_sweeps=20) for run in range(3)]
    found = once(windows)
    assert joules_of(found) == (100, 200, 0)
    assert apart(found) == {"background": 70, "unreserved_idle": 0, "other_sweeps": 0, "booked_twice": 0}


def test_a_window_that_ends_where_the_next_begins_has_nothing_in_common_with_it() -> None:
    joules = 0.1 + 0.2  # 0.30000000000000004
    windows = [window(0, 0, 1, joules, 1e9, "a"), window(1, 1, 2, 1, 1e9 + 0.3, "a")]
    assert once(windows).metered_joules == pytest.approx(1.3)
    assert once(windows).divided_joules == 0


def test_a_counter_that_did_not_move_takes_nothing_from_others() -> None:
    windows = [window(0, 0, 10, 100, 0, "a"), window(1, 5, 99, 0, 50, "a"), window(2, 10, 20, 100, 100, "a")]
    assert joules_of(once(windows)) == (200, 0, 0)
    with_others = once([*windows, window(3, 10, 20, 90)])
    assert joules_of(with_others) == (200, 0, 90)


def test_with_other_idle_floors_the_sum_is_right_and_what_is_charged_beside_it_is_twice() -> None:
    windows = [
        booked_by(0, 0, 10, 0.0, active=30, unreserved_idle=45, other_sweeps=25),
        booked_by(1, 0, 10, 0.0, active=40, other_sweeps=60),  # knows no floor: all is some sweep's
    ]
    for found in (once(windows), once(windows[::-1])):
        assert joules_of(found) == (100, 100, 0)
        assert apart(found) == {"background": 0, "unreserved_idle": 45, "other_sweeps": 0, "booked_twice": -15}
        assert parts(found, windows) == 100


def test_a_run_inside_of_another_s_trial_is_charged_twice_and_drew_once() -> None:
    windows = [
        booked_by(0, 0, 10, 0.0, active=90, unreserved_idle=10),
        booked_by(1, 2, 6, 20.0, active=36, unreserved_idle=4),
    ]
    assert apart(once(windows)) == {"background": 0, "unreserved_idle": 10, "other_sweeps": 0, "booked_twice": -36}
    assert parts(once(windows), windows) == 100


# No books in common: by their times ----------------------------------------------------------------------------------


def test_windows_at_different_times_are_added() -> None:
    for books in (("", ""), ("a", ""), ("a", "b")):
        windows = [window(0, 0, 10, 100, 7, books[0]), window(1, 10, 20, 200, 7, books[1])]
        assert joules_of(once(windows)) == (300, 0, 0)


@pytest.mark.parametrize("books", [("", ""), ("a", ""), ("a", "b")])
def test_of_a_window_in_the_time_of_another_all_is_in_the_longer_one(books: tuple[str, str]) -> None:
    # However unlike their mean powers are: 10 W, and 5 or 20 W.
    for joules in (20.0, 80.0):
        windows = [window(0, 0, 10, 100, 7, books[0]), window(1, 3, 7, joules, 900, books[1])]
        assert joules_of(once(windows)) == (pytest.approx(100), 0, pytest.approx(joules))
        assert once(windows).nobodys["background"] == pytest.approx(100)


def test_a_window_in_the_time_of_another_that_has_seen_more_is_believed() -> None:
    assert joules_of(once([window(0, 0, 10, 100), window(1, 3, 7, 120)])) == (120, 0, 100)


def test_windows_that_overlap_in_part_have_what_their_mean_power_says_in_common() -> None:
    assert joules_of(once([window(0, 0, 10, 100), window(1, 6, 16, 100)])) == (pytest.approx(160), 0, pytest.approx(40))
    # The one with less says that 5 s are 50 J.
    assert joules_of(once([window(0, 0, 10, 100), window(1, 5, 15, 200)])) == (pytest.approx(250), 0, pytest.approx(50))
    # Of unlike lengths the shorter one says it: 3 s are 60 J.
    assert joules_of(once([window(0, 0, 12, 90), window(1, 9, 14, 100)])) == (pytest.approx(130), 0, pytest.approx(60))


def test_three_in_a_chain_by_time() -> None:
    windows = [window(run, 5 * run, 5 * run + 10, 100) for run in range(3)]
    assert joules_of(once(windows)) == (pytest.approx(200), 0, pytest.approx(100))


def test_clocks_that_differ_by_a_second_make_no_overlap() -> None:
    for books in (("", ""), ("a", "b")):
        windows = [window(0, 0, 10, 100, 7, books[0]), window(1, 9, 19, 200, 7, books[1])]
        assert joules_of(once(windows)) == (300, 0, 0)
    # Nor do they hide one.
    windows = [window(0, 0, 100, 1000), window(1, -1, 99, 1000)]
    assert once(windows).metered_joules == pytest.approx(1010)


def test_windows_of_one_run_are_never_open_at_the_same_time() -> None:
    # Guessed times may say so: until the part ended, though the agent was gone long before.
    windows = [window(0, 0, 50, 1225), window(0, 20, 50, 1000), window(0, 20, 60, 225)]
    assert joules_of(once(windows)) == (2450, 0, 0)
    # What another run has seen meanwhile it may have seen with any of them: [0, 20] and [20, 60].
    other = window(1, 0, 20, 1225)
    assert joules_of(once([*windows[:1], windows[2], other])) == (pytest.approx(1450), 0, pytest.approx(1225))


def test_ranges_and_times_together() -> None:
    # Books a: 0 to 100 J in 10 s, of two runs; another agent's books b: 5 s of it.
    windows = [
        window(0, 0, 8, 80, 0, "a"),
        window(1, 2, 10, 80, 20, "a"),
        window(2, 3, 8, 45, 0, "b"),
        window(0, 20, 30, 100, 500, "b"),
    ]
    assert joules_of(once(windows)) == (pytest.approx(200), pytest.approx(60), pytest.approx(45))


def test_what_an_agent_has_not_booked_or_nobody_metered_is_seen() -> None:
    short = [window(0, 0, 10, 100, 0, "a", active=50, background=20, other_sweeps=10)]
    assert (once(short).metered_joules, parts(once(short), short)) == (100, 80)
    unmetered = [window(0, 0, 0, 0, None, "", active=50)]
    assert (once(unmetered).metered_joules, parts(once(unmetered), unmetered)) == (0, 50)


def test_devices_hosts_and_kinds_of_meters_have_nothing_in_common() -> None:
    one = window(0, 0, 10, 100)
    places = [("boot", "dram-0", "rapl"), ("other", "package-0", "rapl"), ("boot", "package-0", "estimate")]
    found = once([one, *(Seen(1, place, "", None, 100, {"background": 100}, 0, 10) for place in places)])
    assert joules_of(found) == (400, 0, 0)


# Always --------------------------------------------------------------------------------------------------------------

TIMES = st.sampled_from([0.0, 1.0, 2.5, 4.0, 7.0, 10.0, 1e9, 1e9 + 3, -5.0])
WINDOWS = st.lists(
    st.builds(
        window,
        st.integers(0, 3),
        TIMES,
        TIMES,
        st.sampled_from([0.0, 1e-9, 1.0, 50.0, 1e6, 1e18]),
        st.none() | st.sampled_from([0.0, 25.0, 50.0, 1e6]),
        st.sampled_from(["", "a", "b"]),
    ),
    min_size=1,
    max_size=8,
)


def has_sane_runs(windows: Sequence[Seen]) -> bool:
    """No two windows of a run are the same range of a counter."""
    spans = [
        (each.run, each.books, each.opened_joules, each.opened_joules + each.joules)
        for each in windows
        if each.books and each.opened_joules is not None
    ]
    return not any(
        one[:2] == other[:2] and max(one[2], other[2]) < min(one[3], other[3])
        for place, one in enumerate(spans)
        for other in spans[:place]
    )


@given(WINDOWS.filter(has_sane_runs), st.randoms(use_true_random=False))
def test_whatever_the_clocks_say_it_is_no_less_than_one_run_saw_and_no_more_than_all(
    windows: list[Seen], random: st.DrawFn
) -> None:
    found = once(windows)
    runs = {run: math.fsum(each.joules for each in windows if each.run == run) for run in range(4)}
    assert max(runs.values()) * (1 - 1e-9) <= found.metered_joules <= math.fsum(runs.values()) * (1 + 1e-9)
    for run, joules in runs.items():
        alone = once([each for each in windows if each.run == run])
        assert alone.metered_joules == pytest.approx(joules, rel=1e-12)
        assert (alone.shared_joules, alone.estimated_joules) == (0, 0)
    shuffled = [*windows]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert once(shuffled).metered_joules == pytest.approx(found.metered_joules, rel=1e-12)
    assert found.booked_twice <= 0 <= found.other_sweeps
