"""The cluster of deploy/compose.yaml without Grafana, whose image no package brings; and sweeps submitted to it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from energysweep.agent.server import DEFAULT_PORT
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData
from tests.support.engine import AGENT, SWEEP, Compose, docker
from tests.support.ports import free_port
from tests.support.web import DIRECT

Held = TypeVar("Held")
SERVICES = ("agent", "head", "worker-1", "worker-2", "prometheus")

# Uses a given CPU time, tells on which node, and writes down how far it is, for the test. It begins when trials work on
# two nodes: otherwise the first node's could take all trials, if the other's workers are slow to start.
WORK = """
import os, pathlib, time
import ray
from ray import tune


def train(config):
    host = ray.util.get_node_ip_address()
    folder = pathlib.Path("/storage/clocks")
    folder.mkdir(exist_ok=True)
    folder.with_name("clocks-new").mkdir(exist_ok=True)
    log = folder / f"{tune.get_context().get_trial_id()}-{os.urandom(4).hex()}"
    log.write_text(f"{host} 0.0")
    give_up = time.monotonic() + 120
    while len({file.read_text().partition(" ")[0] for file in folder.iterdir()} - {""}) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    begin = time.process_time()
    for step in range(1, config["steps"] + 1):
        while time.process_time() - begin < 0.5 * step:
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            # Whole at any time, also if the worker is killed meanwhile.
            new = folder.with_name("clocks-new") / log.name
            new.write_text(f"{host} {time.process_time() - begin}")
            new.replace(log)
        tune.report({"score": step, "node": int(host.rpartition(".")[2])})
"""
SWEEP_FILE = """
name: containers
workload: train.py:train
parameters:
  label: {grid: [a, b, c, d]}
  steps: 4
objective: {metric: score, mode: max}
max_concurrent_trials: 2
max_failures: 1
storage: /storage
"""


@dataclass
class Cluster:
    """It, running.

    Attributes:
        compose: its project.
        token_file: Ray's token.
        ray_url, prometheus_url: as the host reaches them.
        folder: with a sweep and its code.
    """

    compose: Compose
    token_file: Path
    ray_url: str
    prometheus_url: str
    folder: Path

    def submit(self, run_id: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        """energysweep submit on this host."""
        command = [sys.executable, "-m", "energysweep", "submit", str(self.folder / "sweep.yaml")]
        command += ["--address", self.ray_url, "--run-id", run_id, *options]
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        return subprocess.Popen(
            command,
            env=os.environ | token | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def clocks(self) -> dict[str, tuple[str, float]]:
        """What each attempt of a trial wrote down last: its node's address and its CPU seconds, by trial-number."""
        mounted = docker("volume", "inspect", "--format={{.Mountpoint}}", self.compose.volume("storage"))
        read = {file.name: file.read_text().split() for file in Path(mounted).glob("clocks/*")}
        return {name: (words[0], float(words[1])) for name, words in read.items() if len(words) == 2}

    def address(self, service: str) -> str:
        """Of a service's container on the cluster's network."""
        pattern = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", f"--format={pattern}", self.compose.container(service))

    def seconds_since_reading(self) -> float:
        """How old the agent's newest reading is."""
        with DIRECT.open(f"http://{self.address('agent')}:{DEFAULT_PORT}/healthz", timeout=30) as answer:
            return float(json.load(answer)["seconds_since_reading"])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers."""
        with DIRECT.open(f"{self.prometheus_url}/api/v1/query?query={quote(expression)}", timeout=30) as answer:
            return list(json.load(answer)["data"]["result"])


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """The cluster from its start to its end; nothing of it is left."""
    (folder / "code").mkdir()
    (folder / "code" / "train.py").write_text(WORK)
    (folder / "code" / "sweep.yaml").write_text(SWEEP_FILE)
    (folder / "powercap").mkdir()
    token, password = folder / "token", folder / "password"
    for secret in (token, password):
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o644)
    folder.chmod(0o755)
    ports = [free_port() for _ in range(2)]
    compose = Compose(
        f"energysweep-test-{secrets.token_hex(3)}",
        {
            "ENERGYSWEEP_IMAGE": SWEEP,
            "ENERGYSWEEP_AGENT_IMAGE": AGENT,
            "ENERGYSWEEP_POWERCAP": str(folder / "powercap"),
            "ENERGYSWEEP_RAY_TOKEN_FILE": str(token),
            "ENERGYSWEEP_GRAFANA_PASSWORD_FILE": str(password),
            "ENERGYSWEEP_RAY_PORT": str(ports[0]),
            "ENERGYSWEEP_PROMETHEUS_PORT": str(ports[1]),
        },
    )
    try:
        compose("up", "--detach", "--no-build", *SERVICES, seconds=600)
        yield Cluster(compose, token, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", folder / "code")
    finally:
        compose("down", "--volumes", "--timeout", "5")


def wait_for(condition: Callable[[], Held], seconds: float, what: str) -> Held:
    """Until it holds; returns what it was then.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (held := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)
    return held


def read(folder: Path) -> LedgerData:
    """The ledger of a run folder."""
    with Ledger.open(folder / LEDGER) as ledger:
        return ledger.read()
