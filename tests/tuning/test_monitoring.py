"""A real Prometheus, configured with nothing but /sd, watches a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from energysweep.ledger import FILE_NAME, Ledger
from energysweep.reporting import summarise
from tests.ledgers import booked
from tests.ports import free_port
from tests.prometheus import Prometheus, http_sd
from tests.tuning.conftest import WORK
from tests.tuning.test_resume import STEPS, read, wait_for

pytestmark = pytest.mark.ray


@pytest.fixture
def agent_port() -> int:
    return free_port()


@pytest.fixture
def prometheus(tmp_path: Path, agent_port: int) -> Iterator[Prometheus]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with Prometheus(folder, [http_sd(agent_port)]) as server:
        yield server


def test_the_last_scraped_value_of_every_trial_equals_the_ledgers(
    sweep_folder: Path, prometheus: Prometheus, agent_port: int
) -> None:
    (sweep_folder / "work.py").write_text(WORK.replace("tune.report({", 'tune.report({"loss": 0.5, "phase": "x", '))
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "watched"),
            *("--metrics-port", str(agent_port), "--set", "max_concurrent_trials=1"),
            # The last one gives Prometheus the time to see the end of the ones before, and is not compared.
            *("--set", "parameters={kind: {grid: [burn, sleep]}, reports: 3, seconds: {grid: [2.5, 0.1, 0.5, 1.5]}}"),
        ],
        cwd=sweep_folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, messages = sweep.communicate(timeout=180)
    assert sweep.returncode == 0, messages

    with Ledger.open(sweep_folder / "results" / "watched" / FILE_NAME) as ledger:
        data = ledger.read()
    joules = booked(data)
    last = max(data.leases, key=lambda lease: lease.opened_at).trial
    scraped = prometheus.values(
        'sum by (trial) (max_over_time(energysweep_trial_energy_joules_total{sweep="watched"}[10m]))', "trial"
    )
    assert len(joules) == 8
    for trial in joules.keys() - {last}:
        assert scraped[trial] == pytest.approx(joules[trial], rel=0.01), trial
    (info,) = prometheus.query("last_over_time(energysweep_sweep_info[10m])")
    assert (info["metric"]["sweep"], info["metric"]["name"]) == ("watched", "test")
    # The objective, and the other number that trials report.
    last_results = "max by (metric) (last_over_time(energysweep_trial_result[10m]))"
    assert prometheus.values(last_results, "metric") == {"score": 2, "loss": 0.5, "children_seconds": 0}
    # One at a time, so the others waited; and whatever a trial did, it was in one state.
    of_state = "max by (state) (max_over_time(energysweep_sweep_trials[10m]))"
    most = prometheus.values(of_state, "state")
    assert most["running"] == 1
    assert most["pending"] >= 6
    all_states = "sum(energysweep_sweep_trials)[10m:1s]"
    for function in ("min", "max"):
        ((total,),) = [[each["value"][1]] for each in prometheus.query(f"{function}_over_time({all_states})")]
        assert float(total) == 8


@pytest.mark.slow
def test_what_a_sweep_has_cost_goes_on_over_a_new_agent_and_a_resume(
    sweep_folder: Path, prometheus: Prometheus, agent_port: int
) -> None:
    (sweep_folder / "work.py").write_text(dedent(STEPS))
    folder = sweep_folder / "results" / "watched"

    def start(*arguments: str, linger: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "energysweep", *arguments, "--metrics-port", str(agent_port)],
            cwd=sweep_folder,
            env=os.environ | {"ENERGYSWEEP_LINGER": linger},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def joules() -> dict[str, float]:
        """By bucket, as Prometheus has scraped last."""
        series = "max by (component, bucket, source) (max_over_time(energysweep_sweep_energy_joules_total[10m]))"
        return prometheus.values(f"sum by (bucket) ({series})", "bucket")

    options = ("--set", "parameters={steps: {grid: [2, 60]}}", "--set", "max_concurrent_trials=1")
    first = start("run", "sweep.yaml", "--run-id", "watched", *options, linger="1")
    wait_for(lambda: joules().get("trials", 0.0) > 50, 60)
    assert first.poll() is None  # in the middle of the second trial
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    wait_for(lambda: not prometheus.query("energysweep_agent_open_leases"), 60)  # its agent has gone
    before = joules()
    second = start("resume", str(folder), linger="5")
    _, messages = second.communicate(timeout=120)
    assert second.returncode == 0, messages

    totals = summarise(read(folder)).totals
    assert joules() == pytest.approx({"trials": totals.trials_energy_joules, "overhead": totals.overhead_joules})
    assert joules()["trials"] > before["trials"] > 50
    grams = prometheus.query("sum(max by (bucket) (max_over_time(energysweep_sweep_emissions_grams_total[10m])))")
    assert [float(each["value"][1]) for each in grams] == [pytest.approx(totals.emissions_grams)]
    assert prometheus.query("resets(energysweep_sweep_energy_joules_total[10m]) > 0") == []
