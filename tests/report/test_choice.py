"""The three lines of the first screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.answers.choice import choice
from tests.support import regimes
from tests.support.example import example


def said(data: LedgerData) -> list[str]:
    names, found = zip(*choice(summarise(data)), strict=True)
    assert names == ("Take", "It saves", "How sure")
    return [f"{line.short} | {line.brief}" for line in found]


def test_the_cheapest_at_the_target_is_taken_and_what_that_saves_is_told() -> None:
    # Geometric means of two seeds, the other a tenth more: 20, 40 (the middle one) and 160 J times the root of 1.1.
    # 139.9 J * 1.1**0.5 = 146.8 J, at 0.0001 g/J.
    assert said(example()) == [
        "learning_rate=0.1 batch_size=256 | takes least to reach accuracy 0.92: 21.0 J.",
        "147 J a training | against the dearest of the 7 that always reach it"
        " (87.5 %, \N{MULTIPLICATION SIGN}8.00 (4.42 to 14.5));"
        " 21.0 J against the middle one; 14.7 mg of CO2e.",
        "A tie. | In 2 repeats learning_rate=0.1 batch_size=64 cannot be told from it."
        " The energy was read from counters (rapl).",
    ]


def test_three_repeats_and_no_tie_are_sure() -> None:
    take, saves, sure = said(regimes.hardware())
    assert take == "lr=0.1 on two | takes least to reach accuracy 0.9: 3.99 J."
    assert saves.startswith(
        "12.0 J a training | against the dearest of the 4 that always reach it (75.0 %, \N{MULTIPLICATION SIGN}4.00 ("
    )
    assert sure.startswith("Sure at 95 %. | In 3 repeats none of the 3 others is tied with it.")


def test_an_estimate_is_called_one_in_every_line() -> None:
    take, saves, sure = said(example("estimate"))
    assert take.endswith("≈ 21.0 J.")
    assert saves.startswith("≈ 147 J a training")
    assert "(87.5 %, ≈ \N{MULTIPLICATION SIGN}8.00 (" in saves
    assert "≈ 21.0 J against the middle one; ≈ 14.7 mg" in saves
    assert sure.endswith("The energy is an estimate from rated power and load: it ranks, and may be off by a factor.")


def test_one_repeat_is_a_hint() -> None:
    data = example()
    kept = {row.trial for row in data.trials if row.seed == 0}
    one = replace(
        data,
        trials=[row for row in data.trials if row.trial in kept],
        leases=[row for row in data.leases if row.trial in kept],
        results=[row for row in data.results if row.trial in kept],
    )
    assert said(one)[2].startswith("A hint. | 1 repeat: chance alone may have picked it.")


def test_what_is_open_is_not_sure() -> None:
    take, _, sure = said(example(status="interrupted", planned_trials=20))
    assert " | so far takes least" in take
    assert sure.startswith("Not yet. | 2 of 20 trials are open.")


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (
            {"metric": "accuracy", "mode": "max", "target": 2},
            "None of these. | No configuration has reached accuracy 2;",
        ),
        ({"metric": "accuracy", "mode": "max"}, "learning_rate=0.01 batch_size=256 | has the best accuracy, 0.96,"),
        (None, "learning_rate=0.01 batch_size=256 | takes least, 52.4 J a trial; no objective says"),
    ],
)
def test_without_a_target_that_was_reached_the_line_says_what_it_goes_by(objective: Any, expected: str) -> None:
    assert said(example(objective=objective))[0].startswith(expected)


def test_where_the_work_differs_nothing_is_taken() -> None:
    take, saves, _ = said(regimes.pretraining())
    assert take.startswith("It depends. | Encoder unfrozen: break-even 12.5")
    assert saves == "n/a. | Nothing was compared."


def test_a_run_without_any_number_says_so() -> None:
    assert said(LedgerData(run={"id": "empty"})) == [
        "Nothing yet. | No trial has ended with a measured energy.",
        "n/a. | Nothing was compared.",
        "n/a. | Nothing was measured.",
    ]
