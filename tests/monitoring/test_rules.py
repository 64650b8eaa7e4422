"""The files for Prometheus, by promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.core.metrics import FAMILIES
from tests.conftest import need

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
UNIT_TESTS = sorted((Path(__file__).parent / "rules").glob("*_test.yml"))


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]
OF_MINUTES = [rule for rule in RECORDS if "_account_" in rule["expr"]]
"""Those of the account, which record once a minute or an hour, of what was a minute before."""


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [need("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "local.yml"])
def test_promtool_finds_nothing_wrong_with_a_configuration_and_its_rules(name: str) -> None:
    assert f"{len(RULES)} rule files found" in promtool("check", "config", PROMETHEUS / name)


def test_the_two_configurations_differ_only_in_where_the_agent_is() -> None:
    containers, local = (yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "local.yml"))
    assert containers["scrape_configs"][0]["http_sd_configs"][0].pop("url") == "http://agent:9770/sd"
    assert local["scrape_configs"][0]["http_sd_configs"][0].pop("url") == "http://127.0.0.1:9770/sd"
    assert containers == local


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_unit_tests_say(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_of_each_alert_it_is_tested_that_it_fires_and_that_it_does_not(alert: dict[str, Any]) -> None:
    cases = [
        case
        for path in UNIT_TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert["alert"]
    ]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_each_alert_says_what_is_so_and_leads_to_a_section_that_says_what_to_do(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert annotations["summary"]
    assert annotations["description"]
    document, _, anchor = annotations["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
    assert alert["labels"]["severity"] in {"warning", "critical"}


def test_every_recorded_series_and_every_alert_is_documented() -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert [rule["record"] for rule in RECORDS if f"`{rule['record']}`" not in document] == []
    assert [alert["alert"] for alert in ALERTS if f"### {alert['alert']}" not in document] == []


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: str(rule["record"]))
def test_a_recorded_series_is_called_by_its_level_metric_and_operation(rule: dict[str, Any]) -> None:
    level, metric, operation = rule["record"].split(":")
    of_trials = {"sweep", "trial", "config", "hardware", "node", "instance", "bucket", "meter"}
    assert set(level.split("_")) <= of_trials | {"owner", "tags", "name", "source", "books"}
    families = {family.name.removesuffix("_total") for family in FAMILIES}
    limits = {"energysweep_power_limit_watts", "energysweep_carbon_limit_grams"}
    assert metric in families | limits
    assert re.fullmatch(r"sum|max|constant|(max|rate|increase)\d+[dhm]", operation)
