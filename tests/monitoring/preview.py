"""Draws the dashboards without Grafana: the same JSON, the same queries to a real Prometheus, plotly's charts.

    python -m tests.monitoring.preview http://127.0.0.1:9090 FROM TO FOLDER [--pictures] [--interval SECONDS]

FROM and TO are Unix times. Writes an HTML page for each dashboard, and with --pictures a PNG by Chromium. It is for
looking at layout, words and numbers where no Grafana is at hand, and made the pictures of docs/monitoring.md.
"""

from __future__ import annotations

import argparse
import datetime
import html
import math
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from energysweep.monitoring import dashboards
from tests.monitoring.grafana import Json, View

_ROW = 36  # pixels of a grid row, with its gap
_WIDTH = 1500
_STYLE = """
body {margin: 0; font: 13px sans-serif; background: #f4f5f5; color: #24292e}
header {padding: 10px 14px; background: #fff; border-bottom: 1px solid #ddd}
header b {font-size: 16px; margin-right: 20px} header span {margin-right: 14px; color: #555}
.grid {position: relative; margin: 8px}
.panel, .row {position: absolute; box-sizing: border-box; overflow: hidden}
.panel {background: #fff; border: 1px solid #ddd; border-radius: 2px; padding: 6px 8px}
.row {font-weight: bold; padding: 8px 4px} h4 {margin: 0 0 4px; font-size: 13px}
.stat {display: flex; flex-direction: column; align-items: center; justify-content: center; height: 75%}
.stat b {font-size: 26px; font-weight: 500} .stat i, .empty {color: #777; font-style: normal; text-align: center}
.empty {display: block; margin-top: 12%} table {border-collapse: collapse; width: 100%; font-size: 12px}
td, th {text-align: left; padding: 3px 6px; border-bottom: 1px solid #eee; white-space: nowrap; position: relative}
td.number, th.number {text-align: right} td span {position: relative}
td div {position: absolute; inset: 2px auto 2px 0; background: #cfe3fb}
"""


def page(dashboard: Json, view: View) -> tuple[str, int]:
    """A dashboard as HTML, and how many pixels it is high."""
    chosen = view.choose(dashboard)
    title = html.escape(dashboard["title"])
    shown = [
        f"<span>{html.escape(variable['label'])}: {html.escape(chosen[variable['name']].replace('.*', 'All'))}</span>"
        for variable in dashboard["templating"]["list"]
        if variable["hide"] == 0
    ]
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>",
        f"<script>{get_plotlyjs()}</script><header><b>{title}</b>{''.join(shown)}</header><div class='grid'>",
    ]
    marks = [
        (float(series["values"][-1][1]) / 1000, mark["name"], mark["iconColor"])
        for mark in dashboard["annotations"]["list"]
        for series in view.lines(view.fill(mark["expr"], chosen))
    ]
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        unit = (_WIDTH - 16) / 24
        style = (
            f"left:{place['x'] * unit:.0f}px;top:{place['y'] * _ROW}px;"
            f"width:{place['w'] * unit - 6:.0f}px;height:{place['h'] * _ROW - 6}px"
        )
        heading = html.escape(view.fill(panel["title"], chosen))
        if panel["type"] == "row":
            parts.append(f"<div class='row' style='{style}'>▾ {heading}</div>")
        else:
            body = _DRAW[panel["type"]](panel, view, chosen, marks)
            parts.append(f"<div class='panel' style='{style}'><h4>{heading}</h4>{body}</div>")
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * _ROW
    return "".join([*parts, "</div>"]), height + 64


def human(value: float, unit: str) -> str:
    """A number with its unit, about as Grafana shows it."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "dateTimeAsIso":
        return f"{datetime.datetime.fromtimestamp(value / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"
    if unit.startswith("suffix:"):
        return f"{value:.4g} {unit.removeprefix('suffix:')}"
    symbol = {"joule": " J", "watt": " W", "massg": " g", "s": " s"}.get(unit, "")
    if not symbol or value == 0:
        return f"{value:.4g}{symbol}"
    power = max(-3, min(3, math.floor(math.log10(abs(value)) / 3)))
    prefix = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G"}[power]
    return f"{value / 1000**power:.3g} {prefix}{symbol.strip()}"


def _empty(panel: Json) -> str:
    return f"<span class='empty'>{html.escape(panel['fieldConfig']['defaults']['noValue'])}</span>"


def _legend(target: Json, series: Json) -> str:
    """A legend with its {{labels}} filled in."""
    text = target["legendFormat"]
    for name, value in series["metric"].items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return " ".join(word for word in text.split() if not word.startswith("{{"))


def _stat(panel: Json, view: View, chosen: Mapping[str, str], _: object) -> str:
    found = [(target, series) for target in panel["targets"] for series in view.ask(target, chosen)]
    if not found:
        return _empty(panel)
    named = panel["options"]["textMode"] == "value_and_name"
    lines = [
        f"<b>{human(float(series['value'][1]), panel['fieldConfig']['defaults']['unit'])}</b>"
        + (f"<i>{html.escape(_legend(target, series))}</i>" if named else "")
        for target, series in found
    ]
    return f"<div class='stat'>{''.join(lines)}</div>"


def _timeseries(panel: Json, view: View, chosen: Mapping[str, str], marks: list[tuple[float, str, str]]) -> str:
    figure = go.Figure()
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    over = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    for target in panel["targets"]:
        for series in view.ask(target, chosen):
            times, values = _with_gaps(series["values"], view)
            is_area = stacked and target["refId"] not in over
            figure.add_scatter(
                x=times,
                y=values,
                name=_legend(target, series),
                mode="lines",
                line={"width": 1 if is_area else 1.5, "color": None if is_area or not over else "black"},
                stackgroup="all" if is_area else None,
            )
    if not figure.data:
        return _empty(panel)
    for when, name, color in marks:
        figure.add_vline(x=_date(when), line={"color": color, "dash": "dot"}, annotation_text=name)
    if len(figure.data) > 16:
        figure.update_layout(showlegend=False)
    defaults = panel["fieldConfig"]["defaults"]
    for step in defaults.get("thresholds", {}).get("steps", [])[1:]:
        figure.add_hline(y=step["value"], line={"color": step["color"], "width": 1})
        figure.update_yaxes(range=[0, defaults["custom"]["axisSoftMax"]])
    figure.update_yaxes(title=_AXES.get(defaults["unit"]), rangemode="tozero")
    return _html(figure, panel)


def _with_gaps(points: list[list[float]], view: View) -> tuple[list[datetime.datetime], list[float | None]]:
    """A series' points, with a hole where there is no value."""
    times: list[datetime.datetime] = []
    values: list[float | None] = []
    step = max(view.scrape_seconds, round((view.end - view.start) / 1000))
    for when, value in points:
        if times and when - times[-1].timestamp() > 1.5 * step:
            times.append(_date(when - step))
            values.append(None)
        times.append(_date(when))
        values.append(float(value))
    return times, values


def _date(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(when, datetime.UTC)


def _barchart(panel: Json, view: View, chosen: Mapping[str, str], _: object) -> str:
    found = view.ask(panel["targets"][0], chosen)
    if not found:
        return _empty(panel)
    label = panel["options"]["xField"]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    names = [series["metric"].get(label, "") or "(none)" for series in found]
    values = [float(series["value"][1]) for series in found]
    figure = go.Figure(
        go.Bar(x=values, y=names, orientation="h", text=[human(value, unit) for value in values], textposition="auto")
    )
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(title=_AXES.get(unit))
    return _html(figure, panel)


def _rows(panel: Json, view: View, chosen: Mapping[str, str]) -> tuple[list[str], list[dict[str, str | float]]]:
    """What the panel's transformations make of its queries: titles of the columns, and the rows by title."""
    organize = panel["transformations"][1]["options"]
    names = {field: view.fill(name, chosen) for field, name in organize["renameByName"].items()}
    joined: dict[tuple[tuple[str, str], ...], dict[str, str | float]] = {}
    answers = {target["refId"]: view.ask(target, chosen) for target in panel["targets"]}
    labels = [{*series["metric"]} for found in answers.values() for series in found[:1]]
    common = set.intersection(*labels) if labels else set()
    for reference, found in answers.items():
        for series in found:
            key = tuple(sorted((name, value) for name, value in series["metric"].items() if name in common))
            row = joined.setdefault(key, {})
            row.update({names[name]: value for name, value in series["metric"].items() if name in names})
            row[names[f"Value #{reference}"]] = float(series["value"][1])
    order = sorted(organize["indexByName"], key=organize["indexByName"].__getitem__)
    titles = [names[field] for field in order if field not in organize["excludeByName"]]
    return titles, list(joined.values())


def _table(panel: Json, view: View, chosen: Mapping[str, str], _: object) -> str:
    titles, rows = _rows(panel, view, chosen)
    if not rows:
        return _empty(panel)
    properties = {
        view.fill(override["matcher"]["options"], chosen): {
            each["id"]: each["value"] for each in override["properties"]
        }
        for override in panel["fieldConfig"]["overrides"]
    }
    for sort in panel["options"]["sortBy"]:
        by = view.fill(sort["displayName"], chosen)
        rows.sort(key=lambda row: float(row.get(by, 0.0)), reverse=sort["desc"])
    most = {title: max((float(row.get(title, 0)) for row in rows), default=0.0) for title in properties}

    def cell(title: str, row: Mapping[str, str | float]) -> str:
        value = row.get(title, "")
        if title not in properties:
            return f"<td>{html.escape(str(value))}</td>"
        if value == "":
            return "<td></td>"
        bar = ""
        if "custom.cellOptions" in properties[title] and most[title]:
            bar = f"<div style='width:{100 * float(value) / most[title]:.0f}%'></div>"
        return f"<td class='number'>{bar}<span>{human(float(value), properties[title]['unit'])}</span></td>"

    head = "".join(f"<th{' class=number' if title in properties else ''}>{html.escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(cell(title, row) for title in titles)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _xychart(panel: Json, view: View, chosen: Mapping[str, str], _: object) -> str:
    _, rows = _rows(panel, view, chosen)
    series = panel["options"]["series"][0]
    x, y = (view.fill(series[axis]["matcher"]["options"], chosen) for axis in "xy")
    rows = [row for row in rows if x in row and y in row]
    if not rows:
        return _empty(panel)
    figure = go.Figure(go.Scatter(x=[row[x] for row in rows], y=[row[y] for row in rows], mode="markers"))
    figure.update_xaxes(title=f"{x} (J)", rangemode="tozero")
    figure.update_yaxes(title=y)
    return _html(figure, panel)


def _html(figure: go.Figure, panel: Json) -> str:
    height = panel["gridPos"]["h"] * _ROW - 40
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 18, "b": 10},
        template="plotly_white",
        font={"size": 11},
        legend={"orientation": "h", "y": -0.12, "font": {"size": 10}},
    )
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
    return text


_AXES = {"joule": "J", "watt": "W", "massg": "g", "percentunit": "part of 1", "s": "s"}
_DRAW: dict[str, Callable[..., str]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "barchart": _barchart,
    "table": _table,
    "xychart": _xychart,
}


def picture(file: Path, height: int) -> None:
    """A PNG beside a page, by Chromium."""
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
            *(f"--screenshot={file.with_suffix('.png')}", f"--window-size={_WIDTH},{height}"),
            *("--virtual-time-budget=8000", f"--user-data-dir={file.parent / 'chromium'}", file.as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=180,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("start", type=float)
    parser.add_argument("end", type=float)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--interval", type=int, default=2, help="seconds between scrapes")
    arguments = parser.parse_args()
    view = View(arguments.url, arguments.start, arguments.end, arguments.interval)
    for dashboard in dashboards():
        content, height = page(dashboard, view)
        file = arguments.folder.resolve() / f"{dashboard['uid']}.html"
        file.write_text(content, encoding="utf-8")
        if arguments.pictures:
            picture(file, height)


if __name__ == "__main__":
    main()
