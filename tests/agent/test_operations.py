"""What a driver asks for its run is one thing, over a socket and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from energysweep.accounting.accounts import Sweep
from energysweep.agent import protocol
from energysweep.agent.operations import OPERATIONS, carry_out
from energysweep.agent.protocol import Agents, CloseTrial, CloseWindow, Update, posted, request_of_post
from energysweep.core.errors import LeaseRefused
from tests.support.fake_host import FakeHost

TEXTS = st.text(min_size=1, max_size=200)


def test_each_request_of_a_driver_has_one_row_in_the_table() -> None:
    assert set(OPERATIONS) == set(get_args(protocol.RunRequest))


@given(st.builds(CloseTrial, trial=TEXTS, is_over=st.booleans()) | st.builds(CloseWindow))
def test_what_is_posted_is_read_as_what_was_meant(request: CloseTrial | CloseWindow) -> None:
    path, query, content = posted(request)
    assert path in protocol.POSTED_PATHS
    assert request_of_post(path, query, json.dumps(content).encode) == request


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=20))
def test_posted_agents_are_those_that_were_meant(agents: dict[str, str]) -> None:
    request = Agents.within_bounds(agents)
    path, query, content = posted(request)
    assert request_of_post(path, query, json.dumps(content).encode) == request


def test_a_driver_with_more_agents_than_an_agent_takes_tells_of_as_many() -> None:
    many = Agents.within_bounds({f"10.0.{number // 250}.{number % 250}:9770": "n" * 400 for number in range(2000)})
    assert len(many.agents) == 1024
    assert set(many.agents.values()) == {"n" * 300}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/close", {"trial": "t" * 201}),  # longer than any that a lease can be opened for
        ("/v1/close", {"trial": "t", "is_over": "perhaps"}),
    ],
)
def test_what_a_socket_refuses_is_refused_over_http(path: str, query: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        request_of_post(path, query, bytes)


def test_a_trial_that_is_not_over_is_not_closed_for_good() -> None:
    assert request_of_post("/v1/close", {"trial": "t", "is_over": "0"}, bytes) == CloseTrial(trial="t")


def test_the_table_does_what_is_asked(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.open_window("r")
    carry_out(host.agent, "r", Agents(agents={"10.0.0.8:9770": "node-b"}))
    assert host.agent.telling.agents() == {"10.0.0.8:9770": "node-b"}
    carry_out(host.agent, "r", Update(sweep=Sweep(zone="mine")))
    assert host.agent.windows["r"].sweep.zone == "mine"
    carry_out(host.agent, "r", CloseWindow())
    assert host.agent.windows["r"].closed is not None
    with pytest.raises(LeaseRefused, match="no window"):
        carry_out(host.agent, "another", Agents(agents={}))
