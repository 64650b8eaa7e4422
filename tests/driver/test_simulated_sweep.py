"""A run from the opening of its windows to their closing, its registry and its scrape targets: in simulated time.

A busy CPU draws 20 W, an idle node 20 W of CPU and 5 W of memory: a trial that works for a second has 20 J of its own.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.errors import InputError
from energysweep.core.metrics import SWEEP_BEST, SWEEP_END, SWEEP_INFO, SWEEP_TRIALS
from energysweep.core.records import PILOT
from energysweep.driver.run_facts import owner_of
from energysweep.driver.session import StopSignals
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.ledger.summary import summarise
from energysweep.sweepfile import SweepSpec, load_spec
from energysweep.sweepfile.pilot import pilot_of
from tests.support.simulated_run import RUN, World
from tests.support.simulated_sweep import Script, SimulatedSweep, Values

SPEC = """
name: simulated
workload: work.py:train
parameters: {rate: {grid: [0.1, 0.2]}}
objective: {metric: accuracy, mode: max, target: 0.5}
storage: /shared
max_failures: 1
"""
STAGES = """
stages:
  base: {parameters: {rate: 0.5}}
"""


@dataclass
class Bench:
    """What the drivers of a run have in common."""

    world: World
    ledger: Ledger
    folder: Path
    values: Values

    def driver(self, script: Script, signals: StopSignals | None = None, spec: str = SPEC) -> SimulatedSweep:
        return SimulatedSweep(self.world, self.values, self.ledger, self.spec(spec), self.folder, script, signals)

    def spec(self, text: str) -> SweepSpec:
        (self.folder / "work.py").touch()
        (self.folder / "sweep.yaml").write_text(text)
        return load_spec(self.folder / "sweep.yaml")

    @property
    def facts(self) -> dict[str, Any]:
        return dict(self.ledger.read().run)

    def active(self) -> dict[str, float]:
        """Joules of their own of each trial, as the ledger has them."""
        state = RunState.of(self.ledger.read())
        return {trial: sum(each["active"] for each in state.booked(trial).values()) for trial in state.trials}

    def is_balanced(self) -> bool:
        data = self.ledger.read()
        booked = math.fsum(row.joules for row in data.energy)
        return math.fsum(row.joules for row in data.meters) == pytest.approx(booked)


Make = Callable[[int], Bench]


@pytest.fixture
def bench_of(tmp_path: Path) -> Iterator[Make]:
    with Ledger.create(tmp_path / "ledger.sqlite", id=RUN, status="running") as ledger:
        yield lambda nodes: Bench(World(tmp_path, nodes), ledger, tmp_path, Values())


def scraped(driver: SimulatedSweep) -> list[str]:
    return [address for group in json.loads(driver.targets.read_text()) for address in group["targets"]]


def both_trials(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
    """Each on a node of its own, for three seconds."""
    for trial, node in zip(trials, driver.world.nodes, strict=False):
        driver.begin(trial, node)
    driver.wait(3)
    for trial in trials:
        driver.report(trial, 0.75)
        driver.complete(trial)


def test_a_run_from_the_opening_of_its_windows_to_their_closing(bench_of: Make) -> None:
    bench = bench_of(2)
    seen: list[str] = []

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        both_trials(driver, stage, trials)
        seen.extend(scraped(driver))
        assert driver.progress.status is not None
        status = driver.progress.status()
        assert (status.counts, status.elapsed_seconds) == ({"completed": 2}, 3.0)
        assert status.joules == pytest.approx(2 * 3 * (20 + 25 / 8))  # of one CPU of eight, its share of the idle power

    driver = bench.driver(script)
    assert driver.run() == []
    assert bench.active() == pytest.approx({"t0": 60.0, "t1": 60.0})
    assert bench.is_balanced()
    facts = bench.facts
    assert (facts["status"], facts["duration_seconds"], facts["planned_trials"]) == ("done", 3.0, 2)
    assert facts["parts"] == [{"started_at": 1000.0, "duration_seconds": 3.0, "ended": True}]
    assert seen == scraped(driver) == ["node-0:9770", "node-1:9770"]
    for node in bench.world.nodes:
        assert node.agent is not None
        assert node.agent.windows[RUN].closed is not None
        assert set(node.agent.windows[RUN].sweep.agents) == {"node-0:9770", "node-1:9770"}
    own = bench.world.nodes[0].agent
    assert own is not None
    shown = {(sample.metric, tuple(sample.labels)): sample.value for sample in own.windows[RUN].sweep.samples}
    assert shown[SWEEP_TRIALS.name, ("completed",)] == 2
    assert shown[SWEEP_BEST.name, ("accuracy",)] == 0.75
    assert shown[SWEEP_END.name, ()] == 1003.0
    said = ["simulated", "metrics: http://node-0:9770/metrics", "completed: rate=0.1", "completed: rate=0.2"]
    assert driver.progress.events == said
    summary = summarise(bench.ledger.read())
    assert (summary.lost_nodes, summary.unheard_nodes) == ((), ())


def test_the_trials_of_a_stage_come_first_and_the_others_go_on_from_its_checkpoint(bench_of: Make) -> None:
    bench = bench_of(1)
    order: list[str] = []

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        for trial in trials:
            order.append(trial)
            driver.begin(trial, driver.world.nodes[0])
            driver.wait(1)
            driver.report(trial, 0.75)
            driver.checkpoint(trial)
            driver.complete(trial)

    driver = bench.driver(
        script, spec=SPEC.replace("parameters: {", "parameters: {pretrained: {from: base}, ") + STAGES
    )
    assert driver.run() == []
    assert order == ["base0", "t0", "t1"]
    assert driver.gone_on_from == {("base", "", None): "/checkpoints/base0"}
    assert bench.active() == pytest.approx({"base0": 20.0, "t0": 20.0, "t1": 20.0})


def test_a_trial_goes_on_elsewhere_with_what_the_registry_knows_of_a_lost_host(bench_of: Make) -> None:
    bench = bench_of(3)
    told: dict[str, float] = {}

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        trial, other = trials
        _, second, third = driver.world.nodes
        driver.begin(trial, second)
        driver.wait(2)
        told["before"] = driver.report(trial, 0.25)
        driver.lose(trial)
        driver.begin(trial, third)
        driver.begin(other, third)
        driver.wait(1)
        told["after"] = driver.report(trial, 0.75)
        driver.report(other, 0.75)
        assert scraped(driver) == ["node-0:9770", "node-1:9770", "node-2:9770"]
        driver.wait(10)
        assert scraped(driver) == ["node-0:9770", "node-2:9770"]  # silent for 11 s, and the cluster has lost its node
        driver.complete(trial)
        driver.complete(other)

    driver = bench.driver(script)
    assert driver.run() == []
    assert told["after"] > told["before"] > 0
    assert bench.active() == pytest.approx({"t0": 40.0 + 220.0, "t1": 220.0})
    assert bench.is_balanced()
    assert bench.world.seconds == pytest.approx(1013.0 + 10.0)  # the lost one was waited for at the end
    assert bench.facts["duration_seconds"] == 13.0
    assert summarise(bench.ledger.read()).lost_nodes == ("node-1",)


def test_an_agent_that_is_down_for_a_while_stays_a_target_and_loses_no_joule(bench_of: Make) -> None:
    bench = bench_of(2)

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        trial, other = trials
        _, second = driver.world.nodes
        driver.begin(trial, second)
        driver.wait(2)
        second.kill_agent()
        driver.wait(20)
        assert scraped(driver) == ["node-0:9770", "node-1:9770"]
        second.start_agent()
        driver.wait(16)  # by then it has been asked again
        driver.begin(other, second)
        driver.wait(1)
        for each in trials:
            driver.report(each, 0.75)
            driver.complete(each)

    assert bench.driver(script).run() == []
    assert bench.active() == pytest.approx({"t0": 39 * 20.0, "t1": 20.0})
    assert bench.is_balanced()


def test_while_the_head_is_restarted_the_agents_known_before_are_asked_on(bench_of: Make) -> None:
    bench = bench_of(2)

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        for trial, node in zip(trials, driver.world.nodes, strict=True):
            driver.begin(trial, node)
        driver.wait(1)
        driver.values.is_away = True
        driver.wait(2)
        assert bench.active() == pytest.approx({"t0": 60.0, "t1": 60.0})
        driver.values.is_away = False
        for trial in trials:
            driver.report(trial, 0.75)
            driver.complete(trial)

    assert bench.driver(script).run() == []
    assert bench.is_balanced()


def test_a_run_that_was_interrupted_goes_on_in_a_second_part(bench_of: Make) -> None:
    bench = bench_of(1)

    def interrupted(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        first, second = trials
        driver.begin(first, driver.world.nodes[0])
        driver.wait(2)
        driver.report(first, 0.75)
        driver.complete(first)
        driver.begin(second, driver.world.nodes[0])
        driver.wait(1)
        driver.world.leave(second)
        raise KeyboardInterrupt

    assert bench.driver(interrupted).run() == ["the sweep was interrupted", "trial t1 reported no result"]
    assert bench.facts["status"] == "interrupted"
    bench.world.wait(3600.0)

    def resumed(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        assert trials == ["t1"]
        both_trials(driver, stage, trials)

    assert bench.driver(resumed).run() == []
    facts = bench.facts
    assert (facts["status"], facts["duration_seconds"], facts["started_at"]) == ("done", 6.0, 1000.0)
    assert [part["started_at"] for part in facts["parts"]] == [1000.0, 1003.0 + 3600.0]
    assert bench.active() == pytest.approx({"t0": 40.0, "t1": 20.0 + 60.0})
    assert bench.is_balanced()


def test_a_pilot_is_the_first_part_of_its_run_and_its_joules_stay_in_the_books(bench_of: Make) -> None:
    bench = bench_of(2)
    spec = bench.spec(SPEC)
    pilot = pilot_of(spec, 2, 1)
    bench.ledger.note(pilot={"trials": 2, "reports": 1})

    def tried(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        assert (stage, trials) == (PILOT, ["pilot0", "pilot1"])
        both_trials(driver, stage, trials)
        assert driver.progress.status is not None
        assert driver.progress.status().trials == 2 + 2

    first = SimulatedSweep(bench.world, bench.values, bench.ledger, spec, bench.folder, tried, pilot=pilot)
    assert first.run() == []
    assert bench.facts["status"] == "interrupted"
    assert not first.sweep.interrupted  # nobody broke it off
    state = RunState.of(bench.ledger.read())
    assert [(each.what, each.why) for each in state.decisions_of("")][-1] == ("interrupted", PILOT)
    assert bench.active() == pytest.approx({"pilot0": 60.0, "pilot1": 60.0})
    assert bench.is_balanced()
    bench.world.wait(3600.0)

    def resumed(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        assert (stage, trials) == ("", ["t0", "t1"])  # all anew
        both_trials(driver, stage, trials)

    assert bench.driver(resumed).run() == []
    facts = bench.facts
    assert (facts["status"], facts["planned_trials"], facts["pilot"]) == ("done", 2, {"trials": 2, "reports": 1})
    assert bench.active() == pytest.approx({"pilot0": 60.0, "pilot1": 60.0, "t0": 60.0, "t1": 60.0})
    assert bench.is_balanced()
    summary = summarise(bench.ledger.read())
    took = math.fsum(state.joules(trial) or 0.0 for trial in ("pilot0", "pilot1"))
    assert took > 120.0  # with its share of what the nodes draw idle
    assert [(stage.stage, stage.total_energy_joules) for stage in summary.stages] == [(PILOT, pytest.approx(took))]
    assert sum(len(each.trials) for each in summary.configurations) == 2
    # The pilot is charged with the rest, each joule once.
    data = bench.ledger.read()
    booked = [row.joules for row in data.energy if row.lease or row.bucket == "overhead"]
    assert RunState.of(data).charged_joules == pytest.approx(math.fsum(booked))


def test_a_pilot_that_is_broken_off_leaves_a_run_that_goes_on_without_it(bench_of: Make) -> None:
    bench = bench_of(2)
    spec = bench.spec(SPEC)
    bench.ledger.note(pilot={"trials": 2, "reports": 1})

    def interrupted(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        driver.begin(trials[0], driver.world.nodes[0])
        driver.wait(1)
        driver.world.leave(trials[0])
        raise KeyboardInterrupt

    pilot = pilot_of(spec, 2, 1)
    first = SimulatedSweep(bench.world, bench.values, bench.ledger, spec, bench.folder, interrupted, pilot=pilot)
    assert first.run() == ["the sweep was interrupted", "trial pilot0 reported no result"]
    assert first.sweep.interrupted
    assert bench.driver(both_trials).run() == []
    assert bench.facts["status"] == "done"
    assert bench.active() == pytest.approx({"pilot0": 20.0, "t0": 60.0, "t1": 60.0})
    assert bench.is_balanced()


def test_a_run_stays_its_owner_s_whoever_goes_on_with_it(bench_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(1)
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "Ada's team")
    bench.driver(lambda driver, stage, trials: driver.wait(1)).run()
    assert bench.facts["owner"] == "Ada's team"
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "somebody else")
    bench.driver(both_trials).run()
    assert bench.facts["owner"] == "Ada's team"
    agent = bench.world.nodes[0].agent
    assert agent is not None
    told = [sample.labels for sample in agent.windows[RUN].sweep.samples if sample.metric == SWEEP_INFO.name]
    assert told == [("simulated", "Ada's team", "")]


def test_the_owner_is_as_the_sweep_says_else_the_environment_else_the_user(
    bench_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(1)
    monkeypatch.setenv("LOGNAME", "grace")
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "")
    assert owner_of(bench.spec(SPEC)) == "grace"
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "lab")
    assert owner_of(bench.spec(SPEC)) == "lab"
    assert owner_of(bench.spec(SPEC + "owner: Ada\n")) == "Ada"
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "two\nlines")
    with pytest.raises(InputError, match="ENERGYSWEEP_OWNER: must be 1 to 100 printable characters"):
        owner_of(bench.spec(SPEC))


def test_a_run_of_which_an_agent_could_not_be_heard_was_not_asked_to_its_end(bench_of: Make) -> None:
    bench = bench_of(2)

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        for trial, node in zip(trials, driver.world.nodes, strict=True):
            driver.begin(trial, node)
        driver.wait(1)
        driver.nonsense[driver.url(driver.world.nodes[1])] = {"node": 1}
        for trial in trials:
            driver.report(trial, 0.75)
            driver.complete(trial)

    (problem,) = bench.driver(script).run()
    assert "their last joules are missing: http://node-1:9770" in problem
    assert (bench.facts["status"], bench.facts["parts"][-1]["ended"]) == ("failed", False)
    summary = summarise(bench.ledger.read())
    assert (summary.lost_nodes, summary.unheard_nodes) == ((), ("node-1",))


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    found = StopSignals()
    with found.caught():
        yield found


def test_a_second_signal_hurries_the_last_readings_and_the_ledger_s_end_is_written(
    bench_of: Make, signals: StopSignals
) -> None:
    bench = bench_of(2)

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        for trial, node in zip(trials, driver.world.nodes, strict=True):
            driver.begin(trial, node)
        driver.wait(1)
        driver.world.nodes[1].kill_agent()
        signal.raise_signal(signal.SIGINT)

    driver = bench.driver(script, signals)
    driver.at_each_pause = lambda: signal.raise_signal(signal.SIGTERM)  # while the lost one is waited for
    problems = driver.run()
    assert signals.hurried
    assert bench.world.seconds == 1001.5  # and no longer
    assert problems[0] == "the sweep was interrupted"
    assert "in a hurry" in problems[-1]
    assert "http://node-1:9770" in problems[-1]
    facts = bench.facts
    assert (facts["status"], facts["parts"][-1]["ended"]) == ("interrupted", False)
    state = RunState.of(bench.ledger.read())
    assert {row.status for row in state.trials.values()} == {"interrupted"}
    assert {row.outcome for row in bench.ledger.read().attempts} == {"interrupted"}


def test_a_second_signal_wherever_it_comes_in_the_end_breaks_nothing_off_and_a_third_ends_it(
    bench_of: Make, signals: StopSignals
) -> None:
    bench = bench_of(1)

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        driver.begin(trials[0], driver.world.nodes[0])
        driver.wait(1)
        signal.raise_signal(signal.SIGTERM)

    driver = bench.driver(script, signals)
    driver.progress.at_its_end = lambda: signal.raise_signal(signal.SIGINT)  # after the last poll, before the rest
    assert "the sweep was interrupted" in driver.run()
    assert (bench.facts["status"], bench.facts["parts"][-1]["ended"]) == ("interrupted", True)
    assert {row.outcome for row in bench.ledger.read().attempts} == {"interrupted"}
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("when", ["in Tune", "in the last readings"])
def test_a_third_signal_ends_it_at_once_and_the_terminal_gets_its_cursor_back(
    bench_of: Make, signals: StopSignals, when: str
) -> None:
    bench = bench_of(2)
    shown: list[str] = []

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        driver.begin(trials[0], driver.world.nodes[1])
        driver.wait(1)
        driver.world.nodes[1].kill_agent()
        if when == "in Tune":
            signals.count = 2  # Tune keeps winding up all the same
        signal.raise_signal(signal.SIGINT)

    driver = bench.driver(script, signals)
    driver.progress.at_its_end = lambda: shown.append("ended")

    def twice_more() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    driver.at_each_pause = twice_more
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    assert shown == ["ended"]
    assert bench.facts["status"] == "running"  # as of a driver that was killed: a resumed one goes on from there
    assert bench.active() == pytest.approx({"t0": 20.0})
