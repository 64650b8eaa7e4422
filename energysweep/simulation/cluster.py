"""A simulated cluster: sweeps whose trials run, fail, move and end on many nodes, while agents and meters break."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from energysweep.accounting.observer import Member
from energysweep.accounting.processes import Root
from energysweep.core.errors import LeaseRefused
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger
from energysweep.simulation.driver import BALANCE, Driver, Opening
from energysweep.simulation.node import IDLE_WATTS, LOGICAL_CPUS, Node

_RAYLET_CPUS = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Attributes:
        nodes, trials, sweeps: how many; the trials are shared out to the sweeps, every other node has a GPU.
        steps: how many at most, of 0.2 to 2 seconds each; it ends earlier when all trials have.
        seed: everything at random comes from it.
        faults: the chance of each kind of fault, by reading, poll or step; 0 is a perfect world.
        keeps_state: agents write their state, so that they can be restarted.
        blocks: the chance of a trial, by step, to meter a block inside of it over a second connection, or to end that.
    """

    nodes: int = 5
    trials: int = 200
    sweeps: int = 2
    steps: int = 500
    seed: int = 1
    faults: float = 0.0
    keeps_state: bool = True
    blocks: float = 0.0


@dataclass(slots=True, eq=False)
class Trial:
    """One trial; it works until ``work_seconds`` are over.

    Attributes:
        node, worker: where it is now, None if it waits for a place.
        lease: the id of its lease; ``is_leased``: an agent has confirmed it and is there.
        cpu_seconds, gpu_seconds: what it really used while it was leased.
        told_joules: what its agent told it last, by window.
        block: the number of a second connection of its worker, which has a lease of another run.
    """

    id: str
    driver: Driver
    cpus: float
    gpu: float
    work_seconds: float
    node: Node | None = None
    worker: Root | None = None
    lease: str = ""
    leases: int = 0
    is_leased: bool = False
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    told_joules: dict[str, float] = field(default_factory=dict)
    block: int | None = None


class Cluster:
    """All of it, moved one step at a time.

    Args:
        plan: what to simulate.
        folder: for the ledgers and the agents' state.

    Attributes:
        seconds: the simulated time.
        nodes, drivers, trials: all there are.
        events: how often what happened.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.seconds = 1000.0
        self.events: dict[str, int] = {}
        self._random = Random(plan.seed)  # noqa: S311 - no secret
        state = folder if plan.keeps_state else None
        self.nodes = [self._node(number, state) for number in range(plan.nodes)]
        self.drivers = [self._driver(number, folder) for number in range(plan.sweeps)]
        self.trials = [self._trial(number) for number in range(plan.trials)]
        self._waiting = list(reversed(self.trials))
        self._running: list[Trial] = []
        self._restarts: dict[str, float] = {}
        self._connections = count()

    def _node(self, number: int, state: Path | None) -> Node:
        return Node(number, lambda: self.seconds, self._random, self.plan.faults, number % 2 == 1, state)

    def _driver(self, number: int, folder: Path) -> Driver:
        run = f"sweep-{number}"
        (folder / run).mkdir()
        return Driver(run, Ledger.create(folder / run / LEDGER), self._random, self.plan.faults)

    def _trial(self, number: int) -> Trial:
        random = self._random
        gpu = random.choice([0.0, 0.0, 0.5, 1.0]) if self.plan.nodes > 1 else 0.0
        driver = self.drivers[number % len(self.drivers)]
        return Trial(f"trial-{number}", driver, float(random.randint(1, 2)), gpu, random.uniform(1.0, 20.0))

    @property
    def violations(self) -> list[str]:
        """What was found wrong so far."""
        return [violation for driver in self.drivers for violation in driver.violations]

    @property
    def is_done(self) -> bool:
        """Whether all trials have ended."""
        return not self._waiting and not self._running

    # One step --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let some time pass, let things happen, poll, and check."""
        self._let_time_pass(self._random.uniform(0.2, 2.0))
        for node in self._standing():
            self._break_agent(node)
        for trial in list(self._running):
            self._happen_to(trial)
        self._place_trials()
        for trial in self._running:
            self._lease(trial)
            if self.plan.blocks and self._random.random() < self.plan.blocks:
                self._block(trial)
        for node in self._standing():
            if node.agent is not None and not self._strikes(2.0):
                node.agent.tick()
        self._poll()

    def finish(self) -> None:
        """End all trials and sweeps in peace, poll a last time, and check the ledgers."""
        for node in self._standing():
            if node.agent is None:
                node.start_agent()
        for trial in list(self._running):
            self._release(trial, closes_lease=True)
        for node in self._standing():
            for driver in self.drivers:
                if node.agent is not None:
                    node.agent.close_window(driver.run)
        for driver in self.drivers:
            driver.take_late(self.seconds)
            for node in self._standing():
                driver.poll(node, self.seconds, surely=True)
            driver.check_ledger()

    def close(self) -> None:
        """Close the ledgers."""
        for driver in self.drivers:
            driver.ledger.close()

    def _standing(self) -> Sequence[Node]:
        return [node for node in self.nodes if not node.is_lost]

    def _strikes(self, how_often: float = 1.0) -> bool:
        return self._random.random() < self.plan.faults * how_often

    def _count(self, what: str) -> None:
        self.events[what] = self.events.get(what, 0) + 1

    def _let_time_pass(self, seconds: float) -> None:
        self.seconds += seconds
        cpus: dict[str, dict[Root, float]] = {
            node.name: {node.raylet: _RAYLET_CPUS, node.others: self._random.choice([0.0, 0.0, 0.5, 1.0])}
            for node in self._standing()
        }
        for trial in self._running:
            if trial.node is not None and trial.worker is not None:
                cpus[trial.node.name][trial.worker] = trial.cpus * 0.8
        used = {node.name: node.advance(self.seconds, seconds, cpus[node.name]) for node in self._standing()}
        for trial in self._running:
            trial.work_seconds -= seconds
            if trial.is_leased and trial.node is not None and trial.worker is not None:
                trial.cpu_seconds += used[trial.node.name][trial.worker]
                trial.gpu_seconds += trial.gpu * seconds

    # What happens ----------------------------------------------------------------------------------------------------

    def _break_agent(self, node: Node) -> None:
        if node.agent is None:
            if self.seconds >= self._restarts[node.name]:
                node.start_agent()
                self._count("agent restarted")
        elif self.plan.keeps_state and self._strikes(0.2):
            forgets = self._random.random() < 0.1
            node.kill_agent(and_its_state=forgets)
            self._restarts[node.name] = self.seconds + self._random.uniform(0.0, 40.0)
            self._count("agent killed with its state" if forgets else "agent killed")
            for trial in self._running:
                if trial.node is node:
                    trial.is_leased = False
        elif len(self._standing()) > 1 and self._strikes(0.01):
            self._lose(node)

    def _lose(self, node: Node) -> None:
        self._count("node lost")
        node.is_lost, node.agent = True, None
        for trial in [trial for trial in self._running if trial.node is node]:
            self._release(trial, closes_lease=False)
            self._waiting.append(trial)

    def _happen_to(self, trial: Trial) -> None:
        if trial.work_seconds <= 0:
            self._count("trial completed")
            self._release(trial, closes_lease=True)
        elif self._strikes():
            self._count("worker killed")
            self._release(trial, closes_lease=self._random.random() < 0.5)  # else a tick has to find out
            self._waiting.append(trial)
        elif self._strikes():
            self._count("trial moved")
            self._release(trial, closes_lease=True)
            self._waiting.append(trial)
        elif self._random.random() < 0.3:
            self._report(trial)

    def _report(self, trial: Trial) -> None:
        agent = trial.node.agent if trial.node is not None else None
        if agent is None or not trial.is_leased:
            return
        try:
            joules = agent.report(trial.lease).joules
        except LeaseRefused:  # its agent has given it up meanwhile
            trial.is_leased, trial.lease = False, ""
            return
        window = agent.windows[trial.driver.run].id
        if joules < trial.told_joules.get(window, 0.0) * (1 - BALANCE):
            trial.driver.violations.append(f"{trial.id} was told {trial.told_joules[window]} J, then {joules} J")
        trial.told_joules[window] = joules

    def _release(self, trial: Trial, *, closes_lease: bool) -> None:
        """Its worker ends, after or before its lease."""
        node, worker = trial.node, trial.worker
        if node is None or worker is None:
            return
        node.processes.kill(worker.pid)
        self._end_block(trial)
        if node.agent is not None:
            if closes_lease and trial.is_leased:
                with suppress(LeaseRefused):
                    node.agent.close_lease(trial.driver.run, trial.lease)
            node.agent.disconnect(Member(worker, trial.driver.run))
        node.reserved_cpus -= trial.cpus
        node.reserved_gpu -= trial.gpu
        trial.node, trial.worker, trial.is_leased, trial.lease = None, None, False, ""
        self._running.remove(trial)

    # Places ----------------------------------------------------------------------------------------------------------

    def _place_trials(self) -> None:
        nodes = list(self._standing())
        self._random.shuffle(nodes)
        for node in nodes:
            while self._waiting and (trial := self._fitting(node)) is not None:
                trial.node, trial.worker = node, node.processes.fork(node.raylet.pid)
                node.reserved_cpus += trial.cpus
                node.reserved_gpu += trial.gpu
                self._waiting.remove(trial)
                self._running.append(trial)

    def _fitting(self, node: Node) -> Trial | None:
        free_cpus = LOGICAL_CPUS - node.reserved_cpus
        free_gpu = (1.0 if node.has_gpu else 0.0) - node.reserved_gpu
        newest = self._waiting[-8:]  # a scheduler does not look at thousands either
        return next((trial for trial in reversed(newest) if trial.cpus <= free_cpus and trial.gpu <= free_gpu), None)

    def _lease(self, trial: Trial) -> None:
        """What a client does: say hello, and open its lease, again by the same id if its agent was away."""
        node, worker, driver = trial.node, trial.worker, trial.driver
        if trial.is_leased or node is None or worker is None or node.agent is None:
            return
        self._enter(node, driver)
        node.agent.join(driver.run, worker)
        if not trial.lease:
            trial.leases += 1
            trial.lease = f"{trial.id}-{trial.leases}"
        gpus = {"GPU-0": trial.gpu} if trial.gpu else {}
        try:
            node.agent.open_lease(driver.run, trial.lease, trial.id, worker, trial.cpus, gpus)
            node.agent.report(trial.lease)
            trial.is_leased = True
        except LeaseRefused:  # a restarted agent has closed it
            trial.lease = ""

    def _block(self, trial: Trial) -> None:
        """What ``track`` does inside of a trial: a run of its own, whose lease is the same process's."""
        node, worker = trial.node, trial.worker
        if node is None or worker is None or node.agent is None:
            return
        if trial.block is not None:
            self._end_block(trial)
            return
        self._count("block in a trial")
        trial.block = next(self._connections)
        run = f"block-{trial.block}"
        node.agent.open_window(run, IDLE_WATTS)
        node.agent.join(run, worker, trial.block)
        gpus = {"GPU-0": trial.gpu} if trial.gpu else {}
        node.agent.open_lease(run, run, "block", worker, trial.cpus, gpus, speaker=trial.block)

    def _end_block(self, trial: Trial) -> None:
        if trial.block is not None and trial.node is not None and trial.node.agent is not None:
            trial.node.agent.disconnect(trial.block)
            trial.node.agent.close_window(f"block-{trial.block}")
        trial.block = None

    def _enter(self, node: Node, driver: Driver) -> None:
        if node.agent is None:
            return
        window = node.agent.open_window(driver.run, IDLE_WATTS)
        for name, counter in node.agent.counters.items():
            if (window.id, name) not in driver.openings:
                at = self.seconds - counter.usage.seconds  # readings that failed or told nothing left it open so long
                driver.openings[window.id, name] = Opening(at, node.meter.truth(name, at))
        if driver is self.drivers[0]:
            node.agent.join(driver.run, node.raylet)

    def _poll(self) -> None:
        for driver in self.drivers:
            if self._random.random() < 0.3:
                driver.take_late(self.seconds)
            for node in self._standing():
                if not self._strikes(4.0):
                    driver.poll(node, self.seconds)
        for node in self._standing():
            self._check_account(node)

    def _check_account(self, node: Node) -> None:
        if node.agent is None:
            return
        metered = sum(counter.total_joules for counter in node.agent.counters.values())
        booked = sum(node.agent.node.joules.values())
        if abs(booked - metered) > BALANCE * metered + 1e-9:
            self.drivers[0].violations.append(f"{node.name}: {booked} J in its account, {metered} J metered")
        for run, window in node.agent.windows.items():
            booked = sum(row.joules for row in window.energy_rows(0))
            metered = sum(row.joules for row in window.meter_rows())
            if run.startswith("block-") and abs(booked - metered) > BALANCE * metered + 1e-9:
                self.drivers[0].violations.append(f"{run}: {booked} J booked, {metered} J metered")
