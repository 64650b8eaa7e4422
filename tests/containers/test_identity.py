"""Containers that say what they are not: the agent refuses them, by its socket and by TCP."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster import wait_for
from tests.support.engine import AGENT, DOCKER, docker, ran

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

NO_PRIVILEGE = ("--cap-drop=ALL", "--security-opt=no-new-privileges:true")

# What both programs end with: which process of the host the agent took them for.
TOLD = """
request = urllib.request.Request(f"{url}/v1/totals?run=run")
request.add_header("Authorization", "Bearer secret")
print(json.load(urllib.request.urlopen(request, timeout=30))["leases"][0])
time.sleep(60)
"""
# Opens a lease as every trial does.
HONEST = f"""
import json, time, urllib.request
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import Hello, agent_place
client = AgentClient(agent_place(), Hello(run="run", key="secret"))
client.open("trial", cpus=1).before  # waits for the answer
url = client.agent["url"]
{TOLD}"""
# Says by the wire that it is another process, and prints the answers.
FORGED = f"""
import json, os, socket, sys, time, urllib.request
if "ENERGYSWEEP_AGENT" in os.environ:
    host, port = os.environ["ENERGYSWEEP_AGENT"].split(":")
    connection = socket.create_connection((host, int(port)), 30)
else:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/energysweep/agent.sock")
lines = connection.makefile("rw")

def ask(**request):
    print(json.dumps(request), file=lines, flush=True)
    answer = lines.readline().strip()
    print(answer)
    return json.loads(answer)

url = ask(op="hello", run="run", key="secret", process=json.loads(sys.argv[1])).get("url")
ask(op="prove")
if ask(op="open", lease="lease", trial="trial")["ok"]:
    {TOLD.strip().replace(chr(10), chr(10) + "    ")}
"""


@dataclass
class Agent:
    """An agent in a container, and the folder and the network by which others reach it."""

    name: str

    def client(self, code: str, *arguments: str, by: str, options: tuple[str, ...] = ()) -> list[str]:
        """The docker arguments that run code in another container, with the agent reached by socket or TCP."""
        reach = (f"--volume={self.name}:/run/energysweep:ro",)
        if by == "tcp":
            reach = (f"--env=ENERGYSWEEP_AGENT={self.name}:9771",)
        network = () if any(option.startswith("--network") for option in options) else (f"--network={self.name}",)
        return [*NO_PRIVILEGE, *reach, *network, *options, "--entrypoint=python3", AGENT, "-u", "-c", code, *arguments]


@pytest.fixture
def agent(images: dict[str, int], request: pytest.FixtureRequest) -> Iterator[Agent]:
    name = f"energysweep-test-{secrets.token_hex(3)}"
    docker("network", "create", name)
    pid = ("--pid=host",) if getattr(request, "param", "host") == "host" else ()
    docker(
        *(
            "run",
            "--detach",
            *NO_PRIVILEGE,
            *pid,
            "--user=0:0",
            f"--network={name}",
            f"--name={name}",
            f"--hostname={name}",
        ),
        *("--health-interval=1s", "--read-only", "--tmpfs=/tmp", f"--volume={name}:/run/energysweep"),
        *(AGENT, "agent", "--bind", name, "--lease-port", "9771"),
    )
    health = "--format={{.State.Health.Status}}"
    try:
        wait_for(lambda: docker("inspect", health, name) == "healthy", 60, docker("logs", name))
        yield Agent(name)
    finally:
        docker("rm", "--force", name)
        docker("volume", "rm", name)
        docker("network", "rm", name)


@pytest.fixture
def victim(agent: Agent) -> Iterator[str]:
    """A container that works for nobody, whose process others want to be."""
    container = docker("run", "--detach", *NO_PRIVILEGE, f"--network={agent.name}", "--entrypoint=sleep", AGENT, "600")
    yield container
    docker("rm", "--force", container)


def _claim(container: str) -> str:
    """What the first process of a container would say of itself."""
    pid = docker("inspect", "--format={{.State.Pid}}", container)
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f'{{"pid": 1, "started": {started}}}'


def _lease_and_pid(arguments: list[str]) -> tuple[str, str]:
    """What a container prints of its lease, and the pid on the host of its process."""
    container = docker("run", "--detach", *arguments)
    try:
        pid = docker("inspect", "--format={{.State.Pid}}", container)
        wait_for(lambda: f" {pid}," in docker("logs", container) or not _runs(container), 60, "it has its lease")
        return docker("logs", container).splitlines()[-1], pid
    finally:
        docker("rm", "--force", container)


def _runs(container: str) -> bool:
    return docker("inspect", "--format={{.State.Running}}", container) == "true"


@pytest.mark.parametrize("by", ["socket", "tcp"])
def test_a_process_in_another_container_is_known_by_its_pid_on_the_host(agent: Agent, by: str) -> None:
    lease, pid = _lease_and_pid(agent.client(HONEST, by=by))
    assert f" {pid}," in lease


@pytest.mark.parametrize("agent", ["beside"], indirect=True)
@pytest.mark.parametrize("by", ["socket", "tcp"])
def test_an_agent_in_a_pid_namespace_beside_a_process_refuses_it(agent: Agent, by: str) -> None:
    done = ran(DOCKER, "run", "--rm", *agent.client(HONEST, by=by))
    assert done.returncode == 1
    assert "LeaseRefused" in done.stderr
    assert "namespace" in done.stderr


def test_over_the_socket_a_process_is_who_the_kernel_says_whatever_it_claims(agent: Agent, victim: str) -> None:
    lease, pid = _lease_and_pid(agent.client(FORGED, _claim(victim), by="socket"))
    assert f" {pid}," in lease
    assert docker("inspect", "--format={{.State.Pid}}", victim) != pid


def test_over_tcp_a_claim_of_another_containers_process_is_refused(agent: Agent, victim: str) -> None:
    hello, prove, opened = docker("run", "--rm", *agent.client(FORGED, _claim(victim), by="tcp")).splitlines()
    assert "is not of process 1's network namespace" in hello
    assert '"ok": false' in prove
    assert '"ok": false' in opened


def test_over_tcp_a_claim_of_a_process_in_the_same_network_namespace_is_refused(agent: Agent, victim: str) -> None:
    options = (f"--network=container:{victim}",)
    hello, prove, opened = docker(
        "run", "--rm", *agent.client(FORGED, _claim(victim), by="tcp", options=options)
    ).splitlines()
    assert '"call_yourself"' in hello  # it may be: let it prove that
    assert "did not take the name" in prove
    assert '"ok": false' in opened
