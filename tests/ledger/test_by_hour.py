"""A run's grams by the hour: against hours counted by hand, and against the account of the run."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER, SUMMARY
from energysweep.hourly.grid import NamedSource
from energysweep.hourly.hours import HourIntensity
from energysweep.hourly.table import CsvHours
from energysweep.ledger.by_hour import ByTheHour
from energysweep.ledger.store import LedgerData, read_ledger
from energysweep.ledger.summary import summarise
from energysweep.report.answers import hourly_text
from energysweep.report.html import report_html
from tests.support.accounted import NOVEMBER_ENDS, Hosts, run_over_midnight
from tests.support.example import CARBON, STARTED_AT, example

MIDNIGHT = int(NOVEMBER_ENDS)
FIRST = int(STARTED_AT) // 3600 * 3600


def grid(grams: dict[int, float]) -> NamedSource:
    known = {hour: HourIntensity("DE", hour, value, "measured", "day.csv", None) for hour, value in grams.items()}
    return NamedSource("day.csv", CsvHours(Path("day.csv"), known))


def counted(data: LedgerData, grams: dict[int, float]) -> ByTheHour:
    found = summarise(data, hours=grid(grams)).hourly
    assert found is not None
    return found


def test_a_run_over_midnight_has_each_hours_joules_at_its_own_grid(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 10)) as hosts:
        second = run_over_midnight(hosts)
        data = read_ledger(hosts.results / "run" / LEDGER)
        found = counted(data, {MIDNIGHT - 3600: 720.0, MIDNIGHT: 3600.0})
    assert {each.hour: each.joules for each in found.hours} == pytest.approx(
        {MIDNIGHT - 3600: 7 * second, MIDNIGHT: 2 * second}, rel=1e-9
    )
    assert found.emissions_grams == pytest.approx(7 * second * 0.0002 + 2 * second * 0.001, rel=1e-9)
    assert found.untimed_joules == 0


def test_an_hour_that_the_file_does_not_have_counts_by_the_yearly_mean_and_says_so(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 3)) as hosts:
        run = hosts.run("run", carbon=CARBON)
        run.begin()
        run.work("t0")
        hosts.wait(4)
        run.end()
        data = read_ledger(hosts.results / "run" / LEDGER)
        found = counted(data, {MIDNIGHT - 3600: 720.0})
    assert [each.kind for each in found.hours] == ["measured", "yearly"]
    before, after = (each.joules for each in found.hours)
    assert found.emissions_grams == pytest.approx(before * 0.0002 + after * 0.0001)
    assert found.joules_of("yearly") == after


def test_without_a_yearly_mean_an_unknown_hour_has_no_grams_and_neither_has_the_run() -> None:
    data = example(carbon=None)
    found = counted(data, {0: 100.0})
    assert [(each.kind, each.grams) for each in found.hours] == [(None, None)]
    assert found.emissions_grams is None
    assert "n/a" in (hourly_text(summarise(data, hours=grid({0: 100.0}))) or "")


@given(grams=st.floats(0, 2000), pue=st.floats(1, 3))
def test_a_constant_grid_by_the_hour_is_that_grid(grams: float, pue: float) -> None:
    data = example(carbon=CARBON | {"grams_per_kwh": grams, "pue": pue})
    summary = summarise(data, hours=grid({FIRST: grams}))
    assert summary.hourly is not None
    assert summary.hourly.emissions_grams == pytest.approx(summary.totals.emissions_grams, rel=1e-9, abs=1e-12)


def test_of_what_nobody_knows_the_time_it_counts_by_the_yearly_mean() -> None:
    data = example()
    untimed = replace(data, run={**data.run, "started_at": None, "duration_seconds": None}, leases=[])
    found = counted(untimed, {FIRST: 1.0})
    assert (found.hours, found.untimed_joules) == ((), pytest.approx(2283.0))
    assert found.emissions_grams == pytest.approx(0.2283)
    assert found.joules_of("yearly") == found.untimed_joules


def test_a_damaged_ledger_of_endless_time_is_counted_in_a_moment() -> None:
    found = counted(example(duration_seconds=1e15), {FIRST: 1.0})
    assert found.untimed_joules > 0
    assert len(found.hours) < 10


def test_the_report_says_it_and_escapes_the_name_of_the_file() -> None:
    data = example()
    known = {FIRST: HourIntensity("DE", FIRST, 36.0, "forecast", "x", None)}
    summary = summarise(data, hours=NamedSource("<b>day.csv", CsvHours(Path("day.csv"), known)))
    page = report_html(summary, data)
    assert "By the hour (&lt;b&gt;day.csv): ≈ 22.8 mg (est.) of CO2e; of the energy 100.0 % in forecast hours" in page
    assert "By the hour" not in report_html(summarise(data), data)


def test_the_command_counts_a_run_by_the_hours_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 3)) as hosts:
        run = hosts.run("run", carbon=CARBON)
        run.begin()
        run.work("t0")
        hosts.wait(4)
        run.end()
        folder = hosts.results / "run"
        file = tmp_path / "day.csv"
        file.write_text("Datum von;zone;grams_per_kwh\n01.12.2025 00:00;DE;720\n01.12.2025 01:00;DE;3600\n")
        asked = f"hourly={file},timezone=Europe/Berlin,zone=DE,country=DEU"
        assert main(["report", str(folder), "--carbon", asked]) == 0
        assert "By the hour (day.csv)" in " ".join(capsys.readouterr().out.split())
        told = json.loads((folder / SUMMARY).read_text())
        assert [each["hour"] for each in told["hours"]] == ["2025-11-30T23:00:00+00:00", "2025-12-01T00:00:00+00:00"]
        assert told["hourly"]["measured_joules"] == pytest.approx(sum(each["joules"] for each in told["hours"]))
        assert told["carbon"]["zone"] == "DEU"

        for wrong in (f"hourly={file}", "hourly=", "zone=DE", f"hourly={file},hourly={file}", "hourly=/nowhere.csv"):
            assert main(["report", str(folder), "--carbon", wrong]) == 2
        assert main(["explain", str(folder), "--carbon", asked]) == 2  # by the hour there is only the whole run
