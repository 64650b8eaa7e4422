"""A real Prometheus, configured with nothing but /sd, watches a sweep."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep.ledger import FILE_NAME, Ledger
from energysweep.records import TRIAL_BUCKETS
from tests.conftest import need

pytestmark = pytest.mark.ray


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    def __init__(self, folder: Path, agent_port: int) -> None:
        self.port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: energysweep\n"
            f"    http_sd_configs: [{{url: 'http://127.0.0.1:{agent_port}/sd', refresh_interval: 1s}}]\n"
        )
        subprocess.run([need("promtool"), "check", "config", str(config)], check=True, capture_output=True)
        self._process = subprocess.Popen(
            [
                need("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def agent_port() -> int:
    return free_port()


@pytest.fixture
def prometheus(tmp_path: Path, agent_port: int) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, agent_port)
    yield server
    server.stop()


def test_the_last_scraped_value_of_every_trial_equals_the_ledgers(
    sweep_folder: Path, prometheus: Prometheus, agent_port: int
) -> None:
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "watched"),
            *("--metrics-port", str(agent_port), "--set", "max_concurrent_trials=1"),
            # The last one gives Prometheus the time to see the end of the ones before, and is not compared.
            *("--set", "parameters={kind: {grid: [burn, sleep]}, reports: 3, seconds: {grid: [0.1, 0.5, 1.5]}}"),
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
    trial_of = {lease.lease: lease.trial for lease in data.leases}
    booked: dict[str, float] = {}
    for row in data.energy:
        if row.bucket in TRIAL_BUCKETS:
            trial = trial_of[row.lease]
            booked[trial] = booked.get(trial, 0.0) + row.joules
    last = max(data.leases, key=lambda lease: lease.opened_at).trial
    scraped = {
        series["metric"]["trial"]: float(series["value"][1])
        for series in prometheus.query(
            'sum by (trial) (max_over_time(energysweep_trial_energy_joules_total{sweep="watched"}[10m]))'
        )
    }
    assert len(booked) == 6
    for trial in booked.keys() - {last}:
        assert scraped[trial] == pytest.approx(booked[trial], rel=0.01), trial
    (info,) = prometheus.query("last_over_time(energysweep_sweep_info[10m])")
    assert (info["metric"]["sweep"], info["metric"]["name"]) == ("watched", "test")
