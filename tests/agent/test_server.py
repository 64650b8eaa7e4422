"""The agent behind a real socket: this machine's processes, and a CPU that is said to draw 100 W."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from energysweep.accounting.accounts import Sweep, SweepSample
from energysweep.agent.agent import Agent
from energysweep.agent.client import AgentClient, Lease
from energysweep.agent.discovery import TargetsFile
from energysweep.agent.protocol import Hello, Phase, socket_path
from energysweep.agent.server import AgentServer
from energysweep.core.errors import AgentError, AgentRunning, AgentUnreachable, LeaseRefused
from energysweep.core.host import Host
from energysweep.core.records import READ_AT_MOST_EVERY_SECONDS
from energysweep.meters import Opened, open_meters
from tests.support.web import DIRECT

TRACE = "time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n"


@pytest.fixture
def trace(agent_home: Path) -> str:
    path = agent_home / "trace.csv"
    path.write_text(TRACE)
    return f"replay:{path}"


@pytest.fixture
def serve(agent_home: Path, trace: str) -> Iterator[Callable[..., AgentServer]]:
    """Starts agents that end with the test."""
    started: list[AgentServer] = []

    def start(path: Path = agent_home / "agent.sock", port: int = 0, **options: Any) -> AgentServer:
        host = Host(node="node-a", boot_id="boot-a")
        agent = Agent(host, open_meters([trace], host), (trace,))
        server = AgentServer(agent, path, port=port, **options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(serve: Callable[..., AgentServer]) -> AgentServer:
    return serve()


@pytest.fixture(scope="module")
def standing() -> Iterator[AgentServer]:
    """One agent for many short tests: it takes a second to stop."""
    with tempfile.TemporaryDirectory(prefix="energysweep-") as folder:
        host = Host(node="node-a", boot_id="boot-a")
        server = AgentServer(Agent(host, Opened([])), Path(folder) / "agent.sock", port=0)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def client(server: AgentServer) -> Iterator[AgentClient]:
    client = AgentClient(server.socket_path, Hello(run="r"))
    yield client
    client.close()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def opened(client: AgentClient, trial: str) -> Lease:
    """A lease that the agent has confirmed: opening one does not wait."""
    lease = client.open(trial, cpus=1)
    assert lease.before.energy_joules >= 0
    return lease


def get(url: str, **headers: str) -> tuple[bytes, str]:
    """Body and type of content."""
    with DIRECT.open(Request(url, headers=headers), timeout=10) as answer:
        return answer.read(), answer.headers["Content-Type"]


# Leases over the socket ----------------------------------------------------------------------------------------------


def test_the_agent_introduces_itself(server: AgentServer, client: AgentClient, trace: str) -> None:
    assert client.agent["host"] == "boot-a"
    assert client.agent["node"] == "node-a"
    assert client.agent["url"] == server.url
    assert client.agent["window"] == server.agent.windows["r"].id
    assert client.agent["meters"] == [trace]
    assert client.agent["notes"].startswith("meters: cpu by replay")


def test_a_lease_gets_its_joules(server: AgentServer, client: AgentClient) -> None:
    began = time.monotonic() - READ_AT_MOST_EVERY_SECONDS  # what was read before the lease may be as old
    lease = client.open("t", cpus=1)
    assert lease.before.energy_joules == 0
    burn(0.3)
    reported = lease.report({"accuracy": 0.5})
    burn(0.1)
    spent = lease.close()
    assert 0 < reported.energy_joules < spent.energy_joules
    assert spent.energy_joules <= 100 * (time.monotonic() - began) + 1
    assert spent.active_energy_joules == spent.energy_joules  # the floor is not known
    assert server.agent.windows["r"].trials["t"].results == {"accuracy": 0.5}
    assert client.open("t").before.energy_joules == spent.energy_joules


def test_a_lease_s_start_up_is_told_apart(client: AgentClient) -> None:
    lease = client.open("t", cpus=1, in_startup=True)
    assert lease.before.startup_joules == 0  # the agent has it: what comes later is measured
    burn(0.3)
    lease.change_phase(in_startup=False)
    reported = lease.report()
    burn(0.2)
    lease.change_phase(in_startup=True)
    burn(0.2)
    spent = lease.close()
    assert 0 < reported.startup_joules < spent.startup_joules
    assert reported.energy_joules < spent.energy_joules
    # told again: the trial's next lease begins there
    before = client.open("t").before
    assert (before.startup_joules, before.energy_joules) == (spent.startup_joules, spent.energy_joules)


def test_a_lease_of_another_connection_is_not_told_its_phase(server: AgentServer, client: AgentClient) -> None:
    lease = opened(client, "t")
    stranger = AgentClient(server.socket_path, Hello(run="r"))
    with pytest.raises(LeaseRefused, match="not of this connection"):
        stranger.ask(Phase(lease=lease.id, in_startup=True))
    stranger.close()


def test_the_driver_closes_trials_tells_of_its_sweep_and_ends_it(server: AgentServer, client: AgentClient) -> None:
    opened(client, "t")
    client.close_trial("t")
    until(lambda: server.agent.telling.open_leases == 0)
    samples = [SweepSample("energysweep_sweep_best", ("loss",), 0.25)]
    client.update(Sweep(zone="z", samples=samples))
    until(lambda: server.agent.windows["r"].sweep.samples == samples)
    worker = AgentClient(server.socket_path, Hello(run="r", sweep=Sweep(zone="as it began")))
    assert server.agent.windows["r"].sweep == Sweep(zone="z", samples=samples)
    worker.close()
    client.close_window()
    with pytest.raises(LeaseRefused, match="no open window"):
        opened(client, "t")


def test_opening_and_closing_do_not_wait_and_keep_their_order(server: AgentServer, client: AgentClient) -> None:
    for number in range(300):
        client.open(f"trial-{number}").end()
    last = opened(client, "last")
    assert server.agent.telling.open_leases == 1
    last.close()
    leases = server.agent.windows["r"].leases.values()
    assert [lease.trial for lease in leases] == [*(f"trial-{number}" for number in range(300)), "last"]


def test_a_lease_that_was_refused_says_why_when_it_is_used(server: AgentServer, client: AgentClient) -> None:
    client.close_window()
    lease = client.open("t")
    with pytest.raises(LeaseRefused, match="no open window"):
        _ = lease.before
    with pytest.raises(LeaseRefused, match="not of this connection"):
        lease.report()


def test_an_agent_makes_way_only_if_nobody_else_needs_it(serve: Callable[..., AgentServer]) -> None:
    server = serve(linger_seconds=60.0)
    first, second = (AgentClient(server.socket_path, Hello(run=run)) for run in "rs")
    with pytest.raises(LeaseRefused, match="in use"):
        first.retire()
    second.close()
    until(lambda: len(server.connections) == 1)
    first.retire()
    assert server.wait(30.0)
    with pytest.raises(AgentUnreachable, match="the agent has gone"):  # though it still listens
        AgentClient(server.socket_path, Hello(run="t"))
    first.close()


def test_a_daemon_stays(server: AgentServer, client: AgentClient) -> None:
    with pytest.raises(LeaseRefused, match="daemon"):
        client.retire()
    assert not server.wait(0.0)


def test_a_lease_of_another_connection_is_refused(server: AgentServer, client: AgentClient) -> None:
    lease = opened(client, "t")
    with AskRaw(server.socket_path) as other:
        other.ask({"op": "hello", "run": "r"})
        for op in ("report", "close"):
            assert other.ask({"op": op, "lease": lease.id})["error"] == f"lease {lease.id} is not of this connection"
    assert lease.close().energy_joules >= 0


class AskRaw:
    """A connection that says what it likes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")

    def ask(self, request: dict[str, Any] | bytes) -> dict[str, Any]:
        line = request if isinstance(request, bytes) else json.dumps(request).encode()
        self._lines.write(line + b"\n")
        self._lines.flush()
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def __enter__(self) -> AskRaw:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "should be"),
        (b"{}", "Unable to extract tag"),
        (b'{"op": "shutdown"}', "does not match any of the expected tags"),
        (b'{"op": "open", "lease": "l"}', "open.trial: Field required"),
        (b'{"op": "open", "lease": "l", "trial": "t", "cpus": -1}', "open.cpus: "),
        (b'{"op": "open", "lease": "l", "trial": "t", "cpus": Infinity}', "open.cpus: "),
        (b'{"op": "open", "lease": "l", "trial": "t", "pid": 1}', "open.pid: Extra inputs"),
        (b'{"op": "hello", "run": ""}', "hello.run: "),
        (b'{"op": "hello", "run": "another"}', "this connection belongs to run 'r'"),
        (b'{"op": "report", "lease": "l"}', "lease l is not of this connection"),
    ],
)
def test_a_bad_request_is_answered_with_its_reason(standing: AgentServer, request_line: bytes, reason: str) -> None:
    with AskRaw(standing.socket_path) as connection:
        assert connection.ask({"op": "hello", "run": "r"})["ok"]
        answer = connection.ask(request_line)
        assert answer["ok"] is False
        assert reason in answer["error"]
        assert not answer["error"].startswith(":")
        assert connection.ask({"op": "open", "lease": "l", "trial": "t"})["ok"]  # the connection lives on


def test_who_has_not_said_hello_is_told_so(standing: AgentServer) -> None:
    with AskRaw(standing.socket_path) as connection:
        assert connection.ask({"op": "open", "lease": "l", "trial": "t"})["error"] == "say hello first"


def test_hanging_up_closes_the_leases(server: AgentServer, client: AgentClient) -> None:
    opened(client, "t")
    opened(client, "u")
    assert server.agent.telling.open_leases == 2
    client.close()
    until(lambda: server.agent.telling.open_leases == 0)
    with pytest.raises(AgentUnreachable):
        opened(client, "v")


WORKER = """
import sys, time
from pathlib import Path
from energysweep.agent.client import AgentClient, Lease
from energysweep.agent.protocol import Hello
lease = AgentClient(Path(sys.argv[1]), Hello(run="r")).open("t")
assert lease.before.energy_joules == 0
end = time.process_time() + 0.5
while time.process_time() < end: pass
print(lease.id, flush=True)
sys.stdin.readline()
"""


def test_a_killed_process_s_lease_is_closed_and_keeps_its_joules(server: AgentServer) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(server.socket_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        lease = worker.stdout.readline().strip()
        assert server.agent.telling.open_leases == 1
        assert server.agent.windows["r"].leases[lease].root.pid == worker.pid  # as the kernel says
    finally:
        worker.kill()
        worker.communicate()
    until(lambda: server.agent.telling.open_leases == 0)
    server.agent.close_window("r")
    answer = server.agent.telling.totals("r", 0)
    of_lease = sum(row.joules for row in answer["energy"] if row.lease == lease)
    assert of_lease > 5  # half a CPU second of a host with few CPUs that draws 100 W
    assert sum(row.joules for row in answer["energy"]) == pytest.approx(answer["meters"][0].joules)
    (row,) = answer["leases"]
    assert row.closed_at is not None
    assert row.cpu_seconds >= 0.45


# One agent per host --------------------------------------------------------------------------------------------------


def test_a_second_agent_steps_back(serve: Callable[..., AgentServer], server: AgentServer) -> None:
    with pytest.raises(AgentRunning, match=f"already serves this host at {server.socket_path}"):
        serve()
    AgentClient(server.socket_path, Hello(run="r")).close()  # the first one's socket is untouched


def test_a_socket_that_a_dead_agent_left_is_replaced(serve: Callable[..., AgentServer], agent_home: Path) -> None:
    path = agent_home / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(AgentUnreachable, match="no agent answers"):
        AgentClient(path, Hello(run="r"))
    serve()
    AgentClient(path, Hello(run="r")).close()


def test_a_path_that_is_too_long_for_a_socket_is_named(serve: Callable[..., AgentServer], agent_home: Path) -> None:
    path = agent_home / ("x" * 120) / "agent.sock"
    for _ in range(2):  # the first try leaves no lock behind
        with pytest.raises(AgentError, match=r"cannot listen on .*: AF_UNIX path too long"):
            serve(path)


def test_the_socket_is_gone_when_the_agent_has_stopped(agent_home: Path, serve: Callable[..., AgentServer]) -> None:
    server = serve(agent_home / "other" / "agent.sock")
    assert server.socket_path.exists()
    server.stop()
    assert not server.socket_path.exists()
    serve(server.socket_path)


def test_an_agent_that_nobody_needs_ends_after_its_linger(serve: Callable[..., AgentServer]) -> None:
    server = serve(linger_seconds=60.0)
    client = AgentClient(server.socket_path, Hello(run="r"))
    server._linger_seconds = 0.5  # not sooner: it might end before the connection is there
    assert not server.wait(2.5)  # a connection needs it
    client.close()
    assert server.wait(30.0)


def test_the_socket_s_place_can_be_named(agent_home: Path) -> None:
    assert socket_path() == agent_home / "agent.sock"
    del os.environ["ENERGYSWEEP_SOCKET"]
    try:
        assert socket_path().name == "agent.sock"
    finally:
        os.environ["ENERGYSWEEP_SOCKET"] = str(agent_home / "agent.sock")


# HTTP ----------------------------------------------------------------------------------------------------------------


def test_metrics_come_as_text_as_openmetrics_and_compressed(server: AgentServer, client: AgentClient) -> None:
    opened(client, "t")
    line = b'energysweep_trial_energy_joules_total{sweep="r",trial="t",node="node-a",component="cpu",bucket="active"'
    until(lambda: line in get(f"{server.url}/metrics")[0])  # within a tenth of a second
    _, kind = get(f"{server.url}/metrics")
    assert kind.startswith("text/plain")
    openmetrics, kind = get(f"{server.url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert openmetrics.endswith(b"# EOF\n")
    packed, _ = get(f"{server.url}/metrics", **{"Accept-Encoding": "gzip"})
    assert line in gzip.decompress(packed)


def test_health_discovery_and_totals_answer_on_the_same_port(server: AgentServer, client: AgentClient) -> None:
    opened(client, "t")
    health, kind = get(f"{server.url}/healthz")
    assert kind == "application/json"
    assert json.loads(health)["seconds_since_reading"] < 10
    (target,) = json.loads(get(f"{server.url}/sd")[0])
    assert f"http://{target['targets'][0]}" == server.url
    totals = json.loads(get(f"{server.url}/v1/totals?run=r&since=0")[0])
    assert totals["window"] == client.agent["window"]


def test_the_totals_need_the_key_and_the_metrics_do_not(server: AgentServer) -> None:
    client = AgentClient(server.socket_path, Hello(run="r", key="of r"))
    with pytest.raises(HTTPError, match="401") as refused:
        get(f"{server.url}/v1/totals?run=r")
    refused.value.close()
    assert json.loads(get(f"{server.url}/v1/totals?run=r", Authorization="Bearer of r")[0])["node"] == "node-a"
    assert get(f"{server.url}/metrics")[0]
    client.close()


def test_a_taken_port_is_given_up_for_a_free_one(
    serve: Callable[..., AgentServer], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken, caplog.at_level(logging.WARNING):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = serve(port=port)
    assert f"port {port} is taken" in caplog.text
    assert not server.url.endswith(f":{port}")
    assert get(f"{server.url}/healthz")


def targets(server: AgentServer) -> list[str]:
    """What /sd names, asked where the agent listens."""
    return [target["targets"][0] for target in json.loads(get(f"{server.url}/sd")[0])]


def test_service_discovery_names_the_port_that_was_taken_instead(serve: Callable[..., AgentServer]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = serve(port=taken.getsockname()[1])
        (target,) = targets(server)
        assert get(f"http://{target}/healthz")


@pytest.mark.parametrize(
    ("address", "host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")]
)
def test_an_agent_names_the_address_that_it_is_bound_to(
    serve: Callable[..., AgentServer], address: str, host: str
) -> None:
    server = serve(address=address)
    (target,) = targets(server)
    assert target.rpartition(":")[0] == host
    assert get(f"http://{target}/metrics")


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_an_agent_that_listens_everywhere_names_an_address_of_this_host(
    serve: Callable[..., AgentServer], address: str
) -> None:
    (target,) = targets(serve(address=address))
    assert target.rpartition(":")[0] not in ("0.0.0.0", "[::]")
    assert get(f"http://{target}/healthz")  # others reach it where this host has a network


def test_an_agent_names_the_address_that_it_was_given(serve: Callable[..., AgentServer]) -> None:
    server = serve(address="127.0.0.1", advertised="gpu-node-7.example")
    assert server.url.startswith("http://gpu-node-7.example:")


def test_two_agents_of_one_host_are_two_targets(serve: Callable[..., AgentServer], agent_home: Path) -> None:
    first = serve()
    second = serve(agent_home / "second.sock", port=int(first.url.rpartition(":")[2]))
    assert targets(first) != targets(second)


def test_a_file_for_file_sd_follows_the_agents(serve: Callable[..., AgentServer], agent_home: Path) -> None:
    path = agent_home / "targets.json"
    server = serve(targets_file=TargetsFile(path))
    assert json.loads(path.read_text()) == json.loads(get(f"{server.url}/sd")[0])
    server.agent.open_window("r")
    server.agent.update_agents("r", {"10.0.0.8:9770": "node-b"})
    until(lambda: "10.0.0.8:9770" in path.read_text())
    assert json.loads(path.read_text()) == json.loads(get(f"{server.url}/sd")[0])
    server.stop()
    assert json.loads(path.read_text()) == []


# The daemon ----------------------------------------------------------------------------------------------------------


def peer_pid(path: Path) -> int:
    """The process that listens on a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", raw)[0]
    return pid


def has_ended(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()  # nobody may reap it here
    except (FileNotFoundError, ProcessLookupError):  # the latter if it is reaped between opening and reading
        return True


def test_a_detached_agent_serves_until_it_is_asked_to_end(agent_home: Path, trace: str) -> None:
    command = [sys.executable, "-m", "energysweep", "agent", "--detach", "--meter", trace, "--port", "0"]
    first = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    path = agent_home / "agent.sock"
    pid = peer_pid(path)
    try:
        assert first.returncode == 0, first.stderr
        assert "meters: cpu by replay" in first.stderr
        client = AgentClient(path, Hello(run="r"))
        assert get(f"{client.agent['url']}/healthz")
        client.close()
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 3
        assert "already serves this host" in second.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: has_ended(pid))
    assert not path.exists()


def test_a_detached_agent_that_cannot_start_says_why(agent_home: Path) -> None:
    command = [sys.executable, "-m", "energysweep", "agent", "--detach", "--meter", "replay:missing.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "missing.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (agent_home / "agent.sock").exists()
