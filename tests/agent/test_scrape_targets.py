"""Which agents are named to Prometheus, and for how long."""

from __future__ import annotations

from energysweep.agent.discovery import ScrapeTargets
from tests.support.fake_clock import FakeClock

URLS = {"a": "http://10.0.0.1:9770", "b": "http://10.0.0.2:9770", "c": "http://[fd00::3]:9771"}


def nobody() -> set[str]:
    return set()


def asked_in_vain() -> set[str]:
    raise AssertionError("everybody answers: no reason to ask the cluster")


def targets_of(clock: FakeClock, *nodes: str) -> ScrapeTargets:
    targets = ScrapeTargets(clock)
    for node in nodes:
        targets.note(URLS[node], node)
    return targets


def test_who_answers_is_listed_by_address() -> None:
    assert targets_of(FakeClock(0.0), "a", "c").listed(asked_in_vain) == {"10.0.0.1:9770": "a", "[fd00::3]:9771": "c"}


def test_an_agent_that_is_silent_is_listed_for_five_minutes() -> None:
    clock = FakeClock(0.0)
    targets = targets_of(clock, "a", "b")
    clock.advance(300.0)
    targets.note(URLS["a"], "a")
    assert targets.listed(nobody).keys() == {"10.0.0.1:9770", "10.0.0.2:9770"}
    clock.advance(1.0)
    assert targets.listed(nobody).keys() == {"10.0.0.1:9770"}
    targets.note(URLS["b"], "b")  # it is back
    assert targets.listed(nobody).keys() == {"10.0.0.1:9770", "10.0.0.2:9770"}


def test_an_agent_whose_node_has_left_is_not_listed_once_it_is_silent() -> None:
    clock = FakeClock(0.0)
    targets = targets_of(clock, "a", "b", "c")
    lost = {"10.0.0.2", "fd00::3"}
    assert targets.listed(lambda: lost).keys() == {"10.0.0.1:9770", "10.0.0.2:9770", "[fd00::3]:9771"}  # they answer
    clock.advance(11.0)
    targets.note(URLS["a"], "a")
    assert targets.listed(lambda: lost) == {"10.0.0.1:9770": "a"}


def test_an_agent_whose_place_another_one_has_taken_is_not_listed() -> None:
    targets = targets_of(FakeClock(0.0), "a", "b")
    targets.keep([URLS["b"], URLS["c"]])
    assert targets.listed(asked_in_vain) == {"10.0.0.2:9770": "b"}
