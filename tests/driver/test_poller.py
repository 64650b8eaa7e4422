"""How a driver asks many agents: all at once, the silent ones seldom, and at its end until they have answered."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep.agent import protocol
from energysweep.agent.remote import whole
from energysweep.core.errors import AgentError, AgentUnreachable
from energysweep.core.runfolder import LEDGER
from energysweep.driver.asking import AllAtOnce
from energysweep.driver.poller import LAST_SECONDS, Poller
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from tests.support.fake_clock import FakeClock

LONG_ENOUGH = 60.0  # for what other threads do at once: a test that waits so long fails


class Hosts:
    """Hosts with an agent each, as a driver reaches them: the first is the driver's own.

    Attributes:
        silent: how often each will not answer before it does.
        asked: who was asked for its totals, when.
        told: who was told what, and heard it.
        meeting: who is asked waits here for others that are.
    """

    def __init__(self, clock: FakeClock, number: int) -> None:
        self.clock = clock
        self.urls = [f"http://10.0.0.{host}:9770" for host in range(1, number + 1)]
        self.silent: dict[str, float] = {}
        self.asked: list[tuple[str, float]] = []
        self.told: list[tuple[str, Any]] = []
        self.meeting: threading.Barrier | None = None
        self.url = self.urls[0]
        self.own_said: list[Any] = []

    def agents(self) -> list[str]:
        return self.urls

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        self.own_said.append((trial, is_over))

    def close_window(self) -> None:
        self.own_said.append("window")

    def remote(self, url: str) -> Agent:
        return Agent(self, url)

    def meet(self, url: str) -> None:
        if self.meeting is not None:
            self.meeting.wait()
        if self.silent.get(url, 0) > 0:
            self.silent[url] -= 1
            raise AgentUnreachable(url)


class Agent:
    def __init__(self, hosts: Hosts, url: str) -> None:
        self._hosts, self._url = hosts, url

    def totals(self, window: str, since: int) -> dict[str, Any]:
        self._hosts.asked.append((self._url, self._hosts.clock()))
        self._hosts.meet(self._url)
        place = self._hosts.urls.index(self._url)
        return {
            "node": f"node-{place}",
            "notes": "",
            "window": f"window-{place}",
            "revision": since + 1,
            "clock": self._hosts.clock(),
            "energy": [],
            "meters": [],
            "leases": [],
            "readings": [],
        }

    def tell(self, request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow) -> None:
        self._hosts.meet(self._url)
        self._hosts.told.append((self._url, request))


Make = Callable[..., Poller]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0.0)


@pytest.fixture
def poller_of(tmp_path: Path, clock: FakeClock) -> Iterator[Make]:
    with Ledger.create(tmp_path / LEDGER, id="r") as ledger:

        def make(hosts: Hosts, hurried: Callable[[], bool] = lambda: False) -> Poller:
            state = RunState()
            intake = Intake(ledger, state)
            return Poller(
                intake, state, 0.0, lambda: None, hosts, hosts, hosts.remote, clock, hurried, pause=clock.advance
            )

        yield make


def test_twenty_silent_hosts_are_waited_for_at_the_same_time(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 21)
    hosts.silent = dict.fromkeys(hosts.urls[1:], 1.0)
    hosts.meeting = threading.Barrier(21, timeout=LONG_ENOUGH)  # passed only if all of them are asked at once
    poller = poller_of(hosts)
    poller.poll()
    assert [url for url, _ in sorted(hosts.asked)] == sorted(hosts.urls)
    assert list(poller.notes) == ["node-0"]
    assert poller.failures == 0


def test_twenty_hosts_are_told_of_a_trial_s_end_at_the_same_time(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 21)
    hosts.meeting = threading.Barrier(20, timeout=LONG_ENOUGH)
    poller = poller_of(hosts)
    poller.close_trial("t", is_over=True)
    hosts.meeting.reset()
    poller.close_windows()
    assert hosts.own_said == [("t", True), "window"]
    assert len(hosts.told) == 40


def test_answers_are_taken_in_the_order_of_the_hosts_whoever_came_first(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 4)
    last_has_answered = threading.Event()

    class Ordered(Agent):
        def totals(self, window: str, since: int) -> dict[str, Any]:
            if self._url != hosts.urls[-1]:
                assert last_has_answered.wait(LONG_ENOUGH)
            answer = super().totals(window, since)
            if self._url == hosts.urls[-1]:
                last_has_answered.set()
            return answer

    hosts.remote = lambda url: Ordered(hosts, url)  # type: ignore[method-assign]
    poller = poller_of(hosts)
    poller.poll()
    assert hosts.asked[0][0] == hosts.urls[-1]
    assert list(poller.notes) == ["node-0", "node-1", "node-2", "node-3"]


def test_a_silent_agent_is_asked_less_and_less_often_and_at_once_again_when_it_has_answered(
    clock: FakeClock, poller_of: Make
) -> None:
    hosts = Hosts(clock, 2)
    lost = hosts.urls[1]
    hosts.silent[lost] = 7
    poller = poller_of(hosts)
    for _ in range(67):
        poller.poll()
        clock.advance(1.0)
    # After 1, 2, 4, 8, 16 and 16 s; the eighth time it answers, and is asked every second.
    assert [at for url, at in hosts.asked if url == lost] == [0, 1, 3, 7, 15, 31, 47, 63, 64, 65, 66]
    assert [at for url, at in hosts.asked if url == hosts.url] == [*range(67)]


def test_a_trial_s_end_waits_for_no_agent_that_is_silent(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 3)
    _, lost, other = hosts.urls
    hosts.silent[lost] = 1
    poller = poller_of(hosts)
    poller.poll()
    poller.close_trial("t", is_over=True)
    assert [url for url, _ in hosts.told] == [other]
    clock.advance(1.0)  # it may be asked again
    poller.close_trial("u", is_over=True)
    assert [url for url, _ in hosts.told[1:]] == [lost, other] or [url for url, _ in hosts.told[1:]] == [other, lost]


@pytest.mark.parametrize("silent", [1, 2, 5])
def test_an_agent_that_answers_late_has_its_window_closed_and_gives_its_last_answer(
    clock: FakeClock, poller_of: Make, silent: int
) -> None:
    hosts = Hosts(clock, 3)
    late = hosts.urls[2]
    hosts.silent[late] = silent
    poller = poller_of(hosts)
    poller.close_windows()
    poller.stop()
    assert (late, protocol.CloseWindow()) in hosts.told
    assert sorted(poller.notes) == ["node-0", "node-1", "node-2"]
    at_the_end = [at for url, at in hosts.asked if url == late][-1]
    assert 0 <= at_the_end < LAST_SECONDS
    assert len([url for url, _ in hosts.asked if url == hosts.url]) == 1  # who has answered is left in peace


def test_an_agent_that_has_gone_is_waited_for_ten_seconds_at_the_end(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 2)
    hosts.silent[hosts.urls[1]] = 1e9
    poller = poller_of(hosts)
    poller.close_windows()
    poller.stop()
    assert clock() == LAST_SECONDS
    assert list(poller.notes) == ["node-0"]


def test_in_a_hurry_nobody_is_asked_twice_and_who_was_not_heard_is_named(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 2)
    hosts.silent[hosts.urls[1]] = 2
    poller = poller_of(hosts, lambda: True)
    poller.close_windows()
    with pytest.raises(AgentError, match=r"in a hurry.*10\.0\.0\.2"):
        poller.stop()
    assert clock() == 0.0
    assert list(poller.notes) == ["node-0"]


def test_a_hurry_ends_the_wait_for_an_agent_that_says_nothing(tmp_path: Path) -> None:
    clock = FakeClock(0.0)
    hosts = Hosts(clock, 2)
    is_asked, may_answer = threading.Event(), threading.Event()

    class Hanging(Agent):
        def totals(self, window: str, since: int) -> dict[str, Any]:
            if self._url != hosts.url:
                is_asked.set()
                may_answer.wait(LONG_ENOUGH)
            return super().totals(window, since)

    def hurried() -> bool:
        if is_asked.is_set():
            clock.advance(0.5)  # time passes while somebody waits
        return is_asked.is_set()

    with Ledger.create(tmp_path / LEDGER, id="r") as ledger:
        state = RunState()
        poller = Poller(
            Intake(ledger, state),
            state,
            0.0,
            lambda: None,
            hosts,
            hosts,
            lambda url: Hanging(hosts, url),
            clock,
            hurried,
        )
        try:
            with pytest.raises(AgentError, match="in a hurry"):
                poller.stop()
        finally:
            may_answer.set()
    assert list(poller.notes) == ["node-0"]


def test_what_goes_wrong_with_one_agent_that_is_told_keeps_it_from_no_other(clock: FakeClock, poller_of: Make) -> None:
    hosts = Hosts(clock, 3)

    class Broken(Agent):
        def tell(self, request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow) -> None:
            if self._url == hosts.urls[1]:
                raise RuntimeError("nobody foresaw this")
            super().tell(request)

    hosts.remote = lambda url: Broken(hosts, url)  # type: ignore[method-assign]
    poller = poller_of(hosts)
    poller.close_trial("t", is_over=True)
    assert [url for url, _ in hosts.told] == [hosts.urls[2]]
    assert poller.failures == 1


def test_who_waits_for_a_peer_keeps_no_process_alive() -> None:
    asking = AllAtOnce(FakeClock(), lambda: False)
    answers = asking.ask(["a", "b", "c"], lambda url: (url, threading.current_thread().daemon))
    assert [(url, future.result()) for url, future in answers if future is not None] == [
        (url, (url, True)) for url in "abc"
    ]


def test_an_error_of_one_agent_is_told_where_its_answer_is_taken() -> None:
    def ask(url: str) -> str:
        if url == "b":
            raise AgentUnreachable("gone")
        return url

    a, b = AllAtOnce(FakeClock(), lambda: False).ask(["a", "b"], ask)
    assert a[1] is not None
    assert a[1].result() == "a"
    assert b[1] is not None
    with pytest.raises(AgentUnreachable, match="gone"):
        b[1].result()


class Pieces:
    """An answer that comes in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read1(self, _size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def test_an_answer_that_comes_byte_by_byte_has_an_end() -> None:
    pieces: Any = Pieces(b'{"a"', b": 1}")
    assert whole(pieces, math.inf) == b'{"a": 1}'
    dribbled: Any = Pieces(*[b" "] * 100)
    with pytest.raises(TimeoutError, match="not come to its end"):
        whole(dribbled, -math.inf)
    assert len(dribbled.pieces) == 99
    flood: Any = Pieces(*[b" " * 2**26] * 5)
    with pytest.raises(ValueError, match="more than 268435456 bytes"):
        whole(flood, math.inf)
