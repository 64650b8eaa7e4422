"""What a person sees while a sweep runs."""

from __future__ import annotations

import pytest

from energysweep.core.terminal import console
from energysweep.ledger.model import RunForecast
from energysweep.ledger.sweep_metrics import Cheapest
from energysweep.report.live import LiveTable, PlainLines, Status, line
from tests.support.streams import Gone

CHEAPEST = Cheapest("rate=0.2", "", 25.0)


@pytest.mark.parametrize(
    ("estimated", "said"),
    [
        (False, "cheapest at target 25.0 J (rate=0.2), now 90.0 W, energy 1,240 J, 31.0 g of CO2e, time 0:10"),
        (
            True,
            "cheapest at target ≈ 25.0 J (est.) (rate=0.2), now ≈ 90.0 W (est.), energy ≈ 1,240 J (est.),"
            " ≈ 31.0 g (est.) of CO2e, time 0:10",
        ),
    ],
)
def test_every_number_that_is_an_estimate_says_so(estimated: bool, said: str) -> None:
    status = Status(4, {}, "accuracy", None, CHEAPEST, 90.0, 1240.0, 31.0, estimated, 10.0, ())
    assert line(status) == f"trials 0/4, {said}"


def test_what_was_forecast_is_shown_with_its_interval() -> None:
    status = Status(
        4, {}, "accuracy", None, None, None, 40.0, 1.0, False, 10.0, (), forecast=RunForecast(120.0, 90.0, 180.0, None)
    )
    assert ", expected in all \N{ALMOST EQUAL TO} 120 J (90.0 J to 180 J), time 0:10" in line(status)


def test_what_no_agent_has_told_yet_is_not_available() -> None:
    status = Status(4, {"running": 1}, "accuracy", None, None, None, None, None, False, 1.0, ())
    assert line(status) == "trials 0/4 (1 running), now n/a, energy n/a, n/a of CO2e, time 0:01"


@pytest.mark.parametrize(
    ("is_about", "trials", "time"),
    [(False, "2/6 (2 completed)", "1:00, about 2:00 left"), (True, "2 of about 6 (2 completed)", "1:00")],
)
def test_the_time_left_is_told_where_the_number_of_trials_is_known(is_about: bool, trials: str, time: str) -> None:
    status = Status(6, {"completed": 2}, "accuracy", None, None, None, None, None, False, 60.0, (), is_about)
    assert line(status) == f"trials {trials}, now n/a, energy n/a, n/a of CO2e, time {time}"


def test_a_terminal_that_has_gone_ends_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status(4, {}, "accuracy", None, CHEAPEST, 90.0, 1240.0, 31.0, False, 10.0, ())
    monkeypatch.setattr("sys.stderr", Gone())
    for progress in (PlainLines(), LiveTable(console(stderr=True))):
        progress.start(lambda: status)
        progress.event("a trial has ended")
        progress.stop()
