"""A simulated driver: polls the agents, takes their answers as a driver does, and checks every one of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

from energysweep.core.records import MeterRow
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.simulation.node import Node, Truth

BALANCE = 1e-6  # buckets against meters, relative


class Opening(NamedTuple):
    """The last reading of a device before a window was opened: the window counts from there."""

    at: float
    truth: Truth


class Driver:
    """Polls for one sweep.

    Args:
        run: the run id.
        ledger: where it goes.
        random: which polls are lost, late or repeated.
        fault_chance: of each of these.

    Attributes:
        violations: what was found wrong, one sentence each.
        openings: the truth when a window was opened, by window and device.
        polls: how many answers there were.
        poll_seconds: how long asking and merging took, in real time.
    """

    def __init__(self, run: str, ledger: Ledger, random: Random, fault_chance: float) -> None:
        self.run = run
        self.ledger = ledger
        self.violations: list[str] = []
        self.openings: dict[tuple[str, str], Opening] = {}
        self.polls = 0
        self.poll_seconds = 0.0
        self._random = random
        self._chance = fault_chance
        self._since: dict[str, tuple[str, int]] = {}
        self._late: list[dict[str, Any]] = []
        self._intake = Intake(ledger, RunState())
        self._joules: dict[tuple[str, ...], float] = {}  # the highest that an agent has told
        self._kept: dict[tuple[Any, ...], float] = {}  # what was merged
        self._booked: dict[tuple[str, str], float] = defaultdict(float)
        self._metered: dict[tuple[str, str], float] = defaultdict(float)

    def poll(self, node: Node, now: float, *, surely: bool = False) -> None:
        """Ask one node's agent, if there is one with a window of this run."""
        if node.agent is None or self.run not in node.agent.windows:
            return
        window, revision = self._since.get(node.name, ("", 0))
        if window != node.agent.windows[self.run].id:
            revision = 0
        began = time.perf_counter()
        answer = node.agent.telling.totals(self.run, revision)
        self.polls += 1
        self.poll_seconds += time.perf_counter() - began
        happens = 1.0 if surely else self._random.random()
        if happens < self._chance:
            return  # lost: it is asked again with the old revision
        if happens < 2 * self._chance:
            self._late.append(answer)
            return
        self._check_answer(answer, node, now)
        for _ in range(2 if happens < 3 * self._chance else 1):
            self._take(answer, now)
        self._since[node.name] = (answer["window"], answer["revision"])

    def take_late(self, now: float) -> None:
        """Answers come that were under way for a while."""
        late, self._late = self._late, []
        self._random.shuffle(late)
        for answer in late:
            self._take(answer, now)

    def check_ledger(self) -> None:
        """At the end: the file has what was merged, and its two sides agree."""
        data = self.ledger.read()
        kept = {tuple(row[:-1]): row.joules for row in data.energy}
        if kept != self._kept:
            self._violated("the ledger does not have what was merged")
        booked: dict[tuple[str, str], float] = defaultdict(float)
        for row in data.energy:
            booked[row.window, row.device] += row.joules
        for meter in data.meters:
            self._check_balance(meter.window, meter.device, booked[meter.window, meter.device], meter.joules)

    def _take(self, answer: Mapping[str, Any], now: float) -> None:
        began = time.perf_counter()
        grown = self._intake.take(answer, now)
        self.poll_seconds += time.perf_counter() - began
        for row, joules in grown:
            self._booked[row.window, row.device] += joules
            self._kept[row[:-1]] = row.joules
        for row in answer["energy"]:
            key = tuple(row[:-1])
            self._joules[key] = max(row.joules, self._joules.get(key, 0.0))
        for meter in answer["meters"]:
            place = (meter.window, meter.device)
            self._metered[place] = max(self._metered[place], meter.joules)
            self._check_balance(*place, self._booked[place], self._metered[place])

    def _check_answer(self, answer: Mapping[str, Any], node: Node, now: float) -> None:
        for row in answer["energy"]:
            if row.joules < 0 or row.joules < self._joules.get(tuple(row[:-1]), 0.0):
                self._violated(f"{row} is below {self._joules.get(tuple(row[:-1]), 0.0)}")
        for meter in answer["meters"]:
            if meter.joules < self._metered[meter.window, meter.device]:
                self._violated(f"{meter} went down")
            if node.agent is not None and node.agent.windows[self.run].closed is None:
                self._check_truth(meter, node, now)

    def _check_truth(self, meter: MeterRow, node: Node, now: float) -> None:
        """What was not booked was drawn in a time that is not covered; and nothing was booked that was not drawn."""
        truth = node.meter.truth(meter.device, now)
        opening = self.openings[meter.window, meter.device]
        drawn = truth.joules - opening.truth.joules
        missing = drawn - meter.joules
        uncovered_seconds = now - opening.at - meter.covered_seconds
        device = next(device for device in node.meter.devices if device.name == meter.device)
        most = (device.maximum_watts or 0.0) * uncovered_seconds + truth.doubtful_joules - opening.truth.doubtful_joules
        if not -BALANCE * (drawn + 1) <= missing <= most + BALANCE * (drawn + 1):
            self._violated(f"{meter}: {drawn} J were drawn, {uncovered_seconds} s are not covered")

    def _check_balance(self, window: str, device: str, booked: float, metered: float) -> None:
        if abs(booked - metered) > BALANCE * metered + 1e-9:
            self._violated(f"window {window}, {device}: {booked} J booked, {metered} J metered")

    def _violated(self, what: str) -> None:
        self.violations.append(f"{self.run}: {what}")
