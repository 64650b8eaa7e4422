"""A real Prometheus, configured with nothing but /sd, watches a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent

import pytest

from energysweep.report import summarise
from tests.driver.test_resume import STEPS, read, wait_for
from tests.support.ledgers import booked
from tests.support.ports import free_port
from tests.support.prometheus import Prometheus, http_sd
from tests.support.sweeps import WORK

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


@contextmanager
def driver(folder: Path, port: int, *arguments: str, linger: int) -> Iterator[subprocess.Popen[str]]:
    """One of a sweep in a folder; whatever happens, it does not outlive the test."""
    with subprocess.Popen(
        [sys.executable, "-m", "energysweep", *arguments, "--metrics-port", str(port)],
        cwd=folder,
        env=os.environ | {"ENERGYSWEEP_LINGER": str(linger)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_last_scraped_value_of_every_trial_equals_the_ledgers(
    sweep_folder: Path, prometheus: Prometheus, agent_port: int
) -> None:
    (sweep_folder / "work.py").write_text(WORK.replace("tune.report({", 'tune.report({"loss": 0.5, "phase": "x", '))
    options = ["run", "sweep.yaml", "--run-id", "watched", "--set", "max_concurrent_trials=1"]
    options += ["--set", "parameters={kind: {grid: [burn, sleep]}, reports: 2, seconds: {grid: [2.0, 0.1, 0.5, 1.0]}}"]
    with driver(sweep_folder, agent_port, *options, linger=30) as sweep:
        _, messages = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, messages

    data = read(sweep_folder / "results" / "watched")
    expected = {trial: pytest.approx(joules, rel=0.01) for trial, joules in booked(data).items()}
    assert len(expected) == 8

    def scraped() -> dict[str, float]:
        series = 'max_over_time(energysweep_trial_energy_joules_total{sweep="watched"}[10m])'
        return prometheus.values(f"sum by (trial) ({series})", "trial")

    with suppress(AssertionError):
        wait_for(lambda: scraped() == expected)
    assert scraped() == expected
    (info,) = prometheus.query("last_over_time(energysweep_sweep_info[10m])")
    assert (info["metric"]["sweep"], info["metric"]["name"]) == ("watched", "test")
    # The objective, and the other number that trials report.
    last_results = "max by (metric) (last_over_time(energysweep_trial_result[10m]))"
    assert prometheus.values(last_results, "metric") == {"score": 1, "loss": 0.5, "children_seconds": 0}
    # One at a time, so the others waited; and whatever a trial did, it was in one state.
    of_state = "max by (state) (max_over_time(energysweep_sweep_trials[10m]))"
    most = prometheus.values(of_state, "state")
    assert most["running"] == 1
    # All that had not begun at the first scrape; Prometheus may have found the agent late.
    first = min(float(series["values"][0][0]) for series in prometheus.query("energysweep_sweep_trials[10m]"))
    assert most.get("pending", 0) >= sum((trial.started_at or 0.0) > first for trial in data.trials)
    all_states = "sum(energysweep_sweep_trials)[10m:1s]"
    for function in ("min", "max"):
        ((total,),) = [[each["value"][1]] for each in prometheus.query(f"{function}_over_time({all_states})")]
        assert float(total) == 8


@pytest.mark.slow
@pytest.mark.variant
def test_what_a_sweep_has_cost_goes_on_over_a_new_agent_and_a_resume(
    sweep_folder: Path, agent_home: Path, prometheus: Prometheus, agent_port: int
) -> None:
    (sweep_folder / "work.py").write_text(dedent(STEPS))
    folder = sweep_folder / "results" / "watched"

    def joules() -> dict[str, float]:
        """By bucket, as Prometheus has scraped last."""
        series = "max by (component, bucket, source) (max_over_time(energysweep_sweep_energy_joules_total[10m]))"
        return {"startup": 0.0} | prometheus.values(f"sum by (bucket) ({series})", "bucket")

    options = ("--set", "parameters={steps: {grid: [2, 120]}}", "--set", "max_concurrent_trials=1")
    with driver(sweep_folder, agent_port, "run", "sweep.yaml", "--run-id", "watched", *options, linger=1) as first:
        wait_for(lambda: joules().get("trials", 0.0) > 50)
        assert first.poll() is None  # in the middle of the second trial
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=300)
    wait_for(lambda: not (agent_home / "agent.sock").exists())  # its agent has gone
    before = joules()
    with driver(sweep_folder, agent_port, "resume", str(folder), linger=30) as second:
        _, messages = second.communicate(timeout=300)
    assert second.returncode == 0, messages

    totals = summarise(read(folder)).totals
    buckets = {
        "trials": totals.trials_energy_joules,
        "startup": totals.buckets["startup"] or 0.0,
        "overhead": totals.buckets["overhead"],
    }
    expected = pytest.approx(buckets)
    with suppress(AssertionError):
        wait_for(lambda: joules() == expected)
    assert joules() == expected
    assert joules()["trials"] > before["trials"] > 50
    grams = prometheus.query("sum(max by (bucket) (max_over_time(energysweep_sweep_emissions_grams_total[10m])))")
    assert [float(each["value"][1]) for each in grams] == [pytest.approx(totals.emissions_grams)]
    assert prometheus.query("resets(energysweep_sweep_energy_joules_total[10m]) > 0") == []
