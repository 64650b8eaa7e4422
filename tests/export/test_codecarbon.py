"""emissions.csv, read by CodeCarbon."""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas
import pytest
from codecarbon.output_methods.emissions_data import EmissionsData
from codecarbon.output_methods.file import FileOutput

from energysweep import __version__
from energysweep.core.carbon import resolve
from energysweep.core.records import TrialStatus
from energysweep.export.codecarbon import emissions_csv
from energysweep.export.run import Exported
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summarise
from energysweep.report.files import trials_csv
from tests.export.conftest import exported
from tests.support.example import CARBON, CRASHED, PRUNED, example

KILOWATT_HOUR = 3_600_000


def rows_of(data: LedgerData) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(emissions_csv(exported(data)))))


def codecarbons_own(**values: Any) -> EmissionsData:
    """A run that CodeCarbon has tracked."""
    needed = {field.name: "" for field in fields(EmissionsData)[:31]}
    return EmissionsData(**needed | {"run_id": "its own", "project_name": "codecarbon", "emissions": 0.5} | values)


def test_codecarbon_reads_the_file_and_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "emissions.csv").write_text(emissions_csv(exported(example())))
    output = FileOutput("emissions.csv", str(tmp_path), on_csv_write="update")
    own = codecarbons_own()
    assert output.has_valid_headers(own)
    output.out(own, own)  # it reads all rows, replaces that of its run, if there is one, and writes them again
    output.out(replace(own, emissions=0.75), own)
    read = pandas.read_csv(tmp_path / "emissions.csv")
    assert list(read.columns) == [field.name for field in fields(EmissionsData)]
    assert len(read) == 18 + 1
    assert list(read.project_name) == ["mnist"] * 18 + ["codecarbon"]
    assert read.emissions.iloc[-1] == 0.75
    assert read.energy_consumed[:18].sum() * KILOWATT_HOUR == pytest.approx(2183)
    assert not list(tmp_path.glob("*.bak"))  # a file with other columns is put aside


def test_a_row_is_a_trial_in_codecarbon_s_units() -> None:
    # 121 J in 12.1 s at 10 W, three quarters of it in the CPU; 360 g/kWh are 0.0001 g/J.
    row = next(row for row in rows_of(example()) if row["run_id"] == CRASHED)
    numbers = {
        "duration": 12.1,
        "emissions": 0.0121 / 1000,
        "emissions_rate": 1e-6,
        "cpu_power": 7.5,
        "ram_power": 2.5,
        "cpu_energy": 121 * 0.75 / KILOWATT_HOUR,
        "ram_energy": 121 * 0.25 / KILOWATT_HOUR,
        "energy_consumed": 121 / KILOWATT_HOUR,
        "pue": 1.0,
    }
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers)
    texts = {
        "timestamp": "2023-11-14T22:13:40",
        "project_name": "mnist",
        "experiment_id": "mnist-20231114T221320Z",
        "country_name": "Germany",
        "country_iso_code": "DEU",
        "region": "",
        "gpu_energy": "",
        "gpu_power": "",
        "water_consumed": "",
        "cpu_count": "",
        "tracking_mode": f"energysweep {__version__}: rapl",
        "os": "Linux",
        "on_cloud": "N",
    }
    assert {name: row[name] for name in texts} == texts


def test_its_grams_are_those_of_trials_csv() -> None:
    data = example()
    trials = csv.DictReader(io.StringIO(trials_csv(exported(data).summary)))
    assert [(row["run_id"], float(row["emissions"])) for row in rows_of(data)] == [
        (row["trial"], float(row["emissions_grams"]) / 1000) for row in trials
    ]


def test_energy_includes_the_pue_as_in_codecarbon_s_own_files() -> None:
    row = rows_of(example(carbon=CARBON | {"pue": 1.5}))[0]  # of 200 J
    assert float(row["energy_consumed"]) * KILOWATT_HOUR == pytest.approx(300)
    assert float(row["cpu_power"]) == pytest.approx(11.25)
    assert float(row["emissions"]) == pytest.approx(float(row["energy_consumed"]) * 0.36)
    assert row["pue"] == "1.5"


def test_an_estimate_is_called_one() -> None:
    assert {row["run_id"]: row["tracking_mode"] for row in rows_of(example("estimate"))} == {
        row.trial: f"energysweep {__version__}: estimate (est.){'; pruned' if row.trial == PRUNED else ''}"
        for row in example().trials
    }


@pytest.mark.parametrize("status", ["pruned", "failed", "interrupted", "running"])
def test_a_training_that_did_not_come_to_its_end_says_so(status: TrialStatus) -> None:
    data = example()
    rows = rows_of(replace(data, trials=[row._replace(status=status) for row in data.trials]))
    assert {row["tracking_mode"] for row in rows} == {f"energysweep {__version__}: rapl; {status}"}


def test_damage_is_told() -> None:
    row = rows_of(replace(example(), damage=("energy: 48 rows left out",)))[0]
    assert row["tracking_mode"] == f"energysweep {__version__}: rapl; damaged ledger"


def test_the_version_is_that_of_the_tables_which_the_figure_is_from() -> None:
    noted = example(carbon=CARBON | {"source": "CodeCarbon 2.1.0 global energy mix"}, versions={"codecarbon": "2.1.0"})
    assert rows_of(noted)[0]["codecarbon_version"] == "2.1.0"
    for grid, of_tables in ((resolve("DEU"), version("codecarbon")), (resolve(grams_per_kwh=300), "")):
        again = Exported(Path("run"), noted, summarise(noted, grid))
        (row, *_) = csv.DictReader(io.StringIO(emissions_csv(again)))
        assert row["codecarbon_version"] == of_tables


@pytest.mark.parametrize(
    ("zone", "place"),
    [
        ("USA/california", ("United States", "USA", "california")),
        ("SWE/SE3", ("Sweden", "SWE", "SE3")),
        ("world average", ("", "", "")),
        ("given", ("", "", "")),
    ],
)
def test_a_place_that_is_not_known_is_empty(zone: str, place: tuple[str, str, str]) -> None:
    row = rows_of(example(carbon=CARBON | {"zone": zone}))[0]
    assert (row["country_name"], row["country_iso_code"], row["region"]) == place


def test_what_was_not_metered_is_empty_and_never_0() -> None:
    row = rows_of(replace(example(carbon=None), energy=(), meters=(), leases=()))[0]
    missing = [name for name in row if name.endswith(("_energy", "_power")) or name.startswith("emissions")]
    assert {row[name] for name in (*missing, "energy_consumed", "duration")} == {""}
    assert row["tracking_mode"].endswith(": not metered")


def test_a_run_without_trials_is_a_head() -> None:
    text = emissions_csv(exported(LedgerData(run={})))
    assert text.count("\n") == 1
    assert text.startswith("timestamp,project_name,run_id,")


def test_hostile_names_stay_texts_of_one_cell(tmp_path: Path) -> None:
    data = example(name='=HYPERLINK("x")\n"\ud800\0,é')
    (tmp_path / "emissions.csv").write_text(emissions_csv(exported(data)), encoding="utf-8")
    read = pandas.read_csv(tmp_path / "emissions.csv")
    assert set(read.project_name) == {'\'=HYPERLINK("x")\n"\\ud800\\x00,é'}
    assert len(read) == 18
