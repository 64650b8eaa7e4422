"""A finished run as OpenMetrics, read back by Prometheus' own tools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from energysweep.core.carbon import Intensity
from energysweep.ledger.store import LedgerData
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.report import summarise
from tests.ledger.test_startup import TRIAL, with_startup
from tests.support.example import CRASHED, STARTED_AT, example
from tests.support.ledgers import booked

END = STARTED_AT + 120
Labels = tuple[tuple[str, str], ...]


def series(data: LedgerData, name: str, text: str = "") -> dict[Labels, list[tuple[float, float]]]:
    """Points (Unix time, value) by labels."""
    found: dict[Labels, list[tuple[float, float]]] = {}
    for family in text_string_to_metric_families(text or openmetrics(data)):
        for sample in family.samples:
            if sample.name == name:
                labels = tuple(sorted(sample.labels.items()))
                found.setdefault(labels, []).append((float(sample.timestamp), sample.value))
    return found


def test_each_trial_begins_at_0_and_ends_with_the_ledgers_joules() -> None:
    data = example()
    ends: dict[str, float] = {}
    for labels, points in series(data, "energysweep_trial_energy_joules_total").items():
        assert points[0] == (STARTED_AT, 0.0)
        trial = dict(labels)["trial"]
        ends[trial] = ends.get(trial, 0.0) + points[-1][1]
    assert ends == pytest.approx(booked(data))
    assert ends[CRASHED] == pytest.approx(121)  # both attempts


def test_the_sweep_s_own_counters_begin_at_0_and_end_with_what_the_report_charges() -> None:
    data = example()
    totals = summarise(data).totals
    of_bucket: dict[str, float] = {}
    for labels, points in series(data, "energysweep_sweep_energy_joules_total").items():
        assert points[0] == (STARTED_AT, 0.0)
        bucket = dict(labels)["bucket"]
        of_bucket[bucket] = of_bucket.get(bucket, 0.0) + points[-1][1]
    assert of_bucket == pytest.approx({"trials": totals.trials_energy_joules, "overhead": totals.buckets["overhead"]})
    grams = series(data, "energysweep_sweep_emissions_grams_total")
    assert sum(points[-1][1] for points in grams.values()) == pytest.approx(totals.emissions_grams)


def test_the_sweep_s_own_counter_is_at_each_moment_the_sum_of_its_trials() -> None:
    data = example()
    of_sweep = [
        dict(points)
        for labels, points in series(data, "energysweep_sweep_energy_joules_total").items()
        if dict(labels)["bucket"] == "trials"
    ]
    of_trials = series(data, "energysweep_trial_energy_joules_total").values()
    for at in (STARTED_AT + 15, STARTED_AT + 30, END):
        # One that has ended keeps its last value; the others have a sample at the same time.
        so_far = sum(max(joules for when, joules in points if when <= at) for points in of_trials)
        assert sum(points[at] for points in of_sweep) == pytest.approx(so_far)


@pytest.mark.parametrize("name", ["energysweep_trial_energy_joules_total", "energysweep_sweep_energy_joules_total"])
def test_counters_never_go_down_and_times_only_go_on(name: str) -> None:
    for points in series(example(), name).values():
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(points))


def test_power_is_what_the_counters_move_by_and_0_in_the_end() -> None:
    # t-0.1-16-0 draws 10 W for 20 s, three quarters of it in the CPU: 7.5 W, 150 J.
    power = series(example(), "energysweep_trial_power_watts")
    (points,) = [
        points
        for labels, points in power.items()
        if (dict(labels)["trial"], dict(labels)["component"]) == ("t-0.1-16-0", "cpu")
    ]
    assert [watts for _, watts in points] == pytest.approx([7.5, 7.5, 0.0])
    assert sum(watts * seconds for (_, watts), seconds in zip(points, [15, 5, 0], strict=True)) == pytest.approx(150)


def test_emissions_are_those_of_the_report() -> None:
    grams = series(example(), "energysweep_trial_emissions_grams_total")
    assert sum(points[-1][1] for points in grams.values()) == pytest.approx(2183 * 1e-4)  # 0.0001 g/J


def test_what_start_up_drew_and_emitted_is_brought_back_and_is_in_no_other_series_of_its_trial() -> None:
    data = with_startup()
    of = {
        name: {dict(labels)["trial"]: points[-1][1] for labels, points in series(data, name).items()}
        for name in ("energysweep_trial_startup_energy_joules_total", "energysweep_trial_startup_emissions_grams_total")
    }
    assert list(of.values()) == [{TRIAL: 50.0}, {TRIAL: pytest.approx(0.005)}]  # 0.0001 g/J
    grams = series(data, "energysweep_trial_emissions_grams_total")
    assert sum(points[-1][1] for points in grams.values()) == pytest.approx(2183 * 1e-4)


def test_for_another_grid_emissions_and_its_intensity_are_that_grid_s() -> None:
    data, other = example(), Intensity(36.0, "FRA", None, "CodeCarbon", pue=1.5)  # 0.000015 g/J
    text = openmetrics(data, other)
    grams = series(data, "energysweep_trial_emissions_grams_total", text)
    assert sum(points[-1][1] for points in grams.values()) == pytest.approx(2183 * 1.5e-5)
    ((labels, points),) = series(data, "energysweep_grid_intensity_grams_per_kwh", text).items()
    assert dict(labels)["zone"] == "FRA"
    assert {value for _, value in points} == {36.0}


@pytest.mark.parametrize(
    ("scheduler", "saved"),
    [
        ({"type": "asha"}, 33),  # pruned after 4 reports at 5.5 J each, where the others made 10
        ({"type": "asha", "resource": "energy_joules", "max_resource": 30}, 8),  # 30 J less 22 J
        ({"type": "fifo"}, None),
        (None, None),
    ],
)
def test_what_early_stopping_has_saved_is_said_by_the_scheduler_and_the_pruned(
    scheduler: dict[str, object] | None, saved: float | None
) -> None:
    found = series(example(spec={"scheduler": scheduler}), "energysweep_sweep_saved_energy_joules")
    assert [points[-1] for points in found.values()] == ([] if saved is None else [(END, pytest.approx(saved))])


def test_results_stand_where_the_trial_reported_them() -> None:
    results = series(example(), "energysweep_trial_result")
    (points,) = [points for labels, points in results.items() if dict(labels)["trial"] == "t-0.1-16-0"]
    assert points[0] == (STARTED_AT + 2, pytest.approx(0.804))  # 20 J at 10 W; the target comes with the 2nd
    assert points[1] == (STARTED_AT + 4, pytest.approx(0.928))


def test_metrics_that_the_search_optimises_come_after_the_objective_and_before_others() -> None:
    eight = {f"other{number}": float(number) for number in range(8)}
    data = example(spec={"search": {"algorithm": "optuna", "metrics": {"accuracy": "max", "size": "min"}}})
    results = [row._replace(metrics=eight | {"size": 3, "phase": "x"} | row.metrics) for row in data.results]
    found = series(replace(data, results=results), "energysweep_trial_result")
    shown = [dict(labels)["metric"] for labels in found if dict(labels)["trial"] == "t-0.1-16-0"]
    assert sorted(shown) == ["accuracy", *(f"other{number}" for number in range(6)), "size"]


def test_the_sweep_tells_its_name_its_beginning_and_its_end() -> None:
    data = example()
    ((labels, points),) = series(data, "energysweep_sweep_info").items()
    assert dict(labels) == {"sweep": "mnist-20231114T221320Z", "name": "mnist", "owner": "", "tags": ""}
    assert (points[0][0], points[-1][0]) == (STARTED_AT, END)
    ((_, end),) = series(data, "energysweep_sweep_end_timestamp_seconds").items()
    assert end == [(END, END)]


def test_the_pause_of_a_resumed_run_is_a_gap() -> None:
    # Two parts of 60 s, an hour apart: a report 70 s into the sweep is 10 s into the second part.
    parts = [
        {"started_at": STARTED_AT, "duration_seconds": 60.0},
        {"started_at": STARTED_AT + 3600, "duration_seconds": 60.0},
    ]
    data = example(parts=parts)
    trial = data.leases[0].trial
    lease = data.leases[0]._replace(closed_at=STARTED_AT + 3640)
    late = data.results[0]._replace(iteration=99, elapsed_seconds=70.0)
    data = replace(data, leases=[lease, *data.leases[1:]], results=[*data.results, late])
    results = series(data, "energysweep_trial_result")
    (points,) = [points for labels, points in results.items() if dict(labels)["trial"] == trial]
    assert points[-1][0] == STARTED_AT + 3610


def test_a_stage_is_named_by_its_name_and_is_no_result_of_the_sweep() -> None:
    # The stage is at its own target after one report of 10 J; a loss of 2.0 would be more than any accuracy.
    stage = {"objective": {"metric": "loss", "mode": "min", "target": 3.0, "patience": 1}}
    name = "t-0.1-64-0"
    data = example(stages={"base": stage})
    trials = [row._replace(stage="base") if row.trial == name else row for row in data.trials]
    results = [row._replace(metrics={"loss": 2.0}) if row.trial == name else row for row in data.results]
    staged = replace(data, trials=trials, results=results)
    infos = [dict(labels) for labels in series(staged, "energysweep_trial_info")]
    assert [labels["config"] for labels in infos if labels["trial"] == name] == ["stage=base"]
    shown = [dict(labels) for labels in series(staged, "energysweep_trial_result")]
    assert [labels["metric"] for labels in shown if labels["trial"] == name] == ["loss"]
    ((_, best),) = series(staged, "energysweep_sweep_best").items()
    assert best[-1][1] == pytest.approx(0.96)  # 0.92 + 10 x 0.004
    ((labels, cheapest),) = series(staged, "energysweep_sweep_cheapest_energy_to_target_joules").items()
    assert dict(labels)["config"] == "learning_rate=0.1 batch_size=256"
    assert cheapest[-1][1] == pytest.approx(20 * 1.1**0.5)  # 20 J and 22 J, geometric
    told = summarise(staged).headline.cheapest
    assert told is not None
    assert dict(labels) == {"sweep": "mnist-20231114T221320Z", "config": told.config, "hardware": told.hardware}


def test_untrusted_text_stays_inside_its_label() -> None:
    hostile = 'x" } evil_total 1\n# EOF'
    data = example(name=hostile)
    data = replace(data, trials=[row._replace(hardware=hostile) for row in data.trials])
    names = {family.name for family in text_string_to_metric_families(openmetrics(data))}
    assert all(name.startswith("energysweep_") for name in names)
    ((labels, _),) = series(data, "energysweep_sweep_info").items()
    assert dict(labels)["name"] == hostile


def test_what_was_not_measured_has_no_series() -> None:
    data = replace(example(), energy=[], leases=[])
    assert series(data, "energysweep_trial_energy_joules_total") == {}
    assert series(data, "energysweep_trial_info") == {}


def test_a_host_s_own_series_are_not_written() -> None:
    families: Iterator[str] = (family.name for family in text_string_to_metric_families(openmetrics(example())))
    assert not [name for name in families if name.startswith("energysweep_node_")]
