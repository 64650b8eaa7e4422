"""What a panel of a dashboard is made of: fields that say what they hold, and the panel in Grafana's classic JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from energysweep.core.buckets import ACCOUNT_APART, BY_NAME, TRIALS, WORK_BUCKETS

# Fields: what one holds gives its unit, its decimals, and the width of its column ------------------------------------
#
# Grafana gives all columns of a table the same width, and all fields of a panel the panel's unit, also labels that
# look like numbers. So every field says itself what it holds. Names of owners and states, and their colours, are here,
# too: a colour that Grafana chooses depends on what else there is.

Json = dict[str, Any]
NONE = "(none)"
"""What stands where a label is empty: Prometheus has no empty labels, and rows without it could be in no group."""

Unit = Literal[
    "joule", "kwatth", "watt", "massg", "percentunit", "s", "none", "short", "string", "dateTimeAsIso", "suffix:g/kWh"
]


@dataclass(frozen=True, slots=True)
class Field:
    """What a field holds.

    Attributes:
        unit: of its numbers; ``string`` for text, which Grafana then shows as it is.
        width: pixels of its column; None: it shares what the other columns leave.
        least: pixels that a column without a width has at least; text that is longer goes on in the next line.
        decimals: None: three digits that count, so small numbers stay numbers.
        bar: drawn as a bar behind the number, from 0 to the largest of its own column.
    """

    unit: Unit
    width: int | None = None
    least: int = 0
    decimals: int | None = None
    bar: bool = False


CONFIGURATION = Field("string", least=170)
SWEEP = Field("string", least=170)
NODE = Field("string", least=120)
NAME = Field("string", least=120)
VALUE = Field("string", least=85)
"""Of a parameter."""
HARDWARE = Field("string", 110)
TRIAL = Field("string", 120)
WORD = Field("string", 105)
"""Of a few that are known: a component, a source, an event, a kind of meter."""

JOULES = Field("joule", 90)
JOULES_BAR = Field("joule", 160, bar=True)
KWH = Field("kwatth", 90)
GRAMS = Field("massg", 85)
WATTS = Field("watt", 85)
PART = Field("percentunit", 75, decimals=0)
COUNT = Field("none", 70, decimals=0)
METRIC = Field("none", 140)
"""Headed by its name, of which 16 characters are seen; the heading of the row has all of it."""
MOMENT = Field("dateTimeAsIso", 165)

OWNERS: Mapping[str, tuple[str, str]] = {TRIALS: ("Trials", BY_NAME[WORK_BUCKETS[0]].color)} | {
    bucket.name: (bucket.title.capitalize(), bucket.color) for bucket in ACCOUNT_APART
}
"""Whose energy a bucket is, by its label: the name that people read, and its colour."""

STATES: Mapping[str, tuple[str, str]] = {
    "completed": ("completed", "green"),
    "running": ("running", "blue"),
    "paused": ("paused", "light-blue"),
    "pending": ("pending", "#a0a4a8"),
    "pruned": ("pruned", "yellow"),
    "interrupted": ("interrupted", "purple"),
    "failed": ("failed", "red"),
}
"""States of trials, likewise."""


# Of a heading: its padding with the arrow that shows the order, and a character, a little more than Inter's mean.
_HEADING_PIXELS = 28
_CHARACTER_PIXELS = 8


def named(names: Mapping[str, tuple[str, str]]) -> tuple[Json, ...]:
    """Overrides that give series the names and colours of such a table."""
    return tuple(
        override("byName", series, ("displayName", name), ("color", {"mode": "fixed", "fixedColor": color}))
        for series, (name, color) in names.items()
    )


def column(title: str, field: Field, shown: str | None = None, link: tuple[str, str] | None = None) -> Json:
    """The override of one column of a table.

    Args:
        title: its name in the frame.
        field: what it holds.
        shown: another heading, in which variables are filled in.
        link: of its cells: what it does, and the address, in which Grafana fills in variables as a URL has them.
    """
    properties: list[tuple[str, Any]] = [("unit", field.unit)]
    if shown is not None:
        properties += [("displayName", shown), ("custom.wrapHeaderText", True)]
    if field.width is not None:
        properties.append(("custom.width", max(field.width, _HEADING_PIXELS + _CHARACTER_PIXELS * len(title))))
    if field.least:
        properties.append(("custom.minWidth", field.least))
    if field.unit == "string":
        # In two places: until Grafana 12.3, and since.
        properties += [("custom.cellOptions", {"type": "auto", "wrapText": True}), ("custom.wrapText", True)]
    if field.decimals is not None:
        properties.append(("decimals", field.decimals))
    if link is not None:
        properties.append(("links", [{"title": link[0], "url": link[1], "targetBlank": False}]))
    if field.bar:
        properties += [
            ("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
            ("color", {"mode": "fixed", "fixedColor": "blue"}),
            ("min", 0),
            ("fieldMinMax", True),  # otherwise the largest number of all columns, which may be a time
        ]
    return override("byName", title, *properties)


def override(matcher: str, options: Any, *properties: tuple[str, Any]) -> Json:
    """Properties of the fields that a matcher finds."""
    return {
        "matcher": {"id": matcher, "options": options},
        "properties": [{"id": name, "value": value} for name, value in properties],
    }


NOTHING_IN_CELLS = override("byRegexp", "/.*/", ("noValue", ""))
"""What a whole panel says when it is empty must not stand in a single cell."""


# Panels --------------------------------------------------------------------------------------------------------------

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
