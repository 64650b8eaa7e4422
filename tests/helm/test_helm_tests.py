"""What `helm test` runs: its pods, and its programs against a real agent."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.agent.agent import Agent
from energysweep.agent.server import AgentServer
from energysweep.core.host import Host
from energysweep.ledger.store import LedgerData
from energysweep.meters import Opened, open_meters
from energysweep.report import write_report
from tests.support.charts import AGENT, SCENARIOS, TEAM, chart_of, name_of, of_kind, one, render, scenario, selects
from tests.support.example import example
from tests.support.pod_security import broken_rules
from tests.support.pods import Pod, pods
from tests.support.ports import free_port

PROGRAM = AGENT / "files" / "test.py"
TWO_TRIALS = TEAM / "files" / "test.py"


def pods_of_tests(chart: Path, *values: Path, settings: tuple[str, ...] = ()) -> dict[str, Pod]:
    """The pods that only `helm test` makes, by name."""
    everything = pods(render(chart, *values, settings=settings, tests=True))
    return {pod.name: pod for pod in everything if pod.name.startswith("Pod/")}


@pytest.mark.parametrize("values", SCENARIOS, ids=name_of)
def test_every_scenario_has_a_test_that_passes_pod_security(values: Path) -> None:
    found = pods_of_tests(chart_of(values), values)
    assert found
    assert {name: broken_rules(pod, "restricted") for name, pod in found.items()} == {name: set() for name in found}


@pytest.mark.parametrize("chart", [AGENT, TEAM], ids=lambda chart: chart.name)
def test_what_tests_is_no_part_of_the_release(chart: Path) -> None:
    more = {d["metadata"]["name"]: d for d in render(chart, tests=True) if d not in render(chart)}
    assert more
    assert {d["metadata"]["annotations"]["helm.sh/hook"] for d in more.values()} == {"test"}


def test_the_pod_that_tests_reaches_the_agents_and_is_none() -> None:
    documents = render(AGENT, tests=True)
    pod = pods_of_tests(AGENT)["Pod/energysweep-agent-test"]
    for service in of_kind(documents, "Service"):
        assert not selects({"matchLabels": service["spec"]["selector"]}, pod.labels)
    policy = one(documents, "NetworkPolicy")["spec"]
    assert not selects(policy["podSelector"], pod.labels)
    (rule,) = [
        rule
        for rule in policy["ingress"]
        if any("namespaceSelector" not in peer and selects(peer["podSelector"], pod.labels) for peer in rule["from"])
    ]
    assert {port["port"] for port in rule["ports"]} == {"leases", "metrics"}


def test_a_teams_pod_that_tests_comes_to_the_agents_as_a_trial_does() -> None:
    pod = pods_of_tests(TEAM)["Pod/power-test-agent"]
    leases = one(render(AGENT), "NetworkPolicy")["spec"]["ingress"][0]
    assert selects(leases["from"][0]["podSelector"], pod.labels)
    assert {port["port"] for port in leases["ports"]} == {"leases"}


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ((), False),
        (("shared.enabled=true",), True),
        (("test.set={storage=s3://b/c}",), True),
        (("mode=job", "job.path=/sweep.yaml", "job.set={storage=s3://b/c}"), False),
    ],
)
def test_two_trials_run_where_there_is_a_storage_for_them(settings: tuple[str, ...], runs: bool) -> None:
    assert ("Pod/power-test" in pods_of_tests(TEAM, settings=settings)) == runs


def test_the_pod_that_submits_may_reach_the_dashboard_and_has_the_token_of_the_cluster() -> None:
    pod = pods_of_tests(TEAM, scenario(TEAM, "locked-down"), settings=("shared.enabled=true",))["Pod/power-test"]
    head = one(render(TEAM), "NetworkPolicy", "power-head")["spec"]["ingress"][0]
    assert any("namespaceSelector" not in peer and selects(peer["podSelector"], pod.labels) for peer in head["from"])
    environment = {each["name"]: each for each in pod.containers[0]["env"]}
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "ray-token", "key": "auth_token"}
    assert environment["SETTINGS"]["value"] == '["storage=/shared/helm-test"]'


def test_both_charts_carry_the_same_program() -> None:
    assert (TEAM / "files" / "agent-test.py").read_bytes() == PROGRAM.read_bytes()  # make charts
    assert PROGRAM.read_text().strip() in pods_of_tests(AGENT)["Pod/energysweep-agent-test"].containers[0]["args"][0]


def run_it(program: Path = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program of a pod."""
    command = [sys.executable, str(program)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture
def agent(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The two addresses of an agent, with a meter or without any."""
    with tempfile.TemporaryDirectory(prefix="energysweep-") as folder:
        host = Host(node="node-a", boot_id="boot-a")
        trace = Path(folder) / "trace.csv"
        trace.write_text("time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n")
        meters = open_meters([f"replay:{trace}"], host) if request.param else Opened([])
        server = AgentServer(Agent(host, meters), Path(folder) / "agent.sock", "127.0.0.1", 0, lease_port=0)
        server.start()
        try:
            yield f"127.0.0.1:{server.lease_port}", server.url
        finally:
            server.stop()


@pytest.mark.parametrize("agent", [True], indirect=True)
def test_an_agent_with_a_meter_passes(agent: tuple[str, str]) -> None:
    done = run_it(LEASES=agent[0], METRICS=agent[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert "its meters: cpu by replay" in done.stdout


@pytest.mark.parametrize("agent", [False], indirect=True)
def test_one_without_any_fails_where_meters_are_asked_for(agent: tuple[str, str]) -> None:
    assert run_it(LEASES=agent[0]).returncode == 0
    done = run_it(LEASES=agent[0], METRICS=agent[1])
    assert (done.returncode, done.stderr) == (1, "the agent has no meter: its log says why\n")


def test_no_agent_is_one_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run_it(LEASES=address)
    assert done.returncode == 1
    assert done.stderr.startswith(f"no agent answers at {address} on this pod's node: ")
    assert done.stderr.count("\n") == 1


SUBMIT = """#!/bin/sh
while [ "$1" != --fetch ]; do shift; done
cp -r "$RUN" "$2"
"""


def two_trials(folder: Path, data: LedgerData) -> subprocess.CompletedProcess[str]:
    """What the program says of a run that `energysweep submit` has brought back."""
    (folder / "bin").mkdir()
    (folder / "bin" / "energysweep").write_text(SUBMIT)
    (folder / "bin" / "energysweep").chmod(0o755)
    (folder / "run").mkdir()
    write_report(folder / "run", data)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return run_it(TWO_TRIALS, PATH=path, RUN=str(folder / "run"), DASHBOARD="http://head:8265", SETTINGS="[]")


@pytest.mark.parametrize(("source", "sign"), [("rapl", ""), ("estimate", "≈")])
def test_trials_that_were_measured_pass_and_an_estimate_is_called_one(tmp_path: Path, source: str, sign: str) -> None:
    done = two_trials(tmp_path, example(source))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"18 trials have run and cost {sign}2183.0 J, by: cpu by {source} on laptop, dram by" in done.stdout


def test_trials_of_which_one_is_partly_an_estimate_cost_about_so_much(tmp_path: Path) -> None:
    data = example()
    row = next(row for row in data.energy if row.lease)
    changed = [each._replace(source="estimate") if each.lease == row.lease else each for each in data.energy]
    assert "18 trials have run and cost ≈2183.0 J, by: " in two_trials(tmp_path, replace(data, energy=changed)).stdout


# Its configuration has another trial, which was measured.
def test_a_trial_that_was_not_measured_fails_though_all_others_were(tmp_path: Path) -> None:
    data = example()
    leases = [lease for lease in data.leases if lease.trial != "t-0.1-16-0"]
    held = {lease.lease for lease in leases} | {""}
    done = two_trials(tmp_path, replace(data, leases=leases, energy=[row for row in data.energy if row.lease in held]))
    assert done.returncode == 1
    assert done.stderr.startswith("1 of 18 trials were not measured: t-0.1-16-0. No agent was on their nodes, or none")
    assert done.stderr.count("\n") == 1


def test_trials_that_no_agent_measured_fail(tmp_path: Path) -> None:
    done = two_trials(tmp_path, replace(example(), leases=[], energy=[], meters=[]))
    assert done.returncode == 1
    assert done.stderr.startswith("18 of 18 trials were not measured: t-0.001-16-0, ")
