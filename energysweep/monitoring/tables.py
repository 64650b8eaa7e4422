"""Tables, and charts of points, that join several queries by the labels that they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energysweep.monitoring.fields import NOTHING_IN_CELLS, SWEEP, Field, Json, column, override
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


def xychart(
    title: str,
    description: str,
    empty: str,
    x: Column,
    y: Column,
    labels: Mapping[str, Column],
    *,
    width: int = 12,
    height: int = 9,
) -> Panel:
    """A point per row of two queries that are joined by their labels (columns by label)."""
    columns = {"x": x, "y": y, **labels, "sweep": Column("Sweep", SWEEP, hidden=True)}
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
    targets = tuple(as_table(name, axis.query or "") for name, axis in (("x", x), ("y", y)))
    return Panel(
        *(title, description, "xychart", None, empty, targets, options, width, height),
        *(custom, {"color": {"mode": "palette-classic"}}, overrides, joined(columns)),
    )
