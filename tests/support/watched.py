"""A real sweep that a real Prometheus has watched: two hardware profiles, a target, trials that ASHA stops early."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from energysweep.agent.client import retire
from energysweep.agent.protocol import socket_path
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData
from tests.support.grafana import View
from tests.support.ports import free_port
from tests.support.prometheus import Prometheus, http_sd

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"

_WORK = """
import time
from ray import tune

def train(config):
    for report in range(1, 7):
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        tune.report({"accuracy": config["rate"] * report})
"""

_SWEEP = {
    "budget": {"energy_joules": 1e9},
    "name": "watched",
    "workload": "work.py:train",
    # The best first, so that others are stopped early whatever the order in which they report.
    "parameters": {"rate": {"grid": [0.15, 0.1, 0.05, 0.01]}, "depth": {"grid": [1, 2]}},
    "objective": {"metric": "accuracy", "mode": "max", "target": 0.5},
    "hardware": {"small": {"resources": {"cpu": 1}}, "large": {"resources": {"cpu": 2}}},
    "scheduler": {"type": "asha", "grace_period": 2, "max_resource": 6, "reduction_factor": 2},
    "meters": ["replay:trace.csv"],
    "carbon": {"grams_per_kwh": 360},
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is after the sweep.

    Attributes:
        prometheus: still runs, with all rules.
        began: Unix time of the sweep's beginning.
        well: shortly before the last trial ended.
        ended: when the sweep had ended, and Prometheus had been told.
        data: its ledger.
    """

    prometheus: Prometheus
    began: float
    well: float
    ended: float
    data: LedgerData

    def while_it_ran(self) -> View:
        """As an operator sees it shortly before the last trial ends."""
        return View(self.prometheus.url, self.began - 5, self.well)

    def just_after(self) -> View:
        """As an operator sees it when the sweep has ended, and its series are still there."""
        return View(self.prometheus.url, self.began - 5, self.ended)

    def long_after(self) -> View:
        """As an operator sees it when all its series are gone."""
        return View(self.prometheus.url, self.began - 5, self.ended + 1800)


def rules(folder: Path) -> list[Path]:
    """The rules, all of them evaluated every second."""
    copies = []
    for path in sorted(RULES.glob("*.yml")):
        copies.append(folder / path.name)
        copies[-1].write_text(re.sub("    interval: 1[mh]\n", "", path.read_text(encoding="utf-8")))
    return copies


def last_well(prometheus: Prometheus, expression: str, start: float, end: float) -> float | None:
    """The last moment when an expression had a value, and no scrape had failed for a while: none if None.

    A scrape that fails ends all series of its target until the next one.
    """
    well = "min(min_over_time(up[4s])) == 1 and min(count_over_time(up[4s])) > 2"
    found = prometheus.query_range(f"{well} and {expression}", start, end, 0.5)
    return float(found[0]["values"][-1][0]) if found else None


def shortly_before_the_end(prometheus: Prometheus, data: LedgerData, began: float) -> float:
    """When the last trial was about to end."""
    last = max(lease.closed_at or 0.0 for lease in data.leases)
    well = last_well(prometheus, "sum(energysweep_agent_open_leases) > 0", began, last - 0.5)
    assert well is not None
    return well


def just_after_the_end(prometheus: Prometheus, since: float) -> float:
    """Waits for a moment since then when Prometheus knew that the sweep has ended, a minute at most."""
    # For some scrapes: the last step of a range may be a second before its end.
    told = "max(count_over_time(energysweep_sweep_end_timestamp_seconds[4s])) > 2"
    deadline = time.monotonic() + 60
    # A scrape that is under way may still fail, as of its beginning.
    while (well := last_well(prometheus, told, since, max(since, time.time() - 3))) is None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return well


def end_the_agent(prometheus: Prometheus) -> None:
    """Or its counters would go on between two queries of a view that reaches beyond now."""
    retire(socket_path())
    prometheus.wait_for("absent(energysweep_node_energy_joules_total)")


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Run the sweep under Prometheus; the environment must name an agent's socket."""
    (folder / "work.py").write_text(_WORK)
    (folder / "trace.csv").write_text(
        "time_seconds,device,component,power_watts\n0,package-0,cpu,100\n1,package-0,cpu,100\n"
    )
    (folder / "sweep.yaml").write_text(json.dumps(_SWEEP))
    port = free_port()
    with Prometheus(folder, [http_sd(port)], rules(folder)) as prometheus:
        began = time.time()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "watched"),
                *("--metrics-port", str(port)),
            ],
            cwd=folder,
            env=os.environ | {"ENERGYSWEEP_LINGER": "60"},  # for a scrape of the last values
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        ended = just_after_the_end(prometheus, began)
        end_the_agent(prometheus)
        with Ledger.open(folder / "results" / "watched" / LEDGER) as ledger:
            data = ledger.read()
        yield Watched(prometheus, began, shortly_before_the_end(prometheus, data, began), ended, data)
