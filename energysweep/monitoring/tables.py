"""Tables, and charts of points, that join several queries by the labels that they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energysweep.monitoring.panels import Json, Panel, Unit, as_table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: shown; also the name that overrides match.
        query: its expression, or None for a column that is a label.
        unit: of its numbers.
        gauge: drawn as a bar behind the number.
        hidden: of a query: only its labels are of interest; of a label: it only joins rows.
        decimals: None: as Grafana thinks fit.
    """

    title: str
    query: str | None = None
    unit: Unit = "none"
    gauge: bool = False
    hidden: bool = False
    decimals: int | None = None


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
        *(title, description, "table", "none", empty, targets, options, width, height),
        {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        None,
        tuple(_override(column) for column in columns.values() if column.query is not None and not column.hidden),
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


def _override(column: Column) -> Json:
    properties: list[Json] = [{"id": "unit", "value": column.unit}]
    if column.decimals is not None:
        properties.append({"id": "decimals", "value": column.decimals})
    if column.gauge:
        properties.append({"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic"}})
        properties.append({"id": "color", "value": {"mode": "fixed", "fixedColor": "blue"}})
        properties.append({"id": "min", "value": 0})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def xychart(
    title: str,
    description: str,
    empty: str,
    x: Column,
    y: Column,
    labels: Mapping[str, str],
    *,
    width: int = 12,
    height: int = 9,
) -> Panel:
    """A point per row of two queries that are joined by their labels (by label: its title)."""
    columns = {"x": x, "y": y} | {label: Column(name) for label, name in labels.items()}
    columns["sweep"] = Column("Sweep", hidden=True)
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
        {
            "matcher": {"id": "byName", "options": axis.title},
            "properties": [{"id": "unit", "value": axis.unit}, {"id": "custom.axisLabel", "value": axis.title}],
        }
        for axis in (x, y)
    )
    targets = tuple(as_table(name, axis.query or "") for name, axis in (("x", x), ("y", y)))
    return Panel(
        *(title, description, "xychart", x.unit, empty, targets, options, width, height),
        *(custom, {"color": {"mode": "palette-classic"}}, overrides, joined(columns)),
    )
