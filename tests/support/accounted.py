"""Runs that share simulated hosts: their ledgers, and what the hosts really drew while their windows were open.

Power is 20 W and 20 W for each busy CPU (package-0), and 5 W (dram-0); a trial keeps one CPU busy, a driver and what is
none of ours a tenth of one each. No Ray, no sockets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from energysweep.accounting.processes import Root
from energysweep.core.records import AttemptRow, TrialRow
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.meters.base import Component
from energysweep.simulation.node import IDLE_WATTS, Node
from tests.support.example import CARBON

NOVEMBER_ENDS = 1_764_547_200.0  # 2025-12-01T00:00:00Z
DEVICES = ("package-0", "dram-0")


class Hosts:
    """Hosts whose time a test moves, with the runs on them.

    Args:
        folder: the run folders are in its folder ``results``.
        hosts: how many.
        now: Unix time, which is the clock as well.
        keeps_state: agents leave their state for those after them.
    """

    def __init__(
        self, folder: Path, hosts: int = 1, now: float = NOVEMBER_ENDS - 86_400.0, *, keeps_state: bool = False
    ) -> None:
        self.seconds = now
        chance = Random(1)  # noqa: S311 - nothing goes wrong by chance
        self.nodes = [
            Node(number, lambda: self.seconds, chance, 0.0, False, folder if keeps_state else None)
            for number in range(hosts)
        ]
        self.runs: list[SharedRun] = []
        self.results = folder / "results"
        self.results.mkdir()

    def run(self, name: str, on: int = 0, floors: Mapping[Component, float] = IDLE_WATTS, **facts: Any) -> SharedRun:
        """A new run on a host."""
        made = SharedRun(self, name, self.nodes[on], floors, facts)
        self.runs.append(made)
        return made

    def wait(self, seconds: int) -> None:
        """Time passes, and each driver that is there polls once in each second."""
        for _ in range(seconds):
            self.seconds += 1.0
            for node in self.nodes:
                busy = {root: 1.0 for run in self.runs if run.node is node for root, _ in run.workers.values()}
                drivers = {run.driver: 0.1 for run in self.runs if run.node is node and run.driver is not None}
                node.advance(self.seconds, 1.0, {**busy, **drivers, node.others: 0.1})
                if node.agent is not None:
                    node.agent.tick()
            for run in self.runs:
                if run.driver is not None:
                    run.poll()

    def kill_agent(self, on: int = 0, *, and_its_state: bool = False) -> None:
        """The agent of a host is killed."""
        self.nodes[on].kill_agent(and_its_state=and_its_state)

    def start_agent(self, on: int = 0) -> None:
        """Another one is started; those who work there say hello again, and open their leases by the ids they had."""
        self.nodes[on].start_agent()
        for run in self.runs:
            if run.node is self.nodes[on] and run.driver is not None:
                run.enter()

    @property
    def metered_joules(self) -> float:
        """What the devices have drawn, each while a window of any run was open on its host, and was heard of."""
        return self.metered(self.runs)

    @property
    def background_joules(self) -> float:
        """Of it, what is of none of the runs."""
        return math.fsum(2.0 * (end - begin) for _, begin, end in self._watched(self.runs))

    def metered(self, runs: Iterable[SharedRun]) -> float:
        """The same of some of them."""
        return math.fsum(
            node.meter.truth(device, end).joules - node.meter.truth(device, begin).joules
            for node, begin, end in self._watched(runs)
            for device in DEVICES
        )

    def _watched(self, runs: Iterable[SharedRun]) -> Iterator[tuple[Node, float, float]]:
        """From when to when any of their windows was open, on each host."""
        runs = [*runs]
        for node in self.nodes:
            times = sorted(time for run in runs if run.node is node for time in run.windows.values())
            at = -math.inf
            for begin, end in times:
                if end > at:
                    yield node, max(begin, at), end
                    at = end

    @property
    def folders(self) -> list[Path]:
        """The run folders."""
        return [run.folder for run in self.runs]

    def close(self) -> None:
        """Close the ledgers."""
        for run in self.runs:
            run.ledger.close()


class SharedRun:
    """A run on one host: what its driver and its workers do.

    Attributes:
        windows: by the id of each window in which it held a lease, when it was opened, and when its driver last heard.
        driver: its process; None while none works on the run.
        workers: of its trials, with their leases.
    """

    def __init__(
        self, hosts: Hosts, name: str, node: Node, floors: Mapping[Component, float], facts: Mapping[str, Any]
    ) -> None:
        self.name, self.node = name, node
        self.folder = hosts.results / name
        self.folder.mkdir()
        noted = {"id": name, "name": name, "started_at": hosts.seconds, "status": "running"}
        self.ledger = Ledger.create(self.folder / LEDGER, **noted | dict(facts))
        self.windows: dict[str, tuple[float, float]] = {}
        self.driver: Root | None = None
        self.workers: dict[str, tuple[Root, str]] = {}
        self._hosts, self._floors = hosts, floors
        self._parts: list[dict[str, Any]] = []
        self._opened: dict[str, float] = {}
        self._leases = 0

    def begin(self, inside: SharedRun | None = None) -> None:
        """A driver begins a part of it; of a run inside of another one's trial, in that trial's process."""
        within = self.node.raylet if inside is None else next(iter(inside.workers.values()))[0]
        self.driver = self.node.processes.fork(within.pid)
        self.enter()
        before = self.ledger.read()
        self._began = self._hosts.seconds - sum(part["duration_seconds"] for part in self._parts)
        self._parts.append({"started_at": self._hosts.seconds, "duration_seconds": 0.0})
        self._intake = Intake(self.ledger, RunState.of(before))
        self._intake.take_over(before)
        self.poll()

    def enter(self) -> None:
        """Its driver, and its workers with the leases that they have, say hello to the agent of their host."""
        agent = self.node.agent
        assert agent is not None
        assert self.driver is not None
        window = agent.open_window(self.name, self._floors)
        self._opened.setdefault(window.id, self._hosts.seconds)
        agent.join(self.name, self.driver)
        for trial, (worker, lease) in self.workers.items():
            agent.join(self.name, worker)
            agent.open_lease(self.name, lease, trial, worker, 1.0, {})

    def work(self, trial: str, hardware: str = "") -> None:
        """A worker of a trial begins."""
        assert self.driver is not None
        agent = self.node.agent
        assert agent is not None
        worker = self.node.processes.fork(self.driver.pid)
        self._leases += 1
        lease = f"{self.name}-{self._leases}"
        agent.join(self.name, worker)
        agent.open_lease(self.name, lease, trial, worker, 1.0, {})
        self.workers[trial] = (worker, lease)
        now = self._hosts.seconds
        row = TrialRow(trial, {"rate": 0.1}, None, hardware, "running", 1, now, None, None)
        self.ledger.record([row], [AttemptRow(trial, 1, now, None, "running", None, None)])

    def finish(self, trial: str) -> None:
        """Its worker has done its work."""
        worker, lease = self.workers.pop(trial)
        if self.node.agent is not None:
            self.node.agent.close_lease(self.name, lease)
        self.node.processes.kill(worker.pid)
        (row,) = [row for row in self.ledger.read().trials if row.trial == trial]
        self.ledger.record([row._replace(status="completed", ended_at=self._hosts.seconds)])

    def end(self, status: str = "done") -> None:
        """Its driver takes the last readings, closes its window, and goes."""
        for trial in [*self.workers]:
            self.finish(trial)
        if self.node.agent is not None:
            self.node.agent.close_window(self.name)
        self.poll()
        self.ledger.note(status=status)
        self._leave()

    def die(self) -> None:
        """Its driver is killed with its workers, and says nothing. Its window stays for a minute."""
        for worker, _ in self.workers.values():
            self.node.processes.kill(worker.pid)
        self.workers.clear()
        self._leave()

    def poll(self) -> None:
        """Its driver asks the agent of its host for all that there is."""
        if self.node.agent is not None:
            answer = json.loads(json.dumps(self.node.agent.telling.totals(self.name, 0)))
            self._intake.take(answer, self._hosts.seconds - self._began)
            window = answer["window"]
            if window in self.windows or any(lease[2] == window for lease in answer["leases"]):
                self.windows[window] = (self._opened[window], self._hosts.seconds)
        part = self._parts[-1]
        part["duration_seconds"] = self._hosts.seconds - part["started_at"]
        self.ledger.note(parts=self._parts, duration_seconds=sum(each["duration_seconds"] for each in self._parts))

    def _leave(self) -> None:
        assert self.driver is not None
        self.node.processes.kill(self.driver.pid)
        self.driver = None


def run_over_midnight(hosts: Hosts) -> float:
    """A run of two parts on a host whose clock shows ten seconds to midnight: 7 s of it are before, 2 after.

    Returns:
        What it is charged with in each second, in joules: its work, its overhead, and one CPU of 8 of the idle floor.
    """
    run = hosts.run("run", carbon=CARBON)
    run.begin()
    run.work("t0")
    hosts.wait(4)
    run.end("interrupted")
    hosts.wait(3)
    run.begin()
    run.work("t1")
    hosts.wait(5)
    run.end()
    return 20 + 2 + 25 / 8


def as_before_schema_5(folders: Iterable[Path]) -> None:
    """Let these ledgers not say when a window was opened and where a counter stood, as an older energysweep's."""
    for folder in folders:
        with Ledger.create(folder / LEDGER) as ledger, ledger._transaction() as connection:
            connection.execute("UPDATE meters SET books = '', opened_joules = NULL, opened_at = NULL")
