"""The variables of the dashboards, and what they select. Their lists also hold what ended within the time range."""

from __future__ import annotations

from energysweep.core.metrics import (
    NODE_ENERGY,
    SWEEP_BEST,
    SWEEP_ENERGY,
    SWEEP_START,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_RESULT,
    TRIAL_STARTUP_ENERGY,
    Family,
)
from energysweep.core.naming import NAMES_PATTERN
from energysweep.meters.kinds import MODELS, TRACES
from energysweep.monitoring.dashboard import HIDDEN, choice, newest
from energysweep.monitoring.panels import Json
from energysweep.monitoring.queries import (
    INFO,
    SWEEPS,
    TRIALS,
    source_is,
)


def newest_sweep() -> Json:
    """One sweep; the newest is chosen. One of a Tuner of one's own, of which no start is known, comes last."""
    start = f"max by (sweep) (last_over_time({SWEEP_START}[$__range]))"
    any_trial = f"group by (sweep) (last_over_time({TRIAL_INFO}[$__range]))"
    query = f"query_result(sort_desc({start} or {any_trial}))"
    return newest("sweep", "Sweep", query, "The run id; the newest within the time range first.", '/sweep="([^"]+)"/')


def sweeps() -> Json:
    """Any number of sweeps."""
    return choice("sweep", "Sweep", f"label_values({TRIAL_INFO}, sweep)", "Run ids within the time range.")


def hardware() -> Json:
    """Any number of hardware profiles of the sweeps."""
    query = f"label_values({TRIAL_INFO}{{{SWEEPS}}}, hardware)"
    return choice("hardware", "Hardware", query, "Hardware profiles of the sweeps; none if they name none.")


def nodes_of_sweeps() -> Json:
    """Any number of the nodes that the sweeps' trials ran on."""
    query = f"label_values({TRIAL_INFO}{{{SWEEPS}}}, node)"
    return choice("node", "Node", query, "Nodes on which trials of the sweeps ran.")


def nodes() -> Json:
    """Any number of nodes with an agent."""
    return choice(
        "node", "Node", f"label_values({NODE_ENERGY}, node)", "Nodes that had an agent within the time range."
    )


def metric() -> Json:
    """A metric of the trials; the objective is chosen."""
    best = f"2 * group by (metric) (last_over_time({SWEEP_BEST}{{{SWEEPS}}}[$__range]))"
    others = f"group by (metric) (last_over_time({TRIAL_RESULT}{{{SWEEPS}}}[$__range]))"
    query = f"query_result(sort_desc({best} or {others}))"
    return newest("metric", "Metric", query, "A metric that trials report; the objective first.", '/metric="([^"]+)"/')


def parameter() -> Json:
    """A parameter, out of the text of the configurations: ``learning_rate=0.001 batch_size=16``."""
    query = f"label_values({TRIAL_INFO}{{{INFO}}}, config)"
    return choice(
        "parameter",
        "Parameter",
        query,
        "A parameter that differs between configurations.",
        several=False,
        regex=f"/{NAMES_PATTERN}/g",
    )


def measured(series: Family = TRIAL_ENERGY, where: str = TRIALS) -> Json:
    """How the energy is known: an estimate must say so wherever its number stands.

    Its value is a sign for the titles of panels, which Grafana cuts at their ends: ≈ of an estimate, ↻ of a replay,
    else a space. Its text has the words, for headings: ``${measured:text}``.
    """
    return _measured((series, where))


def measured_sweeps(name: str = "measured") -> Json:
    """How the energy of whole sweeps is known, also of what is not among their trials within the range."""
    series = (SWEEP_ENERGY, TRIAL_ENERGY, TRIAL_STARTUP_ENERGY)
    return _measured(*((each, SWEEPS) for each in series)) | {"name": name}


def _measured(*of_series: tuple[Family, str]) -> Json:
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
    variable = newest(
        "measured", "Measured", query, "How the energy is known.", '/sign="(?<value>[^"]+)".*text="(?<text>[^"]+)"/'
    )
    return variable | {"hide": HIDDEN}
