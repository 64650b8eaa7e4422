"""What Grafana does with a dashboard before Prometheus is asked: variables are listed, chosen and filled in.

Grafana itself is not here. This follows its documents: how its Prometheus data source lists and escapes values, and
which of its own variables (``$__range`` and others) there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean
from typing import Any

import requests

Json = dict[str, Any]

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.*), (\w+)\)")
_QUERY_RESULT = re.compile(r"query_result\((.*)\)", re.DOTALL)
ALL = "$__all"


class Refused(AssertionError):
    """Prometheus said that a query is wrong."""


@dataclass(frozen=True, slots=True)
class View:
    """A dashboard's time range over a Prometheus.

    Attributes:
        url: of Prometheus.
        start, end: Unix times.
        scrape_seconds: the scrape interval that the data source is told of.
    """

    url: str
    start: float
    end: float
    scrape_seconds: int = 1

    def choose(self, dashboard: Json) -> dict[str, str]:
        """What each variable is filled in with, if nobody chooses: all, or the first of the list."""
        chosen = {"datasource": "prometheus"}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "custom":
                chosen[variable["name"]] = variable["current"]["value"]
            elif variable["type"] == "query":
                options = self.options(variable, chosen)
                first = next(iter(options), "")
                chosen[variable["name"]] = variable["allValue"] if variable["includeAll"] else first
                chosen[f"{variable['name']}:text"] = options.get(first, first)
        return chosen

    def options(self, variable: Json, chosen: Mapping[str, str]) -> dict[str, str]:
        """The list of a variable, in order: the text of each value."""
        query = self.fill(variable["query"]["query"], chosen)
        if found := _LABEL_VALUES.fullmatch(query):
            match, label = found.groups()
            values = self._get(f"label/{label}/values", {"match[]": match, "start": self.start, "end": self.end})
        elif found := _QUERY_RESULT.fullmatch(query):
            values = [_text(series) for series in self.instant(found.group(1))]
        else:
            raise Refused(f"no query of a variable: {query}")
        offered = _matched(values, variable["regex"])
        if variable["sort"] == 1:
            return dict(sorted(offered.items(), key=lambda each: each[1].lower()))
        return offered

    def fill(self, text: str, chosen: Mapping[str, str]) -> str:
        """Text with its variables filled in; unknown ones stay as they are."""
        seconds = round(self.end - self.start)
        interval = max(self.scrape_seconds, seconds // 1000)
        values = {
            **chosen,
            "__range": f"{seconds}s",
            "__interval": f"{interval}s",
            "__rate_interval": f"{max(interval + self.scrape_seconds, 4 * self.scrape_seconds)}s",
        }

        def value(found: re.Match[str]) -> str:
            braced, form, plain = found.groups()
            if form == "regex" and braced in values:
                return re.sub(r"[\\^$*+?.()|[\]{}/]", r"\\\g<0>", values[braced])
            return values.get(f"{braced}:text" if form == "text" else braced or plain, found.group())

        return _VARIABLE.sub(value, text)

    def instant(self, query: str) -> list[Json]:
        """Result of a query at the end of the time range."""
        found: list[Json] = self._get("query", {"query": query, "time": self.end})["result"]
        return found

    def lines(self, query: str) -> list[Json]:
        """Result of a query over the time range, in at most a thousand steps."""
        step = max(self.scrape_seconds, round((self.end - self.start) / 1000))
        asked = {"query": query, "start": self.start, "end": self.end, "step": step}
        found: list[Json] = self._get("query_range", asked)["result"]
        return found

    def ask(self, target: Json, chosen: Mapping[str, str]) -> list[Json]:
        """Result of one of a panel's queries."""
        query = self.fill(target["expr"], chosen)
        return self.instant(query) if target.get("instant") else self.lines(query)

    def _get(self, path: str, asked: Mapping[str, Any]) -> Any:
        with requests.Session() as session:
            session.trust_env = False  # no proxy: Prometheus is on this host
            answer = session.get(f"{self.url}/api/v1/{path}", params=dict(asked), timeout=60)
        content = answer.json()
        if content["status"] != "success":
            raise Refused(f"{content['error']}: {asked}")
        return content["data"]


def escaped(*values: str) -> str:
    """Chosen values as Grafana puts them into PromQL: a regular expression, escaped once more for the quotes."""
    each = [re.sub(r"[\\^$*+?.()|[\]{}]", r"\\\\\g<0>", value) for value in values]
    return each[0] if len(each) == 1 else f"({'|'.join(each)})"


def target(dashboard: Json, title: str, reference: str) -> Json:
    """One query of the panel with this title."""
    (found,) = (
        target
        for panel in panels(dashboard)
        if panel["title"] == title
        for target in panel["targets"]
        if target["refId"] == reference
    )
    return found


def numbers(found: Sequence[Json], *labels: str) -> dict[tuple[str, ...], float]:
    """An instant query's values by some labels."""
    return {tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1]) for series in found}


Row = dict[str, Any]
"""By a column's name: a text or a number."""


def rows(view: View, dashboard: Json, title: str, **chosen: str) -> list[Row]:
    """The rows of a panel, as its transformations leave them.

    Grafana's own transformations are in tests/monitoring/screen; test_screen.py holds both to the same.
    """
    (panel,) = (panel for panel in panels(dashboard) if panel["title"] == title)
    first = panel["targets"][0]
    if "panelId" in first:
        (source,) = (other["title"] for other in panels(dashboard) if other["id"] == first["panelId"])
        found = rows(view, dashboard, source, **chosen)
    else:
        answers = {each["refId"]: view.ask(each, view.choose(dashboard) | chosen) for each in panel["targets"]}
        found = _merged({reference: answer for reference, answer in answers.items() if answer})
    for transformation in panel["transformations"]:
        found = _TRANSFORMATIONS[transformation["id"]](found, transformation["options"])
    return found


def cells(
    view: View, dashboard: Json, title: str, column: str, *by: str, **chosen: str
) -> dict[tuple[str, ...], float]:
    """A column of numbers of a panel, by others."""
    found = rows(view, dashboard, title, **chosen)
    return {tuple(str(row.get(name, "")) for name in by): row[column] for row in found if row.get(column) is not None}


def summed(view: View, dashboard: Json, title: str) -> float | None:
    """The number of a panel that shows the sum of a table's column; None where there is none."""
    (panel,) = (panel for panel in panels(dashboard) if panel["title"] == title)
    reduced = panel["options"]["reduceOptions"]
    assert reduced["calcs"] == ["sum"]
    name = reduced["fields"].strip("/^$")
    found = [row[name] for row in rows(view, dashboard, title) if name in row]
    return fsum(found) if found else None


def _merged(answers: Mapping[str, list[Json]]) -> list[Row]:
    """Rows of several queries, joined by the labels that all of them have."""
    labels = [{name for series in found for name in series["metric"]} for found in answers.values()]
    common = sorted(set.intersection(*labels)) if labels else []
    joined: dict[tuple[str, ...], Row] = {}
    for reference, found in answers.items():
        for series in found:
            row = joined.setdefault(tuple(series["metric"].get(name, "") for name in common), {})
            row.update(series["metric"])
            row[f"Value #{reference}" if len(answers) > 1 else "Value"] = float(series["value"][1])
    return list(joined.values())


def _organized(found: list[Row], options: Json) -> list[Row]:
    names, hidden = options["renameByName"], options["excludeByName"]
    return [{names.get(name, name): value for name, value in row.items() if name not in hidden} for row in found]


def _grouped(found: list[Row], options: Json) -> list[Row]:
    by = [name for name, field in options["fields"].items() if field["operation"] == "groupby"]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        if any(name in row for name in by):
            groups.setdefault(tuple(row.get(name, "") for name in by), []).append(row)
    results = []
    for key, members in groups.items():
        result = dict(zip(by, key, strict=True))
        for name, field in options["fields"].items():
            values = [row[name] for row in members if row.get(name) is not None]
            for how in field["aggregations"]:
                if values:
                    result[f"{name} ({how})"] = float(_AGGREGATIONS[how](values))
        results.append(result)
    return results


def _divided(found: list[Row], options: Json) -> list[Row]:
    left, right = options["binary"]["left"], options["binary"]["right"]
    return [
        row | ({options["alias"]: row[left] / row[right]} if row.get(right) and left in row else {}) for row in found
    ]


def _sorted(found: list[Row], options: Json) -> list[Row]:
    (sort,) = options["sort"]
    return sorted(found, key=lambda row: row.get(sort["field"], 0.0), reverse=sort["desc"])


def _kept(found: list[Row], options: Json) -> list[Row]:
    (condition,) = options["filters"]
    pattern = condition["config"]["options"]["value"]
    return [row for row in found if re.search(pattern, row.get(condition["fieldName"], ""))]


_AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {
    "mean": fmean,
    "min": min,
    "max": max,
    "sum": fsum,
    "count": len,
}
_TRANSFORMATIONS: Mapping[str, Callable[[list[Row], Json], list[Row]]] = {
    "merge": lambda found, _: found,
    "organize": _organized,
    "groupBy": _grouped,
    "calculateField": _divided,
    "sortBy": _sorted,
    "limit": lambda found, options: found[: options["limitField"]],
    "filterByValue": _kept,
}


def panels(dashboard: Json) -> Iterator[Json]:
    """The panels, without the headings of rows."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def _text(series: Json) -> str:
    """A result as Grafana writes it for a variable's regular expression."""
    labels = ",".join(f'{name}="{value}"' for name, value in series["metric"].items())
    return f"{{{labels}}} {series['value'][1]} {series['value'][0] * 1000:.0f}"


def _matched(values: list[str], regex: str) -> dict[str, str]:
    """What a variable's regular expression leaves, as text by value.

    Its groups of these names, or its first group; each of several matches with the flag g.
    """
    if not regex:
        return {value: value for value in values}
    pattern, flags = regex[1:].rsplit("/", 1)
    options: dict[str, str] = {}
    for value in values:
        matches = list(re.finditer(pattern.replace("(?<", "(?P<"), value))
        for match in matches if "g" in flags else matches[:1]:
            groups = match.groupdict() or {"value": match.group(1), "text": match.group(1)}
            options.setdefault(groups["value"], groups["text"])
    return options
