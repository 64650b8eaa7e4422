"""A driver's poller and recorder under a simulated clock, against the agents of simulated nodes. No Ray, no sockets."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from energysweep.accounting.processes import Root
from energysweep.agent import protocol
from energysweep.agent.agent import Agent
from energysweep.agent.client import Spent
from energysweep.agent.operations import carry_out
from energysweep.core.errors import AgentUnreachable, LeaseRefused
from energysweep.core.objective import Objective
from energysweep.driver.poller import Poller
from energysweep.driver.recorder import Recorder
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.simulation.node import IDLE_WATTS, Node
from energysweep.sweepfile import Point
from energysweep.tune.points import KEY, wrap

RUN = "r"
OBJECTIVE = Objective("accuracy", "max", 0.5)


class World:
    """Nodes whose time a test moves. A worker that is there keeps one CPU busy: 20 W above its node's idle power.

    Args:
        folder: for the agents' state.
        nodes: how many.
    """

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.seconds = 1000.0
        chance = Random(1)  # noqa: S311 - nothing goes wrong by chance
        self.nodes = [Node(number, self.clock, chance, 0.0, False, folder) for number in range(nodes)]
        self.workers: dict[str, tuple[Node, Root, str]] = {}  # by trial, with its lease
        self._leases = 0

    def clock(self) -> float:
        return self.seconds

    def enter(self, node: Node) -> None:
        """What a driver or a worker says first."""
        assert node.agent is not None
        node.agent.open_window(RUN, IDLE_WATTS)

    def work(self, trial: str, node: Node) -> str:
        """A worker of a trial begins on a node; returns its lease."""
        assert node.agent is not None
        self.enter(node)
        worker = node.processes.fork(node.raylet.pid)
        self._leases += 1
        lease = f"lease-{self._leases}"
        node.agent.join(RUN, worker)
        node.agent.open_lease(RUN, lease, trial, worker, 1.0, {})
        self.workers[trial] = (node, worker, lease)
        return lease

    def joules(self, trial: str) -> float:
        """What the trial's agent tells it at a report."""
        node, _, lease = self.workers[trial]
        assert node.agent is not None
        return node.agent.report(lease).joules

    def leave(self, trial: str) -> None:
        """Its worker ends, and says nothing."""
        node, worker, _ = self.workers.pop(trial)
        node.processes.kill(worker.pid)

    def wait(self, seconds: float) -> None:
        """Time passes, and the agents tick at its end."""
        self.seconds += seconds
        for node in self.nodes:
            busy = {worker: 1.0 for of, worker, _ in self.workers.values() if of is node}
            node.advance(self.seconds, seconds, busy)
            if node.agent is not None and not node.is_lost:
                node.agent.tick()


class Asked:
    """An agent as the driver asks it: what it says has been through JSON.

    Args:
        node: its host.
        instead: what it says whatever it is asked, None for what an agent says.
    """

    def __init__(self, node: Node, instead: dict[str, Any] | None = None) -> None:
        self._node = node
        self._instead = instead

    def totals(self, window: str, since: int) -> dict[str, Any]:
        if self._instead is not None:
            return self._instead
        agent = self._agent()
        try:
            known = agent.windows[RUN].id == window
            answer: dict[str, Any] = json.loads(json.dumps(agent.telling.totals(RUN, since if known else 0)))
        except (KeyError, LeaseRefused) as error:
            raise AgentUnreachable(str(error)) from error
        return answer

    def tell(self, request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow) -> None:
        carry_out(self._agent(), RUN, request)

    def _agent(self) -> Agent:
        if self._node.agent is None or self._node.is_lost:
            raise AgentUnreachable(self._node.name)
        return self._node.agent


class SimulatedRun:
    """One driver at work; another one on the same ledger resumes the run.

    Attributes:
        spent: what was registered of each trial for whoever goes on with it, by window.
        nonsense: what agents say in place of their totals, by address.
        fault: what telling others of a trial's end ends with.
    """

    def __init__(self, world: World, ledger: Ledger) -> None:
        self.world, self.ledger = world, ledger
        self.spent: dict[str, dict[str, Spent]] = {}
        self.nonsense: dict[str, dict[str, Any]] = {}
        self.fault: Exception | None = None
        self._nodes = {f"http://{node.name}:9770": node for node in world.nodes}
        self.url = next(iter(self._nodes))
        world.enter(world.nodes[0])
        before = ledger.read()
        began = world.seconds - max((row.elapsed_seconds for row in before.samples), default=0.0)
        self.state = RunState.of(before, {"": OBJECTIVE})
        intake = Intake(ledger, self.state)
        intake.take_over(before)
        self.poller = Poller(
            intake,
            self.state,
            began,
            lambda: None,
            self,
            self,
            lambda url: Asked(self._nodes[url], self.nonsense.get(url)),
            world.clock,
        )
        self.recorder = Recorder(
            ledger, self.state, began, lambda _: False, self._ended, lambda: None, world.clock, world.clock
        )
        self.recorder.take_over()

    def _asked(self, url: str) -> Asked:
        return Asked(self._nodes[url], self.nonsense.get(url))

    def agents(self) -> list[str]:
        return [*self._nodes]

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        Asked(self._nodes[self.url]).tell(protocol.CloseTrial(trial=trial, is_over=is_over))

    def close_window(self) -> None:
        Asked(self._nodes[self.url]).tell(protocol.CloseWindow())

    def _ended(self, trial: str, will_retry: bool) -> None:
        if self.fault is not None:
            raise self.fault
        self.poller.close_trial(trial, is_over=not will_retry)
        if will_retry:
            self.poller.poll()
            self.spent[trial] = self.poller.spent(trial, at_least=self.recorder.reported(trial))

    # What Tune tells -------------------------------------------------------------------------------------------------

    def start(self, trial: str) -> None:
        self.recorder.on_trial_start(0, [], _trial(trial))

    def report(self, trial: str, accuracy: float, *, is_measured: bool = True) -> float:
        """A report of a trial; returns its joules, which its registered energy of other windows is added to.

        One that is not measured, because its agent is away, has no energy.
        """
        joules = self.world.joules(trial) + sum(each.energy_joules for each in self.spent.get(trial, {}).values())
        told = joules if is_measured else None
        result = {"accuracy": accuracy, "energy_joules": told, "active_energy_joules": told}
        self.recorder.on_trial_result(0, [], _trial(trial), result)
        return joules

    def checkpoint(self, trial: str) -> None:
        self.recorder.on_checkpoint(0, [], _trial(trial), None)

    def recover(self, trial: str) -> None:
        self.recorder.on_trial_recover(0, [], _trial(trial))

    def fail(self, trial: str) -> None:
        self.recorder.on_trial_error(0, [], _trial(trial))

    def complete(self, trial: str) -> None:
        self.recorder.on_trial_complete(0, [], _trial(trial))

    def end(self) -> None:
        """As a run ends: last readings, and what has not ended is interrupted."""
        self.poller.close_windows()
        self.poller.poll()
        self.recorder.interrupt()


def _trial(name: str) -> Any:
    config = {KEY: wrap(Point({"rate": 0.1}, "", None), False, "", {})}
    return SimpleNamespace(trial_id=name, config=config, pickled_error_file=None)
