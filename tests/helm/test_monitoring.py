"""What the chart of a team brings to Prometheus and Grafana."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.monitoring import dashboards, export
from tests.conftest import need
from tests.support.charts import ROOT, TEAM, Document, of_kind, one, render, scenario
from tests.support.models import PrometheusRule

FILES = TEAM / "files"
RULES = ROOT / "deploy" / "prometheus" / "rules"
BUNDLED = scenario(TEAM, "bundled-monitoring")
WITH_RULES = ("rules.enabled=true",)


def test_the_chart_carries_the_dashboards_as_they_are_exported(tmp_path: Path) -> None:
    exported = {file.name: file.read_bytes() for file in export(tmp_path)}
    carried = {file.name: file.read_bytes() for file in (FILES / "dashboards").iterdir()}
    assert carried == exported, "run `make charts`"


def test_the_chart_carries_the_rules_as_they_are_deployed() -> None:
    deployed = {file.name: file.read_bytes() for file in RULES.glob("*.yml")}
    carried = {file.name: file.read_bytes() for file in (FILES / "rules").iterdir()}
    assert deployed
    assert carried == deployed, "run `make charts`"


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds(tmp_path: Path) -> None:
    found = [c for c in of_kind(render(TEAM), "ConfigMap") if c["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert len(found) == len(dashboards())
    texts = {name: text for c in found for name, text in c["data"].items()}
    assert texts == {file.name: file.read_text(encoding="utf-8") for file in export(tmp_path)}
    assert {c["metadata"]["annotations"]["grafana_folder"] for c in found} == {"energysweep"}
    assert all(len(str(c)) < 1_000_000 for c in found)  # Kubernetes' limit is 1 MiB


def test_labels_and_folder_are_those_of_ones_own_grafana_and_prometheus() -> None:
    documents = render(TEAM, scenario(TEAM, "own-grafana"))
    found = [c for c in of_kind(documents, "ConfigMap") if c["metadata"]["labels"].get("my_dashboard") == "yes"]
    assert len(found) == len(dashboards())
    assert {c["metadata"]["annotations"]["k8s-sidecar-target-directory"] for c in found} == {"/tmp/dashboards/energy"}
    assert {r["metadata"]["labels"]["release"] for r in of_kind(documents, "PrometheusRule")} == {"observability"}


def test_rules_are_those_of_the_files_with_the_limits_of_the_values() -> None:
    found = [PrometheusRule.model_validate(r) for r in of_kind(render(TEAM, settings=WITH_RULES), "PrometheusRule")]
    groups = {g.name: [rule.expr.split() for rule in g.rules] for rule in found for g in rule.spec.groups}
    wanted = {
        group["name"]: [rule["expr"].split() for rule in group["rules"]]
        for file in RULES.glob("*.yml")
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    }
    assert groups == wanted
    lower = render(TEAM, settings=(*WITH_RULES, "rules.limits.powerWatts=750", "rules.limits.carbonGrams=2500000"))
    (group,) = one(lower, "PrometheusRule", "power-limits")["spec"]["groups"]
    assert [rule["expr"] for rule in group["rules"]] == ["vector(750)", "vector(2500000)"]


def alerts(documents: tuple[Document, ...]) -> dict[str, dict[str, Any]]:
    (group,) = one(documents, "PrometheusRule", "power-alerts")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_how_long_a_trial_may_report_nothing_and_where_runbooks_are_comes_from_the_values() -> None:
    before = alerts(render(TEAM, settings=WITH_RULES))
    after = alerts(render(TEAM, scenario(TEAM, "own-grafana")))  # 4h, https://docs.example/energysweep/
    name = "EnergysweepTrialWithoutProgress"
    assert {alert: rule["annotations"]["runbook_url"] for alert, rule in after.items()} == {
        alert: f"https://docs.example/energysweep/docs/monitoring.md#{alert.lower()}" for alert in before
    }
    assert [alert for alert, rule in after.items() if rule["expr"] != before[alert]["expr"]] == [name]
    assert after[name]["expr"] == before[name]["expr"].replace("offset 30m", "offset 4h").replace("[30m]", "[4h]")
    descriptions = [alert for alert, rule in after.items() if " 4h" in rule["annotations"]["description"]]
    assert descriptions == [name]


def test_promtool_accepts_the_rules_with_other_values(tmp_path: Path) -> None:
    for rule in of_kind(render(TEAM, scenario(TEAM, "own-grafana")), "PrometheusRule"):
        (tmp_path / f"{rule['metadata']['name']}.yml").write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    files = sorted(map(str, tmp_path.iterdir()))
    command = [need("promtool"), "check", "rules", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (len(files), done.returncode) == (4, 0), done.stdout + done.stderr


def test_custom_resources_are_only_where_the_cluster_has_them() -> None:
    without = render(TEAM, settings=WITH_RULES, kinds=())
    assert not of_kind(without, "PrometheusRule")
    assert {d["kind"] for d in render(TEAM, settings=WITH_RULES)} - {d["kind"] for d in without} == {"PrometheusRule"}


def test_releases_beside_each_other_write_no_series_twice_unless_asked_to() -> None:
    for values in (scenario(TEAM, "default"), scenario(TEAM, "job"), BUNDLED):
        assert not of_kind(render(TEAM, values), "PrometheusRule")
    bundled = one(render(TEAM, BUNDLED), "ConfigMap", "power-prometheus")["data"]
    assert len([name for name in bundled if name.endswith(".rules.yml")]) == len(list(RULES.glob("*.yml")))


def test_prometheus_and_grafana_are_not_bundled_unless_asked_for() -> None:
    assert not of_kind(render(TEAM), "Deployment")
    assert {d["metadata"]["name"] for d in of_kind(render(TEAM, BUNDLED), "Deployment")} == {
        "power-prometheus",
        "power-grafana",
    }


def test_promtool_accepts_the_bundled_configuration_and_rules(tmp_path: Path) -> None:
    files = one(render(TEAM, BUNDLED), "ConfigMap", "power-prometheus")["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("/etc/prometheus/", f"{tmp_path}/"), encoding="utf-8")
    command = [need("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(list(RULES.glob('*.yml')))} rule files found" in done.stdout


def test_the_bundled_prometheus_needs_no_right_in_the_cluster() -> None:
    text = one(render(TEAM, BUNDLED), "ConfigMap", "power-prometheus")["data"]["prometheus.yml"]
    assert "kubernetes_sd" not in text


def test_the_bundled_grafana_has_the_dashboards_and_its_password_from_a_secret() -> None:
    documents = render(TEAM, BUNDLED)
    (container,) = one(documents, "Deployment", "power-grafana")["spec"]["template"]["spec"]["containers"]
    secrets = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in container["env"] if "valueFrom" in v}
    assert secrets["GF_SECURITY_ADMIN_PASSWORD"] == {"name": "grafana-admin", "key": "admin-password"}
    volumes = one(documents, "Deployment", "power-grafana")["spec"]["template"]["spec"]["volumes"]
    (projected,) = [v["projected"]["sources"] for v in volumes if "projected" in v]
    maps = {c["metadata"]["name"] for c in of_kind(documents, "ConfigMap")}
    assert len(projected) == len(dashboards())
    assert {source["configMap"]["name"] for source in projected} <= maps
    files = one(documents, "ConfigMap", "power-grafana")["data"]
    (source,) = yaml.safe_load(files["datasources.yml"])["datasources"]
    assert source["url"] == "http://power-prometheus.team-a.svc:9090"
    (service,) = [s for s in of_kind(documents, "Service") if s["metadata"]["name"] == "power-prometheus"]
    assert service["spec"]["ports"][0]["port"] == 9090
    (provider,) = yaml.safe_load(files["dashboards.yml"])["providers"]
    assert provider["options"]["path"] in {m["mountPath"] for m in container["volumeMounts"]}


def test_the_bundled_grafana_has_the_dashboards_also_where_no_sidecar_is_to_find_them() -> None:
    documents = render(TEAM, BUNDLED, settings=("dashboards.enabled=false",))
    volumes = one(documents, "Deployment", "power-grafana")["spec"]["template"]["spec"]["volumes"]
    (projected,) = [v["projected"]["sources"] for v in volumes if "projected" in v]
    maps = {c["metadata"]["name"]: c["metadata"] for c in of_kind(documents, "ConfigMap")}
    mounted = [maps[source["configMap"]["name"]] for source in projected]
    assert len(mounted) == len(dashboards())
    assert not [about for about in mounted if "grafana_dashboard" in about["labels"] or "annotations" in about]
    alone = render(TEAM, settings=("dashboards.enabled=false",))
    assert not [c for c in of_kind(alone, "ConfigMap") if "dashboard" in c["metadata"]["name"]]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_a_changed_configuration_restarts_what_reads_it(name: str) -> None:
    def checksum(*settings: str) -> str:
        deployment = one(render(TEAM, BUNDLED, settings=settings), "Deployment", f"power-{name}")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum() != checksum("prometheus.scrapeInterval=30s")
    assert checksum() == checksum("prometheus.retention=30d")
