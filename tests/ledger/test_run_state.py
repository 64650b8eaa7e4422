"""A run's state is what was told of it, in whatever order and however often it came."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energysweep.core.buckets import LEASE_BUCKETS, WORK_BUCKETS
from energysweep.core.objective import Objective
from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    TrialRow,
    TrialStatus,
)
from energysweep.ledger.run_state import Merged, RunState
from energysweep.ledger.store import Ledger

OBJECTIVE = Objective("accuracy", "max", 0.5, patience=2)
OBJECTIVES = {"": OBJECTIVE, "base": Objective("accuracy", "min", 0.5)}  # trial u is of a stage
LEASES = {"k": "t", "l": "t", "m": "u"}  # the trial of each; a lease is of one window
WINDOWS = {"k": "v", "l": "w", "m": "w"}
JOULES = st.floats(0, 1000)  # sums of which are rounded: a counter that falls by its last digit begins anew


def energy(lease: str, bucket: str, device: str, joules: float) -> EnergyRow:
    return EnergyRow("boot", WINDOWS[lease], lease, device, "cpu", bucket, "rapl", joules)


def in_buckets(active: float, idle: float, startup: float) -> dict[str, float]:
    return {"active": active, "idle": idle, "startup": startup}


ENERGY = st.builds(energy, st.sampled_from([*LEASES]), st.sampled_from(LEASE_BUCKETS), st.sampled_from("ab"), JOULES)
OVERHEAD = st.builds(
    lambda window, joules: EnergyRow("boot", window, "", "a", "cpu", "overhead", "rapl", joules),
    st.sampled_from(["v", "w", "x"]),
    JOULES,
)
METER = st.builds(
    lambda window, source, joules: MeterRow(
        "boot", window, "n", source, "cpu", source, joules, joules, joules, None, "unknown", None, 0, 0
    ),
    st.sampled_from(["v", "w", "x"]),
    st.sampled_from(["rapl", "estimate"]),
    JOULES,
)
LEASE = st.builds(
    lambda lease, attempt, closed_at, held, startup, elsewhere: LeaseRow(
        lease, "boot", WINDOWS[lease], "n", LEASES[lease], attempt, 7, 10.0, closed_at, held, held, 0.0, 1.0, "{}",
        startup, elsewhere,
    ),
    st.sampled_from([*LEASES]),
    st.integers(1, 3),
    st.sampled_from([None, 20.0, 30.0]),
    JOULES,
    st.sampled_from([None, 0.0, 2.5]),
    st.sampled_from([None, 0, 1]),
)  # fmt: skip
TRIAL = st.builds(
    lambda trial, attempts, status, ended_at, error: TrialRow(
        trial, {"rate": 1}, 0, "", status, attempts, 1.0, ended_at, error, "base" if trial == "u" else ""
    ),
    st.sampled_from("tu"),
    st.integers(0, 2),
    st.sampled_from(get_args(TrialStatus)),
    st.sampled_from([None, 5.0, 50.0]),
    st.sampled_from([None, "it broke", "it broke again"]),
)
ATTEMPT = st.builds(
    lambda trial, number, started_at, outcome, ended_at, checkpoint: AttemptRow(
        trial, number, started_at, ended_at, outcome, checkpoint, None
    ),
    st.sampled_from("tu"),
    st.integers(1, 3),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from(["running", "completed", "failed", "interrupted"]),
    st.sampled_from([None, 5.0, 50.0]),
    st.none() | JOULES,
)
RESULT = st.builds(
    lambda trial, iteration, late, value, joules: ResultRow(
        trial, iteration, iteration + late, joules, joules, {} if value is None else {"accuracy": value}
    ),
    st.sampled_from("tu"),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([None, 0.25, 0.75, "high"]),
    st.none() | JOULES,
)
DECISION = st.builds(
    lambda number, at, trial, what: DecisionRow(number, at, trial, what, "", None, None, None, {}),
    st.integers(1, 9),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from(["t", "u", ""]),
    st.sampled_from(["started", "paused", "resumed"]),
)
ROWS: st.SearchStrategy[list[Merged]] = st.lists(
    st.one_of(ENERGY, OVERHEAD, METER, LEASE, TRIAL, ATTEMPT, RESULT, DECISION), max_size=30
)


def state_of(rows: list[Merged]) -> RunState:
    return RunState(OBJECTIVES, rows)


def seen(state: RunState) -> dict[str, Any]:
    """All that anybody asks of a run, without the order in which things were heard of."""
    return {
        "energy": sorted(state.energy()),
        "meters": state.meters,
        "leases": state.leases,
        "trials": {trial.row.trial: (trial.row, trial.results, trial.joules_at_target) for trial in state.all_trials()},
        "attempts": {trial: state.attempts_of(trial) for trial in "tu"},
        "reports": {trial: state.reports_of(trial) for trial in "tu"},
        "booked": {trial: state.booked(trial) for trial in "tu"},
        "joules": {trial: state.joules(trial) for trial in "tu"},
        "charged": sorted(state.charged()),
        "charged joules": state.charged_joules,
        "estimated": state.estimated,
        "best": state.best(),
        "counts": state.counts(),
        "of stage": sorted(row.trial for row in state.of_stage("base")),
        "leases of": {trial: state.leases_of(trial) for trial in "tu"},
        "decisions": [state.decisions(), state.last_decision, *map(state.decisions_of, ("t", "u", ""))],
        "windows": state.windows(),
        "series": sorted(state.series_of(row) for row in state.energy()),
        "attempt": [state.attempt_at(trial, at) for trial in "tu" for at in (1.0, 10.0, 100.0)],
    }


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_come_and_how_often_changes_nothing(rows: list[Merged], chance: random.Random) -> None:
    shuffled = rows + [row for row in rows if chance.random() < 0.5]
    chance.shuffle(shuffled)
    assert seen(state_of(shuffled)) == seen(state_of(rows))


@given(ROWS, ROWS, ROWS)
def test_it_does_not_matter_what_is_merged_first(a: list[Merged], b: list[Merged], c: list[Merged]) -> None:
    left, right = state_of(a + b), state_of(b + c)
    for trial in "tu":  # what was asked for meanwhile changes nothing either
        if trial in left.trials:
            left.trial(trial)
    left.merge(c)
    merged = state_of(a)
    merged.merge([*right.energy(), *right.meters.values(), *right.leases.values(), *right.trials.values()])
    for trial in "tu":
        merged.merge([*right.attempts_of(trial), *right.reports_of(trial)])
    merged.merge(right.decisions())
    assert seen(merged) == seen(left)


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_the_ledger_that_was_told_the_same_says_the_same(rows: list[Merged]) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.create(Path(folder) / "ledger.sqlite") as ledger:
        for row in rows:
            if isinstance(row, EnergyRow):
                ledger.merge([row])
            elif isinstance(row, MeterRow):
                ledger.merge((), [row])
            elif isinstance(row, LeaseRow):
                ledger.merge((), (), [row])
            elif isinstance(row, TrialRow):
                ledger.record([row])
            elif isinstance(row, AttemptRow):
                ledger.record((), [row])
            elif isinstance(row, DecisionRow):
                ledger.record(decisions=[row])
            else:
                ledger.record((), (), [row])
        data = ledger.read()
    assert seen(RunState.of(data, OBJECTIVES)) == seen(state_of(rows))


@given(st.lists(ENERGY, max_size=20))
def test_what_has_grown_adds_up_to_what_is_booked(rows: list[EnergyRow]) -> None:
    state = RunState()
    grown = [each for row in rows for each in state.merge([row])]
    assert all(each.joules > 0 for each in grown)
    assert sum(each.joules for each in grown) == pytest.approx(sum(row.joules for row in state.energy()))


@given(st.lists(st.one_of(ENERGY, OVERHEAD, LEASE), max_size=30))
def test_what_a_sweep_is_charged_with_is_exact_and_never_falls(rows: list[Merged]) -> None:
    state = RunState()
    before: dict[tuple[str, str, str], float] = {}
    for row in rows:
        state.merge([row])
        now = {each[:3]: each.energy_joules for each in state.charged()}
        assert all(joules >= before.get(key, 0.0) for key, joules in now.items())
        before = now
    windows = state.windows()
    for (_, bucket, _), joules in before.items():
        of = WORK_BUCKETS if bucket == "trials" else (bucket,)
        told = [row.joules for row in state.energy() if row.bucket in of and (row.host, row.window) in windows]
        assert joules == math.fsum(told)


def test_energy_that_is_told_before_its_lease_is_the_trial_s_once_the_lease_is_known() -> None:
    state = RunState(rows=[energy("k", "active", "a", 5.0), energy("k", "startup", "a", 2.0)])
    assert (state.booked("t"), state.joules("t")) == ({}, None)
    lease = LeaseRow("k", "boot", "v", "n", "t", 1, 7, 10.0, None, 1, 1, 0, 1, "{}")
    state.merge([lease])
    assert (state.booked("t"), state.joules("t")) == ({"v": in_buckets(5.0, 0.0, 2.0)}, 5.0)
    # Its second host is the last one in which it held a lease.
    state.merge([lease._replace(lease="l", window="w", opened_at=20.0), energy("l", "idle", "a", 1.0)])
    assert list(state.booked("t").items()) == [
        ("v", in_buckets(5.0, 0.0, 2.0)),
        ("w", in_buckets(0.0, 1.0, 0.0)),
    ]


@pytest.mark.parametrize(
    ("outcome", "ended_at", "number"), [("running", None, 1), ("failed", 8.0, 2), ("failed", 12.0, 1)]
)
def test_a_lease_belongs_to_the_attempt_that_ran_when_it_was_opened(
    outcome: Any, ended_at: float | None, number: int
) -> None:
    state = RunState(rows=[AttemptRow("t", 1, 1.0, ended_at, outcome, None, None)])
    assert state.attempt_at("t", 10.0) == number


def test_a_report_that_comes_late_is_put_in_its_place() -> None:
    reports = [ResultRow("t", number, 1.0, float(number), None, {"accuracy": 0.75}) for number in (1, 2, 3)]
    state = state_of([TrialRow("t", {}, 0, "", "running", 1, 1.0, None, None), reports[0]])
    assert not state.trial("t").results.at_target.found
    state.merge([reports[2]])
    assert state.trial("t").joules_at_target == 1.0
    state.merge([replace_value(reports[1], 0.25)])  # so they were not two in a row
    assert state.trial("t").joules_at_target is None
    assert (state.trial("t").iterations, state.best()) == (3, 0.75)


def replace_value(report: ResultRow, value: float) -> ResultRow:
    return report._replace(metrics={"accuracy": value})


def test_what_was_booked_to_a_lease_counts_in_every_window_that_it_was_in() -> None:
    # Older ledgers have one row of a lease that went on with an agent which had lost its state: of the later window.
    rows: list[Merged] = [
        energy("k", "active", "a", 5.0)._replace(window="earlier"),
        EnergyRow("boot", "earlier", "", "a", "cpu", "overhead", "rapl", 2.0),
        EnergyRow("boot", "without", "", "a", "cpu", "overhead", "rapl", 100.0),
        LeaseRow("k", "boot", "v", "n", "t", 1, 7, 100.0, None, 1.0, 1.0, 0.0, 1.0, "{}"),
        energy("k", "active", "a", 1.0),
    ]
    for told in (rows, rows[::-1]):
        state = RunState(rows=told)
        assert state.windows() == {("boot", "earlier"), ("boot", "v")}
        assert state.charged_joules == 8.0
