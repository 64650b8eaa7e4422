from __future__ import annotations

import logging

import pytest

from energysweep.agent.guard import ONE_EACH_SECONDS, Complaints
from tests.support.fake_clock import FakeClock


def test_of_each_kind_there_is_one_line_a_minute_that_says_how_many_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock(100.0)
    complaints = Complaints(clock)
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            complaints.note("a", f"number {number}\n\x1b[2Jand more" + "x" * 1000)
        complaints.note("b", "another")
        clock.advance(ONE_EACH_SECONDS)
        complaints.note("a", "again")
        complaints.note("a", "again")
    first, another, again = caplog.messages
    assert first.startswith("number 0 [2Jand more")
    assert len(first) < 310
    assert (another, again) == ("another", "again (999 more like it before)")


def test_an_error_is_told_by_its_kind_and_place_and_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("what a client\nhas said")

    complaints = Complaints(FakeClock(100.0))
    with caplog.at_level(logging.WARNING):
        try:
            fails()
        except ValueError as error:
            complaints.note_error("a request failed", error)
    (record,) = caplog.records
    line = fails.__code__.co_firstlineno + 1
    assert record.getMessage() == f"a request failed: ValueError: what a client has said (fails, line {line})"
    assert record.exc_info is None
