"""A trial that never ran, or did not end, is not one that did not reach the target."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from energysweep.core.objective import Outcome, outcome
from energysweep.core.records import PILOT, EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow, TrialStatus
from energysweep.ledger.model import Extent, open_text
from energysweep.ledger.run_state import with_never_begun
from energysweep.ledger.store import LedgerData
from energysweep.report import combined_table, summarise, terminal_table
from energysweep.report.answers.settings import setting_lines
from energysweep.report.charts import figures
from energysweep.report.files import configurations_csv, summary_json
from energysweep.report.html import report_html
from tests.report.test_compare import printed

TARGET = {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1}
LEASE = LeaseRow("", "boot-1", "w", "laptop", "", 1, 7, 0.0, 10.0, 10.0, 10.0, 10.0, 1.0, "{}", 0.0)
METER = MeterRow("boot-1", "w", "laptop", "cpu-0", "cpu", "rapl", 9000.0, 10, 10, 5.0, "given", None, 0, 0)


def sweep(
    trials: list[tuple[int, TrialStatus, float | None]], status: str = "interrupted", planned: int | None = 8
) -> LedgerData:
    """A ledger of these trials: the value of ``x``, the status, the joules at the target.

    A trial that did not reach it has spent 100 J if it has begun (all but ``pending``), and reported 0.5.
    """
    rows, leases, energy, results = [], [], [], []
    for number, (x, state, joules) in enumerate(trials):
        trial = f"t{number}"
        rows.append(TrialRow(trial, {"x": x}, number, "", state, 1, None, None, "boom" if state == "failed" else None))
        if state == "pending":
            continue
        leases.append(LEASE._replace(lease=trial, trial=trial))
        energy.append(EnergyRow("boot-1", "w", trial, "cpu-0", "cpu", "active", "rapl", joules or 100.0))
        value = 0.5 if joules is None else 0.95
        results.append(ResultRow(trial, 1, 5.0, joules or 100.0, joules or 100.0, {"accuracy": value}))
    run = {"id": "run", "name": "run", "status": status, "objective": TARGET, "varying": ["x"], "started_at": 0.0}
    if planned is not None:
        run["planned_trials"] = planned
    return LedgerData(run, energy, [METER], leases, rows, results=results)


# 2 of 8 trials have ended, both at the target; the others never ran, or were cut off.
INTERRUPTED = sweep(
    [
        (1, "completed", 40.0),
        (2, "completed", 60.0),
        *((x, "interrupted", None) for x in (1, 2)),
        *((x, "pending", None) for x in (3, 3, 4)),
    ]
)


@pytest.mark.parametrize(
    ("status", "reached", "found"),
    [
        ("completed", True, "reached"),
        ("interrupted", True, "reached"),
        ("failed", True, "reached"),
        ("completed", False, "missed"),
        ("pruned", False, "missed"),
        ("failed", False, "failed"),
        ("pending", False, "open"),
        ("running", False, "open"),
        ("interrupted", False, "open"),
    ],
)
def test_only_what_ran_to_its_end_or_was_pruned_has_missed_the_target(
    status: TrialStatus, reached: bool, found: Outcome
) -> None:
    assert outcome(status, reached=reached) == found


def everything(data: LedgerData) -> str:
    """All that a person may read of a run, as one text."""
    summary = summarise(data)
    charts = [figure.plot.to_json() for figure in figures(summary, data.samples)]
    page = report_html(summary, data)
    return "\n".join([printed(terminal_table(summary)), page, *charts, printed(combined_table([summary]))])


def test_an_interrupted_sweep_says_what_is_open_and_how_it_goes_on() -> None:
    summary = summarise(INTERRUPTED)
    assert summary.headline.sentence == (
        "So far, reaching accuracy 0.9 took between 40.0 J, the lowest of 2 configurations, and 60.0 J"
        " (\N{MULTIPLICATION SIGN}1.50); cheapest: x=1."
        " Interrupted: 6 of 8 trials are open; energysweep resume RUN_DIR goes on with what is left."
    )
    assert summary.to_dict()["trials"] == {"planned": 8, "ended": 2, "failed": 0, "open": 6}


def test_nowhere_does_an_open_trial_count_as_one_that_did_not_reach_the_target() -> None:
    text = everything(INTERRUPTED)
    assert "not reached" not in text.replace('"not reached"', "")
    assert "did not reach" not in text
    assert "did not always arrive" not in text
    assert "1 of 1, 1 open" in text
    assert "2 open" in text


def test_the_files_count_what_is_open() -> None:
    summary = summarise(INTERRUPTED)
    rows = list(csv.DictReader(io.StringIO(configurations_csv(summary))))
    columns = ("trials", "reached_target", "missed_target", "open", "failed")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("2", "1", "0", "1", "0"),
        ("2", "1", "0", "1", "0"),
        ("2", "0", "0", "2", "0"),
        ("1", "0", "0", "1", "0"),
    ]
    content = json.loads(summary_json(summary))
    assert [(each["missed_target"], each["open"]) for each in content["configurations"]] == [
        (0, 1),
        (0, 1),
        (0, 2),
        (0, 1),
    ]


def test_a_trial_that_ended_without_the_target_is_told_from_one_that_is_open() -> None:
    data = sweep([(1, "completed", 40.0), (2, "completed", None), (2, "interrupted", None), (3, "failed", None)])
    summary = summarise(data)
    assert "1 of 3 configurations did not reach it in every trial; 1 trial failed" in summary.headline.sentence
    assert [each.arrival_text for each in summary.configurations] == ["1 of 1", "0 of 1, 1 open", "1 failed"]
    assert [each.to_target_text for each in summary.configurations] == [None, "not reached", "1 failed"]


def test_a_trial_that_was_stopped_for_being_worse_is_told_from_one_that_ran_to_its_end() -> None:
    stopped: list[tuple[int, TrialStatus, float | None]] = [(3, "pruned", None), (4, "pruned", None)]
    summary = summarise(sweep([(1, "completed", 40.0), (2, "completed", None), *stopped], "done"))
    assert (
        "; 1 of 4 configurations did not reach it in every trial; 2 were stopped before they reached it."
        in summary.headline.sentence
    )
    assert [each.to_target_text for each in summary.configurations] == [
        None,
        "not reached",
        "stopped before",
        "stopped before",
    ]
    summary = summarise(sweep([(1, "completed", 40.0), (3, "pruned", None)], "done"))
    assert summary.headline.sentence.endswith("; 1 of 2 configurations was stopped before it reached it.")
    # One of two repeats ran to its end: that is what the configuration is known by.
    summary = summarise(sweep([(1, "completed", 40.0), (3, "pruned", None), (3, "completed", None)], "done"))
    assert summary.headline.sentence.endswith("; 1 of 2 configurations did not reach it in every trial.")


def test_nobody_reached_the_target_is_only_said_of_trials_that_ended() -> None:
    def said(*trials: tuple[int, TrialStatus, float | None]) -> str:
        return summarise(sweep(list(trials), planned=2)).headline.sentence

    open_trial: tuple[int, TrialStatus, None] = (2, "interrupted", None)
    assert said((1, "interrupted", None), open_trial).startswith("No trial has ended that could reach accuracy 0.9. I")
    assert said((1, "failed", None), open_trial).startswith(
        "No trial has ended that could reach accuracy 0.9; 1 trial failed."
    )
    assert said((1, "pruned", None), open_trial).startswith("No configuration reached accuracy 0.9 so far. I")
    assert said((1, "completed", None), (2, "completed", None)) == "No configuration reached accuracy 0.9."
    assert said((1, "completed", 40.0), open_trial).startswith("So far only x=1 reached accuracy 0.9 in every trial,")
    assert said((1, "completed", 40.0), (1, "interrupted", None)).startswith(
        "So far only x=1 reached accuracy 0.9 in 1 of 2 trials,"
    )


def test_a_killed_driver_s_run_knows_of_trials_that_no_row_tells_of() -> None:
    summary = summarise(sweep([(1, "completed", 40.0), (2, "running", None)], status="running"))
    assert summary.extent.open == 7
    assert summary.headline.sentence.endswith(
        "The run has not ended: 7 of 8 trials are open. If its driver was killed, energysweep resume RUN_DIR goes on"
        " with what is left."
    )


@pytest.mark.parametrize(
    ("open_trials", "planned", "said"),
    [(1, 1, "1 of 1 trial is open"), (1, 2, "1 of 2 trials is open"), (2, 2, "2 of 2 trials are open")],
)
def test_what_is_open_is_said_in_its_number(open_trials: int, planned: int, said: str) -> None:
    text = open_text(Extent("interrupted", planned, planned - open_trials, 0, open_trials))
    assert text.startswith(f"Interrupted: {said};")


def test_a_run_that_is_done_has_nothing_open() -> None:
    done = sweep([(1, "completed", 40.0), (2, "completed", 60.0)], status="done")
    assert "open" not in summarise(done).headline.sentence
    old = summarise(sweep([(1, "completed", 40.0), (2, "interrupted", None)], planned=None))
    assert "1 of 2 trials is open" in old.headline.sentence  # of an older energysweep, which noted no plan


def test_nothing_goes_on_from_a_pilot_that_was_broken_off() -> None:
    trials: list[tuple[int, TrialStatus, float | None]] = [(1, "completed", 40.0), (2, "completed", 60.0)]
    broken = TrialRow("p", {"x": 1}, None, "", "interrupted", 1, None, None, None, PILOT)

    def extent(status: str, *more: TrialRow) -> tuple[int, int]:
        data = sweep(trials, status=status, planned=2)
        found = summarise(replace(data, trials=[*data.trials, *more])).extent
        return found.planned, found.open

    assert extent("done", broken) == extent("interrupted", broken) == (2, 0)
    assert extent("running", broken._replace(status="running")) == (3, 1)
    assert extent("done", broken._replace(status="completed")) == (3, 0)


def test_what_is_open_or_failed_is_in_no_analysis() -> None:
    ended: list[tuple[int, TrialStatus, float | None]] = [
        *((1, "completed", joules) for joules in (40.0, 41.0)),
        *((2, "completed", joules) for joules in (60.0, 61.0)),
    ]
    cut_off: list[tuple[int, TrialStatus, float | None]] = [
        (1, "interrupted", None),
        (2, "failed", None),
        (3, "running", None),
    ]
    with_all, without = (summarise(sweep(trials)) for trials in ([*ended, *cut_off], ended))
    assert with_all.to_dict()["analyses"] == without.to_dict()["analyses"]
    assert with_all.to_dict()["analyses"]["effects"]["energy"]["censored"] == []
    (line,), (alone,) = setting_lines(with_all), setting_lines(without)
    assert line.brief == alone.brief
    assert line.detail == f"{alone.detail} 1 of 3 settings cannot be told of yet: no trial of theirs has ended well."


def test_a_trial_that_was_cut_off_after_the_target_has_reached_it() -> None:
    summary = summarise(sweep([(1, "interrupted", 40.0), (2, "failed", 60.0)], planned=2))
    assert [each.arrival_text for each in summary.configurations] == ["1 of 1", "1 of 1"]
    assert summary.headline.sentence.startswith(
        "So far, reaching accuracy 0.9 took between 40.0 J, the lowest of 2 configurations, and 60.0 J"
    )


def test_without_a_target_the_tables_say_which_trials_have_ended() -> None:
    data = sweep([(1, "completed", 40.0), (1, "interrupted", None), (2, "completed", 60.0), (3, "failed", None)])
    summary = summarise(replace(data, run=data.run | {"objective": {"metric": "accuracy"}}))
    assert summary.headline.sentence.startswith(
        "So far, a trial took between 40.0 J, the lowest of 2 configurations, and 60.0 J"
    )
    text = printed(terminal_table(summary))
    assert "1 ended, 1 open" in text
    assert "1 failed" in text


def test_a_sweep_that_is_over_has_pending_trials_on_dashboards_if_some_never_began() -> None:
    assert with_never_begun({"completed": 2, "interrupted": 2}, 8) == {"completed": 2, "interrupted": 2, "pending": 4}
    assert with_never_begun({"completed": 2}, 2) == {"completed": 2}
