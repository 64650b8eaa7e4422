"""A finished run that is brought back into a real Prometheus, and what its report says of every number there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from energysweep.ledger import LedgerData
from energysweep.monitoring import dashboards
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.reporting import Summary, summarise
from energysweep.reporting.trials import TrialSummary
from energysweep.spec.space import label
from tests.monitoring.grafana import View, numbers, panels, target
from tests.prometheus import Prometheus, bring_back

DASHBOARD = next(each for each in dashboards() if each["uid"] == "energysweep-configurations")
WEEKS = 3 * 7 * 86400.0

Numbers = dict[tuple[str, ...], float]
Told = dict[tuple[str, str], tuple[tuple[str, ...], Numbers]]
"""By panel and query: the labels of its rows, and the numbers."""


@contextmanager
def brought_back(folder: Path, data: LedgerData) -> Iterator[View]:
    """A Prometheus that has nothing but this run, weeks later: brought back as a person does it."""
    bring_back(folder, openmetrics(data))
    with Prometheus(folder) as prometheus:
        began = float(data.run["started_at"])
        yield View(prometheus.url, began - 3600, began + WEEKS, 15)


def shown(view: View, title: str, reference: str, labels: Iterable[str], **chosen: str) -> Numbers:
    """A query of *Configurations*, by the labels of its rows."""
    return numbers(view.ask(target(DASHBOARD, title, reference), view.choose(DASHBOARD) | chosen), *labels)


def number_queries() -> set[tuple[str, str]]:
    """All queries of *Configurations* that a number is shown of: by the panel's title and the query's reference."""
    return {
        (panel["title"], query["refId"])
        for panel in panels(DASHBOARD)
        for query in panel["targets"]
        if query["refId"] != "info"  # only its labels are shown
    }


def told(summary: Summary, parameter: str) -> Told:
    """All of them with the numbers of the report; ``parameter`` is the one that is told value by value.

    Nothing in it is an estimate.
    """
    own = summary.trials

    def of_configuration(trial: TrialSummary) -> tuple[str, ...]:
        return trial.config, trial.hardware

    def of_hardware(trial: TrialSummary) -> tuple[str, ...]:
        return (trial.hardware,)

    def of_value(trial: TrialSummary) -> tuple[str, ...]:
        return (label(trial.parameters, [parameter]).removeprefix(f"{parameter}="),)

    def table(title: str, labels: tuple[str, ...], by: Callable[[TrialSummary], tuple[str, ...]]) -> Told:
        joules = _grouped(own, by, "energy_joules")
        columns: dict[str, Numbers] = {
            "energy": _each(fmean, joules),
            "least": _each(min, joules),
            "most": _each(max, joules),
            "grams": _each(fmean, _grouped(own, by, "emissions_grams")),
            "metric": _each(fmean, _grouped(own, by, "objective")),
            "trials": _each(len, joules),
            "sum": _each(sum, joules),
            "estimated": dict.fromkeys(joules, 0.0),
        }
        return {(title, reference): (labels, column) for reference, column in columns.items()}

    def chart(title: str, name: str, column: Numbers) -> Told:
        return {(title, "A"): ((name,), column)}

    configurations = table("$measured All configurations", ("config", "hardware"), of_configuration)
    hardware = table("$measured Hardware", ("hardware",), of_hardware)
    values = table("$measured Values of $parameter", ("value",), of_value)

    def of(table: Told, reference: str) -> Numbers:
        return next(column for (_, name), (_, column) in table.items() if name == reference)

    def named(column: Numbers) -> Numbers:
        names = {key: " ".join(key) for key in column}
        return {(name if name.strip() else "(none)",): column[key] for key, name in names.items()}

    joined = {
        **configurations,
        **hardware,
        **{key: each for key, each in values.items() if key[1] in ("energy", "metric", "trials")},
        **chart("$measured Energy per configuration", "name", _dearest(named(of(configurations, "energy")))),
        **chart("$measured CO2e per configuration", "name", _dearest(named(of(configurations, "grams")))),
        **chart("$measured Energy per hardware", "hardware", named(of(hardware, "energy"))),
        **chart("$measured CO2e per hardware", "hardware", named(of(hardware, "grams"))),
        **chart("$measured Energy per value of $parameter", "value", of(values, "energy")),
        **chart("$measured CO2e per value of $parameter", "value", of(values, "grams")),
    }
    return joined | _of_sweep(summary)


def differing(view: View, data: LedgerData, parameter: str) -> dict[tuple[str, str], tuple[Numbers, Numbers]]:
    """What *Configurations* shows otherwise than the report: by panel and query, the one and the other."""
    summary = summarise(data)
    # The report's end is by the driver's clock, from its beginning on; a lease may be closed later by the agent's.
    end = max([summary.span()[1], *(lease.closed_at or 0.0 for lease in data.leases)])
    ends = {("When they ran, and whose they are", "ends"): (("sweep",), {(summary.sweep,): 1000 * end})}
    found = {}
    for (title, reference), (labels, expected) in (told(summary, parameter) | ends).items():
        seen = shown(view, title, reference, labels, parameter=parameter)
        # Times are in milliseconds.
        of_time = reference in ("begins", "ends")
        close = pytest.approx(expected, rel=0, abs=1000) if of_time else pytest.approx(expected, rel=1e-6)
        if seen != close:
            found[title, reference] = (seen, expected)
    return found


def _of_sweep(summary: Summary) -> Told:
    totals, cheapest = summary.totals, summary.headline.cheapest
    joules = [trial.energy_joules for trial in summary.trials if trial.energy_joules is not None]
    begin, end = summary.span()
    columns = {
        "whole": sum(filter(None, (totals.trials_energy_joules, totals.overhead_joules))),
        "whole_grams": totals.emissions_grams,
        "energy": totals.trials_energy_joules,
        "grams": sum(trial.emissions_grams or 0.0 for trial in summary.trials),
        "estimated": 0.0,
        "trials": float(len(joules)),
        "cheapest": None if cheapest is None else cheapest.energy_to_target_joules.mean,  # type: ignore[union-attr]
        "begins": 1000 * begin,
        "ends": 1000 * end,
    }

    def panel(reference: str) -> str:
        return "When they ran, and whose they are" if reference in ("begins", "ends") else "$measured_sweeps Sweeps"

    return {
        (panel(reference), reference): (("sweep",), {} if value is None else {(summary.sweep,): value})
        for reference, value in columns.items()
    }


def _grouped(
    trials: Iterable[TrialSummary], by: Callable[[TrialSummary], tuple[str, ...]], value: str
) -> dict[tuple[str, ...], list[float]]:
    found: dict[tuple[str, ...], list[float]] = {}
    for trial in trials:
        number = getattr(trial, value)
        if number is not None:
            found.setdefault(by(trial), []).append(number)
    return found


def _each(of: Callable[[list[float]], Any], groups: dict[tuple[str, ...], list[float]]) -> Numbers:
    return {key: float(of(values)) for key, values in groups.items()}


def _dearest(column: Numbers) -> Numbers:
    """The 15 that a chart of bars has room for."""
    return dict(sorted(column.items(), key=lambda row: row[1])[-15:])
