"""Carbon: the arithmetic by hand, the places against CodeCarbon's own tables, and no silent fallback."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.carbon import Intensity, parse_carbon_option, resolve
from energysweep.core.errors import InputError


def codecarbon_table(name: str) -> Any:
    return json.loads(files("codecarbon").joinpath("data/private_infra", name).read_text())


def test_one_kilowatt_hour_at_380_grams_and_a_pue_of_1_2_emits_456_grams() -> None:
    intensity = resolve(grams_per_kwh=380, pue=1.2)
    assert intensity == Intensity(380.0, "given", None, "given by the user", 1.2)
    assert intensity.emissions_grams(3_600_000) == pytest.approx(456)


def test_no_energy_emits_nothing() -> None:
    assert resolve(grams_per_kwh=380).emissions_grams(0.0) == 0.0


def test_a_grid_without_emissions_is_allowed() -> None:
    assert resolve(grams_per_kwh=0).emissions_grams(3_600_000) == 0.0


def test_without_a_place_the_world_average_is_called_so() -> None:
    intensity = resolve()
    assert intensity.zone == "world average"
    assert intensity.grams_per_kwh == codecarbon_table("carbon_intensity_per_source.json")["world_average"]
    assert (intensity.year, intensity.boundary) == (2018, "direct")  # what the report named in the table is of
    assert "world average" in intensity.source


def test_the_pue_also_counts_for_the_world_average() -> None:
    once, twice = resolve(), resolve(pue=2.0)
    assert twice.emissions_grams(1000) == pytest.approx(2 * once.emissions_grams(1000))


def test_every_country_of_codecarbons_table_has_its_figure_and_its_year() -> None:
    table = codecarbon_table("global_energy_mix.json")
    assert len(table) > 200
    for code, entry in table.items():
        intensity = resolve(country=code)
        assert intensity.zone == code
        assert intensity.grams_per_kwh == pytest.approx(entry["carbon_intensity"])
        assert intensity.year == entry["year"]


@pytest.mark.parametrize(
    ("code", "zone"), [("DE", "DEU"), ("de", "DEU"), ("deu", "DEU"), (" FR ", "FRA"), ("NO", "NOR")]
)
def test_a_country_is_named_by_either_iso_code_in_either_case(code: str, zone: str) -> None:
    assert resolve(country=code) == resolve(country=zone)


@pytest.mark.parametrize("spelling", ["california", "California", "CA", "ca"])
def test_a_state_of_the_usa_has_its_own_figure(spelling: str) -> None:
    # eGRID says pounds per MWh; a pound is 453.59237 g, so 1 lb/MWh is 0.45359237 g/kWh.
    pounds_per_mwh = codecarbon_table("2023/usa_emissions.json")["california"]["emissions"]
    intensity = resolve("US", spelling)
    assert intensity.zone == "USA/california"
    assert intensity.grams_per_kwh == pytest.approx(pounds_per_mwh * 0.45359237, rel=1e-5)
    assert intensity.year == 2023


def test_a_canadian_province_is_counted_with_all_its_sources() -> None:
    # 27.9 % coal, 50.7 % gas, 1.2 % biomass, 0.6 % sun, 3 % wind, 16.6 % water, at CodeCarbon's factors.
    intensity = resolve("CA", "Saskatchewan")
    assert intensity.zone == "CAN/saskatchewan"
    by_hand = 0.279 * 995 + 0.507 * 743 + 0.012 * 230 + 0.006 * 48 + 0.03 * 26 + 0.166 * 26
    assert intensity.grams_per_kwh == pytest.approx(by_hand)
    assert (intensity.year, intensity.boundary, intensity.note) == (2023, "lifecycle", None)


@pytest.mark.parametrize("spelling", ["quebec", "Québec", "QC", "ca-qc"])
def test_quebec_of_water_and_wind_is_not_nearly_free_of_emissions(spelling: str) -> None:
    assert resolve("CAN", spelling).grams_per_kwh == pytest.approx(31.2, abs=0.05)


def test_no_figure_over_the_life_of_plants_is_below_that_of_the_cleanest_one() -> None:
    # Such a figure forgets some source; where it is told, it is called a lower bound.
    cleanest = 24 * 0.95  # water, as the IPCC has it; shares are rounded
    zones = [("SWE", f"SE{n}") for n in range(1, 5)] + [("NOR", f"NO{n}") for n in range(1, 6)]
    zones += [("CAN", name) for name in codecarbon_table("2023/canada_energy_mix.json")]
    found = [resolve(*zone) for zone in zones] + [resolve(code) for code in codecarbon_table("global_energy_mix.json")]
    low = [each for each in found if each.grams_per_kwh < cleanest]
    assert all(each.boundary == "lifecycle" for each in found)
    assert [each.zone for each in low if each.note is None or "lower bound" not in each.note] == ["LSO"]  # 20, rounded


def test_a_bidding_zone_has_its_waste_and_biomass_too() -> None:
    # The table's 26.0 counts 0.42 % waste and 0.0004 % biomass as 0; CodeCarbon's factor of both is 230.
    assert resolve("NO", "NO1").grams_per_kwh == pytest.approx(26.0 + (0.0042 + 0.000004) * 230)
    assert resolve("NO", "NO1").note is None


def test_a_figure_that_is_a_lower_bound_or_a_copy_says_so() -> None:
    bound = "lower bound: 15 % of the generation (other) has no factor and counts as 0"
    assert resolve("SE", "SE4").note == bound
    assert bound in resolve("SE", "SE4").told
    finland = resolve("FI", "FI")
    assert finland.year is None
    assert finland.note == "copied from an earlier table, whose year nobody told"
    assert "lower bound" in (resolve("CAF").note or "")


@pytest.mark.parametrize(
    ("country", "region", "boundary"),
    [
        ("DE", None, "lifecycle"),
        ("USA", "texas", "direct"),
        ("CHN", "beijing", "direct"),
        ("CAN", "ontario", "lifecycle"),
        ("SWE", "SE2", "lifecycle"),
    ],
)
def test_every_figure_says_what_it_counts_and_of_when(country: str, region: str | None, boundary: str) -> None:
    intensity = resolve(country, region)
    assert intensity.boundary == boundary
    assert f"{intensity.year}, {boundary}" in intensity.told
    assert intensity.where == f"{intensity.zone}, {intensity.year}, {boundary}"


def test_a_figure_of_one_s_own_claims_no_boundary() -> None:
    intensity = resolve(grams_per_kwh=380)
    assert (intensity.where, intensity.told) == ("given", "given by the user")


@pytest.mark.parametrize(
    ("country", "region", "zone"),
    [
        ("EL", None, "GRC"),
        ("uk", None, "GBR"),
        ("SE", "SE-SE3", "SWE/SE3"),
        ("SE", "Stockholm", "SWE/SE3"),
        ("SE", "Luleå", "SWE/SE1"),
        ("SE", "Malmö", "SWE/SE4"),
        ("NO", "Tromsø", "NOR/NO4"),
        ("US", "US-CA", "USA/california"),
        ("CN", "bj", "CHN/beijing"),
    ],
)
def test_places_go_by_their_usual_names(country: str, region: str | None, zone: str) -> None:
    assert resolve(country, region).zone == zone


def test_a_market_based_figure_stands_beside_the_grid_s() -> None:
    intensity = resolve("FR", pue=1.5, market_grams_per_kwh=10)
    assert intensity.market_emissions_grams(7_200_000) == pytest.approx(30)
    assert intensity.emissions_grams(1.0) == resolve("FR", pue=1.5).emissions_grams(1.0)
    assert resolve("FR").market_emissions_grams(1.0) is None
    assert resolve("FR", market_grams_per_kwh=0).market_emissions_grams(1.0) == 0.0
    assert parse_carbon_option("market_grams_per_kwh=20") == {"market_grams_per_kwh": 20.0}


@pytest.mark.parametrize("spelling", ["inner mongolia", "Nei  Mongol", "CN-NM"])
def test_a_chinese_province_has_its_own_figure_under_each_of_its_names(spelling: str) -> None:
    entry = codecarbon_table("2023/china_provincial_emissions.json")["data"]["CN-NM"]
    intensity = resolve("CHN", spelling)
    assert intensity.zone == "CHN/inner mongolia"
    assert intensity.grams_per_kwh == pytest.approx(entry["emission_factor"])
    assert intensity.year == entry["year"]


@pytest.mark.parametrize(("country", "region"), [("SE", "SE3"), ("NOR", "no4"), ("FI", "FI")])
def test_a_nordic_bidding_zone_has_its_own_figure(country: str, region: str) -> None:
    entry = codecarbon_table("nordic_emissions.json")["data"][region.upper()]
    assert resolve(country, region).grams_per_kwh == pytest.approx(entry["emission_factor"])


@pytest.mark.parametrize(
    ("arguments", "key", "message"),
    [
        ({"country": "Germany"}, "country", "did you mean DEU (Germany)?"),
        ({"country": "DUE"}, "country", "DEU (Germany)"),
        ({"country": "XX"}, "country", "'XX' is no ISO 3166 code"),
        ({"country": "ATA"}, "country", "give grams_per_kwh instead"),
        ({"country": "AQ"}, "country", "give grams_per_kwh instead"),
        ({"country": ""}, "country", "is no ISO 3166 code"),
        ({"country": "USA", "region": "californa"}, "region", "did you mean california?"),
        ({"country": "USA", "region": "_unit"}, "region", "'_unit' is no region of USA"),
        ({"country": "CAN", "region": "bavaria"}, "region", "it knows alberta, british columbia"),
        ({"country": "CHN", "region": "tibet"}, "region", "'tibet' is no region of CHN"),
        ({"country": "NOR", "region": "SE3"}, "region", "'SE3' is no region of NOR"),
        ({"country": "DEU", "region": "bavaria"}, "region", "no regions of DEU"),
        ({"region": "california"}, "region", "Give country too"),
        ({"country": "DEU", "grams_per_kwh": 380.0}, "grams_per_kwh", "not both"),
        ({"grams_per_kwh": -1.0}, "grams_per_kwh", "at least 0"),
        ({"grams_per_kwh": float("nan")}, "grams_per_kwh", "at least 0"),
        ({"country": "DEU", "pue": 0.9}, "pue", "at least 1"),
        ({"pue": float("inf")}, "pue", "at least 1"),
        ({"pue": float("nan")}, "pue", "at least 1"),
        ({"pue": 1e5, "country": "FRA"}, "pue", "at most 1000, not 100000"),
        ({"market_grams_per_kwh": -1.0}, "market_grams_per_kwh", "at least 0"),
        ({"grams_per_kwh": 1e300}, "grams_per_kwh", "at most 1e+09, not 1e+300"),
    ],
)
def test_an_unknown_place_or_a_contradiction_is_an_error_that_helps(
    arguments: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        resolve(**arguments)
    assert caught.value.key == key
    assert message in caught.value.problem


def test_the_command_line_option_gives_the_arguments_of_resolve() -> None:
    options = parse_carbon_option("country=USA, region=new york ,pue=1.2")
    assert options == {"country": "USA", "region": "new york", "pue": 1.2}
    assert resolve(**options).zone == "USA/new york"
    assert parse_carbon_option("grams_per_kwh=380") == {"grams_per_kwh": 380.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not key=value"),
        ("FRA", "'FRA' is not key=value"),
        ("country=", "'country=' is not key=value"),
        ("country=FRA,", "is not key=value"),
        ("contry=FRA", "contry: unknown key; allowed are country, region, grams_per_kwh, pue"),
        ("country=FRA,country=DEU", "country: given twice"),
        ("pue=much", "pue: 'much' is not a number"),
    ],
)
def test_a_carbon_option_that_cannot_be_read_is_an_error(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_carbon_option(text)
    assert message in str(caught.value)


def test_resolving_writes_no_file_prints_nothing_and_asks_no_network(tmp_path: Path) -> None:
    program = """
import sys
def no_network(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(event)
sys.addaudithook(no_network)
from energysweep.core.carbon import resolve
resolve(), resolve("DE"), resolve("USA", "texas"), resolve("SWE", "SE1"), resolve("CHN", "beijing")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_imports_neither_codecarbon_nor_pandas() -> None:
    program = "import sys, energysweep.core.carbon; print({'codecarbon', 'pandas', 'pycountry'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
