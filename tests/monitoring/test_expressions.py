"""Every expression of every panel, variable, annotation and rule, against a real Prometheus that watched a real sweep.

Prometheus is asked as of two moments: while the last trial ran, and half an hour after the end, when no series is left.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.metrics import NODE_BUCKETS
from energysweep.core.naming import configuration_text
from energysweep.monitoring import Json
from energysweep.monitoring.panels import OWNERS
from energysweep.report import summarise
from tests.monitoring.test_rules import ALERTS, OF_MINUTES, RECORDS
from tests.support.brought_back import brought_back, charged, differing, shown
from tests.support.expressions import DASHBOARDS, EMPTY_WHILE_IT_RUNS, TARGETS, VARIABLES
from tests.support.grafana import View, escaped, panels, rows, summed, target
from tests.support.ledgers import booked
from tests.support.watched import ROOT, Watched, watched

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NOW = {
    ("$measured Trials", "power"),
    ("Agents that answer", "A"),
    ("Open leases", "A"),
}


@pytest.fixture(scope="module")
def sweep() -> Iterator[Watched]:
    # The sweep's agent, which lingers, may write while the folder is removed.
    temporary = tempfile.TemporaryDirectory(prefix="energysweep-", ignore_cleanup_errors=True)
    with temporary as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENERGYSWEEP_SOCKET", f"{folder}/agent.sock")
        environment.setenv("ENERGYSWEEP_STATE", folder)
        environment.setenv("RAY_AUTH_MODE", "disabled")
        with watched(Path(folder)) as seen:
            yield seen


def ask(view: View, uid: str, title: str, reference: str, **chosen: str) -> list[Json]:
    """What a panel's query finds."""
    dashboard = DASHBOARDS[uid]
    return view.ask(target(dashboard, title, reference), view.choose(dashboard) | chosen)


def number(found: list[Json]) -> float:
    (series,) = found
    return float(series["value"][1])


@pytest.mark.parametrize(("dashboard", "title", "query"), TARGETS)
def test_a_query_finds_data_while_the_sweep_runs(sweep: Watched, dashboard: Json, title: str, query: Json) -> None:
    view = sweep.while_it_ran()
    found = view.ask(query, view.choose(dashboard))
    assert bool(found) != ((title, query["refId"]) in EMPTY_WHILE_IT_RUNS)


@pytest.mark.parametrize(("dashboard", "title", "query"), TARGETS)
def test_a_query_finds_data_when_all_series_are_gone(sweep: Watched, dashboard: Json, title: str, query: Json) -> None:
    view = sweep.long_after()
    found = view.ask(query, view.choose(dashboard))
    is_live = (title, query["refId"]) in NOW
    assert is_live == (query["instant"] and "$__range" not in query["expr"])  # the rest looks back
    assert bool(found) != is_live


@pytest.mark.parametrize("moment", ["while_it_ran", "long_after"])
@pytest.mark.parametrize(("dashboard", "variable"), VARIABLES)
def test_a_variable_has_values(sweep: Watched, dashboard: Json, variable: Json, moment: str) -> None:
    view: View = getattr(sweep, moment)()
    chosen = view.choose(dashboard)
    expected = {
        "sweep": ["watched"],
        "hardware": ["large", "small"],
        "parameter": ["depth", "rate"],
    }
    options = view.options(variable, chosen)
    found = list(options)
    if variable["name"] == "metric":
        assert found[0] == "accuracy"  # the objective
    elif variable["name"].startswith("measured"):
        assert (found[0], options[found[0]]) == ("↻", "↻ replayed")
    else:
        assert found == expected.get(variable["name"], found) != []


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_the_annotations_are_where_the_sweep_began_and_ended(sweep: Watched, uid: str) -> None:
    view = sweep.long_after()
    chosen = view.choose(DASHBOARDS[uid])
    start, end = (view.lines(view.fill(mark["expr"], chosen)) for mark in DASHBOARDS[uid]["annotations"]["list"][:2])
    (began,), (ended,) = ({float(value) / 1000 for _, value in series["values"]} for (series,) in (start, end))
    assert sweep.began < began < ended < sweep.ended


def test_the_marks_of_decisions_are_where_trials_were_stopped_early(sweep: Watched) -> None:
    view, board = sweep.long_after(), DASHBOARDS["energysweep-sweep"]
    [mark] = board["annotations"]["list"][2:]
    found = {
        (series["metric"]["what"], series["metric"]["why"])
        for series in view.lines(view.fill(mark["expr"], view.choose(board)))
    }
    assert ("ended", "asha") in found
    assert not {"started", "resumed", "paused"} & {what for what, _ in found}


@pytest.mark.parametrize(
    "rule", [rule for rule in RECORDS if rule not in OF_MINUTES], ids=lambda rule: str(rule["record"])
)
def test_a_recording_rule_finds_data_while_the_sweep_runs(sweep: Watched, rule: dict[str, Any]) -> None:
    view = sweep.while_it_ran()
    assert view.instant(rule["expr"])
    assert view.lines(rule["record"])  # Prometheus itself has recorded it


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_series_that_there_are_and_is_silent_while_all_is_well(
    sweep: Watched, alert: dict[str, Any]
) -> None:
    view = sweep.while_it_ran()
    assert view.instant(alert["expr"]) == []
    for series in re.findall(r"\b(?:\w+:)?energysweep_\w+(?::\w+)?|\bup\b", alert["expr"]):
        # Only a sweep that has ended has the time of its end.
        assert (sweep.just_after() if "_end_" in series else view).instant(series), series


def test_configurations_are_told_with_the_ledger_s_joules_and_grams(sweep: Watched) -> None:
    of_trial = booked(sweep.data)
    expected: dict[tuple[str, str], float] = {}
    for trial in sweep.data.trials:
        config = configuration_text(trial.parameters, ("rate", "depth"))
        expected[config, trial.hardware] = of_trial[trial.trial]
    title, view = "$measured All configurations", sweep.long_after()
    joules, grams = (shown(view, title, name, ("Configuration", "Hardware")) for name in ("Energy of all", "Mean CO2e"))
    assert len(joules) == 16
    assert joules == pytest.approx(expected, rel=0.01)
    assert grams == pytest.approx({key: value * 360 / 3.6e6 for key, value in joules.items()}, rel=1e-9)


@pytest.mark.parametrize("moment", ["while_it_ran", "long_after"])
def test_the_joules_of_all_owners_are_those_of_the_meter(sweep: Watched, moment: str) -> None:
    title, view = "$measured Energy by owner against the meters", getattr(sweep, moment)()

    def of(reference: str) -> float:
        return number(ask(view, "energysweep-nodes", title, reference))

    owners = [of(bucket) for bucket in OWNERS]
    assert sum(owners) == pytest.approx(of("booked"), rel=1e-9)
    assert of("booked") == pytest.approx(of("metered"), rel=1e-9)
    assert of("difference") == pytest.approx(0, abs=1e-6)
    bars = ask(view, "energysweep-nodes", "$measured Energy by owner", "A")
    assert sorted(float(bar["value"][1]) for bar in bars) == pytest.approx(sorted(owners))


def test_the_areas_of_all_owners_reach_the_line_of_the_meters(sweep: Watched) -> None:
    title, view = "$measured Power by owner, and the meters", sweep.while_it_ran()
    areas: dict[float, float] = {}
    for series in ask(view, "energysweep-nodes", title, "A"):
        for when, watts in series["values"]:
            areas[when] = areas.get(when, 0.0) + float(watts)
    (meters,) = ask(view, "energysweep-nodes", title, "meters")
    line = {when: float(watts) for when, watts in meters["values"]}
    assert len(line) > 10
    # rate() carries a series on to the ends of its window, but not below 0: not as far, if it has just begun to grow.
    first, last = (f"{which}_over_time({NODE_BUCKETS}[$__rate_interval])" for which in ("min", "max"))
    (full,) = view.lines(view.fill(f"min(2 * {first} - {last}) >= 0", {}))
    compared = [when for when, _ in full["values"] if when in line]
    assert compared
    assert [areas[when] for when in compared] == pytest.approx([line[when] for when in compared], rel=1e-6)


def test_the_trials_of_all_sweeps_are_the_owner_that_is_called_trials(sweep: Watched) -> None:
    view = sweep.long_after()
    by_sweep = ask(view, "energysweep-nodes", "$measured Energy of trials by sweep", "energy")
    owner = number(ask(view, "energysweep-nodes", "$measured Energy by owner against the meters", "trials"))
    # A trial shows all that it has used; a node, what it has since Prometheus first saw its agent, which takes seconds.
    first = 'sum(min_over_time(energysweep_node_bucket_energy_joules_total{bucket="trials"}[$__range]))'
    before = number(view.instant(view.fill(first, {})))
    assert sum(float(row["value"][1]) for row in by_sweep) == pytest.approx(before + owner, rel=0.01)


def test_of_more_trials_than_are_shown_the_rest_is_drawn_together(sweep: Watched) -> None:
    view, dashboard = sweep.while_it_ran(), DASHBOARDS["energysweep-sweep"]
    chosen = view.choose(dashboard)
    (panel,) = (panel for panel in panels(dashboard) if panel["title"] == "$measured Power by trial")
    of = {target["refId"]: target["expr"] for target in panel["targets"]}
    one, rest = (view.fill(of[reference].replace("topk(40, ", "topk(1, "), chosen) for reference in ("A", "others"))
    every = view.fill(f"{of['sweep']} - sum({of['apart']})", chosen)

    def total(expression: str) -> dict[float, float]:
        return {when: float(watts) for series in view.lines(f"sum({expression})") for when, watts in series["values"]}

    ones, rests, everything = total(one), total(rest), total(every)
    assert rests
    for when, watts in everything.items():
        # A rate of a trial may be above the sweep's own, whose driver tells of it a moment later.
        assert ones.get(when, 0.0) + rests[when] == pytest.approx(max(watts, ones.get(when, 0.0)), abs=0.01)


def test_a_parameter_is_told_value_by_value(sweep: Watched) -> None:
    view = sweep.long_after()
    title = "$measured Values"
    by_rate = shown(view, title, "Trials", ("Value",), parameter="rate")
    by_depth = shown(view, title, "Trials", ("Value",), parameter="depth")
    assert by_rate == {("0.01",): 4, ("0.05",): 4, ("0.1",): 4, ("0.15",): 4}
    assert by_depth == {("1",): 8, ("2",): 8}


def test_chosen_values_are_taken_as_they_are(sweep: Watched) -> None:
    view = sweep.long_after()

    def trials(**chosen: str) -> float:
        return sum(shown(view, "$measured Their sweeps", "Trials", ("Sweep",), **chosen).values())

    assert trials() == 16
    assert trials(sweep=escaped("watched", "another (one)")) == 16
    assert trials(sweep=escaped("w.tched")) == 0
    assert trials(hardware=escaped("small")) == 8
    assert trials(node=escaped("elsewhere")) == 0


def test_the_queries_in_the_document_find_every_trial_and_configuration(sweep: Watched) -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```promql\n(.*?)```", document, re.DOTALL)
    per_trial, per_configuration = (sweep.prometheus.query(query) for query in block.split("\n\n"))
    assert len(per_trial) == len(per_configuration) == 16


def test_points_have_both_coordinates(sweep: Watched) -> None:
    view = sweep.long_after()
    points = rows(view, DASHBOARDS["energysweep-sweep"], "$measured Energy against the metric")
    assert len(points) == len({point["Trial"] for point in points}) == 16
    assert all(point["Energy"] > 0 < point["Metric"] for point in points)


def test_what_early_stopping_saved_and_what_was_cheapest_is_what_the_driver_told(sweep: Watched) -> None:
    view = sweep.long_after()
    assert "pruned" in {trial.status for trial in sweep.data.trials}
    assert number(ask(view, "energysweep-sweep", "≈ Saved", "A")) > 0
    # It changes until the end, and a sweep of seconds is too short for what is looked for once a minute.
    cheapest = number(ask(sweep.just_after(), "energysweep-sweep", "$measured Cheapest at target so far", "cheapest"))
    best = summarise(sweep.data).headline.cheapest
    assert best is not None
    assert best.energy_to_target_joules is not None
    assert cheapest == pytest.approx(best.energy_to_target_joules.geometric_mean)


@pytest.mark.parametrize("parameter", ["rate", "depth"])
def test_brought_back_weeks_later_every_number_is_that_of_the_report(
    sweep: Watched, tmp_path: Path, parameter: str
) -> None:
    saved = number(ask(sweep.just_after(), "energysweep-sweep", "≈ Saved", "A"))
    with brought_back(tmp_path, sweep.data) as view:
        differences = differing(view, sweep.data, parameter)
        found = shown(view, "$measured_sweeps Sweeps", "Saved (≈)", ("Sweep",))
    assert differences == {}
    assert found == {("watched",): pytest.approx(saved, rel=0.01)}


def test_what_the_sweep_has_cost_is_what_its_report_charges(sweep: Watched) -> None:
    totals = summarise(sweep.data).totals
    expected = charged(totals)
    for view in (sweep.just_after(), sweep.long_after()):
        assert summed(view, DASHBOARDS["energysweep-sweep"], "$measured Energy") == pytest.approx(expected)
        grams = number(ask(view, "energysweep-sweep", "$measured CO2e", "A"))
        assert grams == pytest.approx(totals.emissions_grams)


def test_everything_is_green_while_all_is_well(sweep: Watched) -> None:
    groups = sweep.prometheus.rules()
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
