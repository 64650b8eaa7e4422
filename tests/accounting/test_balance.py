"""Whatever happens, all that the meters saw is in the ledger, once."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.buckets import WORK_BUCKETS
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from tests.support.fake_host import CPU, DRAM, GPU, FakeHost

RUNS = ("r", "s")
TRIALS = ("t", "u", "v")
BLOCKS = ("x", "y")  # runs of their own, opened by second connections of the workers, or of their children
Event = tuple[Callable[..., None], str, str, int]


class Driver:
    """Polls as the driver does: what it has kept is acknowledged by its next question."""

    def __init__(self, host: FakeHost, ledger: Ledger) -> None:
        self._host = host
        self._intakes = {run: Intake(ledger, RunState()) for run in (*RUNS, *BLOCKS)}
        self._since = dict.fromkeys((*RUNS, *BLOCKS), 0)
        self._windows = dict.fromkeys((*RUNS, *BLOCKS), "")

    def poll(self, run: str, *, lost: bool = False, repeated: bool = False) -> None:
        if run not in self._host.agent.windows:
            return
        if self._windows[run] != (window := self._host.agent.windows[run].id):
            self._windows[run], self._since[run] = window, 0
        answer = self._host.agent.telling.totals(run, self._since[run])
        if lost:
            return
        for _ in range(2 if repeated else 1):
            self._intakes[run].take(answer, answer["clock"])
        self._since[run] = answer["revision"]


class Story:
    """A host with two sweeps of three workers each, to which things happen."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.host = FakeHost(folder, {CPU: 100.0, DRAM: 10.0, GPU: 200.0})
        self.agent = self.host.agent
        self.driver = Driver(self.host, ledger)
        self.workers = {(run, trial): self.host.tree.fork() for run in RUNS for trial in TRIALS}
        self.held: dict[tuple[str, str], str] = {}
        self.blocks: dict[str, int] = {}
        self.leases = self.opened = 0

    def open(self, run: str, trial: str, amount: int) -> None:
        if (run, trial) in self.held:
            return
        self.agent.open_window(run, {"cpu": 20} if amount % 2 else None)
        self.agent.join(run, self.host.tree.of(self.workers[run, "t"]))
        self.leases += 1
        self.opened += 1
        lease = self.held[run, trial] = f"lease-{self.leases}"
        gpus = {"GPU-1": 0.5} if amount % 3 == 0 else {}
        self.agent.open_lease(run, lease, trial, self.host.tree.of(self.workers[run, trial]), amount % 4, gpus)

    def close(self, run: str, trial: str, _amount: int) -> None:
        if lease := self.held.pop((run, trial), None):
            self.agent.close_lease(run, lease)

    def report(self, run: str, trial: str, _amount: int) -> None:
        if lease := self.held.get((run, trial)):
            self.agent.report(lease)

    def work(self, run: str, trial: str, amount: int) -> None:
        self.host.work(amount / 100, {self.workers[run, trial]: 1.0})

    def wait(self, _run: str, _trial: str, amount: int) -> None:
        self.host.wait(amount / 50)

    def child(self, run: str, trial: str, amount: int) -> None:
        child = self.host.tree.fork(self.workers[run, trial])
        self.host.work(amount / 100, {child: 1.0})
        self.host.tree.end(child)

    def die(self, run: str, trial: str, _amount: int) -> None:
        self.host.tree.end(self.workers[run, trial])
        self.workers[run, trial] = self.host.tree.fork()
        self.agent.tick()
        self.held.pop((run, trial), None)

    def block(self, run: str, trial: str, amount: int) -> None:
        """A connection of another run, from a process of the trial's tree, comes or goes."""
        block = BLOCKS[amount % 2]
        if block in self.blocks:
            self.agent.disconnect(self.blocks.pop(block))
            return
        worker = self.workers[run, trial]
        root = self.host.tree.of(worker if amount % 3 else self.host.tree.fork(worker))
        self.leases += 1
        self.blocks[block] = self.leases
        self.agent.open_window(block, {"cpu": 30} if amount % 5 else None)
        self.agent.join(block, root, self.leases)
        if amount % 7:
            gpus = {"GPU-1": 0.5} if amount % 4 == 0 else {}
            self.agent.open_lease(block, f"lease-{self.leases}", "t", root, amount % 3, gpus, speaker=self.leases)
            self.opened += 1

    def tick(self, *_: object) -> None:
        self.agent.tick()

    def fail(self, _run: str, _trial: str, amount: int) -> None:
        devices = (CPU, DRAM, GPU)
        self.host.meter.failing = {device for index, device in enumerate(devices) if amount >> index & 1}

    def reset(self, _run: str, _trial: str, amount: int) -> None:
        self.host.meter.joules[(CPU, DRAM, GPU)[amount % 3]] = 0.0

    def poll(self, run: str, _trial: str, amount: int) -> None:
        self.driver.poll(run, lost=amount % 3 == 0, repeated=amount % 3 == 1)

    def close_window(self, run: str, _trial: str, _amount: int) -> None:
        self.agent.close_window(run)
        self.driver.poll(run)
        self.held = {key: lease for key, lease in self.held.items() if key[0] != run}

    def end(self) -> None:
        self.host.meter.failing = set()
        self.agent.tick()
        for run, trial in list(self.held):
            self.close(run, trial, 0)
        for connection in self.blocks.values():
            self.agent.disconnect(connection)
        for run in (*RUNS, *BLOCKS):
            self.driver.poll(run)


OFTEN = (Story.open, Story.work, Story.tick, Story.fail, Story.poll, Story.block)
SELDOM = (Story.close, Story.report, Story.wait, Story.child, Story.die)
events = st.tuples(
    st.sampled_from([*OFTEN, *OFTEN, *SELDOM]), st.sampled_from(RUNS), st.sampled_from(TRIALS), st.integers(0, 100)
)
breaks = st.tuples(
    st.sampled_from([Story.reset, Story.close_window]), st.sampled_from(RUNS), st.just("t"), st.integers(0, 100)
)


@given(st.lists(events | breaks, max_size=40))
def test_all_buckets_of_a_window_are_what_its_meters_saw(events: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.create(Path(folder) / "ledger.sqlite") as ledger:
        story = Story(Path(folder), ledger)
        for happen, *details in events:
            happen(story, *details)
        story.end()
        data = ledger.read()

    booked: dict[tuple[str, str], float] = defaultdict(float)
    for energy in data.energy:
        assert energy.joules > 0
        booked[energy.window, energy.device] += energy.joules
    metered = {(row.window, row.device): row.joules for row in data.meters}
    assert booked.keys() <= metered.keys()
    for key, joules in metered.items():
        assert booked[key] == pytest.approx(joules, rel=1e-9, abs=1e-9)

    # Every lease is there, closed, and what the agent told the trials is what the ledger has for them.
    assert len(data.leases) == story.opened
    assert all(lease.closed_at is not None for lease in data.leases)
    trial_of = {lease.lease: lease.trial for lease in data.leases}
    for run, window in story.host.agent.windows.items():
        for name, trial in window.trials.items():
            kept = [
                row.joules
                for row in data.energy
                if row.window == window.id and row.bucket in WORK_BUCKETS and trial_of[row.lease] == name
            ]
            assert sum(kept) == pytest.approx(trial.energy().joules, rel=1e-9, abs=1e-9), (run, name)

    # The host's own account, over both sweeps and the time between them, has what its counters saw.
    agent = story.host.agent
    counted = sum(counter.total_joules for counter in agent.counters.values())
    assert sum(agent.node.joules.values()) == pytest.approx(counted, rel=1e-9, abs=1e-9)


@given(st.lists(events, max_size=30))
def test_without_a_reset_the_counters_lose_no_joule(events: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.create(Path(folder) / "ledger.sqlite") as ledger:
        story = Story(Path(folder), ledger)
        began = dict(story.host.meter.joules)
        for happen, *details in events:
            happen(story, *details)
        story.end()
    for device, joules in story.host.meter.joules.items():
        counted = story.host.agent.counters[device.name].total_joules
        assert counted == pytest.approx(joules - began[device], rel=1e-9, abs=1e-6)
