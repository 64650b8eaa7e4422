"""Sweeps whose configurations do not do the same work: a report ranks them nowhere."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from energysweep.ledger.store import LedgerData
from energysweep.report import summarise, terminal_table
from energysweep.report.charts import figures
from energysweep.report.files import configurations_csv, summary_json
from energysweep.report.html import report_html
from tests.report.test_html import without_scripts
from tests.support import regimes
from tests.support.example import example


@pytest.mark.parametrize("run", [regimes.pretraining, regimes.multitask])
def test_configurations_that_do_other_work_are_ranked_nowhere(run: Callable[[], LedgerData]) -> None:
    summary = summarise(run())
    said = json.loads(summary_json(summary))
    headline = said["headline"]
    assert [headline[key] for key in ("worst_to_best_energy_ratio", "cheapest", "dearest")] == [None] * 3
    assert headline["sentence"] == (
        "3 of 3 configurations reached accuracy 0.9 in every trial. They differ in their tasks or in a pretraining of"
        " their own, so their energies are not ranked."
    )
    assert {(each["pareto"], each["tied_with_cheapest"]) for each in said["configurations"]} == {(None, None)}
    rows = list(csv.DictReader(io.StringIO(configurations_csv(summary))))
    assert {(row["pareto"], row["tied_with_cheapest"]) for row in rows} == {("n/a", "n/a")}
    named = {figure.key: figure for figure in figures(summary, [])}
    page = without_scripts(report_html(summary, run()))
    assert not re.search(r'class="best"|>Pareto<|>cheapest<|tie with cheapest|A tie is called', page)
    assert not any("Pareto" in str(trace.name) for trace in named["pareto"].plot.data)
    assert "do not do the same work" in named["pareto"].caption
    assert named["energy-bars"].caption.startswith("Least energy first")
    terminal = io.StringIO()
    Console(file=terminal, width=200).print(terminal_table(summary))
    assert "with cheapest" not in terminal.getvalue()
    assert "tie is called" not in terminal.getvalue()


def test_without_a_target_other_work_is_not_ranked_either() -> None:
    headline = summarise(replace(regimes.multitask(), run=regimes.multitask().run | {"objective": None})).headline
    assert headline.sentence.startswith("3 configurations ran. They differ in their tasks")
    assert headline.cheapest is None


def test_one_use_of_a_pretraining_in_every_trial_is_the_same_work() -> None:
    data = example(extra={"pretrained": {"from": "base"}, "tasks": ["digit"]})
    assert summarise(data).comparable
    assert summarise(data).headline.worst_to_best_energy_ratio == pytest.approx(8)
