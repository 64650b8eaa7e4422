"""What the charts and docs/kubernetes.md tell people to do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from energysweep.cli import _parser
from tests.support.charts import AGENT, IMAGE, ROOT, SCENARIOS, TEAM, chart_of, helm, name_of, scenario

GUIDE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
VALUES_OF_BEFORE = "--reset-then-reuse-values"  # needs a cluster


def commands(program: str) -> list[list[str]]:
    """The commands of the guide that begin with a program; without redirections, comments and the shell's ``&``."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(re.sub(r" [>&].*", "", line)) for line in lines if line.startswith(f"{program} ")]


def notes(chart: Path, *arguments: str | Path) -> str:
    """What Helm says after an installation."""
    done = helm("install", "power", chart, "--namespace", "team-a", "--dry-run=client", "--set", IMAGE, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize("command", [c for c in commands("helm") if c[1] != "rollback"], ids=" ".join)
def test_every_command_of_the_guide_with_a_chart_is_one_that_the_chart_accepts(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[1] in {"uninstall", "get"}:
        return  # names no chart
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    (tmp_path / "my-sweep.yaml").write_text("name: mine\nworkload: train.py:train\n", encoding="utf-8")
    (tmp_path / "train.py").write_text("def train(config): ...\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text("image: {repository: registry.example/energysweep}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = [word for word in command[2:] if word != VALUES_OF_BEFORE]
    before = ["--set", IMAGE] if VALUES_OF_BEFORE in command else []
    done = helm("template", *before, *words)
    assert done.returncode == 0, done.stderr
    assert "kind: " in done.stdout


def test_the_guide_shows_how_to_install_upgrade_and_go_back() -> None:
    assert {command[1] for command in commands("helm")} == {
        *("install", "upgrade", "rollback", "uninstall", "template", "get")
    }


def test_one_release_of_the_guide_carries_the_rules_and_the_notes_say_so() -> None:
    releases = {command[2] for command in commands("helm") if "helm/energysweep" in command}
    carrying = {command[2] for command in commands("helm") if "rules.enabled=true" in command}
    assert releases == {"power", "tuesday"}
    assert carrying == {"power"}
    assert "One release per Prometheus carries the rules, which alerts need and dashboards do not:" in notes(TEAM)
    assert "carries the rules" not in notes(TEAM, "--values", scenario(TEAM, "bundled-monitoring"))


@pytest.mark.parametrize("command", commands("energysweep"), ids=" ".join)
def test_every_command_of_the_program_in_the_guide_is_one(command: list[str]) -> None:
    _parser().parse_args(command[1:])


@pytest.mark.parametrize("values", SCENARIOS, ids=name_of)
def test_the_notes_say_what_to_do_next(values: Path) -> None:
    text = notes(chart_of(values), "--values", values)
    assert "kubectl label namespace team-a pod-security.kubernetes.io/enforce=" in text
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE)[:3] == ["1", "2", "3"]
    assert "<no value>" not in text


def test_the_notes_of_a_team_lead_to_a_sweep_on_its_cluster_or_to_its_job() -> None:
    cluster = notes(TEAM)
    (submit,) = [line.split() for line in cluster.splitlines() if line.strip().startswith("energysweep submit")]
    assert submit[2:4] == ["my-sweep.yaml", "--address"]
    assert "get secret power " in cluster
    assert "get secret mine " in notes(TEAM, "--set", "auth.secretName=mine")
    job = notes(TEAM, "--values", scenario(TEAM, "job"))
    assert "get rayjob power-tuesday" in job
    assert "volume power-results, folder team-a.tuesday" in job


def test_the_notes_say_what_the_cluster_lacks() -> None:
    assert "does not know RayCluster" in notes(TEAM)
    assert "No PrometheusRule was made" in notes(TEAM, "--set", "rules.enabled=true")
    assert "No PrometheusRule" not in notes(TEAM)
    bundled = notes(TEAM, "--values", scenario(TEAM, "bundled-monitoring"))
    assert "Service energysweep-agent-metrics in energysweep-system" in bundled
    assert "--set metrics.discovery=sd" in bundled
    assert "metrics.discovery" not in notes(TEAM)
    assert "This cluster has no PodMonitor" in notes(AGENT)
    assert "energysweep-agent-metrics.team-a.svc:9770/sd" in notes(AGENT, "--set", "metrics.discovery=sd")
