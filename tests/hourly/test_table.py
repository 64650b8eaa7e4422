"""CSVs of hours: our own, those of portals, and what is refused for not being clear."""

from datetime import datetime
from pathlib import Path

import pytest

from energysweep.core.errors import InputError
from energysweep.hourly.table import CsvHours


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


NOON = at("2026-03-01T12:00Z")
MAPS = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
    "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method\n"
    "2026-03-01 12:00:00,Germany,Germany,DE,300.1,350.5,50,45,entsoe.eu,false,\n"
    "2026-03-01 13:00:00,Germany,Germany,DE,310,360,50,45,entsoe.eu,true,TIME_SLICER_AVERAGE\n"
)


def read(folder: Path, text: str, zone: str | None = None, timezone: str | None = None) -> dict[int, tuple[float, str]]:
    file = folder / "hours.csv"
    file.write_text(text, encoding="utf-8")
    found = CsvHours.read(file, zone, timezone).by_hour
    return {hour: (each.grams_per_kwh, each.kind) for hour, each in found.items()}


@pytest.mark.parametrize(
    "text",
    [
        "hour,grams_per_kwh\n2026-03-01T12:00Z,350.5\n",
        "\ufeffhour,grams_per_kwh\n2026-03-01T12:00:00+00:00,350.5\n",
        "hour;grams_per_kwh\n2026-03-01T13:00+01:00;350,5\n",
        f"timestamp,grams_per_kwh\n{NOON},350.5\n",
        "datetime\tgrams_per_kwh\tkind\n2026-03-01T12:00Z\t350.5\tmeasured\n",
        "HourUTC;HourDK;PriceArea;CO2PerkWh\n2026-03-01T12:00:00;2026-03-01T13:00:00;DK1;350,5\n",
        "MTU (CET/CEST),Carbon intensity\n01.03.2026 13:00 - 01.03.2026 14:00,350.5\n",
        "DATETIME (UTC),CARBON_INTENSITY\n2026-03-01 12:00,350\n2026-03-01 12:30,351\n",
        "Datetime (UTC),Actual Carbon Intensity (gCO2/kWh),Forecast Carbon Intensity (gCO2/kWh),Index\n"
        "2026-03-01T12:00Z,350.5,12,high\n",
    ],
)
def test_an_hour_is_read_in_every_form(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {NOON: (pytest.approx(350.5), "measured")}


def test_electricity_maps_export_gives_the_life_cycle_and_what_was_estimated(tmp_path: Path) -> None:
    assert read(tmp_path, MAPS) == {NOON: (350.5, "measured"), NOON + 3600: (360.0, "forecast")}


def test_an_hour_that_was_only_forecast_says_so(tmp_path: Path) -> None:
    text = "from,Actual Carbon Intensity,Forecast Carbon Intensity\n2026-03-01T12:00Z,,200\n2026-03-01T13:00Z,n/e,\n"
    assert read(tmp_path, text) == {NOON: (200.0, "forecast")}


def test_german_numbers_have_commas_and_dots_for_people(tmp_path: Path) -> None:
    text = "Datum von;Datum bis;grams_per_kwh\n01.03.2026 13:00;01.03.2026 14:00;1.234,5\n"
    assert read(tmp_path, text, timezone="Europe/Berlin") == {NOON: (1234.5, "measured")}


def test_the_hour_that_clocks_have_twice_is_two_hours_and_the_lost_one_is_none(tmp_path: Path) -> None:
    # 2026-10-25: 03:00 CEST is 02:00 CET again.
    rows = ["01:00;1", "02:00;2", "02:30;4", "02:00;5", "02:30;7", "03:00;8"]
    text = "Datum von;grams_per_kwh\n" + "".join(f"25.10.2026 {row}\n" for row in rows)
    midnight = at("2026-10-25T00:00Z")
    found = read(tmp_path, text, timezone="Europe/Berlin")
    assert {(hour - midnight) // 3600: grams for hour, (grams, _) in found.items()} == {-1: 1, 0: 3, 1: 6, 2: 8}

    spring = "Datum von;grams_per_kwh\n29.03.2026 02:00;5\n"
    with pytest.raises(InputError, match=r"line 2: there is no 2026-03-29 02:00:00 in Europe/Berlin"):
        read(tmp_path, spring, timezone="Europe/Berlin")


def test_one_of_several_zones_is_chosen(tmp_path: Path) -> None:
    text = "hour,zone,grams_per_kwh\n2026-03-01T12:00Z,DE,400\n2026-03-01T12:00Z,FR,40\n"
    assert read(tmp_path, text, zone="FR") == {NOON: (40.0, "measured")}
    with pytest.raises(InputError, match=r"several zones \(DE, FR\)"):
        read(tmp_path, text)
    with pytest.raises(InputError, match="no hour of zone SE"):
        read(tmp_path, text, zone="SE")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("hour,grams_per_kwh\n", "holds no hour"),
        ("hour,solar,wind\n2026-03-01T12:00Z,1,2\n", "no column is of the intensity"),
        ("when,grams_per_kwh\n2026-03-01T12:00Z,1\n", "no column is of the time"),
        ("hour,grams_per_kwh\n2026-03-01T12:00,1\n", "line 2: '2026-03-01T12:00' is a local time without its offset"),
        ("hour,grams_per_kwh\nyesterday,1\n", "line 2: 'yesterday' is no time"),
        ("hour,grams_per_kwh\n2026-03-01T12:00Z,much\n", "line 2: 'much' is no number of grams"),
        ("hour,grams_per_kwh\n2026-03-01T12:00Z,-5\n", "line 2: '-5' is no number of grams"),
        ("hour,grams_per_kwh\n2026-03-01T12:00Z,inf\n", "line 2: 'inf' is no number of grams"),
        ("hour,grams_per_kwh\n0001-01-01T00:00Z,5\n", "is no time of our days"),
        ('hour,grams_per_kwh\n"2026-03-01T12:00Z,1\n', "this is no CSV"),
        ("Datum von;grams_per_kwh\n25.10.2026 02:00;5\n", "is twice in Europe/Berlin, and here once"),
        ("Datum von;grams_per_kwh\n" + "25.10.2026 02:00;5\n" * 3, "is here more than twice"),
    ],
)
def test_what_is_not_clear_is_one_error_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, timezone="Europe/Berlin" if "Datum" in text else None)
    assert message in caught.value.problem
    assert caught.value.file == str(tmp_path / "hours.csv")


def test_an_unknown_time_zone_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no time zone"):
        read(tmp_path, "hour,grams_per_kwh\n2026-03-01T12:00,1\n", timezone="Mars/../Olympus")


def test_what_is_hostile_in_a_file_is_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, 'hour,grams_per_kwh\n"\x1b[31m\nboo",1\n')
    assert "\n" not in caught.value.problem
    assert "\x1b" not in caught.value.problem
