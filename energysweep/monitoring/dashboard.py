"""A dashboard: its panels in rows, its variables, and the marks of a sweep's beginning and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from energysweep import __version__
from energysweep.core.metrics import (
    NODE_ENERGY,
    SWEEP_BEST,
    SWEEP_DECISIONS,
    SWEEP_END,
    SWEEP_ENERGY,
    SWEEP_START,
    TRIAL_APART_ENERGY,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_RESULT,
    Family,
)
from energysweep.core.naming import NAMES_PATTERN
from energysweep.meters.kinds import MODELS, TRACES
from energysweep.monitoring.panels import DATASOURCE, Json, Panel
from energysweep.monitoring.queries import (
    INFO,
    SWEEPS,
    TRIALS,
    now,
    source_is,
)

TAG = "energysweep"
"""The tag of all dashboards that this package makes."""

VERSION_TAG_PREFIX = "energysweep-version:"
VERSION_TAG = f"{VERSION_TAG_PREFIX}{__version__}"
"""The tag that says which version of this package has made a dashboard."""

_SCHEMA_VERSION = 39  # Grafana 11.0's; later ones bring it up to their own
_WIDTH = 24

_ON_TIME_RANGE = 2  # Grafana's refresh of a variable: whenever the time range changes
_HIDDEN = 2


def dashboard(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Json],
    rows: Sequence[tuple[str, Sequence[Panel]]],
    marks: Sequence[Json] = (),
    since: str = "now-1h",
    refresh: str = "30s",
) -> Json:
    """A dashboard in Grafana's classic JSON.

    Args:
        rows: a heading and panels each, which are placed from left to right and go on below when 24 columns are full.
        marks: annotations beside those of a sweep's beginning and end.
        since: where the time range begins at first; it ends now.
        refresh: how often everything is asked for again.
    """
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG, VERSION_TAG],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "links": [_links()],
        "annotations": {
            "list": [_mark("Sweep begins", SWEEP_START, "green"), _mark("Sweep ends", SWEEP_END, "red"), *marks]
        },
        "templating": {"list": [_datasource(), *variables]},
        "panels": _placed(rows),
    }


def _choice(name: str, label: str, query: str, description: str, *, several: bool = True, regex: str = "") -> Json:
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


def _newest(name: str, label: str, query: str, description: str, regex: str) -> Json:
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
        "refresh": _ON_TIME_RANGE,
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


def mark_decisions() -> Json:
    """Annotations where trials were ended by a rule, reached the target, or failed; not at starts, pauses and ends."""
    where = f'{SWEEPS}, what!~"started|resumed|paused", why!="itself"'
    counts, before = (
        f"max by (sweep, what, why) ({SWEEP_DECISIONS}{{{where}}}{offset})" for offset in ("", " offset 1m")
    )
    return {
        "name": "Decisions about trials",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        # A count begins with the first decision of its kind: there is nothing before it to subtract.
        "expr": f"({counts} - {before} > 0) or ({counts} unless {before})",
        "step": "60s",
        "useValueForTime": False,
        "titleFormat": "{{what}} ({{why}})",
        "textFormat": "{{sweep}}",
        "tagKeys": "what,why",
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


# Which variables there are. Their lists also hold what ended within the time range -----------------------------------


def choose_sweep() -> Json:
    """One sweep; the newest is chosen. One of a Tuner of one's own, of which no start is known, comes last."""
    start = f"max by (sweep) (last_over_time({SWEEP_START}[$__range]))"
    any_trial = f"group by (sweep) (last_over_time({TRIAL_INFO}[$__range]))"
    query = f"query_result(sort_desc({start} or {any_trial}))"
    return _newest("sweep", "Sweep", query, "The run id; the newest within the time range first.", '/sweep="([^"]+)"/')


def choose_sweeps() -> Json:
    """Any number of sweeps."""
    return _choice("sweep", "Sweep", f"label_values({TRIAL_INFO}, sweep)", "Run ids within the time range.")


def choose_hardware() -> Json:
    """Any number of hardware profiles of the sweeps."""
    query = f"label_values({TRIAL_INFO}{{{SWEEPS}}}, hardware)"
    return _choice("hardware", "Hardware", query, "Hardware profiles of the sweeps; none if they name none.")


def choose_nodes_of_sweeps() -> Json:
    """Any number of the nodes that the sweeps' trials ran on."""
    query = f"label_values({TRIAL_INFO}{{{SWEEPS}}}, node)"
    return _choice("node", "Node", query, "Nodes on which trials of the sweeps ran.")


def choose_nodes() -> Json:
    """Any number of nodes with an agent."""
    return _choice(
        "node", "Node", f"label_values({NODE_ENERGY}, node)", "Nodes that had an agent within the time range."
    )


def choose_metric() -> Json:
    """A metric of the trials; the objective is chosen."""
    best = f"2 * group by (metric) (last_over_time({SWEEP_BEST}{{{SWEEPS}}}[$__range]))"
    others = f"group by (metric) (last_over_time({TRIAL_RESULT}{{{SWEEPS}}}[$__range]))"
    query = f"query_result(sort_desc({best} or {others}))"
    return _newest("metric", "Metric", query, "A metric that trials report; the objective first.", '/metric="([^"]+)"/')


def choose_parameter() -> Json:
    """A parameter, out of the text of the configurations: ``learning_rate=0.001 batch_size=16``."""
    query = f"label_values({TRIAL_INFO}{{{INFO}}}, config)"
    return _choice(
        "parameter",
        "Parameter",
        query,
        "A parameter that differs between configurations.",
        several=False,
        regex=f"/{NAMES_PATTERN}/g",
    )


def choose_of_account(name: str, label: str, series: str, description: str) -> Json:
    """Any number of the values of a label of a recorded series."""
    return _choice(name, label, f"label_values({series}, {name})", description)


def choose_resolution(values: Mapping[str, str], description: str) -> Json:
    """One of a few texts that do not come from Prometheus; the first is chosen.

    Args:
        values: by what people read.
    """
    first = next(iter(values))
    options = [{"text": text, "value": value, "selected": text == first} for text, value in values.items()]
    return {
        "type": "custom",
        "name": "resolution",
        "label": "Resolution",
        "description": description,
        "query": ", ".join(f"{text} : {value}" for text, value in values.items()),
        "current": {"text": first, "value": values[first]},
        "options": options,
        "multi": False,
        "includeAll": False,
        "hide": 0,
    }


def how_measured(series: Family | str = TRIAL_ENERGY, where: str = TRIALS) -> Json:
    """How the energy is known: an estimate must say so wherever its number stands.

    Its value is a sign for the titles of panels, which Grafana cuts at their ends: ≈ of an estimate, ↻ of a replay,
    else a space. Its text has the words, for headings: ``${measured:text}``.
    """
    return _measured((series, where))


def how_sweeps_are_measured(name: str = "measured") -> Json:
    """How the energy of whole sweeps is known, also of what is not among their trials within the range."""
    series = (SWEEP_ENERGY, TRIAL_ENERGY, *TRIAL_APART_ENERGY.values())
    return _measured(*((each, SWEEPS) for each in series)) | {"name": name}


def _measured(*of_series: tuple[Family | str, str]) -> Json:
    def of(source: str) -> str:
        found = (f"last_over_time({series}{{{where}, {source}}}[$__range])" for series, where in of_series)
        return f"group({' or '.join(found)})"

    def told(expression: str, words: str, sign: str) -> str:
        return f'label_replace(label_replace({expression}, "text", "{words}", "", ""), "sign", "{sign}", "", "")'

    estimated, otherwise = of(source_is(MODELS)), of(source_is(MODELS, "!="))
    cases = (
        told(f"{estimated} and on () {otherwise}", "≈ partly estimated", "≈"),
        told(estimated, "≈ estimated", "≈"),
        told(of(source_is(TRACES)), "↻ replayed", "↻"),
        told(of('source=~".+"'), "measured", " "),
        told("vector(1)", "nothing metered", " "),
    )
    query = f"query_result({' or on () '.join(cases)})"
    variable = _newest(
        "measured", "Measured", query, "How the energy is known.", '/sign="(?<value>[^"]+)".*text="(?<text>[^"]+)"/'
    )
    return variable | {"hide": _HIDDEN}
