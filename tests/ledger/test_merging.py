"""The rules by which rows are merged: of no order, in memory and in SQLite the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energysweep.core.records import AttemptRow, LeaseRow, TrialRow, What
from energysweep.ledger.merging import ATTEMPTS, LEASES, RULES, TRIALS, Rule
from energysweep.ledger.store import Ledger
from tests.ledger.test_ledger import ATTEMPT, LEASE, TRIAL

# Few values, so that rows are often equal in some columns and differ in others.
NUMBERS = st.sampled_from([0, 1, 2, 10**6])
TEXTS = st.sampled_from(["", "a", "b", "ä"])
OBJECTS = st.dictionaries(TEXTS, st.sampled_from([None, True, 1, 1.5, "x", [1]]), max_size=2)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "parameters": OBJECTS,
    "metrics": OBJECTS,
    "numbers": OBJECTS,
    "what": st.sampled_from(get_args(What)),
    "gpus": st.sampled_from(["{}", '{"GPU-1": 0.5}']),
    "works_elsewhere": st.sampled_from([None, 0, 1]),
    "status": st.sampled_from(["pending", "running", "completed", "pruned", "failed", "interrupted"]),
    "outcome": st.sampled_from(["running", "completed", "failed", "interrupted"]),
}


def column(rule: Rule[Any], name: str) -> st.SearchStrategy[Any]:
    hint = str(get_type_hints(rule.row, include_extras=True)[name])
    values = COLUMNS.get(name, TEXTS if "str" in hint else NUMBERS)
    return st.none() | values if "None" in hint and name not in COLUMNS else values


def rows(rule: Rule[Any], *, one_key: bool) -> st.SearchStrategy[Any]:
    """Rows of a rule; all of one key, or of several."""
    columns = {name: column(rule, name) for name in rule.columns}
    for name in rule.key if one_key else ():
        columns[name] = st.just("k" if columns[name] is TEXTS else 1)
    return st.builds(rule.row, **columns)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.table)
@given(data=st.data())
def test_merging_needs_no_order_and_no_more_than_once(rule: Rule[Any], data: st.DataObject) -> None:
    a, b, c = (data.draw(rows(rule, one_key=True)) for _ in range(3))
    assert rule.merged(a, a) == a
    assert rule.merged(a, b) == rule.merged(b, a)
    assert rule.merged(rule.merged(a, b), c) == rule.merged(a, rule.merged(b, c))
    assert rule.merged(rule.merged(a, b), b) == rule.merged(a, b)


def written(ledger: Ledger, rule: Rule[Any], told: Sequence[Any]) -> None:
    if rule.table in ("trials", "attempts", "results", "decisions"):
        ledger.record(**{rule.table: told})
    else:
        ledger.merge(**{rule.table: told})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.table)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_ledger_s_file_has_what_the_rule_says(rule: Rule[Any], data: st.DataObject) -> None:
    told = data.draw(st.lists(rows(rule, one_key=False), max_size=6))
    kept: dict[Any, Any] = {}
    for row in told:
        key = rule.key_of(row)
        kept[key] = rule.merged(kept[key], row) if key in kept else row
    with tempfile.TemporaryDirectory() as folder, Ledger.create(Path(folder) / "ledger.sqlite") as ledger:
        for row in told:
            written(ledger, rule, [row])
        found = getattr(ledger.read(), rule.table)
    assert {rule.key_of(row): row for row in found} == kept


def test_a_known_start_up_stays_known_when_an_older_agent_tells_of_none() -> None:
    known = LEASE._replace(startup_seconds=1.5, works_elsewhere=0)
    assert LEASES.merged(known, LEASE._replace(held_seconds=9.0)) == known._replace(held_seconds=9.0)


def test_a_lease_s_end_is_the_last_that_was_told_and_its_attempt_the_first_number() -> None:
    told = [(103.0, 2), (None, 1), (104.0, 3)]
    leases: list[LeaseRow] = [LEASE._replace(closed_at=at, attempt=number) for at, number in told]
    assert reduce(LEASES.merged, leases) == LEASE._replace(closed_at=104.0, attempt=1)


# What a driver writes of a trial, in the order of time: that is how the rule puts them.
LIFE: list[TrialRow] = [
    TRIAL._replace(attempts=attempts, status=status, ended_at=ended_at, error=None)  # type: ignore[arg-type]
    for attempts, status, ended_at in [
        (0, "pending", None),
        (0, "interrupted", 5.0),  # before it began; then the run was resumed, and stopped again
        (0, "interrupted", 9.0),
        (1, "running", None),
        (1, "pending", None),  # its attempt has failed
        (1, "interrupted", 20.0),
        (2, "running", None),
        (2, "completed", 30.0),
        (3, "running", None),  # Tune's state was older than the ledger
        (3, "pruned", 40.0),
    ]
]
ATTEMPTS_OF_ONE: list[AttemptRow] = [
    ATTEMPT,
    ATTEMPT._replace(checkpoint_joules=5.0),
    ATTEMPT._replace(checkpoint_joules=7.0),
    ATTEMPT._replace(checkpoint_joules=7.0, outcome="failed", ended_at=9.0, error="it broke"),
]


@pytest.mark.parametrize(("rule", "life"), [(TRIALS, LIFE), (ATTEMPTS, ATTEMPTS_OF_ONE)], ids=["trial", "attempt"])
def test_what_a_driver_writes_later_is_newer(rule: Rule[Any], life: Sequence[Any]) -> None:
    for place, earlier in enumerate(life):
        for later in life[place:]:
            assert rule.merged(earlier, later) == rule.merged(later, earlier) == later
