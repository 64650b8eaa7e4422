"""What callbacks of training frameworks log: in a trial, which a stand-in plays, and in a block of their own."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from energysweep import Measurement
from energysweep.agent.training import TrainingEnergy
from energysweep.core import spending
from energysweep.core.errors import InputError
from tests.agent.test_tracking import burn, meters  # noqa: F401 - the fixture


class Trial:
    """A trial whose numbers a test sets."""

    def __init__(self, *, can_report: bool = True) -> None:
        self.can_report = can_report
        self.joules: float | None = 100.0
        self.watts = 10.0
        self.reports: list[Mapping[str, Any]] = []
        self.added: Mapping[str, float] = {}
        self.ends_after: int | None = None

    def spent(self) -> Measurement | None:
        if self.joules is None:
            return None
        return Measurement("trial", self.joules, self.joules / 2, emissions_grams=self.joules / 1000, source="rapl")

    def report(self, metrics: Mapping[str, Any]) -> None:
        self.reports.append(dict(metrics))
        joules = math.nan if self.joules is None else self.joules
        self.added = {
            "energy_joules": joules, "active_energy_joules": joules / 2, "startup_joules": 7.0,
            "power_watts": self.watts, "emissions_grams": joules / 1000,
        }  # fmt: skip
        if len(self.reports) == self.ends_after:
            raise SystemExit


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial()
    spending.begin_trial(trial)
    yield trial
    spending.end_trial(trial)


def test_in_a_trial_the_log_has_the_trial_s_numbers_and_a_report_its_own(trial: Trial) -> None:
    energy = TrainingEnergy(True, {})
    energy.begin([], 1, {"energy_joules": 5.0})  # what an earlier attempt had logged: the trial knows of it
    assert energy.logged() == {"energy_joules": 100.0, "active_energy_joules": 50.0, "emissions_grams": 0.1}
    trial.joules = 200.0
    reported = {"energy_joules": 200.0, "active_energy_joules": 100.0, "power_watts": 10.0, "emissions_grams": 0.2}
    assert energy.reported({"accuracy": 0.5}) == reported
    assert trial.reports == [{"accuracy": 0.5}]
    energy.end()
    assert energy.latest == {name: value for name, value in reported.items() if name != "power_watts"}


def test_a_trial_that_ends_with_a_report_has_it_in_its_log_before(trial: Trial) -> None:
    trial.ends_after = 1
    energy = TrainingEnergy(True, {})
    energy.begin([], 1, {})
    energy.stop_if_told()
    assert energy.reported({"accuracy": 0.9})["energy_joules"] == 100.0
    with pytest.raises(SystemExit):
        energy.stop_if_told()
    energy.stop_if_told()  # once


def test_where_the_program_reports_or_the_trial_is_no_function_s_it_is_logged_only(trial: Trial) -> None:
    logged = {"energy_joules": 100.0, "active_energy_joules": 50.0, "emissions_grams": 0.1}
    assert TrainingEnergy(False, {}).reported({"accuracy": 0.5}) == logged
    trial.can_report = False
    assert TrainingEnergy(True, {}).reported({"accuracy": 0.5}) == logged
    assert trial.reports == []


def test_what_is_not_known_is_left_out(trial: Trial) -> None:
    trial.joules, trial.watts = None, math.nan
    energy = TrainingEnergy(True, {})
    assert energy.logged() == energy.reported({}) == energy.latest == {}


def test_outside_of_a_trial_a_block_meters_the_training_and_a_resumed_one_goes_on(
    meters: list[str],  # noqa: F811 - the fixture
) -> None:
    first = TrainingEnergy(True, {"meters": meters, "grams_per_kwh": 360})
    assert first.logged() == {}
    first.begin([], 1, {})
    burn(0.3)
    once = first.logged()
    burn(0.3)
    twice = first.reported({"accuracy": 0.5})
    assert set(once) == {"energy_joules", "active_energy_joules", "power_watts", "emissions_grams"}
    assert 0 < once["energy_joules"] < twice["energy_joules"]
    assert 0 < twice["power_watts"] <= 100.0 + 1e-6  # what the meter says that there is
    assert twice["emissions_grams"] == pytest.approx(twice["energy_joules"] * 360 / 3.6e6)
    first.end()
    assert first.logged() == {}

    again = TrainingEnergy(True, {"meters": meters})
    again.begin([], 1, {**first.latest, "active_energy_joules": "no number", "power_watts": 1e9})
    assert again.latest == {name: first.latest[name] for name in ("energy_joules", "emissions_grams")}
    burn(0.3)
    resumed = again.logged()
    again.begin([], 1, {})  # another training, though nobody has said that this one has ended
    burn(0.3)
    anew = again.logged()
    again.end()
    assert resumed["energy_joules"] > first.latest["energy_joules"]
    assert resumed["power_watts"] <= 100.0 + 1e-6
    assert 0 < anew["active_energy_joules"] == anew["energy_joules"]


def test_a_training_ends_with_the_call_that_it_is_in(meters: list[str]) -> None:  # noqa: F811 - the fixture
    energy = TrainingEnergy(True, {"meters": meters})
    seen: list[threading.Thread] = []

    def train() -> None:
        energy.begin([], 1, {})
        before = set(threading.enumerate())
        energy.end_with(sys._getframe())
        seen.extend(set(threading.enumerate()) - before)
        deeper(energy)
        raise ZeroDivisionError

    def deeper(energy: TrainingEnergy) -> None:
        burn(0.3)
        seen[-1].join(3.0)  # it looks more than once meanwhile
        assert seen[-1].is_alive()
        assert energy.logged()

    with pytest.raises(ZeroDivisionError):
        train()
    seen[-1].join()
    assert energy.logged() == {}
    assert spending.spent() is None
    with pytest.raises(ZeroDivisionError):
        train()
    energy.begin([], 1, {})  # at once: this one is not the other's to end
    seen[-1].join()
    burn(0.2)
    assert energy.logged()
    energy.end()


def test_a_training_whose_metering_fails_goes_on_and_says_so(
    agent_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_AGENT", "127.0.0.1:1")  # nobody listens there, and none is started beside it
    energy = TrainingEnergy(True, {})
    energy.begin([], 1, {})
    assert energy.logged() == energy.reported({"accuracy": 0.5}) == {}
    energy.end()
    (message,) = caplog.messages
    assert message.startswith("this training is not measured: ")


def test_of_several_processes_it_is_said_whose_energy_it_is(
    meters: list[str],  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture,
) -> None:
    energy = TrainingEnergy(True, {"meters": meters})
    energy.begin([], 4, {})
    energy.end()
    assert caplog.messages[0].startswith("of 4 processes that train, energy is that of this one and of those that it")


def test_an_option_that_there_is_not_or_that_cannot_be_is_an_error(agent_home: Path) -> None:
    options: Any = {"county": "DEU"}
    with pytest.raises(InputError, match="EnergyCallback: got an unexpected keyword argument 'county'"):
        TrainingEnergy(True, options)
    with pytest.raises(InputError, match="country"):
        TrainingEnergy(True, {"country": "Atlantis"}).begin([], 1, {})
