"""Every scenario of both charts: Helm, Kubernetes and KubeRay accept what they make."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.support.charts import (
    AGENT,
    CHARTS,
    ROOT,
    SCENARIOS,
    TEAM,
    Document,
    chart_of,
    helm,
    name_of,
    one,
    refusal,
    render,
    render_text,
)
from tests.support.pods import pods

# Beside a checkout or a worktree, where a maintainer has it.
KUBERAY_CHECK = next((file for p in ROOT.parents if (file := p / "shared" / "kuberay" / "check").exists()), None)
OLDEST_KUBERNETES = "1.27"
OWN_KINDS = {"RayCluster", "RayJob", "PodMonitor", "PrometheusRule"}  # kinds that Kubernetes itself does not know
RUNS_ONCE = "submitter"  # a container that ends by itself needs no probes

every_scenario = pytest.mark.parametrize("values", SCENARIOS, ids=name_of)
each_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)


def test_each_chart_has_several_scenarios_each_with_a_word_on_what_it_is() -> None:
    assert {chart_of(file) for file in SCENARIOS} == set(CHARTS)
    assert [file.name for file in SCENARIOS if not file.read_text(encoding="utf-8").startswith("# ")] == []


@every_scenario
def test_helm_lints_it_strictly(values: Path) -> None:
    done = helm("lint", "--strict", chart_of(values), "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr


@every_scenario
@pytest.mark.parametrize(
    "version", [pytest.param(OLDEST_KUBERNETES, marks=pytest.mark.slow), kubernetes_validate.latest_version()]
)
def test_kubernetes_knows_every_field(values: Path, version: str) -> None:
    documents = render(chart_of(values), values)
    own = [document for document in documents if document["kind"] not in OWN_KINDS]
    assert own
    for document in own:
        _validate(json.dumps(document), version)


@functools.cache
def _validate(document: str, version: str) -> None:
    """Once for what several scenarios have in common: it reads the schemas of all kinds each time."""
    kubernetes_validate.validate(json.loads(document), version, strict=True)


@pytest.mark.parametrize("values", [s for s in SCENARIOS if chart_of(s) == TEAM], ids=name_of)
def test_kuberay_knows_every_field(values: Path) -> None:
    if KUBERAY_CHECK is None:
        pytest.skip("KubeRay's schemas are not beside this project")
    text = render_text(TEAM, values)
    command = [sys.executable, str(KUBERAY_CHECK)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "1 manifests checked, 0 errors\n"


@every_scenario
def test_it_renders_the_same_twice(values: Path) -> None:
    assert render_text(chart_of(values), values) == render_text(chart_of(values), values)


@pytest.mark.slow
@every_scenario
def test_helm_3_makes_the_same(values: Path) -> None:
    def sorted_documents(program: str) -> list[Document]:
        text = render_text(chart_of(values), values, program=program)
        found = [d for d in yaml.load_all(text, Loader=yaml.CSafeLoader) if d]
        return sorted(found, key=lambda d: (d["kind"], d["metadata"]["name"]))

    assert sorted_documents("helm3") == sorted_documents("helm")


@every_scenario
def test_names_are_used_once_and_in_the_namespace_of_the_release(values: Path) -> None:
    documents = render(chart_of(values), values)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    assert {document["metadata"]["namespace"] for document in documents} == {"team-a"}


@every_scenario
def test_every_container_has_a_pinned_image_resources_and_probes(values: Path) -> None:
    containers = [c for pod in pods(render(chart_of(values), values)) for c in pod.containers]
    assert containers
    for container in containers:
        repository, _, tag = container["image"].rpartition(":")
        is_digest = repository.endswith("@sha256")
        assert is_digest or tag[0].isdigit() or tag[0] == "v", container["image"]
        for what in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][what]), container["name"]
        if container["name"] != RUNS_ONCE:
            assert {"livenessProbe", "readinessProbe"} <= set(container), container["name"]


@every_scenario
def test_no_pod_has_a_token_for_the_api_server_that_it_did_not_ask_for(values: Path) -> None:
    documents = render(chart_of(values), values)
    accounts = {d["metadata"]["name"]: d for d in documents if d["kind"] == "ServiceAccount"}
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    for pod in pods(documents):
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert pod.spec["serviceAccountName"] in accounts, pod.name
    used = {pod.spec["serviceAccountName"] for pod in pods(documents)}
    assert set(accounts) == used  # none that nobody uses
    assert not [d for d in documents if "Role" in d["kind"]]  # and none has a right


@every_scenario
def test_no_secret_is_in_a_manifest(values: Path) -> None:
    documents = render(chart_of(values), values)
    assert not [d for d in documents if d["kind"] == "Secret"]
    for pod in pods(documents):
        for container in pod.containers:
            for variable in container.get("env", ()):
                is_secret = any(word in variable["name"] for word in ("TOKEN", "PASSWORD", "SECRET", "KEY"))
                assert not (is_secret and "value" in variable), variable["name"]
    texts = [text for d in documents if d["kind"] == "ConfigMap" for text in d["data"].values()]
    words = ("password:", "auth_token", "bearer_token:", "BEGIN PRIVATE KEY", "secret_key")
    assert [word for word in words for text in texts if word in text] == []


@each_chart
def test_helm_packages_it_without_the_scenarios(chart: Path, tmp_path: Path) -> None:
    done = helm("package", chart, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    listing = subprocess.run(["tar", "tzf", package], capture_output=True, text=True, check=True).stdout.split()
    wanted = {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt"}
    assert {f"{chart.name}/{file}" for file in wanted} <= set(listing)
    assert not [file for file in listing if "/ci/" in file]
    assert render(package) == render(chart)


@each_chart
def test_the_chart_is_of_the_same_release_as_the_program(chart: Path) -> None:
    from energysweep import __version__

    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["appVersion"] == __version__
    assert about["apiVersion"] == "v2"  # Helm 3 and 4
    assert about["kubeVersion"] == f">={OLDEST_KUBERNETES}.0-0"


def test_ray_is_the_version_that_is_tested() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={one(render(TEAM), 'RayCluster')['spec']['rayVersion']}\n" in pinned


@each_chart
def test_a_digest_goes_before_the_tag(chart: Path) -> None:
    digest = f"sha256:{64 * '0'}"
    images = {
        c["image"]
        for pod in pods(render(chart, settings=("image.tag=1.2.3", f"image.digest={digest}")))
        for c in pod.containers
    }
    assert images == {f"registry.example/energysweep@{digest}"}


@pytest.mark.parametrize(
    ("chart", "settings"),
    [
        (AGENT, ["image.tag=latest"]),
        (TEAM, ["image.tag=latest"]),
        (TEAM, ["prometheus.enabled=true", "prometheus.image.tag=latest"]),
    ],
    ids=["agent", "sweep", "prometheus"],
)
def test_the_tag_latest_is_refused(chart: Path, settings: list[str]) -> None:
    assert "image.tag: name a version" in refusal(chart, settings)
