"""The kinds of panels that the dashboards have: tables, XY charts, numbers, lines and bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from energysweep.monitoring.panels import (
    NONE,
    NOTHING_IN_CELLS,
    VALUE,
    Field,
    Json,
    Panel,
    Unit,
    as_table,
    at_end,
    column,
    named,
    override,
    steps,
)

# Tables that join several queries by their common labels, and charts of their rows -----------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: shown; also the name that overrides match.
        field: what it holds.
        query: its expression, or None for a column that is a label.
        shown: a heading with variables, which is shown in place of the title.
        hidden: of a query: only its labels are of interest; of a label: it only joins rows.
        link: of its cells: what it does, and the address.
    """

    title: str
    field: Field
    query: str | None = None
    shown: str | None = None
    hidden: bool = False
    link: tuple[str, str] | None = None


def table(
    title: str,
    description: str,
    empty: str,
    columns: Mapping[str, Column],
    *,
    width: int = 24,
    height: int = 9,
    sort: str | None = None,
    descending: bool = True,
) -> Panel:
    """A table that joins its queries' rows by the labels that they have in common.

    Args:
        columns: by label for labels, by reference for queries, in the order from left to right.
        sort: the title of the column that the rows are sorted by.
    """
    targets = tuple(as_table(name, column.query) for name, column in columns.items() if column.query is not None)
    options: Json = {"showHeader": True, "frameIndex": 0, "cellHeight": "sm"}
    options["sortBy"] = [{"displayName": sort, "desc": descending}] if sort else []
    return Panel(
        *(title, description, "table", None, empty, targets, options, width, height),
        {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        None,
        (
            NOTHING_IN_CELLS,
            *(column(each.title, each.field, each.shown, each.link) for each in columns.values() if not each.hidden),
        ),
        joined(columns),
    )


def joined(columns: Mapping[str, Column]) -> tuple[Json, ...]:
    """Transformations that make one table of several queries, with columns in order and named."""
    fields = {name if column.query is None else f"Value #{name}": column.title for name, column in columns.items()}
    hidden = {f"Value #{name}" if column.query else name: True for name, column in columns.items() if column.hidden}
    # Grafana calls the values of a single query just "Value"; so does it where only one of several has rows.
    first = next(column.title for column in columns.values() if column.query is not None)
    return (
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True} | hidden,
                "indexByName": {field: place for place, field in enumerate(fields)},
                "renameByName": fields | {"Value": first},
            },
        },
    )


Calculation = Literal["mean", "min", "max", "sum", "count"]


@dataclass(frozen=True, slots=True)
class Group:
    """A column of a table whose rows are groups of the rows of another table.

    Attributes:
        title: shown; also the name that overrides match.
        field: what it holds.
        of: the column of the other table.
        how: how a group's values become one; None: the groups are those of equal values.
        over: a sum is divided by the sum of this column.
        shown: a heading with variables, which is shown in place of the title.
    """

    title: str
    field: Field
    of: str
    how: Calculation | None = None
    over: str | None = None
    shown: str | None = None

    @property
    def name(self) -> str:
        """Of the field that grouping makes."""
        return self.of if self.how is None else f"{self.of} ({self.how})"


def groups(
    title: str,
    description: str,
    empty: str,
    source: str,
    columns: Sequence[Group],
    *,
    width: int = 24,
    height: int = 9,
    sort: str,
) -> Panel:
    """A table of groups of the rows of another table, which are not asked for again.

    Args:
        source: the title of the other table.
        columns: from left to right.
        sort: the title of the column that the rows are sorted by, the largest first.
    """
    options: Json = {"showHeader": True, "frameIndex": 0, "cellHeight": "sm"}
    options["sortBy"] = [{"displayName": sort, "desc": True}]
    parts = [each for each in columns if each.over is not None]
    names = {each.title if each.over is not None else each.name: each.title for each in columns}
    grouped = [*columns, *(Group("", each.field, str(each.over), "sum") for each in parts)]
    shares = tuple(
        {
            "id": "calculateField",
            "options": {
                "mode": "binary",
                "binary": {"left": each.name, "operator": "/", "right": f"{each.over} (sum)"},
                "alias": each.title,
            },
        }
        for each in parts
    )
    hidden = {each.name: True for each in grouped if each.name not in names}
    organize = {
        "excludeByName": hidden,
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    return Panel(
        *(title, description, "table", None, empty, (), options, width, height),
        {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        None,
        (NOTHING_IN_CELLS, *(column(each.title, each.field, each.shown) for each in columns)),
        (*filled(columns), _grouping(grouped), *shares, {"id": "organize", "options": organize}),
        source,
    )


def filled(columns: Sequence[Group]) -> tuple[Json, ...]:
    """Leaves out the rows that are in no group because they have no value of the parameter."""
    return tuple(
        {
            "id": "filterByValue",
            "options": {
                "type": "include",
                "match": "all",
                "filters": [{"fieldName": each.of, "config": {"id": "regex", "options": {"value": ".+"}}}],
            },
        }
        for each in columns
        if each.how is None and each.field is VALUE
    )


def _grouping(columns: Iterable[Group]) -> Json:
    """The transformation that makes groups."""
    fields: dict[str, Json] = {}
    for each in columns:
        if each.how is None:
            fields[each.of] = {"operation": "groupby", "aggregations": []}
        else:
            aggregations = fields.setdefault(each.of, {"operation": "aggregate", "aggregations": []})["aggregations"]
            if each.how not in aggregations:
                aggregations.append(each.how)
    return {"id": "groupBy", "options": {"fields": fields}}


def xychart(
    title: str,
    description: str,
    empty: str,
    source: str,
    x: Column,
    y: Column,
    *,
    width: int = 12,
    height: int = 9,
) -> Panel:
    """A point per row of a table, which is not asked for again.

    Args:
        source: the title of the table.
        x, y: two of its columns.
    """
    options = {
        "mapping": "manual",
        "series": [
            {
                "frame": {"matcher": {"id": "byIndex", "options": 0}},
                "x": {"matcher": {"id": "byName", "options": x.title}},
                "y": {"matcher": {"id": "byName", "options": y.title}},
                "name": {"fixed": "trials"},
            }
        ],
        "legend": {"displayMode": "hidden", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"show": "points", "pointSize": {"fixed": 8}, "fillOpacity": 60, "axisPlacement": "auto"}
    overrides = tuple(
        override(
            "byName",
            axis.title,
            ("unit", axis.field.unit),
            ("custom.axisLabel", axis.shown or axis.title),
            # Joules from 0 on: between two that are nearly the same, the same few digits would stand at every tick.
            *([("custom.axisSoftMin", 0)] if axis.field.unit == "joule" else []),
        )
        for axis in (x, y)
    )
    return Panel(
        *(title, description, "xychart", None, empty, (), options, width, height),
        *(custom, {"color": {"mode": "palette-classic"}}, overrides, (), source),
    )


# Numbers, lines and bars ---------------------------------------------------------------------------------------------

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
    drawn: Literal["line", "bars"] = "line",
    lines: tuple[str, ...] = (),
    limit: float | None = None,
    decimals: int | None = None,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """Lines over time.

    Args:
        targets: those that must be seen in the legend first.
        drawn: bars where each number is of a time of its own, such as a day.
        stacked: areas or bars upon each other; ``lines`` names the queries (by reference) that are lines over them.
        limit: drawn as a line.
        decimals: of the ticks; None: as many as tell them apart.
        names: of series that are known: their names for people, and their colours.
    """
    custom: Json = {
        "drawStyle": drawn,
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
            *([("custom.drawStyle", "line")] if drawn != "line" else []),
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
        transformations = (*filled(by), _grouping(means[1]), largest, {"id": "limit", "options": {"limitField": 15}})
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
