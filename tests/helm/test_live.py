"""Real Helm, 3 and 4, over a stand-in for the API server: Ray's autoscaler and Kueue write, too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.api_server import ApiServer, Object
from tests.support.charts import AGENT, IMAGE, TEAM

pytestmark = pytest.mark.slow  # some hundred starts of Helm

CHANGED_ELSEWHERE = "dashboards.enabled=false"
CHANGED_GROUPS = "workerGroups.cpu.maxReplicas=9"
CHANGED_PODS = "image.tag=0.1.1"
JOB = ("mode=job", "job.path=/sweep.yaml", "job.set={storage=s3://b/c}", "labels.kueue\\.x-k8s\\.io/queue-name=team-a")


class Helm:
    """One version of Helm, at one cluster, with what the documents say about how to install."""

    def __init__(self, server: ApiServer, home: Path, program: str, *install: str) -> None:
        self.server, self.program, self._install = server, program, install
        folders = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        self._environment = os.environ | {"KUBECONFIG": str(server.kubeconfig)} | folders

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What Helm says."""
        command = [self.program, *arguments]
        environment = self._environment
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)

    def install(self, *settings: str, chart: Path = TEAM) -> subprocess.CompletedProcess[str]:
        """The release, as the documents say."""
        return self._change("install", *self._install, *_set(settings), chart=chart)

    def upgrade(self, *settings: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """To these values."""
        return self._change("upgrade", *flags, *_set(settings), chart=TEAM)

    def rollback(self, revision: int, *flags: str) -> subprocess.CompletedProcess[str]:
        """To an earlier revision."""
        return self.run("rollback", "power", str(revision), "--namespace", "team-a", *flags)

    def _change(self, command: str, *arguments: str, chart: Path) -> subprocess.CompletedProcess[str]:
        # The stand-in has no schemas.
        place = ("power", str(chart), "--namespace", "team-a", "--disable-openapi-validation")
        return self.run(command, *place, "--set", IMAGE, *arguments)

    def groups(self) -> dict[str, Object]:
        """The groups of workers as they are in the cluster, by name."""
        cluster = self.server.cluster.get("rayclusters", "power", "team-a")
        return {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}

    def replicas(self) -> tuple[int, int]:
        """Of the groups cpu and gpu."""
        return self.groups()["cpu"]["replicas"], self.groups()["gpu"]["replicas"]

    def scale(self, cpu: int, gpu: int) -> None:
        """What Ray's autoscaler writes."""
        patch = [
            {"op": "replace", "path": f"/spec/workerGroupSpecs/{place}/replicas", "value": replicas}
            for place, replicas in enumerate((cpu, gpu))
        ]
        self.server.patch("rayclusters", "power", "team-a", patch, manager="python-requests")


def _set(settings: tuple[str, ...]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def done(answer: subprocess.CompletedProcess[str]) -> None:
    """It has worked."""
    assert answer.returncode == 0, answer.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path) as started:
        started.create("Namespace", "team-a", labels={"pod-security.kubernetes.io/enforce": "restricted"})
        yield started


# What docs/kubernetes.md says: Helm 4 is told once, at the installation.
@pytest.fixture(params=["Helm 3", "Helm 4"])
def helm(request: pytest.FixtureRequest, server: ApiServer, tmp_path: Path) -> Helm:
    if request.param == "Helm 3":
        return Helm(server, tmp_path, need("helm3"))
    return Helm(server, tmp_path, need("helm"), "--server-side=false")


@pytest.fixture
def server_side(server: ApiServer, tmp_path: Path) -> Helm:
    """Helm 4 as it is by itself."""
    return Helm(server, tmp_path, need("helm"))


def test_upgrades_beside_the_autoscaler_need_no_flag_and_keep_its_replicas(helm: Helm) -> None:
    done(helm.install())
    helm.scale(3, 1)
    done(helm.upgrade(CHANGED_ELSEWHERE))
    assert helm.replicas() == (3, 1)
    helm.scale(2, 2)
    done(helm.upgrade(CHANGED_GROUPS))
    assert helm.replicas() == (2, 2)
    assert helm.groups()["cpu"]["maxReplicas"] == 9
    done(helm.upgrade(CHANGED_PODS))
    assert helm.replicas() == (2, 2)
    image = helm.groups()["cpu"]["template"]["spec"]["containers"][0]["image"]
    assert image == "registry.example/energysweep:0.1.1"


def test_a_rollback_beside_the_autoscaler_needs_no_flag(helm: Helm) -> None:
    done(helm.install())
    helm.scale(3, 1)
    done(helm.upgrade(CHANGED_GROUPS))
    helm.scale(5, 1)
    done(helm.rollback(1))
    assert helm.groups()["cpu"]["maxReplicas"] == 4
    done(helm.rollback(2))
    assert helm.groups()["cpu"]["maxReplicas"] == 9
    assert helm.replicas() == (3, 1)  # as that revision had them; the autoscaler goes on from there


def test_replicas_stay_inside_the_bounds_that_an_upgrade_sets(helm: Helm) -> None:
    done(helm.install())
    helm.scale(4, 0)
    done(helm.upgrade("workerGroups.cpu.maxReplicas=2", "workerGroups.gpu.minReplicas=1"))
    assert helm.replicas() == (2, 1)


def test_groups_come_and_go_in_an_upgrade(helm: Helm) -> None:
    done(helm.install())
    helm.scale(1, 2)
    sizes = [f"resources.{which}.{what}" for which in ("requests", "limits") for what in ("cpu=8", "memory=8Gi")]
    big = ("minReplicas=0", "maxReplicas=1", *sizes)
    done(helm.upgrade("workerGroups.cpu=null", *(f"workerGroups.big.{setting}" for setting in big)))
    assert {name: group["replicas"] for name, group in helm.groups().items()} == {"big": 0, "gpu": 2}


def test_autoscaling_is_switched_off_and_on_again(helm: Helm) -> None:
    done(helm.install())
    helm.scale(1, 1)
    done(helm.upgrade("autoscaling.enabled=false"))
    assert helm.replicas() == (4, 2)
    done(helm.upgrade())
    assert helm.replicas() == (4, 2)
    helm.scale(0, 1)
    done(helm.upgrade(CHANGED_ELSEWHERE))
    assert helm.replicas() == (0, 1)


def test_a_fixed_number_of_workers_is_what_the_values_say(helm: Helm) -> None:
    done(helm.install("autoscaling.enabled=false"))
    assert helm.replicas() == (4, 2)
    done(helm.upgrade("autoscaling.enabled=false", CHANGED_GROUPS))
    assert helm.replicas() == (9, 2)


def test_an_upgrade_that_leaves_the_groups_alone_needs_no_flag_under_server_side_apply(server_side: Helm) -> None:
    done(server_side.install())
    server_side.scale(3, 1)
    done(server_side.upgrade(CHANGED_ELSEWHERE))
    assert server_side.replicas() == (3, 1)
    done(server_side.upgrade(CHANGED_ELSEWHERE, "head.resources.limits.memory=8Gi"))
    assert server_side.replicas() == (3, 1)


@pytest.mark.parametrize("flag", ["--force-conflicts", "--server-side=false"])
def test_one_that_changes_the_groups_is_refused_there_until_either_flag_is_given(server_side: Helm, flag: str) -> None:
    done(server_side.install())
    server_side.scale(3, 1)
    refused = server_side.upgrade(CHANGED_GROUPS)
    assert refused.returncode == 1
    assert 'conflict with "python-requests" using ray.io/v1: .spec.workerGroupSpecs' in refused.stderr
    done(server_side.upgrade(CHANGED_GROUPS, flags=(flag,)))
    assert server_side.replicas() == (3, 1)
    assert server_side.groups()["cpu"]["maxReplicas"] == 9


def test_once_switched_to_the_client_side_no_upgrade_needs_a_flag_again(server_side: Helm) -> None:
    done(server_side.install())
    server_side.scale(3, 1)
    done(server_side.upgrade(CHANGED_GROUPS, flags=("--server-side=false",)))
    server_side.scale(1, 0)
    done(server_side.upgrade(CHANGED_PODS))
    assert server_side.replicas() == (1, 0)
    done(server_side.rollback(2))


def test_a_job_in_a_queue_is_upgraded_after_the_queue_has_started_it(server_side: Helm) -> None:
    done(server_side.install(*JOB))
    job = server_side.server.cluster.get("rayjobs", "power", "team-a")
    assert "suspend" not in job["spec"]

    # Kueue holds it back, then admits it with the nodes of its flavor.
    server_side.server.merge("rayjobs", "power", "team-a", {"spec": {"suspend": True}}, manager="kueue")
    groups: list[Any] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    for group in groups:
        group["template"]["spec"]["nodeSelector"] = {"pool": "spot"}
    admitted = {"spec": {"suspend": False, "rayClusterSpec": {"workerGroupSpecs": groups}}}
    server_side.server.merge("rayjobs", "power", "team-a", admitted, manager="kueue")

    done(server_side.upgrade(*JOB, CHANGED_ELSEWHERE))
    spec = server_side.server.cluster.get("rayjobs", "power", "team-a")["spec"]
    assert spec["suspend"] is False
    assert spec["rayClusterSpec"]["workerGroupSpecs"] == groups


def test_a_job_waits_where_it_is_asked_to(server_side: Helm) -> None:
    done(server_side.install(*JOB, "job.suspend=true"))
    assert server_side.server.cluster.get("rayjobs", "power", "team-a")["spec"]["suspend"] is True


def test_the_agents_are_refused_where_no_pod_of_theirs_may_be(server_side: Helm) -> None:
    refused = server_side.install(chart=AGENT)
    assert refused.returncode == 1
    assert 'the namespace team-a enforces Pod Security "restricted"' in refused.stderr
    assert "kubectl label namespace team-a pod-security.kubernetes.io/enforce=privileged --overwrite" in refused.stderr
    assert server_side.server.cluster.list("daemonsets", "team-a", {}) == []
    done(server_side.install("checks=false", chart=AGENT))


@pytest.fixture
def privileged(server_side: Helm) -> Helm:
    server_side.server.create("Namespace", "kube-system")
    server_side.server.create("Namespace", "team-a", labels={"pod-security.kubernetes.io/enforce": "privileged"})
    return server_side


def test_gpu_nodes_that_would_have_no_agent_are_told_and_how_to_go_on(privileged: Helm) -> None:
    privileged.server.create("Node", "plain")
    privileged.server.create("Node", "gpu-7", labels={"nvidia.com/gpu.present": "true"})
    refused = privileged.install(chart=AGENT)
    assert refused.returncode == 1
    assert 'GPU nodes, such as gpu-7, would have no agent: there is no RuntimeClass "nvidia"' in refused.stderr
    assert "gpu.runtimeClassName=" in refused.stderr
    done(privileged.install("gpu.runtimeClassName=", chart=AGENT))


def test_a_runtime_class_that_is_there_is_enough(privileged: Helm) -> None:
    privileged.server.create("Node", "gpu-7", labels={"nvidia.com/gpu.present": "true"})
    privileged.server.create("RuntimeClass", "nvidia")
    installed = privileged.install(chart=AGENT)
    done(installed)
    assert "There is no RuntimeClass" not in installed.stdout


def test_without_gpu_nodes_the_notes_say_what_one_that_joins_would_miss(privileged: Helm) -> None:
    privileged.server.create("Node", "plain")
    installed = privileged.install(chart=AGENT)
    done(installed)
    assert 'There is no RuntimeClass "nvidia": a GPU node that joins gets no agent' in installed.stdout


@pytest.mark.parametrize("kind", ["namespaces", "runtimeclasses", "nodes"])
def test_whoever_may_not_read_what_is_checked_installs_the_agents_without_checks(
    helm: Helm, server: ApiServer, kind: str
) -> None:
    server.create("Namespace", "kube-system")
    server.create("Namespace", "team-a", labels={"pod-security.kubernetes.io/enforce": "privileged"})
    server.forbidden = frozenset({kind})
    refused = helm.install(chart=AGENT)
    assert refused.returncode == 1
    assert f"{kind} " in refused.stderr
    assert "is forbidden" in refused.stderr
    assert server.cluster.list("daemonsets", "team-a", {}) == []
    server.forbidden = frozenset({"namespaces", "runtimeclasses", "nodes"})
    installed = helm.install("checks=false", chart=AGENT)
    done(installed)
    assert "There is no RuntimeClass" not in installed.stdout
