"""Wrong values are refused, with a message that names the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.meters.kinds import AUTO, KINDS, TRACES
from tests.support.charts import AGENT, CHARTS, TEAM, of_kind, one, refusal, render, scenario

JOB = ("mode=job", "job.path=/sweep.yaml", "shared.enabled=true")
OURS = r"app\.kubernetes\.io/name"

# Chart, settings, and words of the message.
WRONG: list[tuple[Path, tuple[str, ...], tuple[str, ...]]] = [
    (AGENT, ("powercp.mount=none",), ("additional properties 'powercp' not allowed",)),
    (AGENT, ("powercap.mont=none",), ("'/powercap'", "'mont' not allowed")),
    (AGENT, ("powercap.mount=privileged",), ("'/powercap/mount'", "'directory', 'parent', 'none'")),
    (AGENT, ("gpu.acces=cdi",), ("'/gpu'", "'acces' not allowed")),
    (AGENT, ("gpu.access=privileged",), ("'/gpu/access'", "'runtimeClass', 'volumes', 'cdi', 'resource'")),
    (AGENT, ("gpu.cdiDevice=all",), ("'/gpu/cdiDevice'", "does not match pattern")),
    (AGENT, ("metrics.discovery=both",), ("'/metrics/discovery'", "'podMonitor', 'sd', 'none'")),
    (AGENT, ("metrics.podMonitor.interval=15",), ("'/metrics/podMonitor/interval'", "want string")),
    (AGENT, ("meters={raple}",), ("'/meters/0'", "does not match pattern")),
    (AGENT, ("state.path=var/lib",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/state",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/..",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/tmp",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/etc",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/var/../etc",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/var/./lib",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/var/lib/",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/var//lib",), ("'/state/path'", "does not match pattern")),
    (AGENT, ("state.path=/etc/energysweep",), ("state.path: /etc/energysweep is in a folder of the host's",)),
    (AGENT, ("state.path=/usr/local/bin",), ("state.path: /usr/local/bin is in a folder of the host's own system",)),
    (AGENT, ("state.path=/proc/1",), ("state.path: /proc/1 is in a folder of the host's own system",)),
    (AGENT, ("state.path=/sys/kernel",), ("state.path: /sys/kernel is in a folder of the host's own system",)),
    (AGENT, ("state.path=/dev/shm",), ("state.path: /dev/shm is in a folder of the host's own system",)),
    (AGENT, ("state.path=/boot/efi",), ("state.path: /boot/efi is in a folder of the host's own system",)),
    (AGENT, ("strictProof=maybe",), ("'/strictProof'", "want boolean")),
    (AGENT, ("cpu.resources.limits.memory=lots",), ("'/cpu/resources/limits/memory'", "does not match pattern")),
    (AGENT, ("cpu.tolerations[0].effekt=NoSchedule",), ("'/cpu/tolerations/0'", "'effekt' not allowed")),
    (AGENT, ("networkPolicy.teams.namespaceSelector.matchLabel=x",), ("'matchLabel' not allowed",)),
    (AGENT, ("maxUnavailable=0",), ("'/maxUnavailable'", "got 0, want 1")),
    (TEAM, ("mod=job",), ("additional properties 'mod' not allowed",)),
    (TEAM, ("mode=jobs",), ("'/mode'", "'cluster', 'job'")),
    (TEAM, ("image.tags=1",), ("'/image'", "'tags' not allowed")),
    (TEAM, ("rayVersion=latest",), ("'/rayVersion'", "does not match pattern")),
    (TEAM, ("agent.namespace=Energy",), ("'/agent/namespace'", "does not match pattern")),
    (TEAM, ("workerGroups.cpu.minReplica=1",), ("'/workerGroups/cpu'", "'minReplica' not allowed")),
    (TEAM, ("workerGroups.tpu.maxReplicas=1",), ("'/workerGroups/tpu'", "missing properties 'minReplicas'")),
    (TEAM, ("workerGroups.H100.maxReplicas=1",), ("'/workerGroups'", "'H100' not allowed")),
    (TEAM, ("workerGroups.cpu.maxReplicas=0",), ("'/workerGroups/cpu/maxReplicas'", "got 0, want 1")),
    (TEAM, ("auth.token=abc",), ("'/auth'", "'token' not allowed")),
    (TEAM, ("auth.mode=disabled",), ("'/auth'", "'mode' not allowed")),
    (TEAM, ("job.runID=x",), ("'/job'", "'runID' not allowed")),
    (TEAM, ("job.runId=a b",), ("'/job/runId'", "does not match pattern")),
    (TEAM, ("job.set={repeats=2;reboot}",), ("'/job/set/0'", "does not match pattern")),
    (TEAM, ("job.set={name=$(id)}",), ("'/job/set/0'", "does not match pattern")),
    (TEAM, ("job.path=/sweep.yaml; id",), ("'/job/path'", "does not match pattern")),
    (TEAM, ("job.sweep.name=x",), ("'/job/sweep'", "got object, want string")),
    (TEAM, ("job.submissionMode=SidecarMode",), ("'/job/submissionMode'", "'K8sJobMode', 'HTTPMode'")),
    (TEAM, ("job.files.a/b=y",), ("'/job/files'", "'a/b' not allowed")),
    (TEAM, ("results.size=10",), ("'/results/size'", "want string")),
    (TEAM, ("results.accessModes={ReadOnlyMany}",), ("'/results/accessModes/0'", "'ReadWriteOnce'")),
    (TEAM, ("env[0].nme=x",), ("'/env/0'", "'nme' not allowed")),
    (TEAM, ("networkPolicy.clients[0].podSelektor.x=1",), ("'/networkPolicy/clients/0'", "'podSelektor' not allowed")),
    (TEAM, ("rules.limits.powerWatts=0",), ("'/rules/limits/powerWatts'", "got 0, want")),
    (TEAM, ("rules.limits.noReport=0m",), ("'/rules/limits/noReport'", "does not match pattern")),
    (TEAM, ("rules.runbookBase=docs",), ("'/rules/runbookBase'", "does not match pattern")),
    (TEAM, ("dashboards.label.x=1",), ("'/dashboards'", "'label' not allowed")),
    (TEAM, ("grafana.adminPassword=x",), ("'/grafana'", "'adminPassword' not allowed")),
    (TEAM, ("grafana.prometheusUrl=prometheus",), ("'/grafana/prometheusUrl'",)),
    (TEAM, ("image.digest=sha256:abc",), ("'/image/digest'", "does not match pattern")),
    (AGENT, ("image.repository=a@sha256:abc",), ("'/image/repository'", "does not match pattern")),
    # What a schema cannot say, the templates do.
    (TEAM, ("env[0].name=RAY_AUTH_MODE", "env[0].value=disabled"), ("env: RAY_AUTH_MODE is the chart's own",)),
    (TEAM, ("env[0].name=RAY_AUTH_TOKEN_PATH", "env[0].value=/x"), ("env: RAY_AUTH_TOKEN_PATH is the chart's own",)),
    (TEAM, ("env[0].name=ENERGYSWEEP_AGENT", "env[0].value=x:1"), ("env: ENERGYSWEEP_AGENT is the chart's own",)),
    (TEAM, ("env[0].name=ENERGYSWEEP_RESULTS", "env[0].value=/x"), ("env: ENERGYSWEEP_RESULTS is the chart's own",)),
    (TEAM, ("grafana.prometheusUrl=http://me:secret@prometheus:9090",), ("'/grafana/prometheusUrl'",)),
    (TEAM, ("workerGroups.cpu.minReplicas=5",), ("workerGroups.cpu: minReplicas 5 is more than maxReplicas 4",)),
    (TEAM, (rf"labels.{OURS}=x",), (": labels: app.kubernetes.io/name is the chart's own",)),
    (TEAM, (*JOB, r"labels.helm\.sh/chart=x"), (": labels: helm.sh/chart is the chart's own",)),
    (TEAM, (rf"dashboards.labels.{OURS}=x",), ("dashboards.labels: app.kubernetes.io/name is the chart's own",)),
    (TEAM, ("rules.enabled=true", rf"rules.labels.{OURS}=x"), ("rules.labels: app.kubernetes.io/name is",)),
    (AGENT, (rf"metrics.podMonitor.labels.{OURS}=x",), ("metrics.podMonitor.labels: app.kubernetes.io/name is",)),
    (AGENT, (r"podAnnotations.cdi\.k8s\.io/energysweep=x",), ("podAnnotations: cdi.k8s.io/energysweep is the",)),
    (AGENT, ("cpu.enabled=false", "gpu.enabled=false"), ("cpu.enabled and gpu.enabled are both false",)),
    (AGENT, ("image.repository=",), ("image.repository: name the image as your nodes pull it",)),
    (TEAM, ("image.repository=",), ("image.repository: name the image as your nodes pull it",)),
    (TEAM, ("prometheus.enabled=true", "prometheus.image.repository="), ("prometheus.image.repository: name",)),
    (TEAM, ("mode=job",), ("there is no sweep: --set-file job.sweep=my-sweep.yaml",)),
    (TEAM, (*JOB, "job.sweep=x"), ("job: give sweep (the YAML itself) or path",)),
    (TEAM, (*JOB, "job.files.a=b"), ("job.files stand beside job.sweep",)),
    (TEAM, ("mode=job", "job.sweep=a: [",), ("job.sweep is no YAML",)),
    (TEAM, ("mode=job", "job.sweep=name: x"), ("a sweep has `workload` or `command`",)),
    (TEAM, ("mode=job", "job.sweep=command: [x]"), ("set shared.enabled, or give the sweep a `storage`",)),
    (TEAM, ("mode=job", "job.path=/s.yaml"), ("set shared.enabled, or name a storage= in job.set",)),
    (TEAM, ("mode=job", "job.path=/s.yaml", "job.set={storage=}"), ("job: trials run on other nodes",)),
    (TEAM, ("grafana.enabled=true", "prometheus.enabled=true"), ("grafana.adminSecret: name your Secret",)),
    (TEAM, ("grafana.enabled=true", "grafana.adminSecret=s"), ("name grafana.prometheusUrl",)),
]  # fmt: skip


@pytest.mark.parametrize(("chart", "settings", "words"), WRONG, ids=lambda case: str(case)[-50:])
def test_a_wrong_value_is_refused_with_its_key(chart: Path, settings: tuple[str, ...], words: tuple[str, ...]) -> None:
    message = refusal(chart, settings)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    "meter", [AUTO, *(kind.written for kind in KINDS if kind.name not in TRACES), "replay:/traces/node.csv?after=loop"]
)
def test_the_agents_chart_takes_every_meter_that_the_program_knows(meter: str) -> None:
    for agents in of_kind(render(AGENT, settings=(f"meters={{{meter}}}",)), "DaemonSet"):
        arguments = agents["spec"]["template"]["spec"]["containers"][0]["args"]
        assert f"--meter={meter}" in arguments


def test_a_name_that_is_too_long_for_kuberay_is_refused() -> None:
    render(TEAM, settings=(*JOB, "job.runId=" + 40 * "a"))  # with "power-" 46 characters: they fit
    assert "more than 47 characters" in refusal(TEAM, (*JOB, "job.runId=" + 40 * "a"), release="long-name")
    assert "more than 40 characters" in refusal(TEAM, (), release=41 * "a")


@pytest.mark.parametrize("settings", [(), JOB], ids=["cluster", "job"])
@pytest.mark.parametrize("release", ["7am", "my.team"])
def test_a_release_whose_name_cannot_name_a_service_is_refused(release: str, settings: tuple[str, ...]) -> None:
    assert f'the release\'s name "{release}" names Services' in refusal(TEAM, settings, release=release)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_no_mapping_of_the_schema_takes_keys_that_nobody_reads(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    free = [where for where, node in _objects(schema, "") if "additionalProperties" not in node]
    # Parts of Kubernetes' own objects, which Kubernetes checks; and what Helm gives to a part of a chart.
    assert set(free) <= {
        "/properties/global",
        "/$defs/env/items/properties/valueFrom",
        "/properties/networkPolicy/properties/egress/items",
    }


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_value_is_in_the_schema_and_in_the_readme(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    readme = (chart / "README.md").read_text(encoding="utf-8")
    assert set(schema["properties"]) - {"global"} == set(values)
    keys = [
        key
        for top, inner in values.items()
        for key in ([f"{top}.{k}" for k in inner] if _is_fixed(schema, top) else [top])
    ]
    assert [key for key in keys if f"`{key}`" not in readme] == []


def test_a_chart_inside_another_one_gets_helms_own_values() -> None:
    assert render(AGENT, settings=("global.x=1",)) == render(AGENT)


def test_a_yaml_file_of_ones_own_becomes_the_sweep_as_it_stands() -> None:
    values = yaml.safe_load(scenario(TEAM, "job").read_text(encoding="utf-8"))
    configuration = one(render(TEAM, scenario(TEAM, "job")), "ConfigMap", "power-tuesday-sweep")
    assert configuration["data"]["sweep.yaml"] == values["job"]["sweep"]
    assert configuration["data"]["train.py"] == values["job"]["files"]["train.py"]


def test_files_of_a_job_arrive_byte_by_byte_whatever_their_names_and_first_lines_are(tmp_path: Path) -> None:
    texts = {
        "sweep.yaml": "  command: [x, '<&>']\n  # Zürich ☃\n  storage: s3://b/c\n\n",
        "null": "no end of line",
        "yes": "",
        "1": '\ttab: `tick` "quote" \\n {{ .Values }}\r\n',
        "indented.py": "    if x:\n  y\n",
    }
    values = {
        "mode": "job",
        "job": {"sweep": texts["sweep.yaml"], "files": {k: t for k, t in texts.items() if k != "sweep.yaml"}},
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert one(render(TEAM, scenario(TEAM, "default"), file), "ConfigMap", "power-sweep")["data"] == texts


def _objects(node: Any, where: str) -> list[tuple[str, Any]]:
    if isinstance(node, list):
        return [found for number, inner in enumerate(node) for found in _objects(inner, f"{where}/{number}")]
    if not isinstance(node, dict):
        return []
    own = [(where, node)] if node.get("type") == "object" else []
    return own + [found for key, inner in node.items() for found in _objects(inner, f"{where}/{key}")]


def _is_fixed(schema: dict[str, Any], top: str) -> bool:
    node = schema["properties"][top]
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return bool(node.get("properties"))
