"""Clusters that ``ray up`` makes of local.yaml, on hosts of their own; aws.yaml as far as it goes without AWS."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep import __version__
from energysweep.report import summarise
from tests.conftest import do_without, need
from tests.driver.test_cluster import balanced
from tests.driver.test_resume import read, wait_for
from tests.support.hosts import BIN, Host, Hosts, may_make_hosts

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "deploy" / "ray" / name for name in ("local.yaml", "aws.yaml")]
# Nothing that a shell would change: `ray submit` hands its arguments to one as they are.
QUICK = "--set parameters.epochs=2"
SHORT = f"{QUICK} --set parameters.learning_rate=0.1 --set parameters.batch_size.grid=[64,256]"  # two trials
# Each of its two trials waits for the other one: on one host after the other they would wait for ever.
FAILING = {
    "failing.yaml": """
name: failing
workload: failing.py:train
parameters: {gain: {grid: [1, 2]}, meet: in}
objective: {metric: score, mode: max}
""",
    "failing.py": """
import pathlib, time
from ray import tune


def train(config):
    here = pathlib.Path(config["meet"]) / str(config["gain"])
    here.mkdir(parents=True)
    give_up = time.monotonic() + 200
    while len(list(here.parent.iterdir())) < 2:
        assert time.monotonic() < give_up, "the other trial does not come"
        time.sleep(0.1)
    if config["gain"] == 2:
        raise RuntimeError("this gain is too much")
    tune.report({"score": config["gain"]})
""",
}
CLUSTER = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
START = ("head_start_ray_commands", "worker_start_ray_commands")


# Programs run by its own Python, with energysweep as it is installed there. No host here has a way to an index. Ray
# waits for a lost head for a minute: here it need not.
VENV = (
    f"({BIN}/python -m venv --without-pip ~/energysweep-venv && cd ~/energysweep-venv &&"
    f" echo {sysconfig.get_path('purelib')} > $(echo lib/python*/site-packages)/tests.pth &&"
    " printf '%s\\n' '[install]' 'no-index = true' > pip.conf &&"
    f' for name in pip ray; do sed "1s|.*|#!$PWD/bin/python|" {BIN}/$name > bin/$name && chmod +x bin/$name; done &&'
    " echo export RAY_gcs_rpc_server_reconnect_timeout_s=20 >> ~/.profile)"
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    for program in ("sshd", "ssh", "rsync", "unshare", "nsenter", "ip"):
        need(program)
    if not may_make_hosts():
        do_without("making namespaces needs root")
    hosts = Hosts(("head", "worker"))
    yield hosts
    hosts.end()


@pytest.fixture(scope="module")
def project(hosts: Hosts) -> Path:
    """The project's root folder, with the wheel, and with local.yaml for these hosts.

    Each gets a virtual environment that sees the packages of the tests' own: pip finds all but the wheel there already.
    """
    folder = hosts.folder / "project"
    folder.mkdir()
    for name in ("sweeps", "deploy", "energysweep"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in FAILING.items():
        (folder / "sweeps" / name).write_text(text)
    make_wheel(folder)
    config = yaml.safe_load((folder / "deploy" / "ray" / "local.yaml").read_text())
    config["provider"] |= {"head_ip": hosts.addresses["head"], "worker_ips": [hosts.addresses["worker"]]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    config["setup_commands"].insert(0, f"test -d ~/energysweep-venv || {VENV}")
    (folder / "deploy" / "ray" / "local.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def cluster(hosts: Hosts, project: Path) -> Iterator[Hosts]:
    """The cluster that ``ray up`` has made."""
    ray(hosts, project, "get-auth-token --generate > /dev/null")
    ray(hosts, project, "up -y deploy/ray/local.yaml")
    wait_for(lambda: len(_alive(hosts)) == 2)
    yield hosts
    ray(hosts, project, "down -y deploy/ray/local.yaml")
    wait_for(lambda: not any(_raylets(hosts, name) for name in ("head", "worker")))


def make_wheel(folder: Path) -> None:
    """As docs/cluster.md says."""
    (command,) = (line for line in CLUSTER.splitlines() if "pip wheel" in line)
    subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}, check=True
    )


def ray(hosts: Hosts, project: Path, arguments: str, code: int = 0, seconds: float = 500) -> str:
    """Run a command of ray on the client, in the project's folder; its output."""
    done = hosts.client.run(f"cd {project} && ray {arguments}", seconds)
    assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def _alive(hosts: Hosts) -> list[dict[str, Any]]:
    """The cluster's nodes, as Ray lists them; none if it does not answer."""
    done = hosts.hosts["head"].run(". ~/.profile; ray list nodes --format json", 120)
    try:
        return [node for node in json.loads(done.stdout) if node["state"] == "ALIVE"]
    except ValueError:
        return []


@functools.cache
def cpus(hosts: Hosts) -> int:
    """Of each host."""
    (number,) = {int(node["resources_total"]["CPU"]) for node in _alive(hosts)}
    return number


def all_of_a_host(hosts: Hosts) -> str:
    """The option by which two trials at once need two hosts."""
    return f"--set hardware.any.resources.cpu={cpus(hosts)}"


def on_both_hosts(hosts: Hosts, name: str) -> str:
    """The options of FAILING by which its trials meet, each on a host of its own."""
    folder = f"{hosts.shared}/{name}"
    return f"--set storage={folder} --set parameters.meet={folder}-meet {all_of_a_host(hosts)}"


def failed_on_both_hosts(folder: Path) -> None:
    """The ledger of FAILING in this folder: its trials, and the hosts that they were on, and whose agents answered."""
    data = read(folder)
    assert sorted(trial.status for trial in data.trials) == ["completed", "failed"]
    assert {lease.node for lease in data.leases} == {meter.node for meter in data.meters} == {"head", "worker"}
    assert all(trial.energy_joules > 0 for trial in summarise(data).trials)
    assert balanced(data)


def _raylets(hosts: Hosts, name: str) -> bool:
    return hosts.hosts[name].run("pgrep -x raylet").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ray_submit_runs_the_quickstart_and_its_report_comes_back(cluster: Hosts, project: Path) -> None:
    storage = f"--set storage={cluster.shared}/tune"
    sweep = f"submit deploy/ray/local.yaml deploy/ray/sweep.py sweeps/quickstart.yaml --run-id it {storage}"
    ray(cluster, project, f"{sweep} {SHORT} {all_of_a_host(cluster)}")
    ray(cluster, project, "rsync-down deploy/ray/local.yaml '~/energysweep-results/' results/")
    assert f"/{2 * cpus(cluster)}.0 CPU" in ray(cluster, project, "exec deploy/ray/local.yaml 'ray status'")

    back = project / "results" / "it"
    data = read(back)
    assert [trial.status for trial in data.trials] == ["completed"] * 2
    assert {lease.node for lease in data.leases} <= {"head", "worker"}
    assert balanced(data)
    assert "<html" in (back / "report.html").read_text(encoding="utf-8")
    assert {meter.source for meter in summarise(data).meters} == {"estimate"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_failed_sweep_fails_ray_submit(cluster: Hosts, project: Path) -> None:
    sweep = "submit deploy/ray/local.yaml deploy/ray/sweep.py sweeps"
    said = ray(cluster, project, f"{sweep}/missing.yaml", code=1)
    assert "sweeps/missing.yaml: there is no such file" in said
    said = ray(cluster, project, f"{sweep}/quickstart.yaml", code=1)  # two hosts and no storage
    assert "the cluster has" in said
    assert "give a storage path that all of them can reach" in said
    shutil.copy(project / "sweeps" / "failing.yaml", project / "sweeps" / "new.yaml")
    ray(cluster, project, "rsync-up deploy/ray/local.yaml sweeps/ '~/sweeps/'")
    said = ray(cluster, project, f"{sweep}/new.yaml --run-id failing {on_both_hosts(cluster, 'tune')}", code=1)
    assert "this gain is too much" in said
    failed_on_both_hosts(cluster.folder / "head" / "home" / "energysweep-results" / "failing")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.variant
def test_energysweep_submit_and_ray_job_submit_work_there_too(cluster: Hosts, project: Path) -> None:
    # The dashboard listens on the head's loopback only: this is its tunnel's end.
    client = cluster.client
    tunnel = f"cd {project}; ray dashboard deploy/ray/local.yaml > /tmp/tunnel 2>&1 < /dev/null & echo $!"
    tunnel_pid = client.run(tunnel).stdout
    address = "--address http://127.0.0.1:8265"
    wait_for(lambda: client.run(f"ray job list {address}", RAY_AUTH_MODE="token").returncode == 0)

    def submitted(command: str) -> subprocess.CompletedProcess[str]:
        return client.run(f"cd {project} && {command}", 500, RAY_AUTH_MODE="token")

    sets = f"{SHORT} --set storage={cluster.shared}/jobs"
    done = submitted(f"energysweep submit sweeps/quickstart.yaml {address} --run-id job --fetch back {sets}")
    assert done.returncode == 0, done.stderr
    data = read(project / "back" / "job")
    assert [trial.status for trial in data.trials] == ["completed", "completed"]

    # A job knows its cluster from RAY_ADDRESS: the agents of both hosts answer its driver.
    run = f"ray job submit {address} --working-dir sweeps -- python -m energysweep run failing.yaml"
    done = submitted(f"{run} --output /tmp/results --run-id failing {on_both_hosts(cluster, 'jobs')}")
    assert done.returncode == 1
    assert "this gain is too much" in done.stdout + done.stderr
    failed_on_both_hosts(cluster.folder / "head/tmp/results/failing")
    client.run(f"kill {tunnel_pid}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.variant
def test_ray_up_after_a_change_brings_a_new_version_and_new_agents_to_all_hosts(cluster: Hosts, project: Path) -> None:
    nodes = [cluster.hosts[name] for name in ("head", "worker")]
    before = [_agents(node) for node in nodes]
    joules = [_node_joules(cluster, name) for name in ("head", "worker")]
    assert [len(pids) for pids in before] == [1, 1]
    for name in ("pyproject.toml", "energysweep/__init__.py"):
        text = (project / name).read_text(encoding="utf-8")
        assert f'version{"__" * ("/" in name)} = "{__version__}"' in text
        (project / name).write_text(text.replace(f'= "{__version__}"', '= "99.1"'), encoding="utf-8")
    make_wheel(project)
    ray(cluster, project, "up -y deploy/ray/local.yaml")
    for node, (earlier,) in zip(nodes, before, strict=True):
        wait_for(functools.partial(_has_another, node, earlier))
    for node in nodes:
        assert node.run(". ~/.profile; energysweep --version").stdout == "energysweep 99.1\n"
        assert len(list((node.folder / "home" / "energysweep-dist").glob("*.whl"))) == 2
    wait_for(lambda: len(_alive(cluster)) == 2)
    # They went on from the state of those before.
    assert [_node_joules(cluster, name) >= was > 0 for name, was in zip(("head", "worker"), joules, strict=True)] == [
        True,
        True,
    ]


def _agents(host: Host) -> list[str]:
    return host.run("pgrep -f '[e]nergysweep agent'").stdout.split()


def _has_another(host: Host, earlier: str) -> bool:
    """Whether it has one agent, and not the one of before."""
    now = _agents(host)
    return len(now) == 1 and earlier not in now


def _node_joules(hosts: Hosts, name: str) -> float:
    url = f"http://{hosts.addresses[name]}:9770/metrics"
    text = hosts.client.run(
        f"python -c 'import urllib.request as r; print(r.urlopen(\"{url}\").read().decode())'"
    ).stdout
    values = re.findall(r"^energysweep_node_energy_joules_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, values))


@pytest.mark.slow
def test_of_two_wheels_the_newest_is_installed_also_in_the_same_version(tmp_path: Path) -> None:
    of_files = [yaml.safe_load(path.read_text())["setup_commands"] for path in FILES]
    (line,) = {command for commands in of_files for command in commands if ".whl" in command}  # the same in both
    assert all(line in commands for commands in of_files)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "energysweep-venv"], check=True)
    dist = tmp_path / "energysweep-dist"
    dist.mkdir()
    (dist / "constraints.txt").touch()
    # By name 0.9 is the last; by age it is not.
    for age, (version, text) in enumerate([("0.9", "early"), ("0.10", "late"), ("0.10", "last")]):
        wheel = _wheel(dist, version, text)
        os.utime(wheel, (1_000_000_000 + age, 1_000_000_000 + age))
        subprocess.run(["bash", "-ec", line], env=os.environ | {"HOME": str(tmp_path)}, check=True)
        python = tmp_path / "energysweep-venv" / "bin" / "python"
        done = subprocess.run([python, "-m", "energysweep"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == f"{text}\n"
    assert len(list(dist.glob("*.whl"))) == 2


def _wheel(folder: Path, version: str, text: str) -> Path:
    """A wheel of a module that prints the text, with the extras that hosts want and without what they need."""
    path = folder / f"energysweep-{version}-py3-none-any.whl"
    info = f"energysweep-{version}.dist-info"
    extras = "Provides-Extra: optuna\nProvides-Extra: workloads\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("energysweep.py", f"print({text!r})\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: energysweep\nVersion: {version}\n{extras}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"energysweep.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


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
