"""The cluster of deploy/compose.yaml: sweeps are submitted from outside, and one agent meters both workers."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import SERVICES, Cluster, read, running, wait_for
from tests.support.engine import docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

ENERGIES = "sum by (trial) (max_over_time(energysweep_trial_energy_joules_total{{sweep='{run}'}}[10m]))"
A_TICK_SECONDS = 1.2  # of the agent, which reads every 1.0 to 1.1 s


@pytest.fixture(scope="module")
def cluster(images: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        wait_for(lambda: all(_health(cluster, service) == "healthy" for service in SERVICES), 180, "all are healthy")
        yield cluster


def _health(cluster: Cluster, service: str) -> str:
    return docker("inspect", "--format={{.State.Health.Status}}", cluster.compose.container(service))


def test_nobody_has_privileges_and_only_loopback_is_published(cluster: Cluster) -> None:
    published = []
    for service in SERVICES:
        container = json.loads(docker("inspect", cluster.compose.container(service)))[0]
        host = container["HostConfig"]
        assert not host["Privileged"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["PidMode"] == ("host" if service == "agent" else "")
        assert container["Config"]["User"] == (
            "0:0" if service == "agent" else "nobody" if service == "prometheus" else "1000"
        )
        assert cluster.token_file.read_text() not in json.dumps(container)
        published += [binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings]
    assert published == ["127.0.0.1"] * 2  # Ray's job API and Prometheus


def test_a_submission_without_the_token_is_refused(cluster: Cluster) -> None:
    sweep = cluster.submit("refused", RAY_AUTH_MODE="disabled")
    _, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 2
    assert "token" in err
    assert "Traceback" not in err


def test_a_sweep_from_outside_runs_on_both_workers_and_is_metered_by_one_agent(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = cluster.submit("outside", "--fetch", str(tmp_path))
    _, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err

    data = read(tmp_path / "outside")
    workers = {int(cluster.address(name).rpartition(".")[2]) for name in ("worker-1", "worker-2")}
    assert {result.metrics["node"] for result in data.results} == workers
    assert len({(row.host, row.window, row.node) for row in data.meters}) == 1
    for service in ("head", "worker-1", "worker-2"):
        assert "energysweep agent" not in docker("top", cluster.compose.container(service), "-eo", "pid,args")

    summary = json.loads((tmp_path / "outside" / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["totals"]["conservation_error_ratio"] < 1e-3
    with (tmp_path / "outside" / "trials.csv").open(encoding="utf-8") as file:
        reported = {row["trial"]: float(row["energy_joules"]) for row in csv.DictReader(file)}
    assert len(reported) == 4
    assert min(reported.values()) > 0

    def seen() -> dict[str, float]:
        found = cluster.query(ENERGIES.format(run="outside"))
        return {row["metric"]["trial"]: float(row["value"][1]) for row in found}

    wait_for(lambda: seen() == pytest.approx(reported, rel=1e-6), 120, f"Prometheus has {reported}, not {seen()}")


def test_a_killed_worker_loses_no_finished_trial_and_at_most_a_second_of_its_energy(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(cluster.clocks())
    worker_at = {cluster.address(name): cluster.compose.container(name) for name in ("worker-1", "worker-2")}
    sweep = cluster.submit("killed", "--fetch", str(tmp_path), "--set", "parameters.steps=24")

    def running_late() -> dict[str, tuple[str, float]]:
        """The third trial or the fourth, some way into its work: at least one has ended."""
        assert sweep.poll() is None, "it has ended"
        clocks = {name: clock for name, clock in cluster.clocks().items() if name not in before}
        latest = sorted(clocks)[2:]
        return {name: clocks[name] for name in latest if 2 < clocks[name][1] < 9}

    victim, (address, _) = next(iter(wait_for(running_late, 300, "the third trial works").items()))
    # What the agent has not read is lost. It is in time now, and how long the kill takes is its host's business.
    wait_for(lambda: cluster.seconds_since_reading() < A_TICK_SECONDS, 60, "the agent is in time")
    began = time.monotonic()
    unread_seconds = cluster.seconds_since_reading()
    docker("kill", worker_at[address])
    unread_seconds += time.monotonic() - began
    spent_seconds = cluster.clocks()[victim][1]
    _, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err

    data = read(tmp_path / "killed")
    lost_trial = victim.rpartition("-")[0]
    assert {trial.trial: trial.attempts for trial in data.trials} == {
        trial.trial: 2 if trial.trial == lost_trial else 1 for trial in data.trials
    }
    assert [trial.status for trial in data.trials] == ["completed"] * 4
    for trial in data.trials:
        reports = [result for result in data.results if result.trial == trial.trial]
        assert reports[-1].metrics["score"] == 24
        assert trial.trial == lost_trial or len(reports) == 24

    lease = next(lease for lease in data.leases if lease.trial == lost_trial and lease.attempt == 1)
    lost_seconds = spent_seconds - lease.cpu_seconds
    with capsys.disabled():
        told = f"a killed worker's trial: {spent_seconds:.2f} s of CPU time, {lost_seconds:.2f} s of it not booked"
        told += f" (the agent's last reading was at most {unread_seconds:.2f} s old)"
        sys.stdout.write(f"\n{told}\n")
    assert lost_seconds < unread_seconds + 0.1
    assert sum(row.joules for row in data.energy if row.lease == lease.lease) > 0
    summary = json.loads((tmp_path / "killed" / "summary.json").read_text())
    assert summary["totals"]["conservation_error_ratio"] < 1e-3
    assert summary["totals"]["lost_joules"] > 0  # without checkpoints, all of the first attempt's
