"""The receipt of a trial, against the sums of ``example``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.core.buckets import BUCKETS
from energysweep.core.errors import InputError
from energysweep.core.records import DecisionRow
from energysweep.ledger.store import LedgerData
from energysweep.report import explain, summarise
from energysweep.report.terminal import receipt_lines
from tests.support.example import CRASHED, HOST, PRUNED, WINDOW, example
from tests.support.ledgers import write_ledger


def lines_of(data: LedgerData, trial: str = CRASHED) -> list[str]:
    return receipt_lines(explain(data, trial))


def joules_after(lines: list[str], name: str) -> list[float]:
    """The joules of every line of this name."""
    found = (re.fullmatch(rf"\s*{re.escape(name)}\s+(?:≈ )?\s*(-?[\d,]+\.\d+) J.*", line) for line in lines)
    return [float(match.group(1).replace(",", "")) for match in found if match]


def test_a_receipt_has_every_attempt_and_lease_with_its_joules() -> None:
    receipt = explain(example(), CRASHED)
    first, second = receipt.attempts
    assert (first.number, first.row and first.row.outcome, first.lost_joules) == (1, "failed", pytest.approx(11))
    assert (second.number, second.lost_joules) == (2, 0)
    assert [lease.joules for attempt in receipt.attempts for lease in attempt.leases] == pytest.approx([66, 55])
    (lease,) = first.leases
    booked = {(row.component, row.bucket): row.joules for row in lease.rows}
    assert booked == pytest.approx(
        {("cpu", "active"): 39.6, ("cpu", "idle"): 9.9, ("dram", "active"): 13.2, ("dram", "idle"): 3.3}
    )
    assert lease.uncovered_seconds == pytest.approx(0.66)  # a tenth of 6.6 s


def test_the_balance_is_the_meter_against_all_buckets() -> None:
    (window,) = explain(example(), CRASHED).windows
    cpu, dram = window.devices
    assert {name: joules for name, joules in cpu.buckets if joules} == pytest.approx(
        {
            "this trial": 90.75,
            "other trials": 1546.5,  # three quarters of 2183 J - 121 J
            "overhead": 100,
            "background": 150,
            "unreserved idle": 567,
        }
    )
    assert cpu.booked_joules == pytest.approx(2454.25)
    assert cpu.difference_joules == pytest.approx(0, abs=1e-9)
    assert dram.booked_joules == pytest.approx(545.75)


def test_a_meter_that_disagrees_is_shown_as_a_difference() -> None:
    data = example()
    cpu, dram = data.meters
    lines = lines_of(replace(data, meters=[cpu._replace(joules=cpu.joules + 30), dram]))
    assert joules_after(lines, "difference") == pytest.approx([30, 0, 30])


def test_a_window_without_the_trial_is_not_on_its_receipt() -> None:
    data = example()
    elsewhere = [row._replace(window="window-2") for row in data.meters]
    receipt = explain(replace(data, meters=[*data.meters, *elsewhere]), CRASHED)
    assert [(window.host, window.window) for window in receipt.windows] == [(HOST, WINDOW)]


def test_the_printed_lines_add_up() -> None:
    lines = lines_of(example())
    assert joules_after(lines, "= this lease") == [66, 55]
    assert joules_after(lines, "= this trial") == [121]
    assert joules_after(lines, "of it lost") == [11]
    of_host = [bucket.title for bucket in BUCKETS if bucket.of == "host"]
    apart = [f"its {bucket.title}" for bucket in BUCKETS if bucket.of == "lease" and not bucket.is_work]
    parts = ("this trial", *apart, "other trials", *of_host)
    by_device = zip(*(joules_after(lines, part) for part in parts), strict=True)
    sums = [sum(column) for column in by_device]
    assert sums == pytest.approx([2454.25, 545.75, 3000])
    assert joules_after(lines, "= booked") == pytest.approx(sums)
    counters = joules_after(lines, "the device's own counter") + joules_after(lines, "the devices' own counters")
    assert counters == pytest.approx([2454.25, 545.75, 3000])


def test_a_receipt_tells_gaps_failures_and_resets() -> None:
    data = example()
    cpu, dram = data.meters
    cpu = cpu._replace(covered_seconds=108.0, failures=3, resets=1, resolution_joules=0.25)
    text = "\n".join(lines_of(replace(data, meters=[cpu, dram])))
    assert "0.660 s were not measured" in text
    assert "coverage 90.0 % (12.000 s not covered; 3 failed readings, 1 reset)" in text
    assert "resolution 0.25 J; idle power 5.00 W (quiet seconds)" in text
    assert "uncertainty ± 10 %: RAPL" in text


def test_every_joule_of_an_estimate_is_called_one() -> None:
    lines = [line for line in lines_of(example("estimate")) if re.search(r"\d J", line)]
    assert len(lines) > 20
    assert [line for line in lines if "≈" not in line or "(est.)" not in line] == []


def test_a_pruned_trial_s_energy_is_pruned() -> None:
    assert joules_after(lines_of(example(), PRUNED), "of it pruned") == [22]


def test_a_trial_that_nobody_measured_says_so() -> None:
    data = example()
    leases = [row for row in data.leases if row.trial != CRASHED]
    text = "\n".join(lines_of(replace(data, leases=leases)))
    assert "no lease: nothing of it was measured" in text
    assert "No energy was measured for this trial." in text


def test_two_attempts_on_two_hosts_have_two_balances() -> None:
    data = example()
    moved = f"{CRASHED}/2"
    host, window = "boot-2", "window-2"
    energy = [row._replace(host=host, window=window) if row.lease == moved else row for row in data.energy]
    leases = [
        row._replace(host=host, window=window, node="desktop") if row.lease == moved else row for row in data.leases
    ]
    receipt = explain(replace(data, energy=energy, leases=leases), CRASHED)
    assert [window.host for window in receipt.windows] == ["boot-1", "boot-2"]
    here, there = ([dict(device.buckets)["this trial"] for device in window.devices] for window in receipt.windows)
    assert here == pytest.approx([49.5, 16.5])
    assert there == pytest.approx([41.25, 13.75])
    assert receipt.trial.energy_joules == pytest.approx(121)


@pytest.mark.parametrize(
    "name",
    [
        PRUNED,
        "t-0.001-256-1",
        "learning_rate=0.001 batch_size=256 seed=1",  # the report
        "learning_rate=0.001 batch_size=256 cpu · t-0.001-256-1",  # the legend of a dashboard
        "batch_size=256  learning_rate=1e-3 seed=1",  # a person
    ],
)
def test_a_trial_is_found_by_its_id_or_its_text(name: str) -> None:
    data = example()
    on_cpu = replace(data, trials=[row._replace(hardware="cpu") for row in data.trials])
    assert explain(on_cpu, name).trial.trial == PRUNED


def test_every_trial_is_found_by_the_text_that_the_report_has_of_it() -> None:
    data = example()
    values: list[Any] = [1, 1.0, "1", True, "two words", {"from": "base", "rate": 0.1}, [[], None], "…", 99 * "x"]
    values += [99 * "x" + "y", 'a "b" on=1 seed=2']
    rows = [data.trials[0]._replace(trial=f"t{number}", parameters={"x": value}) for number, value in enumerate(values)]
    data = replace(data, run=data.run | {"varying": ["x"]}, trials=rows)
    trials = summarise(data).trials
    assert len({trial.config for trial in trials}) == len(values)
    assert [explain(data, trial.config).trial.trial for trial in trials] == [trial.trial for trial in trials]
    assert [explain(data, trial.name).trial.trial for trial in trials] == [trial.trial for trial in trials]


def test_a_text_that_several_trials_have_is_refused_with_what_tells_them_apart() -> None:
    with pytest.raises(InputError, match=r"is the name of 2 trials: t-\S+ \(learning_rate=0.001 batch_size=256 seed=0"):
        explain(example(), "learning_rate=0.001 batch_size=256")


def test_a_unique_beginning_of_an_id_is_enough() -> None:
    data = example()
    trials = [row for row in data.trials if row.trial in (CRASHED, PRUNED)]
    assert explain(replace(data, trials=trials), "t-0.01").trial.trial == CRASHED


def test_a_name_of_several_trials_is_refused_with_their_names() -> None:
    with pytest.raises(InputError, match=r"the name of 2 trials: t-0\.1-256-0 \(.* seed=0 on cpu\), t-0\.1-256-1"):
        explain(example(), "t-0.1-256")


def test_an_unknown_trial_is_refused_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"no trial 't-0\.1-257-1'; there are t-0\.1-256-1"):
        explain(example(), "t-0.1-257-1")


def test_a_run_without_trials_says_so() -> None:
    with pytest.raises(InputError, match="it has none at all"):
        explain(LedgerData({}), "x")


def test_markup_and_tabs_in_what_the_user_named_stay_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = example(extra={"note": "[red]a\tb[/red]"})
    write_ledger(tmp_path, data)
    assert main(["explain", str(tmp_path), CRASHED]) == 0
    assert r'note="[red]a\tb[/red]"' in capsys.readouterr().out


def test_the_command_prints_the_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ledger(tmp_path, example())
    assert main(["explain", str(tmp_path), CRASHED]) == 0
    printed = capsys.readouterr()
    assert "Receipt of trial t-0.01-64-1 of mnist" in printed.out
    assert printed.err == ""


def test_the_command_refuses_what_is_no_trial_or_no_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, example())
    assert main(["explain", str(tmp_path), "nonsense"]) == 2
    assert main(["explain", str(tmp_path / "missing"), CRASHED]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_receipt_says_what_became_of_the_trial_and_by_which_numbers() -> None:
    data = example()
    rows = [
        DecisionRow(90, 1_700_000_050.0, PRUNED, "paused", "turn", 12.3, None, 50.0, {}),
        DecisionRow(91, 1_700_000_060.5, PRUNED, "ended", "capped", 40.1, 38.0, 90.0, {"winners": 3}),
    ]
    lines = lines_of(replace(data, decisions=rows), PRUNED)
    begin = lines.index("What became of it")
    assert lines[begin + 1 : begin + 4] == [
        "  2023-11-14 22:14:10.000 UTC  paused at 12.3 J: others had spent less",
        "  2023-11-14 22:14:20.500 UTC  ended at 40.1 J by the cap: the 3rd-cheapest reached the target with 38.0 J",
        "",
    ]
    assert "What became of it" not in lines_of(replace(data, decisions=[]), PRUNED)


def test_the_command_counts_a_run_s_decisions_and_gives_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = DecisionRow(99, 1_700_000_099.0, "", "ended", "run", None, None, 2000.0, {})
    data = example()
    write_ledger(tmp_path, replace(data, decisions=[*data.decisions, run]))
    assert main(["explain", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "  2023-11-14 22:14:59.000 UTC  the run ended at 2,000 J" in out
    assert re.search(r"^ +1 ended \(asha\)$", out, re.MULTILINE)
    assert re.search(r"^ +18 started$", out, re.MULTILINE)
    assert main(["explain", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"what": "ended", "why": "asha", "number": 1} in said["counts"]
    assert said["decisions"] == [{**run._asdict(), "sentence": "the run ended at 2,000 J"}]
    assert main(["explain", str(tmp_path), PRUNED, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trial"], said["status"], said["energy_joules"]) == (PRUNED, "pruned", pytest.approx(22.0))
    assert [each["what"] for each in said["decisions"]] == ["started", "ended"]


def test_a_run_of_an_older_energysweep_says_that_it_noted_no_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, replace(example(), decisions=[]))
    assert main(["explain", str(tmp_path)]) == 0
    assert "None about a trial is noted" in capsys.readouterr().out
