"""Numbers, lines and bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from energysweep.monitoring.fields import Json, Unit, named, override
from energysweep.monitoring.panels import Panel, at_end, steps

_TEXT = {"titleSize": 13, "valueSize": 14}  # pixels; Grafana's own sizes depend on how many bars there are


def stat(
    title: str,
    description: str,
    unit: Unit,
    empty: str,
    *targets: Json,
    width: int = 4,
    height: int = 4,
    text: Literal["value", "value_and_name", "name"] = "value",
    thresholds: Json | None = None,
    mappings: tuple[Json, ...] = (),
) -> Panel:
    """One number, or a few."""
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        "orientation": "auto",
        "textMode": text,
        "colorMode": "value" if thresholds else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    defaults: Json = {"color": {"mode": "thresholds" if thresholds else "fixed", "fixedColor": "text"}}
    defaults["mappings"] = list(mappings)
    if thresholds:
        defaults["thresholds"] = thresholds
    return Panel(title, description, "stat", unit, empty, targets, options, width, height, defaults=defaults)


def timeseries(
    title: str,
    description: str,
    unit: Unit,
    empty: str,
    *targets: Json,
    width: int = 12,
    height: int = 9,
    stacked: bool = False,
    lines: tuple[str, ...] = (),
    limit: float | None = None,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """Lines over time.

    Args:
        targets: those that must be seen in the legend first.
        stacked: areas upon each other; ``lines`` names the queries (by reference) that are lines over them.
        limit: drawn as a line.
        names: of series that are known: their names for people, and their colours.
    """
    custom: Json = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
    }
    defaults: Json = {"color": {"mode": "palette-classic"}}
    if limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        custom["axisSoftMax"] = 2 * limit
        defaults["thresholds"] = steps("transparent", (limit, "red"))
    overrides = tuple(
        override(
            "byFrameRefID",
            reference,
            ("custom.stacking", {"mode": "none", "group": "A"}),
            ("custom.fillOpacity", 0),
            ("custom.lineWidth", 2),
            ("color", {"mode": "fixed", "fixedColor": "text"}),
        )
        for reference in lines
    )
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(
        *(title, description, "timeseries", unit, empty, targets, options, width, height, custom, defaults),
        (*named(names or {}), *overrides),
    )


def bars(
    title: str,
    description: str,
    unit: Unit,
    empty: str,
    expression: str,
    label: str,
    *,
    width: int = 12,
    height: int = 9,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """A bar per row of an instant query, from 0 on, under its name and beside its number.

    No chart of bars: on its axis Grafana would give a name that looks like a number the unit of the panel.

    Args:
        label: whose value is a bar's name.
        names: of bars that are known: their names for people, and their colours.
    """
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "text",
        "namePlacement": "top",
        "showUnfilled": True,
        "sizing": "manual",
        "minVizWidth": 8,
        "minVizHeight": 36,
        "maxVizHeight": 48,
        "text": _TEXT,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
    }
    defaults = {"color": {"mode": "fixed", "fixedColor": "blue"}, "min": 0}
    return Panel(
        *(title, description, "bargauge", unit, empty, (at_end("A", expression, f"{{{{{label}}}}}"),), options),
        *(width, height, None, defaults, named(names or {})),
    )
