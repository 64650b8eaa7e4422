"""The metrics of a sweep: worked out in one place, and told, kept and shown by whoever knows the table of families."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.accounting.accounts import Sweep, SweepSample
from energysweep.agent.exporter import exposition
from energysweep.agent.protocol import Update, within_bounds
from energysweep.core.carbon import Intensity
from energysweep.core.metrics import FAMILIES, SWEEP_BEST, SWEEP_CHEAPEST, SWEEP_END, SWEEP_FAMILIES, SWEEP_TRIALS
from energysweep.ledger.budget import Budget
from energysweep.ledger.run_state import RunState
from energysweep.ledger.saving import Plan
from energysweep.ledger.summary import summarise
from energysweep.ledger.sweep_metrics import About, sweep_numbers
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.sweepfile import Scheduler
from tests.support.example import example
from tests.support.fake_host import FakeHost

GRID = Intensity(360.0, "FRA", None, "given", pue=2.0)
ABOUT = About(
    name="mnist",
    owner="me",
    planned=30,
    varying=("learning_rate", "batch_size"),
    plan=Plan(Scheduler(type="asha")),
    intensity=GRID,
    started_at=100.0,
    ended_at=200.0,
    budget=Budget({"energy_joules": 5000.0, "duration_seconds": 400.0}),
    duration_seconds=100.0,
)


def numbers(**about: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Of the example's run, by metric and labels."""
    told: dict[str, dict[tuple[str, ...], float]] = {}
    for family, labels, value in sweep_numbers(RunState.of(example()), replace(ABOUT, **about)):
        assert len(labels) == len(family.labels) - 1
        assert labels not in told.setdefault(family.name, {})
        told[family.name][labels] = value
    return told


def test_every_metric_of_a_sweep_is_worked_out_and_no_other() -> None:
    assert numbers().keys() == SWEEP_FAMILIES.keys()
    assert all(family.labels[0] == "sweep" for family in SWEEP_FAMILIES.values())
    assert {family.name for family in FAMILIES if family.is_constant or family.may_be_negative} <= SWEEP_FAMILIES.keys()


def test_what_is_charged_against_each_limit_of_a_budget_is_what_the_sweep_is_charged_with() -> None:
    told = numbers()
    charged = sum(told["energysweep_sweep_energy_joules_total"].values())
    assert told["energysweep_sweep_budget_limit"] == {("energy_joules",): 5000.0, ("duration_seconds",): 400.0}
    assert told["energysweep_sweep_budget_charged"] == {
        ("energy_joules",): pytest.approx(charged),
        ("duration_seconds",): 100.0,
    }
    assert not {name for name in numbers(budget=None) if "budget" in name}


def test_what_a_sweep_is_charged_with_is_told_in_joules_and_in_grams() -> None:
    told = numbers()
    energy = told["energysweep_sweep_energy_joules_total"]
    of_trials = sum(joules for (_, bucket, _), joules in energy.items() if bucket == "trials")
    assert of_trials == pytest.approx(2183)
    # J x 2 x 360 g/kWh / 3.6 MJ
    grams = told["energysweep_sweep_emissions_grams_total"]
    assert grams == pytest.approx({("trials",): 2183 / 5000, ("startup",): 0, ("overhead",): 100 / 5000})
    assert "energysweep_sweep_emissions_grams_total" not in numbers(intensity=None)


def test_a_sweep_that_runs_has_trials_that_wait_and_no_end() -> None:
    over, runs = numbers(planned=100), numbers(planned=100, ended_at=None)
    assert SWEEP_END.name not in runs
    assert over[SWEEP_END.name] == {(): 200.0}
    assert sum(over[SWEEP_TRIALS.name].values()) == sum(runs[SWEEP_TRIALS.name].values()) == 100


def test_what_was_decided_of_trials_is_counted_by_rule() -> None:
    counts = numbers()["energysweep_sweep_decisions_total"]
    assert counts == {("started", ""): 18, ("ended", "itself"): 17, ("ended", "asha"): 1}


def test_it_says_of_the_cheapest_and_the_best_what_the_report_says() -> None:
    data = example()
    told = summarise(data).headline.cheapest
    assert told is not None
    assert told.energy_to_target_joules is not None
    assert numbers()[SWEEP_CHEAPEST.name] == {
        (told.config, told.hardware): pytest.approx(told.energy_to_target_joules.geometric_mean)
    }
    assert numbers()[SWEEP_BEST.name] == {("accuracy",): RunState.of(data).best()}


def test_configurations_that_do_other_work_are_not_ranked_live_either() -> None:
    data = example()
    first, *others = data.trials
    other = first._replace(parameters={**first.parameters, "tasks": ["another"]})
    state = RunState.of(replace(data, trials=[other, *others]))
    assert SWEEP_CHEAPEST not in {family for family, _, _ in sweep_numbers(state, ABOUT)}


def test_all_that_is_worked_out_is_shown_by_an_agent_and_of_a_finished_run(tmp_path: Path) -> None:
    data = example()
    samples = [
        SweepSample(family.name, labels, value) for family, labels, value in sweep_numbers(RunState.of(data), ABOUT)
    ]
    sent = Update(sweep=within_bounds(Sweep(samples=samples)))
    assert sent.sweep.samples == samples
    host = FakeHost(tmp_path)
    host.agent.open_window("r")
    host.agent.update_sweep("r", Update.model_validate_json(sent.model_dump_json()).sweep)
    host.agent.tick()
    host.kill_agent()
    host.start_agent()
    scraped = exposition(host.agent.telling.snapshot(), "").text
    shown = re.findall(r'^(energysweep_sweep_\w+){sweep="r"', scraped, re.MULTILINE)
    assert sorted(shown) == sorted(sample.metric for sample in samples)
    spec = {"scheduler": {"type": "asha"}, "budget": {"energy_joules": 5000.0}}
    noted = replace(data, run={**data.run, "spec": spec})
    written = set(re.findall(r"^(energysweep_sweep_\w+){", openmetrics(noted, GRID), re.MULTILINE))
    assert written == SWEEP_FAMILIES.keys()
