"""What a report says of the time in which nobody measured."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from energysweep.ledger.balance import Part, parts, seconds_between
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.html import report_html
from energysweep.report.not_measured import not_measured
from tests.support.example import CRASHED, STARTED_AT, example

TWO_PARTS = [
    {"started_at": STARTED_AT, "duration_seconds": 50.0},
    {"started_at": STARTED_AT + 84, "duration_seconds": 70.0},
]

UNHEARD = (
    "No driver asked laptop to the end (it was killed, or ended in a hurry): of what was drawn there after the last"
    " answer nothing is booked."
)


def without_gaps() -> LedgerData:
    data = example()
    return replace(data, leases=[row._replace(covered_seconds=row.held_seconds) for row in data.leases])


def test_a_whole_run_has_no_gap() -> None:
    data = without_gaps()
    assert not_measured(summarise(data)) == []
    assert "No gap" in report_html(summarise(data), data)


def test_a_lease_that_was_never_closed_names_its_lost_node() -> None:
    data = example()
    first, *others = data.leases
    data = replace(data, leases=[first._replace(closed_at=None), *others])
    said = "laptop was lost: of what it drew in its last second or so nothing is booked."
    assert said in not_measured(summarise(data))
    assert said not in not_measured(summarise(replace(data, run=data.run | {"status": "running"})))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"ended": True}, "laptop was lost: of what it drew in its last second or so nothing is booked."),
        ({"ended": False}, UNHEARD),
        ({}, UNHEARD),
    ],
    ids=["its driver asked to the end", "its driver was killed", "an older ledger, gone on with"],
)
def test_the_host_of_a_killed_driver_is_not_called_lost(part: dict[str, bool], said: str) -> None:
    data = without_gaps()
    first, *others = data.leases
    parts = [TWO_PARTS[0] | part, TWO_PARTS[1] | {"ended": True}]
    data = replace(data, run=example(parts=parts).run, leases=[first._replace(closed_at=None), *others])
    found = [each for each in not_measured(summarise(data)) if "parts," not in each]
    assert found == [said]


def test_the_time_between_the_parts_of_a_resumed_run_is_named() -> None:
    data = replace(without_gaps(), run=example(parts=TWO_PARTS).run)
    said = "2 parts, 34.0 s apart: what their hosts drew in between is background, or was not measured."
    assert not_measured(summarise(data)) == [said]
    assert said in report_html(summarise(data), data)
    assert summarise(data).to_dict()["parts"] == [
        {"started": "2023-11-14T22:13:20+00:00", "duration_seconds": 50.0},
        {"started": "2023-11-14T22:14:44+00:00", "duration_seconds": 70.0},
    ]


@pytest.mark.parametrize(
    ("durations", "seconds"),
    [((50.0, 70.0), 34.0), ((None, 70.0), None), ((50.0, None), 34.0), ((99.0, 70.0), 0.0)],
    ids=["known", "killed before it noted its time", "still running", "clocks that disagree"],
)
def test_the_time_between_parts(durations: tuple[float | None, float | None], seconds: float | None) -> None:
    noted: list[dict[str, Any]] = [
        part | {"duration_seconds": each} for part, each in zip(TWO_PARTS, durations, strict=True)
    ]
    assert seconds_between(parts({"parts": noted})) == seconds


def test_parts_are_in_the_order_of_time() -> None:
    assert parts({"parts": TWO_PARTS[::-1]}) == (Part(STARTED_AT, 50.0), Part(STARTED_AT + 84, 70.0))
    assert parts({}) == ()


def test_a_node_whose_cpu_nobody_counted_is_named() -> None:
    data = without_gaps()
    _cpu, dram = data.meters
    said = "The CPU of laptop: no meter counted it, so its energy is in no number here."
    assert not_measured(summarise(replace(data, meters=[dram]))) == [said]


def test_a_gpu_that_trials_held_and_nobody_counted_is_named() -> None:
    data = without_gaps()
    leases = [row._replace(gpus='{"GPU-x": 1.0}') for row in data.leases]
    trials = len({row.trial for row in leases})
    leases[0] = leases[0]._replace(gpus='{"0": 0.5, "cpu-0": 1.0}')
    first = leases[0].trial
    alone = all(row.trial != first for row in leases[1:])
    assert not_measured(summarise(replace(data, leases=leases))) == [
        "GPU 0 (a number alone, which may be another board's elsewhere) of laptop, which 1 trial held: no meter counted"
        " it, so its energy is in no number here.",
        f"GPU GPU-x of laptop, which {trials - alone} trials held: no meter counted it, so its energy is in no number"
        " here.",
    ]


def test_a_device_without_good_readings_is_named_with_its_seconds() -> None:
    data = without_gaps()
    cpu, dram = data.meters
    data = replace(data, meters=[cpu._replace(covered_seconds=90.0, failures=4, resets=1), dram])
    assert not_measured(summarise(data)) == [
        "cpu-0 of laptop: 30.0 s without good readings (4 failed readings, 1 resets or jumps)."
    ]


def test_a_failed_reading_that_the_next_one_made_good_is_no_gap() -> None:
    data = without_gaps()
    cpu, dram = data.meters
    assert not_measured(summarise(replace(data, meters=[cpu._replace(failures=4), dram]))) == []


def test_trials_that_were_measured_in_part_or_not_at_all_are_named() -> None:
    data = example()
    data = replace(data, leases=[row for row in data.leases if row.trial != "t-0.1-16-0"])
    assert not_measured(summarise(data)) == [
        "No energy was measured of 1 trial that reported results: t-0.1-16-0.",
        f"Only part of 1 trial was measured: {CRASHED} (90.0 % of its time).",
    ]


def test_the_page_shows_uncertainty_and_resolution_of_each_meter() -> None:
    data = example()
    data = replace(data, meters=[row._replace(resolution_joules=0.25) for row in data.meters])
    page = report_html(summarise(data), data)
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert {"± 10 %", "± 20 %", "0.25 J"} <= set(cells)
    assert "Desrochers 2016" in page


def test_lost_and_pruned_energy_stand_in_the_tables() -> None:
    data = example()
    page = report_html(summarise(data), data)
    configurations = page.partition("<h2>Configurations</h2>")[2].partition("<details>")[0]
    assert "Lost</th>" in configurations
    assert "Pruned</th>" in configurations
    assert ">11.0 J<" in configurations
    assert ">22.0 J<" in configurations
