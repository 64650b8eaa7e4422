"""The key of a run: who has it belongs to the run, and nobody else sees or changes what is the run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.agent import proof
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Hello
from energysweep.agent.server import AgentServer
from energysweep.core.errors import LeaseRefused
from tests.agent.test_server import get, serve, server, trace, until  # noqa: F401 - fixtures
from tests.support.fake_host import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.agent.open_window("r", key="of r", peer="user 1")
    return host


def test_keys_are_long_and_new_each_time() -> None:
    made = {proof.new_key() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {32}  # 128 bits in hexadecimal


def test_the_first_hello_binds_a_run_to_its_key(server: AgentServer) -> None:  # noqa: F811 - the fixture
    driver = AgentClient(server.socket_path, Hello(run="r", key="of r"))
    worker = AgentClient(server.socket_path, Hello(run="r", key="of r"))
    assert worker.agent["window"] == driver.agent["window"]
    for key in ("", "of s", "of r "):
        with pytest.raises(LeaseRefused, match="run 'r' on this host has another key"):
            AgentClient(server.socket_path, Hello(run="r", key=key))
    # who was refused is no member of the run, and its trials go on
    assert worker.open("t").before.energy_joules == 0
    driver.close()
    worker.close()


def test_an_answer_holds_no_secret(server: AgentServer) -> None:  # noqa: F811 - the fixture
    client = AgentClient(server.socket_path, Hello(run="r", key="of r"))
    assert "of r" not in str(client.agent)
    assert "token" not in client.agent
    assert "of r" not in repr(Hello(run="r", key="of r"))
    assert client.open("t").before.energy_joules == 0
    until(lambda: b'sweep="r"' in get(f"{server.url}/metrics")[0])
    metrics = get(f"{server.url}/metrics")[0]
    assert b"of r" not in metrics
    client.close()


def test_a_restarted_agent_knows_the_key_and_its_file_does_not_tell_it(host: FakeHost) -> None:
    host.agent.tick()
    host.kill_agent()
    assert "of r" not in host.state.read_text()
    assert host.state.stat().st_mode & 0o777 == 0o600
    window = host.agent.windows["r"].id
    host.start_agent()
    with pytest.raises(LeaseRefused, match="another key"):
        host.agent.open_window("r", key="guessed", peer="user 1")
    assert host.agent.open_window("r", key="of r", peer="user 2").id == window


def test_a_run_that_has_ended_may_begin_anew_for_its_user_once_its_driver_has_polled(host: FakeHost) -> None:
    before = host.agent.windows["r"]
    host.agent.close_window("r")
    host.wait(29.0)
    with pytest.raises(LeaseRefused, match="another key"):
        host.agent.open_window("r", key="new", peer="user 1")
    host.wait(1.0)
    with pytest.raises(LeaseRefused, match="another key"):
        host.agent.open_window("r", key="new", peer="user 2")
    after = host.agent.open_window("r", key="new", peer="user 1")
    assert after.id != before.id
    with pytest.raises(LeaseRefused, match="another key"):
        host.agent.open_window("r", key="of r", peer="user 1")


def test_a_lease_of_another_run_cannot_be_taken_over(host: FakeHost) -> None:
    trial, other = host.tree.fork(), host.tree.fork()
    host.open("t", trial, lease="l")
    host.agent.open_window("s", key="of s")
    with pytest.raises(LeaseRefused, match="lease l is of another run"):
        host.open("t", other, run="s", lease="l")
    with pytest.raises(LeaseRefused, match="run 's' has no lease l"):
        host.agent.close_lease("s", "l")
    host.agent.close_trial("s", "t")
    host.work(1.0, {trial: 1.0})
    host.agent.tick()
    assert host.agent.telling.open_leases == 1
    assert host.buckets()["l active"] == pytest.approx(100)
