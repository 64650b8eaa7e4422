"""Whatever happens on a simulated cluster, every joule is booked once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from energysweep.ledger.store import Ledger
from energysweep.meters import Device
from energysweep.simulation.__main__ import main, parser, simulate
from energysweep.simulation.cluster import Cluster, Plan
from energysweep.simulation.node import WATTS_PER_CPU, WATTS_PER_GPU, FaultyMeter

# Thousands of ledgers and states: they need no disk.
MEMORY = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)

plans = st.builds(
    Plan,
    nodes=st.integers(1, 3),
    trials=st.integers(1, 8),
    sweeps=st.integers(1, 2),
    steps=st.integers(1, 16),
    seed=st.integers(0, 2**32),
    faults=st.sampled_from([0.0, 0.05, 0.2]),
    blocks=st.sampled_from([0.0, 0.3]),
)


@given(plans)
@example(Plan(nodes=1, trials=5, sweeps=1, steps=5, seed=407705, faults=0.2, blocks=0.0))  # a jump and a reset at once
def test_in_any_schedule_of_leases_loads_faults_and_polls_the_buckets_are_what_the_meters_saw(plan: Plan) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        assert simulate(plan, Path(folder)).violations == []


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_hundreds_of_trials_with_faults_of_every_kind_leave_no_joule_out(seed: int, tmp_path: Path) -> None:
    cluster = simulate(Plan(nodes=5, trials=200, steps=500, faults=0.03, seed=seed, blocks=0.05), tmp_path)
    assert cluster.violations == []
    for event in (
        "block in a trial",
        "agent killed",
        "agent restarted",
        "worker killed",
        "trial moved",
        "trial completed",
    ):
        assert cluster.events[event] > 0, event
    for fault in ("reset", "jump", "spike", "frozen readings", "frozen counter", "missed"):
        assert sum(node.meter.faults.get(fault, 0) for node in cluster.nodes) > 0, fault


@pytest.mark.parametrize("blocks", [0.0, 0.2])
def test_in_a_perfect_world_every_trial_gets_what_it_really_used(tmp_path: Path, blocks: float) -> None:
    cluster = simulate(Plan(nodes=3, trials=60, steps=300, faults=0.0, seed=7, blocks=blocks), tmp_path)
    assert cluster.is_done
    active: dict[str, float] = defaultdict(float)
    metered = 0.0
    for driver in cluster.drivers:
        with Ledger.open(driver.ledger.path) as ledger:
            data = ledger.read()
        trial_of = {lease.lease: lease.trial for lease in data.leases}
        for row in data.energy:
            if row.bucket == "active":
                active[trial_of[row.lease]] += row.joules
        if driver is cluster.drivers[0]:
            metered = sum(row.joules for row in data.meters)
    assert metered > 0
    # 20 W for each busy CPU and 200 W for the whole GPU above the idle floor, which is known
    for trial in cluster.trials:
        really = WATTS_PER_CPU * trial.cpu_seconds + WATTS_PER_GPU * trial.gpu_seconds
        assert active[trial.id] == pytest.approx(really, rel=1e-6), trial.id


def test_the_same_seed_makes_the_same_story(tmp_path: Path) -> None:
    stories = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        cluster = simulate(Plan(nodes=2, trials=20, steps=60, faults=0.1, seed=5), tmp_path / name)
        stories.append((cluster.seconds, cluster.events, [node.meter.faults for node in cluster.nodes]))
    assert stories[0] == stories[1]


# The checks do find what they look for -------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    cluster = Cluster(Plan(nodes=1, trials=4, sweeps=1, steps=50, seed=3), tmp_path)
    for _ in range(5):
        cluster.step()
    assert cluster.violations == []
    return cluster


def test_a_joule_that_is_booked_twice_is_found(cluster: Cluster) -> None:
    agent = cluster.nodes[0].agent
    assert agent is not None
    window = agent.windows["sweep-0"]
    row = next(iter(window._tally.rows.values()))
    row.joules += 1.0
    cluster.step()
    assert any("J booked" in violation for violation in cluster.violations)


def test_a_counter_that_goes_down_is_found(cluster: Cluster) -> None:
    agent = cluster.nodes[0].agent
    assert agent is not None
    for row in agent.windows["sweep-0"]._tally.rows.values():
        row.joules /= 2
    cluster.step()
    assert any("is below" in violation for violation in cluster.violations)


def test_energy_that_nobody_drew_is_found(cluster: Cluster) -> None:
    agent = cluster.nodes[0].agent
    assert agent is not None
    agent.counters["dram-0"]._last_joules -= 50.0
    cluster.step()
    assert any("were drawn" in violation for violation in cluster.violations)


def test_the_meter_tells_the_truth_without_faults_and_wraps_where_it_should() -> None:
    device = Device("package-0", "cpu", "replay", wraps_at_joules=100.0)
    meter = FaultyMeter([device], 0.0, Random(1))  # noqa: S311
    (before,) = meter.read()
    meter.advance(1.0, {"package-0": 90.0})
    (after,) = meter.read()
    assert before.energy_joules is not None
    assert after.energy_joules == pytest.approx((before.energy_joules + 90.0) % 100.0)
    assert meter.truth("package-0", 1.0).joules == 90.0


def test_the_program_prints_a_summary_and_tells_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "2", "--trials", "5", "--steps", "60", "--seed", "1", "--faults", "0.05"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 nodes, 5 trials")
    assert said.endswith("0 violations\n")
    help_text = subprocess.run(
        [sys.executable, "-m", "energysweep.simulation", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--faults" in help_text


def test_what_the_program_s_help_says_is_sentences() -> None:
    options = [action for action in parser()._actions if action.dest != "help"]
    assert {action.dest for action in options} < {field.name for field in fields(Plan)}
    for action in options:
        assert re.fullmatch(r"[A-Z].+ .+ by default\.", action.help or ""), action.dest


@pytest.mark.parametrize(
    ("option", "text"),
    [("nodes", "0"), ("trials", "-1"), ("sweeps", "many"), ("steps", "1e9"), ("faults", "nan"), ("faults", "1.5")],
)
def test_what_cannot_be_simulated_is_refused(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"--{option}={text}"])
    assert ended.value.code == 2
    assert f"argument --{option}: '{text}' is no " in capsys.readouterr().err
