"""A recorded trace replayed as a workload: an agent meters it, and the analyses find what the trace implies.

The trace is a minute of a real sweep's host, as its ledger has it. The idle floor is given above all of its power, and
a trial reserves the whole host: so all that the counter sees while a lease is open is the trial's, whatever its CPU
time, and a trial's energy between two moments is the difference of the trace.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.accounting.floors import FloorMemory
from energysweep.agent.agent import Agent
from energysweep.analysis import Estimate, effects, ratio_to_target, to_target
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow
from energysweep.ledger.store import LedgerData
from energysweep.meters import Opened
from energysweep.meters.replay import ReplayMeter, load_trace
from energysweep.report import summarise
from tests.support.fake_host import FakeHost

TRACE = Path(__file__).parent / "recorded.csv"
# parameters, seed, begins at, seconds of an epoch, epochs, the epoch that reaches the target
TRIALS: list[tuple[dict[str, float], int, float, float, int, int | None]] = [
    ({"rate": 0.1}, 0, 2.0, 2.0, 4, 3),
    ({"rate": 0.01}, 0, 11.0, 2.0, 8, 7),
    ({"rate": 0.1}, 1, 28.0, 2.0, 3, 2),
    ({"rate": 0.01}, 1, 35.0, 2.5, 6, 5),
    ({"rate": 10.0}, 0, 51.0, 2.0, 4, None),
]


class ReplayingHost(FakeHost):
    """A host whose counter is the trace."""

    def start_agent(self, floors: FloorMemory | None = None) -> Agent:
        self.replay = ReplayMeter(TRACE, self.clock)
        self.agent = Agent(self.host, Opened([self.replay]), ("replay",), floors, self.own)
        return self.agent


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerData:
    """The trials of the table above, one after the other."""
    host = ReplayingHost(tmp_path_factory.mktemp("host"))
    begun = host.clock.seconds
    host.agent.open_window("r", {"cpu": 1000.0})
    results = []
    for number, (_, _, begins, seconds, epochs, arrives_at) in enumerate(TRIALS):
        host.wait(begun + begins - host.clock.seconds)
        pid = host.tree.fork()
        lease = host.open(f"t{number}", pid, cpus=4.0)
        for epoch in range(1, epochs + 1):
            host.work(seconds, {pid: 0.3})
            joules = host.agent.report(lease).joules
            accuracy = 0.95 if arrives_at is not None and epoch >= arrives_at else 0.5
            results.append(
                ResultRow(f"t{number}", epoch, host.clock.seconds - begun, joules, 0.0, {"accuracy": accuracy})
            )
        host.agent.close_lease("r", lease)
    rows = host.agent.telling.totals("r", 0)
    return LedgerData(
        run={"objective": {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 2}},
        energy=[EnergyRow(*row) for row in rows["energy"]],
        meters=[MeterRow(*row) for row in rows["meters"]],
        leases=[LeaseRow(*row) for row in rows["leases"]],
        trials=[
            TrialRow(f"t{number}", dict(parameters), seed, "", "completed", 1, None, None, None)
            for number, (parameters, seed, *_) in enumerate(TRIALS)
        ],
        results=results,
    )


def implied(trial: int, epochs: int) -> float:
    """What the trace says of a trial's first epochs."""
    curve = load_trace(TRACE).series[0].curve
    _, _, begins, seconds, _, _ = TRIALS[trial]
    return curve.joules_at(begins + epochs * seconds) - curve.joules_at(begins)


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def test_energy_to_target_is_what_the_trace_implies(ledger: LedgerData) -> None:
    found = {trial.trial: trial.energy_to_target_joules for trial in summarise(ledger).trials}
    expected = {f"t{n}": None if each[5] is None else implied(n, each[5]) for n, each in enumerate(TRIALS)}
    assert found == {name: None if joules is None else pytest.approx(joules) for name, joules in expected.items()}


def test_the_decomposition_is_what_the_trace_implies(ledger: LedgerData) -> None:
    configurations = {each.parameters["rate"]: each.trials for each in summarise(ledger).configurations}
    fast, slow = (implied(0, 3) * implied(2, 2)) ** 0.5, (implied(1, 7) * implied(3, 5)) ** 0.5
    assert value(to_target(configurations[0.1]).energy_joules) == pytest.approx(fast)
    assert value(to_target(configurations[0.1]).joules_per_epoch) == pytest.approx(fast / 6**0.5)
    ratio = ratio_to_target(configurations[0.01], configurations[0.1])
    assert ratio is not None
    assert ratio.energy.value == pytest.approx(slow / fast)
    assert ratio.epochs.value == pytest.approx((35 / 6) ** 0.5)
    assert ratio.joules_per_epoch.value == pytest.approx((slow / 35**0.5) / (fast / 6**0.5))


def test_the_censored_trial_spent_what_the_trace_implies_and_is_in_no_effect(ledger: LedgerData) -> None:
    summary = summarise(ledger)
    (lost,) = [each.trials for each in summary.configurations if each.parameters["rate"] == 10.0]
    assert to_target(lost).at_least_joules == pytest.approx(implied(4, 4))
    fitted = effects(summary.trials, "energy")
    assert fitted is not None
    assert (fitted.cells, fitted.censored) == (2, ({"rate": 10.0},))
