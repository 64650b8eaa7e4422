"""What a driver makes of agents that come, go and are lost, of trials that fail, and of its own end: in simulated time.

A busy CPU draws 20 W, an idle node 20 W of CPU and 5 W of memory: a trial that works for a second has 20 J of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from energysweep.core.errors import AgentError
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.ledger.summary import summarise
from tests.support.simulated_run import OBJECTIVE, RUN, SimulatedRun, World


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.sqlite", id=RUN) as ledger:
        yield ledger


def active(state: RunState, trial: str) -> float:
    return sum(each["active"] for each in state.booked(trial).values())


def is_in_the_ledger(run: SimulatedRun) -> bool:
    """What the driver knows is what its ledger says, and both sides of the balance agree."""
    data = run.ledger.read()
    kept = RunState.of(data, {"": OBJECTIVE})
    booked = math.fsum(row.joules for row in data.energy)
    return (
        sorted(kept.energy()) == sorted(run.state.energy())
        and kept.meters == run.state.meters
        and kept.leases == run.state.leases
        and kept.trials == run.state.trials
        and kept.charged_joules == pytest.approx(run.state.charged_joules)
        and math.fsum(row.joules for row in data.meters) == pytest.approx(booked)
    )


def test_a_trial_s_joules_are_live_what_they_are_in_the_report(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    run.start("t")
    for accuracy in (0.25, 0.75):
        world.wait(1.0)
        told = run.report("t", accuracy)
        run.poller.poll()
        assert run.state.joules("t") == pytest.approx(told)
    assert run.poller.watts == pytest.approx(45)  # 20 + 5 idle, 20 of its work
    run.complete("t")
    world.leave("t")
    world.wait(1.0)
    run.end()
    assert active(run.state, "t") == pytest.approx(40)
    assert is_in_the_ledger(run)
    (trial,) = summarise(ledger.read()).trials
    assert trial.energy_joules == pytest.approx(run.state.joules("t"))
    assert run.state.trial("t").joules_at_target == told


def test_an_agent_that_is_killed_and_started_again_loses_no_joule(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    (node,) = world.nodes
    world.work("t", node)
    run.start("t")
    world.wait(2.0)
    run.poller.poll()
    world.wait(1.0)
    node.kill_agent()  # what it had not told is in its state
    run.poller.poll()  # it does not answer
    assert active(run.state, "t") == pytest.approx(40)
    assert run.poller.watts is None
    world.wait(3.0)
    node.start_agent()
    world.wait(1.0)
    run.poller.poll()
    assert active(run.state, "t") == pytest.approx(140)
    run.complete("t")
    run.end()
    assert is_in_the_ledger(run)


def test_what_a_trial_reported_from_a_host_that_is_lost_goes_with_it(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path, nodes=2)
    run = SimulatedRun(world, ledger)
    first, second = world.nodes
    world.work("t", second)
    run.start("t")
    world.wait(1.0)
    run.poller.poll()
    polled = run.state.joules("t")
    world.wait(1.0)
    told = run.report("t", 0.25)  # of which no poll has brought the last second
    assert polled is not None
    assert told > polled
    second.is_lost = True
    world.leave("t")
    run.recover("t")
    assert sum(each.energy_joules for each in run.spent["t"].values()) == pytest.approx(told)
    world.work("t", first)
    run.start("t")
    world.wait(1.0)
    assert run.report("t", 0.75) > told
    run.poller.poll()
    assert [lease.attempt for lease in run.state.leases_of("t")] == [1, 2]
    run.complete("t")
    run.end()
    assert [(row.number, row.outcome) for row in run.state.attempts_of("t")] == [(1, "failed"), (2, "completed")]
    assert is_in_the_ledger(run)
    ledger.note(status="done")
    summary = summarise(ledger.read())
    assert summary.lost_nodes == ("node-1",)
    assert summary.trials[0].lost_joules == pytest.approx(polled)  # it left no checkpoint


def test_a_driver_that_was_killed_is_gone_on_with_where_its_ledger_stands(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    killed = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    killed.start("t")
    world.wait(2.0)
    killed.report("t", 0.25)
    killed.checkpoint("t")
    killed.poller.poll()
    world.leave("t")
    world.wait(3600.0)  # nobody works on the run

    resumed = SimulatedRun(world, ledger)
    assert (resumed.state.trials["t"].status, resumed.recorder.newly_ended()) == ("interrupted", [])
    assert resumed.state.joules("t") == killed.state.joules("t")
    assert resumed.state.trial("t").iterations == 1
    world.work("t", world.nodes[0])
    resumed.start("t")
    world.wait(1.0)
    resumed.report("t", 0.75)
    resumed.poller.poll()
    resumed.complete("t")
    assert [row.status for row in resumed.recorder.newly_ended()] == ["completed"]
    resumed.end()
    assert [row.outcome for row in resumed.state.attempts_of("t")] == ["interrupted", "completed"]
    assert [lease.attempt for lease in resumed.state.leases_of("t")] == [1, 2]
    assert [row.iteration for row in resumed.state.reports_of("t")] == [1, 2]
    assert active(resumed.state, "t") == pytest.approx(60)
    assert is_in_the_ledger(resumed)
    # The hour without a driver has no place in the picture of power.
    assert max(row.elapsed_seconds for row in ledger.read().samples) < 60


def test_an_attempt_whose_worker_fails_before_it_has_begun_is_one(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    world.wait(1.0)
    run.poller.poll()
    world.leave("t")
    run.recover("t")
    world.wait(1.0)
    world.work("t", world.nodes[0])
    run.start("t")
    world.wait(1.0)
    run.poller.poll()
    run.complete("t")
    run.end()
    assert [(row.number, row.outcome) for row in run.state.attempts_of("t")] == [(1, "failed"), (2, "completed")]
    assert [lease.attempt for lease in run.state.leases_of("t")] == [1, 2]
    assert (run.state.trials["t"].attempts, run.state.counts()) == (2, {"completed": 1})


def test_a_trial_that_begins_again_after_its_end_does_so_in_another_attempt(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    run.start("t")
    world.wait(1.0)
    run.complete("t")
    world.leave("t")
    world.wait(1.0)
    resumed = SimulatedRun(world, ledger)  # Tune's own state was older than the ledger
    resumed.start("t")
    assert (resumed.state.trials["t"].status, resumed.state.trials["t"].attempts) == ("running", 2)
    resumed.end()
    assert [row.outcome for row in resumed.state.attempts_of("t")] == ["completed", "interrupted"]
    assert is_in_the_ledger(resumed)


def test_a_trial_that_was_paused_goes_on_in_its_attempt_with_its_checkpoint(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    run.start("t")
    world.wait(1.0)
    told = run.report("t", 0.25)
    run.checkpoint("t")
    world.wait(1.0)
    run.start("t")
    run.fail("t")
    (attempt,) = run.state.attempts_of("t")
    assert (attempt.started_at, attempt.checkpoint_joules, attempt.outcome) == (1000.0, told, "failed")
    assert is_in_the_ledger(run)


def test_an_agent_whose_answers_cannot_be_used_costs_no_other_one_its_joules(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path, nodes=2)
    run = SimulatedRun(world, ledger)
    first, _ = run.agents()
    world.work("t", world.nodes[1])
    run.start("t")
    for nonsense in ({}, {"node": "n", "leases": [[1]]}, {"node": "n", "window": 1, "revision": "x", "energy": 5}):
        run.nonsense[first] = nonsense
        world.wait(1.0)
        run.poller.poll()
        assert run.state.joules("t") == pytest.approx(world.joules("t"))
    assert run.poller.failures == 3
    with pytest.raises(AgentError, match=re.escape(f"their last joules are missing: {first} (")):
        run.poller.stop()


def test_a_trial_has_ended_also_where_nobody_could_be_told(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    run.start("t")
    run.fault = RuntimeError("Ray's head is restarted")
    run.recover("t")
    run.fault = None
    run.start("t")
    run.fault = RuntimeError("Ray's head is restarted")
    run.complete("t")
    assert [(row.number, row.outcome) for row in run.state.attempts_of("t")] == [(1, "failed"), (2, "completed")]
    assert run.state.counts() == {"completed": 1}
    assert not run.recorder.interrupt()


def test_a_report_that_was_not_measured_takes_nothing_of_what_was_known_before(tmp_path: Path, ledger: Ledger) -> None:
    world = World(tmp_path)
    run = SimulatedRun(world, ledger)
    world.work("t", world.nodes[0])
    run.start("t")
    world.wait(1.0)
    told = run.report("t", 0.25)
    run.poller.poll()
    run.report("t", 0.3, is_measured=False)
    run.checkpoint("t")
    assert run.recorder.reported("t").energy_joules == told
    (attempt,) = run.state.attempts_of("t")
    assert attempt.checkpoint_joules == pytest.approx(told)
