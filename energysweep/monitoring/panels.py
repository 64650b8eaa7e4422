"""Panels of a dashboard, as Grafana's classic JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energysweep.monitoring.fields import Json, Unit

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
DASHBOARD: Json = {"type": "datasource", "uid": "-- Dashboard --"}  # another panel of the same dashboard
# The format of a panel's options. Grafana puts an XY chart without it through the changes for the format before 11.1.
_PLUGIN_VERSION = "11.6.0"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, without its place.

    Attributes:
        title, description: for people; variables in them are filled in by Grafana.
        kind: Grafana's name of the panel's type.
        unit: of its numbers; None where each field has its own.
        empty: shown where there is nothing at all.
        targets: its queries; none if it has a source.
        source: the title of the panel whose rows it takes, as that one has transformed them, without asking again.
        options, custom: as the type of panel has them.
        defaults: further keys of the field configuration.
        overrides, transformations: as Grafana has them.
        width, height: in the dashboard's grid of 24 columns.
    """

    title: str
    description: str
    kind: str
    unit: Unit | None
    empty: str
    targets: tuple[Json, ...]
    options: Json
    width: int
    height: int
    custom: Json | None = None
    defaults: Json | None = None
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()
    source: str | None = None

    def json(self, number: int, x: int, y: int, numbers: Mapping[str, int]) -> Json:
        """The panel at a place.

        Args:
            number: its own.
            numbers: those of the dashboard's panels by their titles.
        """
        defaults: Json = {"noValue": self.empty, **(self.defaults or {})}
        if self.unit is not None:
            defaults["unit"] = self.unit
        if self.custom:
            defaults["custom"] = self.custom
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DASHBOARD if self.source else DATASOURCE,
            "pluginVersion": _PLUGIN_VERSION,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [_taken_from(numbers[self.source])] if self.source else list(self.targets),
            "fieldConfig": {"defaults": defaults, "overrides": list(self.overrides)},
            "options": self.options,
            "transformations": list(self.transformations),
        }


def _taken_from(panel: int) -> Json:
    return {"refId": "A", "datasource": DASHBOARD, "panelId": panel, "withTransforms": True}


def over_time(reference: str, expression: str, legend: str) -> Json:
    """A query for a line per series over the time range."""
    return _target(reference, expression) | {"range": True, "instant": False, "legendFormat": legend}


def at_end(reference: str, expression: str, legend: str) -> Json:
    """A query for one number per series, at the end of the time range."""
    return _target(reference, expression) | {"range": False, "instant": True, "legendFormat": legend}


def as_table(reference: str, expression: str) -> Json:
    """A query for one row per series, at the end of the time range."""
    return _target(reference, expression) | {"range": False, "instant": True, "format": "table"}


def _target(reference: str, expression: str) -> Json:
    return {"refId": reference, "datasource": DATASOURCE, "expr": expression, "editorMode": "code"}


def steps(base: str, *above: tuple[float, str]) -> Json:
    """Thresholds: a colour, and others from certain values on."""
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in above)],
    }
