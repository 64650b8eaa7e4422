"""Clusters that ``ray up`` makes of local.yaml, on hosts of their own; aws.yaml as far as it goes without AWS."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.reporting import summarise
from tests.conftest import need
from tests.tuning.hosts import BIN, Hosts, may_make_hosts
from tests.tuning.test_cluster import balanced
from tests.tuning.test_resume import read, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "deploy" / "ray" / name for name in ("local.yaml", "aws.yaml")]
# Two trials. Nothing that a shell would change: `ray submit` hands its arguments to one as they are.
SHORT = "--set parameters.epochs=2 --set parameters.learning_rate=0.1 --set parameters.batch_size.grid=[64,256]"
START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    for program in ("sshd", "ssh", "rsync", "unshare", "nsenter", "ip"):
        need(program)
    if not may_make_hosts():
        pytest.skip("making namespaces needs root")
    hosts = Hosts(("head", "worker"))
    yield hosts
    hosts.end()


@pytest.fixture(scope="module")
def project(hosts: Hosts) -> Path:
    """The project's root folder as it is after the commands of docs/cluster.md, with local.yaml for these hosts.

    They share the virtual environment of the tests, which takes the place of what pip would install.
    """
    folder = hosts.folder / "project"
    folder.mkdir()
    for name in ("sweeps", "deploy"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "dist").mkdir()
    (folder / "dist" / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    config = yaml.safe_load((folder / "deploy" / "ray" / "local.yaml").read_text())
    config["provider"] |= {"head_ip": hosts.addresses["head"], "worker_ips": [hosts.addresses["worker"]]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    setup = [command for command in config["setup_commands"] if "pip install" not in command]
    assert len(setup) == len(config["setup_commands"]) - 2
    config["setup_commands"] = [f"ln -sfn {BIN.parent} ~/energysweep-venv", *setup]
    (folder / "deploy" / "ray" / "local.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def cluster(hosts: Hosts, project: Path) -> Iterator[Hosts]:
    """The cluster that ``ray up`` has made."""
    ray(hosts, project, "get-auth-token --generate > /dev/null")
    ray(hosts, project, "up -y deploy/ray/local.yaml")
    wait_for(lambda: _nodes(hosts) == 2, 240)
    yield hosts
    ray(hosts, project, "down -y deploy/ray/local.yaml")
    wait_for(lambda: not any(_raylets(hosts, name) for name in ("head", "worker")), 240)


def ray(hosts: Hosts, project: Path, arguments: str, code: int = 0, seconds: float = 500) -> str:
    """Run a command of ray on the client, in the project's folder; its output."""
    done = hosts.client.run(f"cd {project} && ray {arguments}", seconds)
    assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def _nodes(hosts: Hosts) -> int:
    done = hosts.hosts["head"].run(". ~/.profile; ray list nodes --format json", 120)
    try:
        return sum(node["state"] == "ALIVE" for node in json.loads(done.stdout))
    except ValueError:
        return 0


def _raylets(hosts: Hosts, name: str) -> bool:
    return hosts.hosts[name].run("pgrep -x raylet").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ray_submit_runs_the_quickstart_on_both_hosts_and_its_report_comes_back(cluster: Hosts, project: Path) -> None:
    storage = f"--set storage={cluster.shared}/tune"
    sweep = f"submit deploy/ray/local.yaml deploy/ray/sweep.py sweeps/quickstart.yaml --run-id it {storage}"
    all_of_a_host = "--set hardware.any.resources.cpu=2"  # so that two at once need two hosts
    ray(cluster, project, f"{sweep} {SHORT} {all_of_a_host}")
    ray(cluster, project, "rsync-down deploy/ray/local.yaml '~/energysweep-results/' results/")

    back = project / "results" / "it"
    data = read(back)
    assert [trial.status for trial in data.trials] == ["completed", "completed"]
    assert {lease.node for lease in data.leases} == {"head", "worker"}
    assert balanced(data)
    assert "<html" in (back / "report.html").read_text(encoding="utf-8")
    assert {meter.source for meter in summarise(data).meters} == {"estimate"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_failed_sweep_fails_ray_submit(cluster: Hosts, project: Path) -> None:
    sweep = "submit deploy/ray/local.yaml deploy/ray/sweep.py sweeps"
    said = ray(cluster, project, f"{sweep}/missing.yaml", code=1)
    assert "sweeps/missing.yaml: there is no such file" in said
    said = ray(cluster, project, f"{sweep}/quickstart.yaml", code=1)  # two hosts and no storage
    assert "the cluster has" in said
    assert "give a storage path that all of them can reach" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_energysweep_submit_and_ray_job_submit_work_there_too(cluster: Hosts, project: Path) -> None:
    # The dashboard listens on the head's loopback only: the head is where its tunnel would end.
    head = cluster.hosts["head"]
    address = "--address http://127.0.0.1:8265"
    sets = f"{SHORT} --set storage={cluster.shared}/jobs"
    done = head.run(
        f". ~/.profile; energysweep submit ~/sweeps/quickstart.yaml {address} --run-id job --fetch ~/back {sets}", 500
    )
    assert done.returncode == 0, done.stderr
    data = read(cluster.folder / "head" / "home" / "back" / "job")
    assert [trial.status for trial in data.trials] == ["completed", "completed"]
    done = head.run(
        f". ~/.profile; ray job submit {address} --working-dir ~/sweeps --"
        " python -m energysweep run quickstart.yaml --address auto --output /tmp --set objective.mode=most",
        500,
    )
    assert done.returncode == 1
    assert "objective.mode" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_made_by_ray_up_is_closed_to_who_has_no_token(cluster: Hosts) -> None:
    head = cluster.hosts["head"]
    done = head.run("ray job list --address http://127.0.0.1:8265", RAY_AUTH_MODE="disabled")
    assert done.returncode != 0
    assert "Authentication" in done.stdout + done.stderr
    # From another host the dashboard cannot even be reached.
    connect = f"exec 3<> /dev/tcp/{cluster.addresses['head']}/8265"
    assert "Connection refused" in cluster.client.run(connect).stderr
    mode = (cluster.folder / "worker" / "home" / ".ray" / "auth_token").stat().st_mode & 0o777
    assert mode == 0o600


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_cluster_s_file_is_one_to_ray(path: Path) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = yaml.safe_load(path.read_text())
    validate_config(prepare_config(config))
    with pytest.raises(ValidationError, match="file_mount'"):
        validate_config(prepare_config(config | {"file_mount": {}}))


def test_nodes_of_aws_come_when_they_are_needed_and_the_head_runs_no_trials() -> None:
    config = yaml.safe_load(FILES[1].read_text())
    types = config["available_node_types"]
    assert config["idle_timeout_minutes"] > 0
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = {name: node for name, node in types.items() if name != config["head_node_type"]}
    assert {name: node["min_workers"] for name, node in workers.items()} == {"cpu": 0, "gpu": 0}
    assert all(node["max_workers"] > 0 for node in workers.values())
    assert ["GPU" in node["resources"] for node in workers.values()] == [False, True]
    # Ray's own role may do anything, and its own group lets ssh in from everywhere.
    for node in types.values():
        assert node["node_config"]["IamInstanceProfile"]
        assert node["node_config"]["SecurityGroupIds"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_node_wants_a_token_has_an_agent_and_pinned_versions(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert "RAY_AUTH_MODE=token" in " ".join(config["setup_commands"])  # in the profile that all commands run with
    assert "~/.ray/auth_token" in config["file_mounts"]
    for key in START:
        assert any("host.sh" in command for command in config[key]), key
    installs = [line for line in path.read_text().splitlines() if "pip install" in line and line.strip()[0] != "#"]
    assert installs
    assert all("--constraint" in line or "==" in line for line in installs)
    text = path.read_text()
    assert not re.search(r"AKIA|BEGIN [A-Z ]*PRIVATE|aws_secret|password:", text)
    assert "latest" not in text
    head = " ".join(config[START[0]])
    assert "--dashboard-host=127.0.0.1" in head


def test_the_host_script_is_one_to_a_shell() -> None:
    subprocess.run(["sh", "-n", ROOT / "deploy" / "ray" / "host.sh"], check=True)
