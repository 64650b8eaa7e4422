"""Leases over TCP, from real network and pid namespaces. They stand for pods; what Kubernetes adds is not in them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from energysweep.agent.agent import Agent
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Hello, NetworkAddress
from energysweep.agent.server import AgentServer
from energysweep.core.host import Host
from energysweep.meters import open_meters
from tests.agent.test_server import TRACE, until
from tests.conftest import do_without, need
from tests.support.namespaces import OWN_PIDS, WITHOUT_CAPABILITIES, Pod, need_namespaces, pods, start

# What a trial does, told line by line by its test. Says what came of it in JSON.
CLIENT = """
import json, os, sys, time
from energysweep.agent import client
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Claim, Hello, NetworkAddress
from energysweep.core.errors import AgentError
host, port, trial = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if len(sys.argv) > 4:
    claim = Claim(pid=int(sys.argv[4]), started=int(sys.argv[5]))
    client._myself = lambda: claim  # a client that lies
try:
    agent = AgentClient(NetworkAddress(host, port), Hello(run="r", key="k"))
    lease = agent.open(trial)
    before = lease.before.energy_joules
except AgentError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit()
print(json.dumps({"pid": os.getpid(), "name": open("/proc/self/comm").read().strip()}), flush=True)
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end: pass
    print(json.dumps({"joules": lease.report().energy_joules - before}), flush=True)
lease.close()
"""
# A process that is only there, to be claimed: says its pid and when it began.
BYSTANDER = """
import os, sys
print(os.getpid(), open("/proc/self/stat").read().rpartition(")")[2].split()[19], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def namespaces() -> None:
    need_namespaces()


@pytest.fixture
def server(agent_home: Path) -> Iterator[AgentServer]:
    (agent_home / "trace.csv").write_text(TRACE)
    host = Host(node="node-a", boot_id="boot-a")
    agent = Agent(host, open_meters([f"replay:{agent_home}/trace.csv"], host))
    server = AgentServer(agent, agent_home / "agent.sock", "0.0.0.0", 0, lease_port=0)
    server.start()
    yield server
    server.stop()


class Unprivileged(NamedTuple):
    """An agent in a process of its own."""

    socket: Path
    lease_port: int


@contextmanager
def agent_process(home: Path, *before: str) -> Iterator[Unprivileged]:
    """An agent that is started through other programs, which change what it may and sees."""
    (home / "trace.csv").write_text(TRACE)
    command = [*before, sys.executable, "-m", "energysweep", "agent", "--meter", f"replay:{home}/trace.csv"]
    process = start([*command, "--bind", "0.0.0.0", "--port", "0", "--lease-port", "0"])
    try:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        assert "leases on" in said[-1], said
        yield Unprivileged(home / "agent.sock", int(said[-1].split()[-1]))
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends it, and whatever it has started in namespaces of its own."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=10)
        return
    process.kill()
    process.communicate()


@contextmanager
def client(
    pod: Pod, port: int, trial: str, claim: tuple[str, ...] = (), host: str = "", restricted: bool = True
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A trial in a container of the pod, and how it fared."""
    process = pod.start(CLIENT, host or pod.host_address, str(port), trial, *claim, restricted=restricted)
    try:
        yield process, answer(process)
    finally:
        end(process)


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    found: dict[str, Any] = json.loads(line)
    return found


def work(process: subprocess.Popen[str], seconds: float) -> float:
    """It uses so much CPU time; returns the joules that it was told."""
    assert process.stdin is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(answer(process)["joules"])


@contextmanager
def bystander(pod: Pod) -> Iterator[tuple[str, ...]]:
    """A process of a container of its own in the pod: its pid there, and when it began."""
    process = pod.start(BYSTANDER)
    try:
        assert process.stdout is not None
        yield tuple(process.stdout.readline().split())
    finally:
        end(process)


def test_a_restricted_pod_s_trial_gets_its_lease_and_pays_for_its_cpu_time(server: AgentServer) -> None:
    with pods() as (pod,), client(pod, server.lease_port or 0, "t") as (process, told):
        assert told.get("pid") == 1, told
        (lease,) = server.agent.windows["r"].leases.values()
        assert lease.root.pid != 1
        assert Path(f"/proc/{lease.root.pid}/cmdline").read_bytes().split(b"\0")[-2] == b"t"
        assert work(process, 0.5) > 0
        assert told["name"].startswith("python")  # it is called as before
        server.agent.tick()
        assert lease.cpu_seconds >= 0.45
        end(process)
        until(lambda: server.agent.telling.open_leases == 0, 30.0)
        assert {row.trial for row in server.agent.windows["r"].lease_rows(0) if row.closed_at is not None} == {"t"}


@pytest.mark.slow
def test_an_agent_without_any_capability_knows_the_process_just_as_well(agent_home: Path) -> None:
    with agent_process(agent_home, *WITHOUT_CAPABILITIES) as agent, pods() as (pod,):
        with client(pod, agent.lease_port, "honest") as (process, told):
            assert told.get("pid") == 1, told
            assert work(process, 0.3) > 1  # 0.3 CPU seconds of a host with few CPUs that draws 100 W
        with bystander(pod) as (pid, started), client(pod, agent.lease_port, "liar", (pid, started)) as (_, told):
            assert told["error"].startswith("it is not the process that it says to be")


@pytest.mark.slow
def test_two_containers_of_one_pod_that_have_the_same_pid_are_told_apart(server: AgentServer) -> None:
    with pods() as (pod,):
        port = server.lease_port or 0
        with client(pod, port, "one") as (one, told_one), client(pod, port, "two") as (two, told_two):
            assert (told_one.get("pid"), told_two.get("pid")) == (1, 1)
            work(one, 0.4)
            work(two, 0.1)
            server.agent.tick()
            leases = {lease.trial: lease for lease in server.agent.windows["r"].leases.values()}
            assert leases["one"].root != leases["two"].root
            assert leases["one"].cpu_seconds >= 0.35
            assert 0.05 < leases["two"].cpu_seconds < leases["one"].cpu_seconds


@pytest.mark.parametrize(
    ("neighbour", "reason"),
    [("same pod", "does not hold the connection"), ("another pod", "not of process 1's network namespace")],
)
def test_who_claims_another_process_is_refused(server: AgentServer, neighbour: str, reason: str) -> None:
    with pods(2) as (own, other), bystander(own if neighbour == "same pod" else other) as claim:
        with client(own, server.lease_port or 0, "t", claim) as (_, told):
            assert reason in told.get("error", told)
        assert server.agent.telling.open_leases == 0
        assert server.agent.windows == {}  # nor has it a window


@pytest.mark.slow
def test_a_process_that_nobody_here_has_is_refused(server: AgentServer) -> None:
    with pods() as (pod,), client(pod, server.lease_port or 0, "t", ("1", "7")) as (_, told):
        assert told["error"].startswith("no process of this host has pid 1 in its pid namespace and began at tick 7")


@pytest.mark.slow
def test_a_process_that_the_agent_cannot_see_is_refused_over_tcp_and_over_the_socket(agent_home: Path) -> None:
    with agent_process(agent_home, *OWN_PIDS) as agent, pods() as (pod,):
        # its own namespace is all that this agent sees: the client might as well be on another node
        with client(pod, agent.lease_port, "t") as (_, told):
            assert "no process of this host has pid 1" in told.get("error", told)
        code = CLIENT.replace("NetworkAddress(host, port)", "__import__('pathlib').Path(host)")
        process = start([*OWN_PIDS, sys.executable, "-c", code, str(agent.socket), "0", "t"])
        try:
            assert "a pid namespace beside the agent's" in answer(process).get("error", "")
        finally:
            end(process)


@pytest.mark.slow
def test_a_service_s_address_in_between_does_not_matter(server: AgentServer) -> None:
    need("iptables")
    service = "10.191.0.10"
    with pods() as (pod,):
        rule = ["PREROUTING", "-i", pod.device, "-d", service, "-p", "tcp", "--dport", "9771", "-j", "DNAT"]
        rule += ["--to-destination", f"{pod.host_address}:{server.lease_port}"]
        made = subprocess.run(["iptables", "-t", "nat", "-A", *rule], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            do_without(f"no address can be rewritten here: {made.stderr.strip()}")
        try:
            with client(pod, 9771, "t", host=service) as (process, told):
                assert told.get("pid") == 1, told
                assert work(process, 0.1) >= 0
        finally:
            subprocess.run(["iptables", "-t", "nat", "-D", *rule], check=True)


@pytest.mark.slow
def test_a_proxy_in_the_pod_is_refused(server: AgentServer) -> None:
    for program in ("socat", "ss"):
        need(program)
    with pods() as (pod,):
        target = f"TCP:{pod.host_address}:{server.lease_port}"
        proxy = start(["ip", "netns", "exec", pod.name, "socat", "TCP-LISTEN:9999,fork,reuseaddr", target])
        try:
            listens = ["ip", "netns", "exec", pod.name, "ss", "-Hltn", "sport = :9999"]
            until(lambda: "9999" in subprocess.run(listens, capture_output=True, text=True, check=True).stdout, 30.0)
            with client(pod, 9999, "t", host="127.0.0.1") as (_, told):
                assert "a proxy or another process does" in told.get("error", told)
        finally:
            end(proxy)


@pytest.mark.slow
def test_a_trial_in_the_host_s_network_gets_its_lease(server: AgentServer) -> None:
    process = start([*OWN_PIDS, sys.executable, "-c", CLIENT, "127.0.0.1", str(server.lease_port), "t"])
    try:
        assert answer(process).get("pid") == 1
        assert work(process, 0.1) >= 0
    finally:
        end(process)
    here = AgentClient(NetworkAddress("127.0.0.1", server.lease_port or 0), Hello(run="r", key="k"))
    assert here.open("here").before.energy_joules == 0
    here.close()


@pytest.mark.slow
def test_a_process_with_another_clock_is_refused(server: AgentServer) -> None:
    clock = ["unshare", "--time", "--boottime", "100000", "--fork"]
    process = start([*clock, sys.executable, "-c", CLIENT, "127.0.0.1", str(server.lease_port), "t"])
    try:
        assert "or in a time namespace" in answer(process).get("error", "")
    finally:
        end(process)


@pytest.mark.slow
def test_a_pod_that_is_gone_with_its_network_holds_no_lease(server: AgentServer) -> None:
    with pods() as (pod,), client(pod, server.lease_port or 0, "t") as (_, told):
        assert "error" not in told
        subprocess.run(["ip", "link", "delete", pod.device], check=True)  # no word of the peer comes through any more
        (lease,) = server.agent.windows["r"].leases.values()
        os.kill(lease.root.pid, signal.SIGKILL)
        until(
            lambda: server.agent.telling.open_leases == 0, 30.0
        )  # long before its keepalive: the process is not there any more


@pytest.mark.slow
def test_the_connection_of_a_peer_that_has_vanished_is_kept_alive_by_the_kernel(server: AgentServer) -> None:
    with pods() as (pod,), client(pod, server.lease_port or 0, "t"):
        (connection,) = server.connections
        held: socket.socket = connection.connection
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        times = [held.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}")) for name in ("IDLE", "CNT")]
        assert times == [15, 3]
