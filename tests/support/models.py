"""The fields of Prometheus' custom resources that the charts use: no package has their schemas.

Source: https://prometheus-operator.dev/docs/api-reference/api/
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[
    str, Field(pattern=r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$")
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Metadata(_Strict):
    """Of both."""

    name: str
    namespace: str
    labels: dict[str, str]


class Selector(_Strict):
    """Of pods."""

    matchLabels: dict[str, str]  # noqa: N815 - Kubernetes' name


class Endpoint(_Strict):
    """Where to scrape; ``port`` is a port's name."""

    port: str
    path: str
    interval: Duration
    scrapeTimeout: Duration  # noqa: N815
    honorLabels: bool  # noqa: N815


class PodMonitorSpec(_Strict):
    """Which pods to scrape."""

    jobLabel: str  # noqa: N815
    selector: Selector
    podMetricsEndpoints: list[Endpoint]  # noqa: N815


class PodMonitor(_Strict):
    """Agents for a Prometheus that an operator runs."""

    apiVersion: Literal["monitoring.coreos.com/v1"]  # noqa: N815
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


class Rule(_Strict):
    """A recording rule or an alert."""

    record: str | None = None
    alert: str | None = None
    expr: str
    for_: Duration | None = Field(default=None, alias="for")
    keep_firing_for: Duration | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Group(_Strict):
    """Rules that are evaluated together."""

    name: str
    interval: Duration | None = None
    rules: list[Rule]


class RuleSpec(_Strict):
    """All groups."""

    groups: list[Group]


class PrometheusRule(_Strict):
    """Rules for a Prometheus that an operator runs."""

    apiVersion: Literal["monitoring.coreos.com/v1"]  # noqa: N815
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: RuleSpec
