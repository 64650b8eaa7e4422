"""What was forecast of a run, and how it is scored at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from energysweep.core.runfolder import LEDGER
from energysweep.ledger.model import Summary
from energysweep.ledger.store import read_ledger
from energysweep.ledger.summary import summarise
from energysweep.report.answers import scored
from tests.support.earlier_runs import Told, write_run


def summary(folder: Path, **facts: Any) -> Summary:
    noted = {"objective": {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1}} | facts
    return summarise(read_ledger(write_run(folder / "run", [Told({"rate": 0.1}, 10.0, [0.5, 0.95])], **noted) / LEDGER))


def test_a_run_that_is_done_scores_what_was_forecast(tmp_path: Path) -> None:
    found = summary(tmp_path, forecast={"joules": 16.0, "low": 12.0, "high": 24.0})
    assert found.to_dict()["forecast"] == {
        "joules": 16.0,
        "low": 12.0,
        "high": 24.0,
        "scored": {"charged_joules": 20.0, "ratio": 1.25, "held": True},
    }
    assert scored(found) == (
        "Forecast before it began: \N{ALMOST EQUAL TO} 16.0 J (12.0 J to 24.0 J). It was charged 20.0 J,"
        " 1.25 times that: within the interval."
    )


def test_a_forecast_that_was_wrong_is_called_so(tmp_path: Path) -> None:
    found = summary(tmp_path, forecast={"joules": 10.0, "low": 8.0, "high": 12.0})
    assert found.forecast is not None
    assert found.forecast.held is False
    assert str(scored(found)).endswith("2.00 times that: outside the interval.")


def test_a_run_that_goes_on_is_not_scored_yet(tmp_path: Path) -> None:
    found = summary(tmp_path, status="interrupted", forecast={"joules": 10.0, "low": 8.0, "high": 12.0})
    assert found.to_dict()["forecast"]["scored"] is None
    assert scored(found) == "Forecast before it began: \N{ALMOST EQUAL TO} 10.0 J (8.00 J to 12.0 J)."


@pytest.mark.parametrize("forecast", [None, 7, {}, {"joules": 1.0}, {"joules": "x", "low": 1, "high": 2}])
def test_without_a_forecast_or_with_a_damaged_one_nothing_is_said(tmp_path: Path, forecast: Any) -> None:
    found = summary(tmp_path, forecast=forecast)
    assert found.to_dict()["forecast"] is None
    assert scored(found) is None
