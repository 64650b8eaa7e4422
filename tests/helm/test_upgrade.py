"""An upgrade changes what was asked for, and nothing else."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.charts import AGENT, CHARTS, TEAM, Document, helm, of_kind, render, scenario, text_of
from tests.support.pods import pods

POD = "spec.template.spec"
HEAD = "spec.headGroupSpec.template.spec"
WORKERS = "spec.workerGroupSpecs.*.template.spec"
GROUPS = "RayCluster/power: metadata.annotations.energysweep/worker-groups"
AGENTS = ("DaemonSet/energysweep-agent-cpu", "DaemonSet/energysweep-agent-gpu")


def changes(before: Sequence[Document], after: Sequence[Document]) -> set[str]:
    """What differs: ``Kind/name`` of what came (+) or went (-), else with the path in it, whose numbers are ``*``."""
    old, new = _by_name(before), _by_name(after)
    found = {f"-{name}" for name in old.keys() - new.keys()} | {f"+{name}" for name in new.keys() - old.keys()}
    for name in old.keys() & new.keys():
        found |= {f"{name}: {re.sub(r'[.][0-9]+', '.*', path)}" for path in _paths(old[name], new[name], "")}
    return found


def _by_name(documents: Sequence[Document]) -> dict[str, Document]:
    return {f"{d['kind']}/{d['metadata']['name']}": d for d in documents}


def _paths(old: Any, new: Any, where: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from _paths(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _paths(a, b, f"{where}.{number}")
    elif old != new:
        yield where


def fixed(document: Document) -> dict[str, Any]:
    """What of an object Kubernetes refuses to change, or KubeRay never looks at again."""
    spec = document.get("spec", {})
    names: tuple[str, ...]
    match document["kind"]:
        case "Deployment" | "DaemonSet" | "StatefulSet":
            names = ("selector", "volumeClaimTemplates", "serviceName")
        case "PersistentVolumeClaim":
            names = ("accessModes", "storageClassName", "volumeName", "volumeMode", "selector")
        case "Service":
            names = ("clusterIP",)  # one without an address of its own stays so
        case "Job":
            names = ("selector", "template", "completions")
        case "ConfigMap" if document.get("immutable"):
            return dict(document["data"])
        case _:
            return {}
    return {name: spec.get(name) for name in names}


def refused(before: Sequence[Document], after: Sequence[Document]) -> list[str]:
    """Objects of the same name that Kubernetes would not let become what they are to be."""
    old, new = _by_name(before), _by_name(after)
    return sorted(name for name in old.keys() & new.keys() if fixed(old[name]) != fixed(new[name]))


# Chart, scenario, what is asked for, what changes.
UPGRADES: list[tuple[Path, str, tuple[str, ...], set[str]]] = [
    (
        AGENT,
        "default",
        ("image.tag=0.1.1",),
        {f"{agents}: {POD}.containers.*.image" for agents in AGENTS},
    ),
    (
        AGENT,
        "default",
        ("strictProof=true",),
        {f"{agents}: {POD}.containers.*.securityContext.capabilities.add" for agents in AGENTS},
    ),
    (
        AGENT,
        "default",
        ("gpu.resources.limits.memory=1Gi",),
        {f"DaemonSet/energysweep-agent-gpu: {POD}.containers.*.resources.limits.memory"},
    ),
    (
        AGENT,
        "default",
        ("gpu.enabled=false",),
        {"-DaemonSet/energysweep-agent-gpu", f"DaemonSet/energysweep-agent-cpu: {POD}.affinity"},
    ),
    (
        AGENT,
        "mixed-nodes",
        ("metrics.discovery=podMonitor",),
        {
            "+PodMonitor/energysweep-agent",
            "-Service/energysweep-agent-metrics",
            "NetworkPolicy/energysweep-agent: spec.egress",
            *(f"{agents}: {POD}.containers.*.env" for agents in AGENTS),
        },
    ),
    (AGENT, "default", ("networkPolicy.enabled=false",), {"-NetworkPolicy/energysweep-agent"}),
    (
        TEAM,
        "default",
        ("workerGroups.cpu.maxReplicas=9",),
        {"RayCluster/power: spec.workerGroupSpecs.*.maxReplicas", GROUPS},
    ),
    (
        TEAM,
        "default",
        ("head.resources.limits.memory=8Gi",),
        {f"RayCluster/power: {HEAD}.containers.*.resources.limits.memory"},
    ),
    (
        TEAM,
        "default",
        ("image.tag=0.1.1",),
        {*(f"RayCluster/power: {group}.containers.*.image" for group in (HEAD, WORKERS)), GROUPS},
    ),
    (TEAM, "default", ("auth.secretName=mine",), {"RayCluster/power: spec.authOptions.secretName"}),
    (TEAM, "default", ("results.size=20Gi",), {"PersistentVolumeClaim/power-results: spec.resources.requests.storage"}),
    (
        TEAM,
        "own-grafana",
        ("rules.labels.release=other",),
        {
            f"PrometheusRule/power-{name}: metadata.labels.release"
            for name in ("account", "alerts", "limits", "recording")
        },
    ),
    (
        TEAM,
        "own-grafana",
        ("rules.limits.powerWatts=100",),
        {"PrometheusRule/power-limits: spec.groups.*.rules.*.expr"},
    ),
    (TEAM, "job", ("job.retries=5",), {"RayJob/power-tuesday: spec.backoffLimit"}),
    (TEAM, "job", ("job.set={repeats=3}",), {"RayJob/power-tuesday: spec.entrypoint"}),
    (
        TEAM,
        "bundled-monitoring",
        ("grafana.enabled=false",),
        {
            "-ConfigMap/power-grafana",
            "-Deployment/power-grafana",
            "-NetworkPolicy/power-grafana",
            "-PersistentVolumeClaim/power-grafana",
            "-Service/power-grafana",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("chart", "name", "settings", "wanted"), UPGRADES, ids=lambda case: text_of(case)[-40:])
def test_an_upgrade_changes_only_what_was_asked(
    chart: Path, name: str, settings: tuple[str, ...], wanted: set[str]
) -> None:
    before, after = render(chart, scenario(chart, name)), render(chart, scenario(chart, name), settings=settings)
    assert changes(before, after) == wanted
    assert refused(before, after) == []


def mounted(documents: Sequence[Document]) -> dict[str, str]:
    """The claims that pods mount, by path."""
    found: dict[str, str] = {}
    for pod in pods(documents):
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod.spec.get("volumes", ())
            if "persistentVolumeClaim" in volume
        }
        for container in pod.containers:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] in claims:
                    assert found.setdefault(mount["mountPath"], claims[mount["name"]]) == claims[mount["name"]]
    return found


def volumes(documents: Sequence[Document]) -> dict[str, Document]:
    """The chart's own claims by name."""
    return {claim["metadata"]["name"]: claim for claim in of_kind(documents, "PersistentVolumeClaim")}


PAIRS = [
    pytest.param(chart, before, after, id=f"{chart.name}: {before} to {after}")
    for chart in CHARTS
    for before, after in itertools.permutations(
        sorted(file.name.removesuffix("-values.yaml") for file in chart.glob("ci/*-values.yaml")), 2
    )
]


@pytest.mark.parametrize(("chart", "before", "after"), PAIRS)
def test_from_each_scenario_to_each_other_nothing_is_refused_and_data_stay_where_they_are(
    chart: Path, before: str, after: str
) -> None:
    # Whoever names a class of volumes has to stay with it.
    settings = ("results.storageClass=fast", "shared.storageClass=shared") if chart == TEAM else ()
    old, new = (render(chart, scenario(chart, name), settings=settings) for name in (before, after))
    assert refused(old, new) == []
    for documents in (old, new):
        assert volumes(documents).keys() <= set(mounted(documents).values())
        for volume in volumes(documents).values():
            assert volume["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for path in mounted(old).keys() & mounted(new).keys():
        claims = (mounted(old)[path], mounted(new)[path])
        # Another claim is one that a value names, and is none of the chart's.
        assert claims[0] == claims[1] or not {*claims} <= {*volumes(old), *volumes(new)}, path
    jobs = [{job["metadata"]["name"]: job["spec"] for job in of_kind(each, "RayJob")} for each in (old, new)]
    assert all(jobs[0][name] == jobs[1][name] for name in jobs[0].keys() & jobs[1].keys())


def test_what_kubernetes_refuses_is_seen() -> None:
    def after(*settings: str) -> list[str]:
        return refused(render(TEAM), render(TEAM, settings=settings))

    assert after("results.accessModes={ReadWriteMany}") == ["PersistentVolumeClaim/power-results"]
    assert after("results.storageClass=slow") == ["PersistentVolumeClaim/power-results"]
    assert after("results.size=20Gi") == []  # a claim may grow


def test_from_a_cluster_to_a_job_and_back_the_results_stay() -> None:
    settings = ("mode=job", "job.path=/sweep.yaml", "job.set={storage=s3://b/c}", "job.runId=one")
    cluster, job = render(TEAM), render(TEAM, settings=settings)
    assert of_kind(cluster, "PersistentVolumeClaim") == of_kind(job, "PersistentVolumeClaim") != []
    assert {"-RayCluster/power", "+RayJob/power-one"} == changes(cluster, job)
    assert mounted(cluster)["/results"] == mounted(job)["/results"] == "power-results"


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_next_release_changes_labels_and_images_and_no_volume(chart: Path, tmp_path: Path) -> None:
    done = helm("package", chart, "--version", "0.2.0", "--app-version", "0.2.0", "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    found = changes(render(chart), render(package))
    assert found
    assert refused(render(chart), render(package)) == []
    allowed = re.compile(
        r".*(\.image|labels\.(helm\.sh/chart|app\.kubernetes\.io/version)|annotations\.energysweep/worker-groups)"
    )
    assert [change for change in found if not allowed.fullmatch(change)] == []
    assert not [change for change in found if "PersistentVolumeClaim" in change or "selector" in change.lower()]
    # Labels of Ray's pods stay: a new chart with the same image replaces no pod.
    assert not [change for change in found if "RayCluster" in change and "template.metadata" in change]


def test_a_changed_sweep_under_the_same_run_is_refused_by_kubernetes() -> None:
    before = render(TEAM, scenario(TEAM, "job"))
    after = render(TEAM, scenario(TEAM, "job"), settings=(r"job.files.train\.py=other",))
    assert changes(before, after) == {"ConfigMap/power-tuesday-sweep: data.train.py"}
    assert refused(before, after) == ["ConfigMap/power-tuesday-sweep"]
