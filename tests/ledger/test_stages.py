"""A stage's trials are paid for, and are no configuration. Two of the example's trials play a pretraining."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from energysweep.ledger.receipt import explain
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.files import configurations_csv, trials_csv
from energysweep.report.html import report_html
from tests.support.example import example

# 200 J and, with seed 1, 220 J: see the example.
PLAYERS = ("t-0.1-16-0", "t-0.1-16-1")


@pytest.fixture
def data() -> LedgerData:
    objective = {"metric": "accuracy", "mode": "max", "target": None, "patience": 1}
    data = example(stages={"pretraining": {"objective": objective}})
    trials = [row._replace(stage="pretraining") if row.trial in PLAYERS else row for row in data.trials]
    return replace(data, trials=trials)


def test_a_stage_is_no_configuration_but_its_energy_is_the_sweep_s(data: LedgerData) -> None:
    summary, usual = summarise(data), summarise(example())
    assert len(summary.configurations) == len(usual.configurations) - 1
    assert not any(trial.stage for each in summary.configurations for trial in each.trials)
    assert summary.totals == usual.totals
    [stage] = summary.stages
    assert stage.stage == "pretraining"
    assert stage.total_energy_joules == pytest.approx(420)
    assert stage.energy_joules is not None
    assert stage.energy_joules.mean == pytest.approx(210)
    of_configurations = sum(trial.energy_joules or 0 for each in summary.configurations for trial in each.trials)
    assert of_configurations + 420 == pytest.approx(summary.totals.trials_energy_joules)


def test_a_stage_is_judged_by_its_own_objective(data: LedgerData) -> None:
    [stage] = summarise(data).stages
    assert stage.metric == "accuracy"
    assert [trial.reached_target for trial in stage.trials] == [None, None]  # it names no target
    assert stage.objective is not None
    assert stage.objective.mean == pytest.approx(0.96)  # 0.92 + 10 iterations of 0.004


def test_the_files_tell_a_stage_s_trials_apart(data: LedgerData) -> None:
    summary = summarise(data)
    rows = list(csv.DictReader(io.StringIO(trials_csv(summary))))
    assert {row["trial"]: row["stage"] for row in rows if row["stage"]} == dict.fromkeys(PLAYERS, "pretraining")
    assert "learning_rate=0.1 batch_size=16" not in configurations_csv(summary)
    assert "stage" not in csv.DictReader(io.StringIO(trials_csv(summarise(example())))).fieldnames
    [said] = summary.to_dict()["stages"]
    assert said["total_energy_joules"] == pytest.approx(420)
    assert said["trials"] == 2


def test_the_report_names_the_stage_and_what_it_took(data: LedgerData) -> None:
    html = report_html(summarise(data), data)
    assert "2 of stage pretraining" in html
    assert '<td class="t">pretraining</td><td>2</td><td>210 J' in html
    assert "<h2>Stages</h2>" not in report_html(summarise(example()), example())


def test_a_stage_s_trial_has_a_receipt_under_its_stage_s_name(data: LedgerData) -> None:
    assert explain(data, "stage=pretraining seed=1").trial.trial == "t-0.1-16-1"
