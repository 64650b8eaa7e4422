"""Numbers, lines and bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from energysweep.monitoring.fields import NONE, Json, Unit, named, override
from energysweep.monitoring.panels import Panel, at_end, steps
from energysweep.monitoring.tables import Group, filled, grouping

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
    sum_of: tuple[str, str] | None = None,
) -> Panel:
    """One number, or a few.

    Args:
        sum_of: the title of a table, and the column whose sum is the number. There are no queries then.
    """
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""}
        if sum_of is None
        else {"values": False, "calcs": ["sum"], "fields": f"/^{sum_of[1]}$/"},
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
    return Panel(
        *(title, description, "stat", unit, empty, targets, options, width, height),
        defaults=defaults,
        source=sum_of and sum_of[0],
    )


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
    decimals: int | None = None,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """Lines over time.

    Args:
        targets: those that must be seen in the legend first.
        stacked: areas upon each other; ``lines`` names the queries (by reference) that are lines over them.
        limit: drawn as a line.
        decimals: of the ticks; None: as many as tell them apart.
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
    if decimals is not None:
        defaults["decimals"] = decimals
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
    *,
    query: tuple[str, str] | None = None,
    means: tuple[str, tuple[Group, ...]] | None = None,
    width: int = 12,
    height: int = 9,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """A bar per row, from 0 on, under its name and beside its number. One of both gives the rows.

    No chart of bars: on its axis Grafana would give a name that looks like a number the unit of the panel.

    Args:
        query: an expression, and the label whose value is a bar's name.
        means: the title of a table, and its columns whose equal values make a group and give it its name, then the one
            whose mean is shown; the 15 largest. The table is not asked for again.
        names: of bars that are known: their names for people, and their colours.
    """
    options = {
        "reduceOptions": {"values": means is not None, "calcs": ["lastNotNull"], "fields": ""},
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
    targets: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()
    if query is not None:
        expression, label = query
        targets = (at_end("A", expression, f"{{{{{label}}}}}"),)
    overrides = named(names or {})
    if means is not None:
        *by, of = means[1]
        largest = {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": of.name, "desc": True}]}}
        transformations = (*filled(by), grouping(means[1]), largest, {"id": "limit", "options": {"limitField": 15}})
        # A name is all texts of a row.
        overrides = (_TEXT_AS_IT_IS,)
        if len(by) > 1:
            overrides = (*overrides, override("byName", by[1].of, ("mappings", [_LEFT_OUT])))
    defaults = {"color": {"mode": "fixed", "fixedColor": "blue"}, "min": 0}
    return Panel(
        *(title, description, "bargauge", unit, empty, targets, options, width, height, None, defaults),
        *(overrides, transformations, means and means[0]),
    )


_LEFT_OUT = {"type": "value", "options": {NONE: {"text": "", "index": 0}}}
_TEXT_AS_IT_IS = override("byType", "string", ("unit", "string"))
