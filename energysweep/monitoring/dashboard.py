"""A dashboard: its panels in rows, its variables, and the marks of a sweep's beginning and end."""

from __future__ import annotations

from collections.abc import Sequence

from energysweep import __version__
from energysweep.core.metrics import (
    SWEEP_END,
    SWEEP_START,
    Family,
)
from energysweep.monitoring.panels import DATASOURCE, Json, Panel
from energysweep.monitoring.queries import now

TAG = "energysweep"
"""The tag of all dashboards that this package makes."""

VERSION_TAG_PREFIX = "energysweep-version:"
VERSION_TAG = f"{VERSION_TAG_PREFIX}{__version__}"
"""The tag that says which version of this package has made a dashboard."""

_SCHEMA_VERSION = 39  # Grafana 11.0's; later ones bring it up to their own
_WIDTH = 24

ON_TIME_RANGE = 2  # Grafana's refresh of a variable: whenever the time range changes
HIDDEN = 2


def dashboard(
    uid: str, title: str, description: str, variables: Sequence[Json], rows: Sequence[tuple[str, Sequence[Panel]]]
) -> Json:
    """A dashboard in Grafana's classic JSON.

    Args:
        rows: a heading and panels each, which are placed from left to right and go on below when 24 columns are full.
    """
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG, VERSION_TAG],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "links": [_links()],
        "annotations": {"list": [_mark("Sweep begins", SWEEP_START, "green"), _mark("Sweep ends", SWEEP_END, "red")]},
        "templating": {"list": [_datasource(), *variables]},
        "panels": _placed(rows),
    }


def choice(name: str, label: str, query: str, description: str, *, several: bool = True, regex: str = "") -> Json:
    """A variable with a list to choose from.

    Args:
        query: ``label_values(series, label)``, which finds what there was at any time within the range.
        several: any number of values, or all.
    """
    return _variable(name, label, query, description) | {
        "multi": several,
        "includeAll": several,
        "regex": regex,
        "sort": 1,
        **({"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if several else {}),
    }


def newest(name: str, label: str, query: str, description: str, regex: str) -> Json:
    """A variable with the results of a query (``query_result(...)``) in their own order; the first is chosen."""
    return _variable(name, label, query, description) | {
        "multi": False,
        "includeAll": False,
        "regex": regex,
        "sort": 0,
    }


def _variable(name: str, label: str, query: str, description: str) -> Json:
    kind = (
        3 if query.startswith("query_result(") else 1
    )  # how Grafana numbers the kinds of Prometheus' variable queries
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": kind, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": ON_TIME_RANGE,
        "hide": 0,
        "options": [],
    }


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "description": "The Prometheus that scrapes the agents.",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": [],
    }


def _mark(name: str, metric: Family, color: str) -> Json:
    """An annotation at the time that a timestamp metric tells, which Grafana wants in milliseconds."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": "1000 * " + now(metric, 'sweep=~"$sweep"'),
        "step": "60s",
        "useValueForTime": True,
        "titleFormat": name,
        "textFormat": "{{sweep}}",
        "tagKeys": "sweep",
    }


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "energysweep",
        "icon": "external link",
        "tooltip": "",
        "tags": [TAG],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    everything = [title for heading, panels in rows for title in (heading, *(panel.title for panel in panels))]
    numbers = {title: number for number, title in enumerate(everything, start=1)}
    for heading, panels in rows:
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": heading,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
                "panels": [],
            }
        )
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            placed.append(panel.json(len(placed) + 1, x, y, numbers))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return placed
