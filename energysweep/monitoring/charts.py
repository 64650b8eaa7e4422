"""Numbers, lines and bars."""

from __future__ import annotations

from typing import Literal

from energysweep.monitoring.panels import Json, Panel, Unit, as_table, steps


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
) -> Panel:
    """Lines over time.

    Args:
        stacked: areas upon each other; ``lines`` names the queries (by reference) that are lines over them.
        limit: drawn as a line.
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
        {
            "matcher": {"id": "byFrameRefID", "options": reference},
            "properties": [
                {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.lineWidth", "value": 2},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": "text"}},
            ],
        }
        for reference in lines
    )
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(
        title, description, "timeseries", unit, empty, targets, options, width, height, custom, defaults, overrides
    )


def barchart(
    title: str,
    description: str,
    unit: Unit,
    empty: str,
    expression: str,
    label: str,
    *,
    width: int = 12,
    height: int = 9,
    horizontal: bool = True,
) -> Panel:
    """A bar per row of an instant query, named by one of its labels."""
    options = {
        "orientation": "horizontal" if horizontal else "vertical",
        "xField": label,
        "xTickLabelRotation": 0,
        "xTickLabelMaxLength": 40,
        "showValue": "auto",
        "stacking": "none",
        "groupWidth": 0.7,
        "barWidth": 0.9,
        "fullHighlight": False,
        "legend": {"displayMode": "hidden", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 80, "lineWidth": 0, "axisSoftMin": 0}
    defaults = {"color": {"mode": "palette-classic"}}
    transformations = (
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": title}}},
    )
    return Panel(
        *(title, description, "barchart", unit, empty, (as_table("A", expression),), options, width, height),
        *(custom, defaults, (), transformations),
    )
