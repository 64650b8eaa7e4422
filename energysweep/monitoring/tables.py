"""Tables that join several queries by the labels that they have in common, and what is made of the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from energysweep.monitoring.fields import NOTHING_IN_CELLS, VALUE, Field, Json, column, override
from energysweep.monitoring.panels import Panel, as_table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: shown; also the name that overrides match.
        field: what it holds.
        query: its expression, or None for a column that is a label.
        shown: a heading with variables, which is shown in place of the title.
        hidden: of a query: only its labels are of interest; of a label: it only joins rows.
    """

    title: str
    field: Field
    query: str | None = None
    shown: str | None = None
    hidden: bool = False


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
            *(column(each.title, each.field, each.shown) for each in columns.values() if not each.hidden),
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
        (*filled(columns), grouping(grouped), *shares, {"id": "organize", "options": organize}),
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


def grouping(columns: Iterable[Group]) -> Json:
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
