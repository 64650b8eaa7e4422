"""A sweep whose driver and trials find their host's agent on the network, as in pods that may not mount its socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from energysweep.driver.run import Run
from tests.support.sweeps import read_ledger

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def lease_port(sweep_folder: Path) -> Iterator[int]:
    """A daemon's port for leases; its socket is where nobody looks for it."""
    command = [sys.executable, "-m", "energysweep", "agent", "--meter", f"replay:{sweep_folder}/trace.csv"]
    command += ["--socket", str(sweep_folder / "daemon" / "agent.sock"), "--port", "0", "--lease-port", "0"]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert daemon.stderr is not None
        said = [daemon.stderr.readline(), daemon.stderr.readline()]
        assert "leases on 127.0.0.1 port" in said[-1], said
        yield int(said[-1].split()[-1])
    finally:
        daemon.terminate()
        daemon.communicate()


def test_a_sweep_is_measured_by_leases_over_tcp(
    lease_port: int, agent_home: Path, run_sweep: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_AGENT", f"127.0.0.1:{lease_port}")
    done = run_sweep("meters=[auto]", "parameters.seconds=0.3")
    assert done.problems == ()
    burning, sleeping = sorted(read_ledger(done).trials, key=lambda trial: str(trial.parameters["kind"]))
    joules = dict.fromkeys((burning.trial, sleeping.trial), 0.0)
    active = dict(joules)
    trial_of = {lease.lease: lease.trial for lease in read_ledger(done).leases}
    for row in read_ledger(done).energy:
        if row.lease:
            joules[trial_of[row.lease]] += row.joules
            active[trial_of[row.lease]] += row.joules if row.bucket == "active" else 0.0
    assert min(joules.values()) > 0
    assert active[burning.trial] > active[sleeping.trial]
    assert done.summary.totals.conservation_error_ratio < 1e-3
    assert not (agent_home / "agent.sock").exists()  # nobody started an agent of his own
