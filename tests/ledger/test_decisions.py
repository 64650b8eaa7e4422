"""Decisions in words: each rule with its numbers, whatever they are."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.records import DecisionRow, What
from energysweep.ledger.decisions import are_choices, counted, told


def row(what: Any, why: str, joules: float | None = None, limit: float | None = None, **numbers: Any) -> DecisionRow:
    return DecisionRow(1, 5.0, "t", what, why, joules, limit, 100.0, numbers)


def words(each: DecisionRow, *, estimated: bool = False) -> str:
    [found] = told([each], estimated=estimated)
    return found.sentence


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (row("paused", "turn", 12.3), "paused at 12.3 J: others had spent less"),
        (
            row("ended", "capped", 40.1, 38.0, winners=3),
            "ended at 40.1 J by the cap: the 3rd-cheapest reached the target with 38.0 J",
        ),
        (
            row("ended", "capped", 36.0, 38.0, winners=1),
            "ended at 36.0 J by the cap: the cheapest reached the target with 38.0 J, and one more report would take it"
            " beyond that",
        ),
        (
            row("ended", "slower", 60.0, 44.0, winners=2),
            "ended at 60.0 J as slower: 2 others had come further for less than a quarter of its joules, at the latest"
            " by 11.0 J",
        ),
        (
            row("ended", "stop", 5.0)._replace(numbers={"metric": "epoch", "value": 9, "limit": 9.0}),
            "ended at 5.00 J by a rule of stop (epoch 9, limit 9)",
        ),
        (row("ended", "reached"), "reached the target"),
        (row("failed", "tried again", 7.0), "failed at 7.00 J; it is tried again"),
        (row("ended", "bohb", 7.0, 6.0, rung=2), "ended at 7.00 J by bohb (limit 6.00 J, rung 2)"),
        (row("waiting", ""), "waiting"),
        (row("waiting", "", below_grams=None), "waiting (below_grams n/a)"),
        (row("resumed", "run")._replace(trial=""), "the run was resumed at 100 J"),
        (row("stopped", "budget", 90.0, 88.0)._replace(trial=""), "the run stopped at 90.0 J by its budget (88.0 J)"),
        (
            row("stopped", "budget", 90.0, limit_cost=2.5, charged_cost=1.25, limit_emissions_grams=4.0)._replace(
                trial=""
            ),
            "the run stopped at 90.0 J by its budget (cost 1.25 of 2.50, emissions_grams n/a of 4)",
        ),
    ],
)
def test_a_decision_is_told_with_the_numbers_it_was_made_by(decision: DecisionRow, sentence: str) -> None:
    assert words(decision) == sentence


def test_joules_of_an_estimate_are_called_one() -> None:
    assert words(row("paused", "turn", 12.3), estimated=True) == "paused at ≈ 12.3 J (est.): others had spent less"


@given(
    st.builds(
        DecisionRow,
        st.integers(1, 9),
        st.just(5.0),
        st.sampled_from(["", "t"]),
        st.sampled_from(get_args(What)),
        st.sampled_from(["", "capped", "slower", "run", "stop", "{x}", "budget"]),
        st.none() | st.just(0.0) | st.just(1e18),
        st.none() | st.just(0.0) | st.just(1e18),
        st.none() | st.just(3.0),
        st.dictionaries(
            st.sampled_from(["winners", "metric", "value", "limit", "{at}"]),
            st.sampled_from([None, -1, 10**400, math.nan, math.inf, True, "{x", [1], {"a": 1}]),
        ),
    )
)
def test_whatever_a_ledger_holds_there_is_a_sentence_of_it(decision: DecisionRow) -> None:
    assert words(decision)


def test_they_are_counted_by_rule_and_those_of_the_sweep_are_no_trial_s() -> None:
    rows = [row("started", ""), row("paused", "turn"), row("paused", "turn"), row("ended", "run")._replace(trial="")]
    assert counted(rows) == {("started", ""): 1, ("paused", "turn"): 2}


def test_a_sweep_whose_trials_all_ran_to_their_ends_has_made_no_choice() -> None:
    ends = [row("started", ""), row("ended", "itself"), row("ended", "reached"), row("failed", "last attempt")]
    assert not are_choices(ends)
    assert are_choices([*ends, row("ended", "capped")])
    assert are_choices([*ends, row("paused", "turn")])
