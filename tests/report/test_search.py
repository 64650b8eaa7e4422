"""The charts that people know from other tools' sweep pages, with energy beside the objective."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.charts import figures
from energysweep.report.charts.base import Figure
from energysweep.report.details import details
from tests.support.example import CRASHED, example
from tests.support.regimes import random_search


def drawn(data: LedgerData) -> dict[str, Figure]:
    found = figures(summarise(data), data.samples, data.decisions, data.trials)
    return {figure.key: figure for figure in found}


def test_history_is_in_the_order_in_which_trials_began() -> None:
    data = random_search(60)
    began = {row.trial: float(-place) for place, row in enumerate(data.trials)}  # the last one first
    data = replace(data, trials=[row._replace(started_at=began[row.trial]) for row in data.trials])
    accuracy, best, joules, least, spent = drawn(data)["history"].plot.data
    costs = [row.joules for row in reversed(data.energy) if row.lease]
    assert list(spent.y) == pytest.approx(list(accumulate(costs)))
    assert list(best.y) == list(accumulate(accuracy.y, max))
    known = [each for each in joules.y if each is not None]
    assert least.y[-1] == min(known)
    assert len(known) < len(joules.y) == 60  # some never reached the target: they have no energy to it
    trials = summarise(data).trials
    assert [trials[place].trial for place in accuracy.customdata] == [row.trial for row in reversed(data.trials)]


def test_slices_show_both_quantities_over_each_parameter() -> None:
    data = random_search(60)
    found = drawn(data)
    assert [key for key in found if key.startswith("slice")] == [f"slice-{place}" for place in range(5)]
    objective, energy = found["slice-0"].plot.data
    summary = summarise(data)
    for x, y, value, place in zip(energy.x, energy.y, objective.y, energy.customdata, strict=True):
        trial = summary.trials[place]
        assert (x, y, value) == (trial.parameters["lr"], trial.energy_to_target_joules, trial.objective)
    assert found["slice-0"].plot.layout.xaxis.type == "log"
    assert list(found["slice-2"].plot.layout.xaxis.ticktext) == ["adam", "rmsprop", "sgd"]


def test_parallel_coordinates_have_a_line_for_each_configuration() -> None:
    figure = drawn(random_search(60))["parallel"]
    titles = ["lr", "width", "optimizer", "dropout", "note", "accuracy", "energy to target (J)"]
    assert list(figure.plot.layout.xaxis.ticktext) == titles
    lines = [
        tuple(each.y[at : at + len(titles)])
        for each in figure.plot.data
        for at in range(0, len(each.y), len(titles) + 1)
    ]
    assert len(lines) == 60
    assert all(-0.2 < height <= 1 for line in lines for height in line)
    assert {height for line in lines for height in line if height < 0} == {-0.12}  # what did not reach the target


def test_importance_is_an_estimate_and_small_samples_say_so() -> None:
    many, few = drawn(random_search(300))["importance"], drawn(example())["importance"]
    assert "estimate" in many.caption
    assert "So few" not in many.caption
    assert "from 7 to 9 configurations" in few.caption
    assert "So few show large shares only." in few.caption
    objective, energy = many.plot.data
    assert objective.y[0] in ("lr", "width")
    assert dict(zip(energy.y, energy.x, strict=True))["width"] > 0.5
    assert dict(zip(objective.y, objective.x, strict=True))["lr"] > 0.5


def test_the_details_of_a_trial_are_its_own() -> None:
    data = example()
    summary = summarise(data)
    found = details(summary, data)
    [crashed] = [each for each in found["trials"] if each["what"].startswith(CRASHED)]
    assert crashed["title"] == "learning_rate=0.01 batch_size=64 seed=1 on cpu"
    assert crashed["parameters"] == [
        ["learning_rate", "0.01"],
        ["batch_size", "64"],
        ["seed", "1"],
        ["hardware", "cpu"],
    ]
    facts = dict(zip(found["names"], crashed["values"], strict=True))
    assert facts["energy"] == "121 J"
    assert facts["energy to the target"] == "55.0 J"
    assert (facts["of it cpu"], facts["of it dram"], facts["lost"]) == ("90.8 J", "30.2 J", "11.0 J")
    assert crashed["attempts"] == ["failed: killed", "completed"]
    assert crashed["curve"]["x"] == list(range(1, 11))
    assert crashed["curve"]["y"][1][:6] == [11, 22, 33, 44, 55, 77]  # the sixth was done twice
    [[other, place]] = crashed["others"]
    assert other == "seed 0, completed"
    assert summary.trials[place].trial == "t-0.01-64-0"


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    data = random_search(2, reports=1001)
    for each in details(summarise(data), data)["trials"]:
        assert len(each["curve"]["x"]) <= 200
        assert each["curve"]["x"][-1] == 1001


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, "bad\udcff", "a\0b", None, [], {"a": [1]}, True]
)
def test_whatever_a_parameter_or_a_metric_is_the_page_has_its_data(value: Any) -> None:
    data = random_search(12)
    data = replace(
        data,
        trials=[row._replace(parameters={**row.parameters, "lr": value}) for row in data.trials[:6]] + data.trials[6:],
        results=[row._replace(metrics={"accuracy": value}) for row in data.results[:90]] + data.results[90:],
    )
    summary = summarise(data)
    assert {"history", "parallel", "slice-0"} <= set(drawn(data))
    json.dumps(details(summary, data), allow_nan=False)
