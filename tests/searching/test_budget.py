"""Budgets: the rules alone, and sweeps in simulated time that hold them whatever goes wrong.

A busy CPU draws 20 W, an idle node 20 W of CPU and 5 W of memory, of which a trial has an eighth: 23.125 J a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from energysweep.core.carbon import Intensity
from energysweep.core.records import PILOT, TrialRow
from energysweep.ledger.budget import STOPPED, Budget, left_text
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.ledger.summary import summarise
from energysweep.report.html import budget_note
from energysweep.searching.budget import Amount, Spending
from energysweep.searching.budgeting import ending, stopped_text
from energysweep.searching.schedulers import fifo
from energysweep.searching.within_budget import WithinBudget
from energysweep.sweepfile import SweepSpec, load_spec
from tests.support.budgeted import Killed, StandIn, StandInTune
from tests.support.earlier_runs import write_sweep
from tests.support.simulated_run import RUN, World
from tests.support.simulated_sweep import SimulatedSweep, Values

GROUP = ("", "")
INTENSITY = Intensity(360.0, "given", None, "given by the user", 2.0)


class Books:
    """What is charged, and the time, as a test says."""

    def __init__(self) -> None:
        self.charged = self.overhead = self.seconds = 0.0
        self.booked: dict[str, float] = {}

    def charged_joules(self) -> float:
        return self.charged

    def overhead_joules(self) -> float:
        return self.overhead

    def booked_joules(self, trial: str) -> float:
        return self.booked.get(trial, 0.0)

    def elapsed_seconds(self) -> float:
        return self.seconds

    def work(self, trial: str, joules: float, seconds: float) -> None:
        """A trial works, and its agent tells of it."""
        self.booked[trial] = self.booked_joules(trial) + joules
        self.charged += joules
        self.seconds += seconds


def spending(books: Books, joules: float = 100.0, most: int | None = None) -> Spending:
    return Spending(Budget({"energy_joules": joules}), books, {} if most is None else {"": most})


# What limits come to -------------------------------------------------------------------------------------------------


def test_grams_and_money_are_of_the_joules_and_of_the_building() -> None:
    budget = Budget({"energy_joules": 7.2e6, "emissions_grams": 1440.0, "cost": 0.6}, INTENSITY, 0.3, "EUR")
    # 1 kWh of computers is 2 kWh of the building: 720 g, and 0.60 EUR.
    charges = budget.charges(3.6e6, 10.0)
    assert {kind: each.charged for kind, each in charges.items()} == pytest.approx(
        {"energy_joules": 3.6e6, "emissions_grams": 720.0, "cost": 0.6}
    )
    assert charges["cost"].left == pytest.approx(0.0)
    assert budget.most_joules() == pytest.approx(3.6e6)  # the money ends it
    assert budget.most_seconds() == math.inf
    assert budget.text("cost", 0.6) == "0.6 EUR"


@pytest.mark.parametrize("kind", ["energy_joules", "emissions_grams", "cost", "duration_seconds"])
@pytest.mark.parametrize("limit", [5e-324, 1e-300, 1.0, 1e18])
@pytest.mark.parametrize("charged", [0.0, 5e-324, 1e-20, 1e18])
def test_whatever_is_left_of_whatever_limit_is_told(kind: str, limit: float, charged: float) -> None:
    books, limits = Books(), Budget({kind: limit}, INTENSITY, 0.3, "EUR")
    books.charged = books.seconds = charged
    for estimated in (True, False):
        assert " left" in left_text(limits, limits.charges(charged, charged), charged, estimated=estimated)
    for more in (None, 1.0):
        end = {"open": 1, "ended_early": 0, "more_joules": more}
        told = stopped_text(Spending(limits, books), end, "folder", estimated=False)
        assert float(told.rpartition(f"--set budget.{kind}=")[2]) > limit


def test_the_budget_that_is_proposed_is_larger_than_the_one_that_was_too_small() -> None:
    books = Books()
    books.charged = 95.0  # the last trial takes 4 J, and overhead more than the 1 J that is left then
    told = stopped_text(spending(books), {"open": 1, "ended_early": 0, "more_joules": 4.0}, "folder", estimated=False)
    assert told.endswith("--set budget.energy_joules=110")


def test_what_is_over_is_an_estimate_where_what_is_charged_is() -> None:
    books = Books()
    books.charged = 120.0
    end = {"open": 1, "ended_early": 0, "more_joules": None}
    assert ": ≈ 120 J of 100 J (≈ 20.0 J over);" in stopped_text(spending(books), end, "folder", estimated=True)
    assert ": 120 J of 100 J (20.0 J over);" in stopped_text(spending(books), end, "folder", estimated=False)


def test_when_a_budget_ends_is_told_once_it_can_be_known() -> None:
    limits = Budget({"energy_joules": 1000.0})
    assert left_text(limits, limits.charges(250.0, 60.0), 60.0, estimated=False) == (
        "750 J of 1,000 J left, about 3 min 0 s at the power so far"
    )
    assert left_text(limits, limits.charges(1e-6, 60.0), 60.0, estimated=False) == "1,000 J of 1,000 J left"
    assert left_text(limits, limits.charges(None, 60.0), 60.0, estimated=False) == "n/a of 1,000 J left"


def test_time_alone_limits_no_joules() -> None:
    budget = Budget({"duration_seconds": 60.0})
    assert (budget.most_joules(), budget.most_seconds()) == (math.inf, 60.0)
    assert budget.charges(None, 5.0)["duration_seconds"].left == 55.0


# Who starts ----------------------------------------------------------------------------------------------------------


def test_before_anything_is_known_one_trial_starts_alone() -> None:
    books = Books()
    own = spending(books)
    assert own.forecast(GROUP) is None
    assert own.may_start(None, GROUP)
    own.started("a", GROUP)
    assert not own.may_start(None, GROUP)
    books.work("a", 10.0, 1.0)
    own.reported("a", 10.0)
    assert own.forecast(GROUP) == Amount(20.0, 2.0)  # none has ended: twice the dearest so far
    assert own.may_start(None, GROUP)


def test_a_sweep_that_says_how_many_reports_there_are_forecasts_by_them() -> None:
    books = Books()
    own = spending(books, most=5)
    own.started("a", GROUP)
    books.work("a", 12.0, 1.0)
    own.reported("a", 12.0)
    books.work("a", 8.0, 1.0)
    own.reported("a", 20.0)
    assert own.forecast(GROUP) == Amount(12.0 + 4 * 8.0, 5.0)


def test_a_trial_starts_only_if_its_forecast_fits_beside_what_the_others_still_need() -> None:
    books = Books()
    own = spending(books, 100.0)
    own.learn("done", GROUP, [Amount(10.0, 1.0)] * 3, has_ended=True)
    books.charged = 30.0
    assert own.forecast(GROUP) == Amount(30.0, 3.0)
    assert own.may_start(None, GROUP)
    own.started("a", GROUP)  # 70 left, 30 reserved
    assert own.may_start(None, GROUP)
    own.started("b", GROUP)  # 60 reserved
    assert not own.may_start(None, GROUP)
    books.work("a", 10.0, 1.0)
    own.reported("a", 10.0)  # 60 left, 20 + 30 reserved
    assert not own.may_start(None, GROUP)
    own.over("b", failed=True)  # 60 left, 20 reserved
    assert own.may_start(None, GROUP)


def test_a_budget_of_time_holds_as_many_at_once_as_end_in_time() -> None:
    books = Books()
    own = Spending(Budget({"duration_seconds": 10.0}), books)
    own.learn("done", GROUP, [Amount(10.0, 4.0)], has_ended=True)
    books.seconds = 4.0
    for name in "abc":
        assert own.may_start(None, GROUP)
        own.started(name, GROUP)
    books.seconds = 7.0
    assert not own.may_start(None, GROUP)
    assert own.may_go_on()  # their next report comes after 1 s
    books.seconds = 10.0
    assert not own.may_go_on()


def test_the_forecast_is_by_stage_and_hardware() -> None:
    own = spending(Books())
    own.learn("small", ("", "small"), [Amount(10.0, 1.0)], has_ended=True)
    own.learn("base", ("base", "small"), [Amount(90.0, 1.0)], has_ended=True)
    assert own.forecast(("", "small")) == Amount(10.0, 1.0)
    assert own.forecast(("base", "small")) == Amount(90.0, 1.0)
    assert own.forecast(("", "large")) is None


def test_nine_of_ten_take_no_more_than_the_forecast() -> None:
    own = spending(Books())
    for number in range(1, 20):
        own.learn(str(number), GROUP, [Amount(float(number), 1.0)], has_ended=True)
    assert own.forecast(GROUP) == Amount(18.0, 1.0)  # the 18th of 19
    assert own.known(GROUP) == 19


# Who goes on ---------------------------------------------------------------------------------------------------------


def test_one_goes_on_as_long_as_the_next_report_of_each_fits() -> None:
    books = Books()
    own = spending(books, 60.0)
    for name in "ab":
        own.started(name, GROUP)
    for joules in (10.0, 20.0):
        for name in "ab":
            books.work(name, 10.0, 1.0)
            own.reported(name, joules)
            assert own.may_go_on()
    books.work("a", 10.0, 1.0)
    own.reported("a", 30.0)  # 10 left; the next reports of both take 20
    assert not own.may_go_on()
    own.held("a")
    assert own.closing
    assert not own.may_start(None, GROUP)
    books.work("b", 10.0, 1.0)
    own.reported("b", 30.0)
    assert not own.may_go_on()
    assert own.left().joules == 0


def test_what_a_trial_has_told_counts_before_its_agent_tells_it() -> None:
    books = Books()
    own = spending(books, 100.0)
    own.started("a", GROUP)
    own.reported("a", 40.0)
    assert own.charged_joules() == 40.0
    books.booked["a"], books.charged = 30.0, 50.0  # with 20 J of others
    assert own.charged_joules() == 60.0
    books.booked["a"], books.charged = 45.0, 65.0
    assert own.charged_joules() == 65.0


def test_what_is_drawn_beside_the_trials_is_provided_for() -> None:
    books = Books()
    own = spending(books, 100.0)
    own.learn("done", GROUP, [Amount(40.0, 10.0)], has_ended=True)
    own.started("a", GROUP)
    own.paused("a")
    books.charged, books.overhead, books.seconds = 50.0, 10.0, 10.0  # 1 W
    assert not own.may_start(None, GROUP)  # 40 J and 12 s of it
    books.overhead = 5.0
    assert own.may_start(None, GROUP)


def test_what_beginning_has_drawn_is_not_expected_again() -> None:
    books = Books()
    own = spending(books, 200.0)
    own.learn("done", GROUP, [Amount(40.0, 10.0)], has_ended=True)
    books.charged, books.overhead, books.seconds = 90.0, 50.0, 10.0  # 5 W, most of it of a driver that begins
    assert own.may_start(None, GROUP, reserve_joules=70.0)  # 40 J of 40 J: nothing is known of overhead
    own.started("a", GROUP)
    assert not own.may_go_on(reserve_joules=30.0)  # 40 J and 5 W for 12 s, of 80 J
    books.charged, books.overhead, books.seconds = 95.0, 55.0, 15.0  # 1 W since trials are at work
    own.reported("a", 10.0)
    assert own.may_go_on(reserve_joules=70.0)
    own.paused("a")
    assert own.may_start("a", GROUP, reserve_joules=40.0)  # 30 J and 12 J


def test_a_run_goes_on_if_a_trial_of_it_fits_by_itself() -> None:
    books = Books()
    own = spending(books, 100.0)
    own.learn("done", GROUP, [Amount(20.0, 1.0), Amount(20.0, 1.0), Amount(20.0, 1.0)], has_ended=True)
    own.learn("half", GROUP, [Amount(20.0, 1.0), Amount(20.0, 1.0)], has_ended=False)
    books.charged, books.overhead, books.seconds = 70.0, 10.0, 0.1  # of which nobody can tell a rate
    assert own.waiting == [("half", GROUP)]
    assert own.could_hold("half", GROUP)  # 20 J more
    assert not own.could_hold(None, GROUP)  # 60 J
    books.charged = 100.0
    assert not own.could_hold("half", GROUP)


def test_a_reserve_is_left_for_those_that_it_is_for() -> None:
    own = spending(Books(), 100.0)
    own.learn("done", GROUP, [Amount(40.0, 1.0)], has_ended=True)
    assert not own.may_start(None, GROUP, reserve_joules=70.0)
    assert own.may_start(None, GROUP, reserve_joules=70.0, is_reserved=True)
    own.closing = True
    assert not own.may_start(None, GROUP)
    assert own.may_start(None, GROUP, is_reserved=True)


# In simulated time ---------------------------------------------------------------------------------------------------

SPEC = """
name: simulated
workload: work.py:train
parameters: {{rate: {{grid: {grid}}}}}
objective: {{metric: accuracy, mode: max}}
storage: /shared
max_failures: 1000
carbon: {{grams_per_kwh: 100}}
budget: {budget}
"""


class Bench:
    """A run whose drivers come and go."""

    def __init__(self, folder: Path, ledger: Ledger, nodes: int = 1, trials: int = 6, seconds: int = 2) -> None:
        self.world, self.values, self.ledger = World(folder, nodes), Values(), ledger
        self.folder, self.trials = folder, trials
        self.lengths = {f"t{number}": (5, seconds) for number in range(trials)}
        self.saves = True
        self.told: list[str] = []
        self.at_once = 2

    def spec(self, budget: str) -> SweepSpec:
        (self.folder / "work.py").touch()
        (self.folder / "sweep.yaml").write_text(SPEC.format(grid=[*range(self.trials)], budget=budget))
        return load_spec(self.folder / "sweep.yaml")

    def drive(self, budget: str, chance: Random, **faults: float) -> list[str] | None:
        """One driver, to its end; None if it was killed."""

        def script(driver: SimulatedSweep, stage: str, names: list[str]) -> None:
            within = WithinBudget(fifo(driver_spec), driver.spending, [("", "")])
            tune = StandInTune(driver, within, chance, self.at_once)
            try:
                for name in names:
                    reports, seconds = self.lengths[name]
                    trial = StandIn(name, driver.config(name) | {"saves": self.saves}, reports, seconds)
                    trial.done = self.done.get(name, 0) if self.saves else 0
                    tune.add(trial)
                tune.play(**faults)
            finally:
                self.done |= {trial.trial_id: trial.done for trial in tune.trials}

        driver_spec = self.spec(budget)
        driver = SimulatedSweep(self.world, self.values, self.ledger, driver_spec, self.folder, script)
        try:
            return driver.run()
        except Killed:
            return None
        finally:
            self.told += driver.progress.events

    done: dict[str, int]

    def charged(self) -> float:
        return RunState.of(self.ledger.read()).charged_joules or 0.0

    def counts(self) -> dict[str, int]:
        return RunState.of(self.ledger.read()).counts()

    def facts(self) -> dict[str, Any]:
        return dict(self.ledger.read().run)


def seeded() -> Random:
    """Nothing goes wrong by chance, and trials come to the same nodes."""
    return Random(1)  # noqa: S311 - repeatable, not secret


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger.create(tmp_path / "ledger.sqlite", id=RUN, status="running") as ledger:
        made = Bench(tmp_path, ledger)
        made.done = {}
        yield made


def test_a_budget_that_holds_all_changes_nothing(bench: Bench) -> None:
    assert bench.drive("{energy_joules: 5000}", seeded()) == []
    assert (bench.counts(), bench.facts()["status"]) == ({"completed": 6}, "done")
    assert bench.charged() == pytest.approx(6 * 10 * 23.125)


def test_trials_that_do_not_fit_are_not_started_and_a_larger_budget_goes_on(bench: Bench) -> None:
    assert bench.drive("{energy_joules: 750}", seeded()) == []  # 231.25 J each
    assert bench.facts()["status"] == STOPPED
    assert bench.counts() == {"completed": 3}
    assert bench.charged() == pytest.approx(3 * 231.25)
    assert "stopped by budget: 694 J of 750 J; 3 trials open" in bench.told[-1]
    assert "≈ 694 J more" in bench.told[-1]
    end = bench.facts()["budget"]
    assert (end["ended_early"], end["open"], end["from_trials"], end["over_joules"]) == (0, 3, 3, 0.0)
    assert end["trial_joules"] == pytest.approx(231.25)
    summary = summarise(bench.ledger.read())
    assert (summary.status, summary.extent.open, summary.damage) == (STOPPED, 3, ())
    said = summary.to_dict()
    assert said["budget"] == {"energy_joules": {"limit": 750.0, "charged": pytest.approx(3 * 231.25)}}
    assert said["price"] is None
    assert "3 trials that it would still have run are open" in (budget_note(summary) or "")
    assert "694 J more (231 J for each that has not begun, by what 3 trials took)" in (budget_note(summary) or "")
    assert bench.drive("{energy_joules: 1400}", seeded()) == []
    assert (bench.counts(), bench.facts()["status"]) == ({"completed": 6}, "done")


def test_a_budget_too_small_for_a_trial_ends_it_at_a_report_and_it_goes_on_from_there(bench: Bench) -> None:
    assert bench.drive("{energy_joules: 100}", seeded()) == []
    assert bench.facts()["status"] == STOPPED
    # The first trial alone, to its first report (46.25 J); then two, until the next reports of both do not fit.
    assert bench.counts() == {"interrupted": 1}
    assert bench.charged() == pytest.approx(2 * 46.25)
    assert bench.facts()["budget"]["ended_early"] == 1
    assert bench.drive("{energy_joules: 240}", seeded()) == []
    assert bench.counts() == {"completed": 1}
    assert bench.charged() == pytest.approx(231.25)  # nothing was paid for twice


def test_a_trial_without_checkpoints_is_ended_too_and_begins_anew(bench: Bench) -> None:
    bench.saves = False
    assert bench.drive("{energy_joules: 100}", seeded()) == []
    assert (bench.counts(), bench.charged()) == ({"interrupted": 1}, pytest.approx(92.5))
    assert bench.drive("{energy_joules: 330}", seeded()) == []
    assert (bench.counts(), bench.charged()) == ({"completed": 1}, pytest.approx(92.5 + 231.25))


def test_grams_and_seconds_end_a_sweep_as_joules_do(bench: Bench) -> None:
    bench.at_once = 1
    assert bench.drive(f"{{emissions_grams: {300 * 100 / 3.6e6}}}", seeded()) == []
    assert bench.counts() == {"completed": 1}
    assert "of CO2e" in bench.told[-1]
    assert bench.drive("{duration_seconds: 25}", seeded()) == []
    assert bench.facts()["status"] == STOPPED
    assert bench.facts()["duration_seconds"] <= 25
    assert bench.counts() == {"completed": 2}


@pytest.mark.parametrize("sweeps", [pytest.param(8, id="a few"), pytest.param(200, id="many", marks=pytest.mark.slow)])
def test_no_sweep_spends_more_than_its_budget_and_one_report_of_each_trial(
    tmp_path: Path, chance: Random, sweeps: int
) -> None:
    for number in range(sweeps):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Ledger.create(folder / "ledger.sqlite", id=RUN, status="running") as ledger:
            bench = Bench(folder, ledger, chance.randint(1, 3), chance.randint(1, 8))
            bench.done, bench.saves = {}, chance.random() < 0.7
            bench.at_once = chance.randint(1, 5)
            bench.lengths = {name: (chance.randint(1, 8), chance.randint(1, 6)) for name in bench.lengths}
            limit = chance.uniform(20.0, 1500.0)
            for _ in range(6):
                faults = {"fail": 0.03, "kill": 0.02, "lose": 0.02} if chance.random() < 0.8 else {}
                problems = bench.drive(f"{{energy_joules: {limit}}}", chance, **faults)
                dearest = sorted(seconds * 23.125 for _, seconds in bench.lengths.values())[-bench.at_once :]
                assert bench.charged() <= limit + sum(dearest) + 1e-6, (number, limit, bench.lengths, bench.told)
                if problems is not None and not bench.told[-1].startswith(STOPPED):
                    break
                if chance.random() < 0.3:
                    limit += chance.uniform(20.0, 500.0)
            data = ledger.read()
            booked = math.fsum(row.joules for row in data.energy)
            assert math.fsum(row.joules for row in data.meters) == pytest.approx(booked)


def test_what_a_budget_ends_in_the_pilot_is_none_of_what_stays_open(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path))  # of three configurations
    trials = [TrialRow(name, {"rate": 0.1}, None, "", "interrupted", 1, 0.0, 1.0, None, PILOT) for name in ("a", "b")]
    state = RunState()
    state.merge(trials)
    held = spending(Books())
    for row in trials:
        held.started(row.trial, (PILOT, ""))
    held.held("a")
    end = ending(held, spec, state)
    assert (end["ended_early"], end["open"]) == (0, 3)
