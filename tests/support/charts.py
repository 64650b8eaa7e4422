"""The charts, and what Helm makes of them."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import need

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "helm" / "energysweep-agent"
TEAM = ROOT / "helm" / "energysweep"
CHARTS = (AGENT, TEAM)

SCENARIOS = sorted(file for chart in CHARTS for file in chart.glob("ci/*-values.yaml"))

PROMETHEUS_OPERATOR = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")
KUBERAY = ("ray.io/v1/RayCluster", "ray.io/v1/RayJob")
ALL_KINDS = (*PROMETHEUS_OPERATOR, *KUBERAY)

IMAGE = "image.repository=registry.example/energysweep"  # what has to be given, and every scenario gives by itself

Document = dict[str, Any]


def name_of(scenario: Path) -> str:
    """A scenario as the id of a test."""
    return f"{chart_of(scenario).name}-{scenario.name.removesuffix('-values.yaml')}"


def text_of(case: object) -> str:
    """What the id of a test is cut from: a set has no order of its own, and ids are the same in every process."""
    return str(sorted(case)) if isinstance(case, set | frozenset) else str(case)


def chart_of(scenario: Path) -> Path:
    """The chart that a scenario is of."""
    return scenario.parents[1]


def scenario(chart: Path, name: str) -> Path:
    """The values of ``ci/<name>-values.yaml``."""
    return chart / "ci" / f"{name}-values.yaml"


def helm(*arguments: str | Path, program: str = "helm") -> subprocess.CompletedProcess[str]:
    """Helm's answer; skips the test where there is no Helm."""
    command = [need(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def render_text(
    chart: Path,
    *values: Path,
    settings: Sequence[str] = (),
    kinds: Sequence[str] = ALL_KINDS,
    release: str = "power",
    program: str = "helm",
    tests: bool = False,
) -> str:
    """The manifests as text.

    Args:
        chart: its folder or package.
        values: files of values; without any, ``IMAGE`` is set.
        settings: of ``--set``.
        kinds: custom resources that the cluster knows.
        release: its name; the namespace is ``team-a``.
        program: Helm of which version.
        tests: with the pods of ``helm test``.
    """
    arguments: list[str | Path] = ["template", release, chart, "--namespace", "team-a"]
    if not tests:
        arguments.append("--skip-tests")
    for file in values:
        arguments += ["--values", file]
    for setting in settings if values else (IMAGE, *settings):
        arguments += ["--set", setting]
    for kind in kinds:
        arguments += ["--api-versions", kind]
    done = helm(*arguments, program=program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_all(text: str) -> tuple[Document, ...]:
    """The documents of a stream. The loader in C: dashboards are long."""
    return tuple(document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document)


@functools.cache
def render(
    chart: Path,
    *values: Path,
    settings: tuple[str, ...] = (),
    kinds: tuple[str, ...] = ALL_KINDS,
    release: str = "power",
    tests: bool = False,
) -> tuple[Document, ...]:
    """The manifests; made once for all tests, which leave them as they are."""
    text = render_text(chart, *values, settings=settings, kinds=kinds, release=release, tests=tests)
    return load_all(text)


def refusal(chart: Path, settings: Sequence[str], release: str = "power") -> str:
    """What Helm says against these values."""
    arguments: list[str | Path] = ["template", release, chart]
    for setting in (IMAGE, *settings):
        arguments += ["--set", setting]
    for kind in ALL_KINDS:
        arguments += ["--api-versions", kind]
    done = helm(*arguments)
    assert done.returncode != 0, f"accepted {settings}"
    return done.stderr


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """The documents of a kind."""
    return [document for document in documents if document["kind"] == kind]


def one(documents: Sequence[Document], kind: str, name: str | None = None) -> Document:
    """The only document of a kind, or of a kind and name."""
    found = [d for d in of_kind(documents, kind) if name is None or d["metadata"]["name"] == name]
    assert len(found) == 1, [d["metadata"]["name"] for d in of_kind(documents, kind)]
    return found[0]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector of Kubernetes selects what has these labels."""
    for expression in selector.get("matchExpressions", ()):
        value = labels.get(expression["key"])
        fits = {
            "In": value in expression.get("values", ()),
            "NotIn": value not in expression.get("values", ()),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not fits[expression["operator"]]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
