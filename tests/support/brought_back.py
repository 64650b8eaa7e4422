"""A finished run that is brought back into a real Prometheus, and what its report says of every number there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from energysweep.core.naming import value_text
from energysweep.ledger.balance import Totals
from energysweep.ledger.store import LedgerData
from energysweep.ledger.trials import TrialSummary
from energysweep.monitoring import dashboards
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.report import Summary, summarise
from tests.support.grafana import View, cells, panels
from tests.support.prometheus import Prometheus, bring_back

DASHBOARD = next(each for each in dashboards() if each["uid"] == "energysweep-configurations")
SWEEPS, WHEN = "$measured_sweeps Sweeps", "When they ran, and whose they are"
WEEKS = 3 * 7 * 86400.0

Numbers = dict[tuple[str, ...], float]
Told = dict[tuple[str, str], tuple[tuple[str, ...], Numbers]]
"""By panel and column: the columns that name its rows, and the numbers."""


@contextmanager
def brought_back(folder: Path, data: LedgerData) -> Iterator[View]:
    """A Prometheus that has nothing but this run, weeks later: brought back as a person does it."""
    bring_back(folder, openmetrics(data))
    with Prometheus(folder) as prometheus:
        began = float(data.run["started_at"])
        yield View(prometheus.url, began - 3600, began + WEEKS, 15)


def shown(view: View, title: str, column: str, by: Iterable[str], **chosen: str) -> Numbers:
    """A column of *Configurations*, by others."""
    return cells(view, DASHBOARD, title, column, *by, **chosen)


def columns_of_numbers() -> set[tuple[str, str]]:
    """All columns of *Configurations* that hold numbers: by the panel's title and the column's name."""
    found = set()
    for panel in panels(DASHBOARD):
        if panel["type"] == "bargauge":
            (sort,) = next(each["options"]["sort"] for each in panel["transformations"] if each["id"] == "sortBy")
            found.add((panel["title"], sort["field"]))
        for override in panel["fieldConfig"]["overrides"] if panel["type"] == "table" else []:
            unit = next((each["value"] for each in override["properties"] if each["id"] == "unit"), "string")
            if unit != "string":
                found.add((panel["title"], override["matcher"]["options"]))
    return found


def told(summary: Summary, parameter: str) -> Told:
    """All of them with the numbers of the report; ``parameter`` is the one that is told value by value.

    Nothing in it is an estimate.
    """
    own = summary.trials

    def of_configuration(trial: TrialSummary) -> tuple[str, ...]:
        return trial.config or "(none)", trial.hardware or "(none)"

    def of_hardware(trial: TrialSummary) -> tuple[str, ...]:
        return (trial.hardware or "(none)",)

    def of_value(trial: TrialSummary) -> tuple[str, ...]:
        return (value_text(trial.parameters[parameter]),)

    def of_sweep(_: TrialSummary) -> tuple[str, ...]:
        return (summary.sweep,)

    def of_itself(trial: TrialSummary) -> tuple[str, ...]:
        return (trial.trial,)

    def table(title: str, labels: tuple[str, ...], by: Callable[[TrialSummary], tuple[str, ...]], *names: str) -> Told:
        joules, grams = _grouped(own, by, "energy_joules"), _grouped(own, by, "emissions_grams")
        columns: dict[str, Numbers] = {
            "Mean energy": _each(fmean, joules),
            "Least": _each(min, joules),
            "Most": _each(max, joules),
            "Mean CO2e": _each(fmean, grams),
            "Mean metric": _each(fmean, _grouped(own, by, "objective")),
            "Trials": _each(len, joules),
            "Energy of all": _each(sum, joules),
            "CO2e of all": _each(sum, grams),
            "Estimated": dict.fromkeys(joules, 0.0),
            "Energy": _each(sum, joules),
            "CO2e": _each(sum, grams),
            "Metric": _each(fmean, _grouped(own, by, "objective")),
        }
        return {(title, name): (labels, columns[name]) for name in names}

    def charts(what: str, labels: tuple[str, ...], by: Callable[[TrialSummary], tuple[str, ...]]) -> Told:
        bars = table("", labels, by, "Mean energy", "Mean CO2e")
        return {
            (f"$measured {quantity} per {what}", f"{quantity} (mean)"): (labels, _dearest(bars["", column][1]))
            for quantity, column in (("Energy", "Mean energy"), ("CO2e", "Mean CO2e"))
        }

    means = ("Mean energy", "Least", "Most", "Mean CO2e", "Mean metric", "Trials", "Energy of all", "Estimated")
    configuration, hardware, value = ("Configuration", "Hardware"), ("Hardware",), ("Value",)
    return {
        **table("$measured All configurations", configuration, of_configuration, *means),
        **table("$measured Hardware", hardware, of_hardware, *means),
        **table("$measured Values", value, of_value, "Mean energy", "Mean metric", "Trials"),
        **table("$measured Their sweeps", ("Sweep",), of_sweep, "Energy of all", "CO2e of all", "Trials", "Estimated"),
        **table("$measured Trials", ("Trial",), of_itself, "Energy", "Estimated", "CO2e", "Metric"),
        **charts("configuration", configuration, of_configuration),
        **charts("hardware", hardware, of_hardware),
        **charts("value", value, of_value),
        **_of_sweep(summary),
    }


def differing(view: View, data: LedgerData, parameter: str) -> dict[tuple[str, str], tuple[Numbers, Numbers]]:
    """What *Configurations* shows otherwise than the report: by panel and column, the one and the other."""
    summary = summarise(data)
    # The report's end is by the driver's clock, from its beginning on; a lease may be closed later by the agent's.
    end = max([summary.span()[1], *(lease.closed_at or 0.0 for lease in data.leases)])
    ends: Told = {(WHEN, "Ends"): (("Sweep",), {(summary.sweep,): 1000 * end})}
    found: dict[tuple[str, str], tuple[Numbers, Numbers]] = {}
    for (title, column), (by, expected) in (told(summary, parameter) | ends).items():
        seen = shown(view, title, column, by, parameter=parameter)
        # Times are in milliseconds.
        close = pytest.approx(expected, rel=0, abs=1000) if title == WHEN else pytest.approx(expected, rel=1e-6)
        if seen != close:
            found[title, column] = (seen, expected)
    return found


def charged(totals: Totals) -> float:
    """Joules that a sweep is charged with."""
    return sum(filter(None, (totals.trials_energy_joules, totals.buckets["startup"], totals.buckets["overhead"])))


def _of_sweep(summary: Summary) -> Told:
    totals, cheapest = summary.totals, summary.headline.cheapest
    begin, end = summary.span()
    columns = {
        (SWEEPS, "Energy"): charged(totals),
        (SWEEPS, "CO2e"): totals.emissions_grams,
        (SWEEPS, "Estimated"): 0.0,
        (SWEEPS, "Least to target"): None if cheapest is None else cheapest.energy_to_target_joules.geometric_mean,  # type: ignore[union-attr]
        (WHEN, "Begins"): 1000 * begin,
        (WHEN, "Ends"): 1000 * end,
    }
    return {place: (("Sweep",), {} if value is None else {(summary.sweep,): value}) for place, value in columns.items()}


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
