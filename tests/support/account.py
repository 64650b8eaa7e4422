"""What the rules for the account make of simulated agents, by a real Prometheus: scraped, brought back, recorded.

Each rule is evaluated as Prometheus would have, once a minute, with the rules that it is made of in the place of their
names. What they record is brought back in turn, so that dashboards find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from prometheus_client import parser

from energysweep.agent.exporter import exposition
from tests.support.fake_host import FakeHost
from tests.support.grafana import Json, View

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules" / "account.yml"
SCRAPED = ("energysweep_account_", "energysweep_sweep_info")
MINUTES = "energysweep-account"


class Point(NamedTuple):
    """A sample of a series."""

    name: str
    labels: tuple[tuple[str, str], ...]
    at: float
    value: float


def rules(group: str = MINUTES) -> dict[str, str]:
    """The expressions of a group, by what they record."""
    (found,) = (each for each in yaml.safe_load(RULES.read_text())["groups"] if each["name"] == group)
    return {rule["record"]: rule["expr"] for rule in found["rules"]}


def inlined(name: str) -> str:
    """A rule's expression without names of other rules: they are of the same moment."""
    expression = rules()[name]
    for other in rules():
        if other in expression:
            expression = expression.replace(other, f"({inlined(other)})")
    return expression


def scraped(host: FakeHost, node: str, instance: str, at: float) -> Iterator[Point]:
    """What Prometheus takes of an agent for the account."""
    for family in parser.text_string_to_metric_families(exposition(host.agent.telling.snapshot(), "").text):
        for sample in family.samples:
            if sample.name.startswith(SCRAPED):
                labels = {**sample.labels, "instance": instance}
                if "node" in labels:
                    labels["node"] = node
                yield Point(sample.name, tuple(sorted(labels.items())), at, sample.value)


def openmetrics(points: Iterable[Point]) -> str:
    """Text for promtool."""
    lines: dict[str, list[str]] = {}
    for point in points:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in point.labels if value)
        lines.setdefault(point.name, []).append(f"{point.name}{{{labels}}} {point.value!r} {point.at}")
    parts = []
    for name, samples in lines.items():
        is_counter = name.endswith("_total")
        parts += [f"# TYPE {name.removesuffix('_total')} {'counter' if is_counter else 'gauge'}", *samples]
    return "\n".join([*parts, "# EOF", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def recorded(url: str, start: float, end: float) -> list[Point]:
    """What the rules of minutes record between two moments."""
    view = View(url, start, end)
    return [
        Point(name, tuple(sorted(series["metric"].items())), float(at), float(value))
        for name in rules()
        if name.endswith("increase1m")
        for series in _each_minute(view, inlined(name))
        for at, value in series["values"]
    ]


def _each_minute(view: View, query: str) -> list[Json]:
    asked = {"query": query, "start": view.start, "end": view.end, "step": 60}
    found: list[Json] = view._get("query_range", asked)["result"]
    return found


def sums(points: Iterable[Point], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """All that was recorded of a series whose name begins so, by labels."""
    found: dict[tuple[str, ...], float] = {}
    for point in points:
        if re.match(rf"\w+:{name}:", point.name):
            of: Mapping[str, str] = dict(point.labels)
            key = tuple(of.get(label, "") for label in labels)
            found[key] = found.get(key, 0.0) + point.value
    return found
