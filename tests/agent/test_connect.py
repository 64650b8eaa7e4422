"""Where a program finds its host's agent, and what it does if that one does not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.agent.client import AgentClient
from energysweep.agent.lifecycle import connect, linger_seconds
from energysweep.agent.protocol import Hello, NetworkAddress, agent_place, socket_path
from energysweep.agent.server import AgentServer
from energysweep.agent.tracking import track
from energysweep.cli import _parser
from energysweep.core.errors import AgentError, AgentUnreachable, InputError
from tests.agent.test_server import AskRaw, get, serve, trace  # noqa: F401 - fixtures
from tests.conftest import do_without
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("energysweep-agent.energysweep:9771", NetworkAddress("energysweep-agent.energysweep", 9771)),
        ("10.0.0.7:9771", NetworkAddress("10.0.0.7", 9771)),
        ("[fd00::7]:9771", NetworkAddress("fd00::7", 9771)),
    ],
)
def test_an_agent_on_the_network_is_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, named: str, place: NetworkAddress
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_AGENT", named)
    assert agent_place() == place
    assert str(place) == named


@pytest.mark.parametrize(
    "named", ["agent", "agent:", ":9771", "agent:0", "agent:99999", "http://agent:9771", "a@b:1", "a..b:1"]
)
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("ENERGYSWEEP_AGENT", named)
    with pytest.raises(InputError, match=r"ENERGYSWEEP_AGENT: .* is no address: HOST:PORT"):
        agent_place()


def test_without_a_name_it_is_at_its_socket(monkeypatch: pytest.MonkeyPatch, agent_home: Path) -> None:
    monkeypatch.setenv("ENERGYSWEEP_AGENT", "")
    assert agent_place() == socket_path() == agent_home / "agent.sock"


def test_beside_an_agent_on_the_network_none_is_started(monkeypatch: pytest.MonkeyPatch, agent_home: Path) -> None:
    port = free_port()
    monkeypatch.setenv("ENERGYSWEEP_AGENT", f"127.0.0.1:{port}")
    with pytest.raises(AgentUnreachable, match=f"no agent answers at 127.0.0.1:{port}: Connection refused"):
        connect(Hello(run="r"))
    assert not (agent_home / "agent.sock").exists()


def test_a_name_that_no_host_can_have_is_an_agent_that_does_not_answer() -> None:
    with pytest.raises(AgentUnreachable, match=r"^no agent answers at a\.\.b:9771: "):
        AgentClient(NetworkAddress("a..b", 9771), Hello(run="r"))


def test_one_that_drops_what_it_gets_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        # its queue is full, so the kernel drops what comes: as a Service without an agent on this node may
        waiting = [_begun(port) for _ in range(3)]
        monkeypatch.setenv("ENERGYSWEEP_AGENT", f"127.0.0.1:{port}")
        with pytest.raises(AgentUnreachable, match="timed out"):
            connect(Hello(run="r"))
        with pytest.raises(AgentUnreachable, match="asked again in a while"):  # not once more now
            connect(Hello(run="r"))
        for connection in waiting:
            connection.close()


def _begun(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    return connection


def test_code_is_tracked_by_an_agent_on_the_network(
    monkeypatch: pytest.MonkeyPatch,
    agent_home: Path,
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    server = serve(agent_home / "of another container" / "agent.sock", lease_port=0)
    monkeypatch.setenv("ENERGYSWEEP_AGENT", f"127.0.0.1:{server.lease_port}")
    with track("work") as measured:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert measured.energy_joules is not None
    assert measured.energy_joules > 1
    assert not (agent_home / "agent.sock").exists()


def test_what_an_agent_tells_others_is_the_address_that_it_advertises(
    agent_home: Path,
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    server = serve(address="0.0.0.0", advertised="10.9.8.7")
    port = server.url.rpartition(":")[2]
    assert server.url == f"http://10.9.8.7:{port}"
    with AskRaw(agent_home / "agent.sock") as connection:
        assert connection.ask({"op": "hello", "run": "r"})["url"] == server.url
    assert f'["10.9.8.7:{port}"]'.encode() in get(f"http://127.0.0.1:{port}/sd")[0]
    assert serve(agent_home / "other.sock", address="0.0.0.0", advertised="fd00::7").url.startswith("http://[fd00::7]:")


@pytest.mark.parametrize("wrong", ["http://10.0.0.7", "10.0.0.7:9770", "a b"])
def test_an_address_to_advertise_has_no_port_and_no_scheme(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(["agent", "--advertise", wrong])
    assert ended.value.code == 2
    assert f"{wrong!r} is no address" in capsys.readouterr().err


def test_an_agent_listens_on_loopback_only_unless_it_is_told(
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    options = _parser().parse_args(["agent"])
    assert (options.bind, options.lease_port) == ("127.0.0.1", None)
    server = serve(lease_port=0)
    for port in (server.lease_port, int(server.url.rpartition(":")[2])):
        socket.create_connection(("127.0.0.1", port), 10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 10)  # an address of this host, and not that one


def test_an_agent_serves_ipv6_too(
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    if not Path("/proc/net/if_inet6").exists():
        do_without("this machine has no IPv6")
    server = serve(address="::1", lease_port=0)
    assert server.url.startswith("http://[::1]:")
    assert b"node-a" in get(f"{server.url}/healthz")[0]
    monkeypatch.setenv("ENERGYSWEEP_AGENT", f"[::1]:{server.lease_port}")
    with track("work") as measured:
        pass
    assert measured.energy_joules is not None


@pytest.mark.parametrize("text", ["abc", "-1", "nan", "inf"])
def test_how_long_an_agent_lingers_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ENERGYSWEEP_LINGER", text)
    with pytest.raises(InputError, match=f"ENERGYSWEEP_LINGER: '{text}' is no number of seconds"):
        linger_seconds()


def test_a_taken_port_for_leases_is_an_error_because_clients_are_told_that_one(
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AgentError, match=f"cannot take leases on 127.0.0.1:{port}: Address already in use"):
            serve(lease_port=port)


def test_over_tcp_a_process_has_to_say_which_one_it_is(
    serve: Callable[..., AgentServer],  # noqa: F811 - the fixture
) -> None:
    server = serve(lease_port=0)
    code = (
        "import socket, sys\n"
        "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as connection:\n"
        '    connection.sendall(b\'{"op": "hello", "run": "r"}\\n\')\n'
        "    print(connection.recv(1000).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(server.lease_port)], capture_output=True, text=True, check=True
    )
    assert "hello needs the process" in done.stdout
    assert server.agent.windows == {}


def test_where_no_agent_can_be_started_none_is_reached_and_the_reason_and_the_way_out_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_SOCKET", "/proc/nope/agent.sock")
    said = (
        r"no agent can be started: the agent's socket cannot be in /proc/nope: No such file or directory; "
        "set ENERGYSWEEP_SOCKET to a path of your own"
    )
    with pytest.raises(AgentUnreachable, match=said), track("x"):
        pytest.fail("the block must not run")
