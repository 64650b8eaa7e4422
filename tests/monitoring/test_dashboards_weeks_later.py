"""The dashboards *Configurations* and *Sweep* tell of a run that was brought back weeks later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

from energysweep.monitoring import dashboards
from energysweep.report import summarise
from tests.support.brought_back import SWEEPS, brought_back, columns_of_numbers, differing, told
from tests.support.example import example
from tests.support.grafana import Json, View, cells, numbers, panels, target

DATA = example()
SUMMARY = summarise(DATA)
SWEEP, DASHBOARD = (
    next(dashboard for dashboard in dashboards() if dashboard["uid"] == uid)
    for uid in ("energysweep-sweep", "energysweep-configurations")
)


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    with tempfile.TemporaryDirectory() as folder, brought_back(Path(folder), DATA) as seen:
        yield seen


def column(view: View, title: str, name: str, *by: str) -> dict[tuple[str, ...], float]:
    return cells(view, DASHBOARD, title, name, *by)


def configurations(value: str) -> dict[tuple[str, str], float]:
    """A mean over all trials of each configuration, as the report has them."""
    found = {}
    for configuration in SUMMARY.configurations:
        values = [each for trial in configuration.trials if (each := getattr(trial, value)) is not None]
        if values:
            found[configuration.config, configuration.hardware or "(none)"] = fmean(values)
    return found


def test_the_run_is_found_in_a_range_of_weeks(view: View) -> None:
    chosen = view.choose(DASHBOARD)
    assert chosen["measured:text"] not in ("", "nothing metered")
    (sweeps,) = (variable for variable in DASHBOARD["templating"]["list"] if variable["name"] == "sweep")
    assert list(view.options(sweeps, chosen)) == [SUMMARY.sweep]


def test_energy_and_carbon_of_each_configuration_are_those_of_the_report(view: View) -> None:
    title, by = "$measured All configurations", ("Configuration", "Hardware")
    assert column(view, title, "Mean energy", *by) == pytest.approx(configurations("energy_joules"))
    assert column(view, title, "Mean CO2e", *by) == pytest.approx(configurations("emissions_grams"))
    assert column(view, title, "Mean metric", *by) == pytest.approx(configurations("objective"))


def test_every_number_of_the_dashboard_is_that_of_the_report(view: View) -> None:
    expected = told(SUMMARY, "batch_size")
    # What is saved is no number of the report: below.
    assert expected.keys() == columns_of_numbers() - {(SWEEPS, "Saved (≈)")}
    assert differing(view, DATA, "batch_size") == {}


def test_energy_of_the_sweep_is_that_of_all_trials(view: View) -> None:
    ((key, joules),) = column(view, "$measured Their sweeps", "Energy of all", "Sweep").items()
    assert (key, joules) == ((SUMMARY.sweep,), pytest.approx(SUMMARY.totals.trials_energy_joules))


@pytest.mark.parametrize(
    ("title", "query"),
    [(panel["title"], query) for panel in panels(DASHBOARD) for query in panel["targets"] if "expr" in query],
)
def test_a_query_finds_data(view: View, title: str, query: Json) -> None:
    assert view.ask(query, view.choose(DASHBOARD))


def test_what_early_stopping_has_saved_is_brought_back(view: View) -> None:
    # Pruned after 4 reports at 5.5 J each, where the others made 10: 6 x 5.5 J.
    expected = pytest.approx(33)
    assert column(view, SWEEPS, "Saved (≈)", "Sweep") == {(SUMMARY.sweep,): expected}
    shown = target(SWEEP, "≈ Saved", "A")
    assert numbers(view.ask(shown, view.choose(SWEEP))) == {(): expected}
