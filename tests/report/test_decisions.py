"""The picture of who ran, paused and was ended, on joules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from energysweep.core.records import DecisionRow
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.charts.base import Figure
from energysweep.report.charts.decisions import MOST_ROWS, decisions
from tests.support.example import ARRIVES_AT, example, name

TRIAL = name(0.1, 16, 0)


def row(number: int, what: Any, why: str, sweep_joules: float | None, trial: str = TRIAL) -> DecisionRow:
    return DecisionRow(number, float(number), trial, what, why, 1.0, None, sweep_joules, {})


def drawn(*rows: DecisionRow, data: LedgerData | None = None) -> Figure | None:
    return decisions(summarise(data or example()), rows)


def traces(figure: Figure | None) -> dict[str, Any]:
    assert figure is not None
    return {trace.name: trace for trace in figure.plot.data}


def test_a_trial_is_thick_while_it_works_thin_while_it_waits_and_has_a_mark_at_its_end() -> None:
    found = traces(
        drawn(
            row(1, "started", "", 0.0),
            row(2, "paused", "turn", 10.0),
            row(3, "resumed", "turn", 25.0),
            row(4, "ended", "capped", 40.0),
        )
    )
    assert list(found["at work"].x) == [0.0, 10.0, None, 25.0, 40.0, None]
    assert list(found["paused"].x) == [10.0]  # the mark; the line has its name, too, and stands before it
    assert list(found["ended by the cap"].x) == [40.0]
    assert "ended at 1.00 J by the cap" in found["ended by the cap"].text[0]
    symbols = [trace.marker.symbol for trace in found.values() if trace.mode == "markers"]
    assert len(set(symbols)) == len(symbols)  # colour is never the only sign


def test_who_reached_the_target_comes_first_and_the_others_by_how_long_they_went_on() -> None:
    reached, short, long = name(0.1, 16, 0), name(0.001, 64, 0), name(0.001, 256, 0)
    figure = drawn(
        row(1, "started", "", 0.0, short),
        row(2, "ended", "slower", 5.0, short),
        row(3, "started", "", 5.0, long),
        row(4, "ended", "slower", 50.0, long),
        row(5, "started", "", 50.0, reached),
        row(6, "ended", "reached", 60.0, reached),
    )
    assert figure is not None
    rates = [text.split("<br>") for text in figure.plot.layout.yaxis.ticktext]
    assert rates == [
        ["learning_rate=0.1", "batch_size=16"],
        ["learning_rate=0.001", "batch_size=256"],
        ["learning_rate=0.001", "batch_size=64"],
    ]


def test_there_is_no_picture_where_nobody_chose_or_nothing_was_metered() -> None:
    assert drawn(row(1, "started", "", 0.0), row(2, "ended", "itself", 5.0)) is None
    assert drawn(row(1, "started", "", None), row(2, "ended", "capped", None)) is None
    assert drawn() is None
    assert drawn(row(1, "ended", "capped", 5.0, "nobody knows it")) is None


def test_of_hundreds_of_configurations_the_first_are_shown_and_the_rest_counted() -> None:
    data = example()
    [one] = [trial for trial in data.trials if trial.trial == TRIAL]
    trials = [one._replace(trial=f"t{n}", parameters={"learning_rate": n, "batch_size": 1}) for n in range(300)]
    rows = [row(n, "ended", "slower", float(n), f"t{n}") for n in range(300)]
    figure = drawn(*rows, data=replace(data, trials=trials))
    assert figure is not None
    assert len(figure.plot.layout.yaxis.ticktext) == MOST_ROWS
    assert figure.plot.layout.yaxis.ticktext[0] == "learning_rate=299<br>batch_size=1"
    assert f"{300 - MOST_ROWS} more configurations are left out" in figure.caption
    assert len(ARRIVES_AT) == 9
