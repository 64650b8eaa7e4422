"""An old run is brought back into a real Prometheus and compared with its ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.monitoring.observed import observe
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.report import summarise
from tests.support.example import STARTED_AT, example
from tests.support.ledgers import booked
from tests.support.prometheus import Prometheus, bring_back


def test_prometheus_gives_the_ledgers_joules_of_a_run_that_was_brought_back(tmp_path: Path) -> None:
    data = example()
    bring_back(tmp_path, openmetrics(data))
    with Prometheus(tmp_path) as prometheus:
        highest = f"max_over_time(energysweep_trial_energy_joules_total[1h] @ {STARTED_AT + 600})"
        held = prometheus.values(f"sum by (trial) ({highest})", "trial")
        observed = observe(summarise(data), prometheus.url)
    assert held == pytest.approx(booked(data))
    assert [each.difference_joules for each in observed.trials] == pytest.approx([0.0] * len(observed.trials))
    assert observed.missing == 0


def test_a_trial_that_prometheus_lacks_is_missing_and_not_0(tmp_path: Path) -> None:
    data = example()
    kept = [row for row in data.trials if row.trial != "t-0.1-16-0"]
    bring_back(tmp_path, openmetrics(replace(data, trials=kept)))
    with Prometheus(tmp_path) as prometheus:
        observed = observe(summarise(data), prometheus.url)
    assert observed.missing == 1
    (missing,) = [each for each in observed.trials if each.prometheus_joules is None]
    assert (missing.trial, missing.difference_joules) == ("t-0.1-16-0", None)


def test_increase_over_the_whole_run_is_the_energy_because_series_begin_at_0(tmp_path: Path) -> None:
    data = example()
    bring_back(tmp_path, openmetrics(data))
    with Prometheus(tmp_path) as prometheus:
        # increase() extrapolates to the window's edges, so never less than what was counted.
        expression = f"sum(increase(energysweep_trial_energy_joules_total[10m] @ {STARTED_AT + 300}))"
        ((_, value),) = [tuple(each["value"]) for each in prometheus.query(expression)]
    assert float(value) >= sum(booked(data).values()) * 0.999
