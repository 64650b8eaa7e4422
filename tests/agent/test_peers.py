from __future__ import annotations

import logging
from pathlib import Path

import pytest

from energysweep.agent.discovery import Peers
from energysweep.agent.web import Application
from energysweep.core.errors import InputError
from tests.support.fake_host import FakeHost


def test_every_address_of_the_name_is_an_agent() -> None:
    assert Peers("127.0.0.2:9770").agents() == {"127.0.0.2:9770": "127.0.0.2"}
    assert "127.0.0.1:9770" in Peers("localhost:9770").agents()
    assert Peers("[::1]:9770").agents() == {"[::1]:9770": "::1"}


def test_without_a_name_there_are_none() -> None:
    assert Peers(None).agents() == {}
    assert Peers("").agents() == {}


def test_a_name_that_is_not_found_is_told_once_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    peers = Peers("agents.invalid:9770")
    with caplog.at_level(logging.WARNING):
        assert [peers.agents(), peers.agents()] == [{}, {}]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "agents.invalid" in caplog.text


@pytest.mark.parametrize("name", ["agents", "agents:", "agents:port", ":9770", "http://agents:9770", "a@agents:9770"])
def test_what_is_no_host_and_port_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        Peers(name)


def test_service_discovery_names_the_peers_and_its_own_node_by_its_name(tmp_path: Path) -> None:
    agent = FakeHost(tmp_path).agent
    application = Application(agent, "http://127.0.0.1:9770", peers=Peers("127.0.0.2:9770"))
    assert application.agents() == {"127.0.0.1:9770": "node-a", "127.0.0.2:9770": "127.0.0.2"}
    itself = Application(agent, "http://127.0.0.1:9770", peers=Peers("127.0.0.1:9770"))
    assert itself.agents() == {"127.0.0.1:9770": "node-a"}


def test_where_peers_are_named_no_driver_adds_to_them(tmp_path: Path) -> None:
    agent = FakeHost(tmp_path).agent
    agent.open_window("r")
    agent.update_agents("r", {"169.254.169.254:80": "what a hostile sweep wants scraped"})
    application = Application(agent, "http://127.0.0.1:9770", peers=Peers("127.0.0.2:9770"))
    assert application.agents().keys() == {"127.0.0.1:9770", "127.0.0.2:9770"}


def test_the_name_is_given_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGYSWEEP_PEERS", "127.0.0.3:9771")
    assert list(Peers.of_environment().agents()) == ["127.0.0.3:9771"]
    monkeypatch.delenv("ENERGYSWEEP_PEERS")
    assert Peers.of_environment().agents() == {}
