"""Grams of CO2e from joules: the carbon intensity of the grid that a sweep drew its power from.

The figures are CodeCarbon's tables (yearly means of 213 countries, the states of the USA, the provinces of Canada and
China, the bidding zones of Sweden, Norway and Finland). Nothing here asks the network.

CodeCarbon counts a place that it does not know at the world average, in silence. Here such a place is an error. Its
tables are of several kinds: some count what leaves the chimney (``direct``), others what a source emits from being
built to being taken down (``lifecycle``). No rule makes the one of the other, so every figure says which it is. Where a
table leaves out sources that CodeCarbon has factors for, they are added here (``docs/carbon.md``).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict, cast

from energysweep.core.errors import InputError
from energysweep.core.records import MAX_GRAMS_PER_KWH, MAX_PUE

if TYPE_CHECKING:
    from codecarbon.input import DataSource

JOULES_PER_KWH = 3_600_000

Boundary = Literal["lifecycle", "direct"]


@dataclass(frozen=True, slots=True)
class Intensity:
    """What a kilowatt-hour of a computer's energy emits.

    Attributes:
        grams_per_kwh: grams of CO2e per kWh from the grid.
        zone: ``DEU``, ``USA/california``, ``world average`` or ``given``.
        year: the year that the figure describes, None if its source does not say.
        source: where the figure comes from, for people.
        pue: power usage effectiveness: what the building draws for each unit that its computers draw.
        boundary: what is counted of a power plant: its whole life (``lifecycle``) or its chimney (``direct``). None if
            nobody said: a figure of one's own, or a run of an older energysweep.
        note: how the figure is less than it seems, for people: a lower bound, an earlier year's. None if it is not.
        market_grams_per_kwh: by the contract of who pays for the power (the market-based figure of scope 2); None if
            nobody gave it. It is told beside the grid's, which everything else is counted by.
    """

    grams_per_kwh: float
    zone: str
    year: int | None
    source: str
    pue: float = 1.0
    boundary: Boundary | None = None
    note: str | None = None
    market_grams_per_kwh: float | None = None

    def emissions_grams(self, energy_joules: float) -> float:
        """Grams of CO2e for ``energy_joules`` drawn by computers, the building's share (PUE) included."""
        return energy_joules / JOULES_PER_KWH * self.pue * self.grams_per_kwh

    def market_emissions_grams(self, energy_joules: float) -> float | None:
        """The same by the contract in place of the grid; None if no market-based figure was given."""
        if self.market_grams_per_kwh is None:
            return None
        return energy_joules / JOULES_PER_KWH * self.pue * self.market_grams_per_kwh

    @property
    def where(self) -> str:
        """``DEU, 2023, lifecycle``: which grid, of when and within which boundary, as far as that is known."""
        return ", ".join(str(part) for part in (self.zone, self.year, self.boundary) if part)

    @property
    def told(self) -> str:
        """``CodeCarbon 3.3.0 global energy mix, 2023, lifecycle``: the source with all that is to be known of it."""
        return ", ".join(str(part) for part in (self.source, self.year, self.boundary, self.note) if part)


def resolve(
    country: str | None = None,
    region: str | None = None,
    grams_per_kwh: float | None = None,
    pue: float = 1.0,
    market_grams_per_kwh: float | None = None,
) -> Intensity:
    """The carbon intensity of a place; of the whole world if none is named.

    Args:
        country: ISO 3166 code, alpha-2 or alpha-3, in either case; the EU's own EL and UK, too.
        region: a part of ``country`` that CodeCarbon has a figure for: ``california``, ``CA`` or ``US-CA``, ``Québec``,
            ``SE3``, ``SE-SE3`` or ``Stockholm``.
        grams_per_kwh: a figure of one's own, in place of a country.
        pue: power usage effectiveness, at least 1.
        market_grams_per_kwh: the market-based figure of scope 2, beside the place's.

    Raises:
        InputError: an unknown place, a contradiction, or a number out of range. Its ``key`` is the argument's name.
    """
    _check_number("pue", pue, at_least=1.0, at_most=MAX_PUE)
    if market_grams_per_kwh is not None:
        _check_number("market_grams_per_kwh", market_grams_per_kwh, at_least=0.0, at_most=MAX_GRAMS_PER_KWH)
        market_grams_per_kwh = float(market_grams_per_kwh)
    return replace(_of(country, region, grams_per_kwh, pue), market_grams_per_kwh=market_grams_per_kwh)


def _of(country: str | None, region: str | None, grams_per_kwh: float | None, pue: float) -> Intensity:
    if grams_per_kwh is not None:
        _check_number("grams_per_kwh", grams_per_kwh, at_least=0.0, at_most=MAX_GRAMS_PER_KWH)
        if country is not None or region is not None:
            raise InputError("give either grams_per_kwh or a country, not both", key="grams_per_kwh")
        return Intensity(float(grams_per_kwh), "given", None, "given by the user", pue)
    if country is None:
        if region is not None:
            raise InputError(f"{region!r} is a region of which country? Give country too", key="region")
        return _world_average(pue)

    alpha_3 = _find_country(country)
    if region is None:
        return _of_country(alpha_3, pue)
    return _of_region(alpha_3, region, pue)


class CarbonOptions(TypedDict, total=False):
    """The arguments of ``resolve`` that a block and a trial of one's own take."""

    country: str
    region: str
    grams_per_kwh: float
    pue: float


class ReportOptions(CarbonOptions, total=False):
    """All arguments of ``resolve``, as parsed from a command line."""

    market_grams_per_kwh: float


def parse_carbon_option(text: str) -> ReportOptions:
    """The arguments of ``resolve`` from a command-line option such as ``country=FRA,pue=1.2``.

    Raises:
        InputError: the text is not of that form.
    """
    options: dict[str, str | float] = {}
    allowed = list(ReportOptions.__annotations__)
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"{part.strip()!r} is not key=value, as in country=FRA,pue=1.2")
        if key not in allowed:
            raise InputError(f"unknown key; allowed are {', '.join(allowed)}", key=key)
        if key in options:
            raise InputError("given twice", key=key)
        options[key] = value if key in {"country", "region"} else _number(key, value)
    return cast("ReportOptions", options)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number", key=key) from None


def _check_number(key: str, value: float, at_least: float, at_most: float) -> None:
    if not at_least <= value <= at_most:
        raise InputError(f"must be a number of at least {at_least:g} and at most {at_most:g}, not {value:g}", key=key)


class Place(NamedTuple):
    """Where a grid is, in words of others.

    Attributes:
        country: its English name.
        alpha_3: its ISO 3166 code.
        region: the part of it, as CodeCarbon has it.
    """

    country: str | None = None
    alpha_3: str | None = None
    region: str | None = None

    @property
    def text(self) -> str | None:
        """``California, United States``; None if nothing is known."""
        region = self.region and (self.region.title() if self.region.islower() else self.region)
        return ", ".join(part for part in (region, self.country) if part) or None


def place(intensity: Intensity | None) -> Place:
    """Where a grid is: of a figure of one's own, of the whole world and of an unknown zone nothing is known."""
    alpha_3, _, region = ("" if intensity is None else intensity.zone).partition("/")
    entry = _data().get_global_energy_mix_data().get(alpha_3)
    return Place() if entry is None else Place(entry["country_name"], alpha_3, region or None)


# CodeCarbon's tables -------------------------------------------------------------------------------------------------
#
# Its imports take half a second (pandas): only whoever asks for a figure pays for them.


def _data() -> DataSource:
    from codecarbon.input import DataSource  # noqa: PLC0415  (slow)

    return DataSource()


def _source(table: str) -> str:
    return f"CodeCarbon {version('codecarbon')} {table}"


def tables_version(intensity: Intensity | None) -> str | None:
    """Of the CodeCarbon whose tables a figure is from; None if it is from none of them."""
    found = re.match(r"CodeCarbon (\d\S*) ", "" if intensity is None else intensity.source)
    return None if found is None else found[1]


def _world_average(pue: float) -> Intensity:
    table = _data().get_carbon_intensity_per_source_data()
    url = table["world_average_source"]
    # The IEA's report of 2019 is of 2018, and of the CO2 of what is burnt.
    of_2018 = "global-energy-co2-status-report-2019" in url
    source = _source(f"world average ({url})")
    known: tuple[int | None, Boundary | None] = (2018, "direct") if of_2018 else (None, None)
    return Intensity(float(table["world_average"]), "world average", known[0], source, pue, known[1])


def _of_country(alpha_3: str, pue: float) -> Intensity:
    """Our World in Data's figure, which is Ember's: over the whole life of the plants."""
    from codecarbon.core.emissions import Emissions  # noqa: PLC0415  (slow)
    from codecarbon.core.units import Energy  # noqa: PLC0415
    from codecarbon.external.geography import GeoMetadata  # noqa: PLC0415

    entry = _data().get_global_energy_mix_data()[alpha_3]
    one_kwh = Energy.from_energy(kWh=1.0)
    kilograms: float = Emissions(_data()).get_country_emissions(one_kwh, GeoMetadata(alpha_3))
    note = None if kilograms else "lower bound: the table has 0, and over its life no plant emits nothing"
    source = _source("global energy mix")
    return Intensity(kilograms * 1000, alpha_3, entry.get("year"), source, pue, "lifecycle", note)


def _of_region(alpha_3: str, region: str, pue: float) -> Intensity:
    regions = list(_regions(alpha_3))
    if not regions:
        raise InputError(f"CodeCarbon has no regions of {alpha_3}; leave region out", key="region")
    wanted = _folded(region)
    for known in regions:
        if wanted in known.spellings:
            zone = f"{alpha_3}/{known.name}"
            source = _source(known.table)
            return Intensity(known.grams_per_kwh, zone, known.year, source, pue, known.boundary, known.note)
    raise InputError(f"{region!r} is no region of {alpha_3} known to CodeCarbon{_near(wanted, regions)}", key="region")


def _find_country(code: str) -> str:
    """The alpha-3 code of a country that is in CodeCarbon's table."""
    import pycountry  # noqa: PLC0415  (comes with CodeCarbon; reads its tables on first use)

    names = {alpha_3: entry["country_name"] for alpha_3, entry in _data().get_global_energy_mix_data().items()}
    wanted = code.strip().upper()
    wanted = {"EL": "GR", "UK": "GB"}.get(wanted, wanted)  # as the EU writes Greece, and once wrote the United Kingdom
    country = pycountry.countries.get(alpha_2=wanted) if len(wanted) == 2 else None
    alpha_3 = country.alpha_3 if country else wanted
    if alpha_3 in names:
        return alpha_3
    if country or pycountry.countries.get(alpha_3=wanted):
        raise InputError(f"CodeCarbon has no figure for {code!r}; give grams_per_kwh instead", key="country")

    codes_by_name = {name.casefold(): alpha_3 for alpha_3, name in names.items()}
    close_names = difflib.get_close_matches(code.strip().casefold(), codes_by_name, n=2)
    near = [codes_by_name[name] for name in close_names] or difflib.get_close_matches(wanted, names, n=3)
    hint = f"; did you mean {' or '.join(f'{alpha_3} ({names[alpha_3]})' for alpha_3 in near)}?" if near else ""
    raise InputError(f"{code!r} is no ISO 3166 code (such as DE or DEU) of a country{hint}", key="country")


@dataclass(frozen=True, slots=True)
class _Region:
    """A region in one of CodeCarbon's tables: the name it is found by there, and what else a user may call it."""

    name: str
    spellings: frozenset[str]
    grams_per_kwh: float
    year: int | None
    table: str
    boundary: Boundary
    note: str | None = None


_GRAMS_PER_POUND: Final = 453.59237
_PROVINCES: Final = {
    "alberta": "AB",
    "british columbia": "BC",
    "manitoba": "MB",
    "new brunswick": "NB",
    "newfoundland and labrador": "NL",
    "northwest territories": "NT",
    "nova scotia": "NS",
    "nunavut": "NU",
    "ontario": "ON",
    "prince edward island": "PE",
    "quebec": "QC",
    "saskatchewan": "SK",
    "yukon": "YT",
}
# Under these the power exchange and the press know the bidding zones.
_CITIES: Final = {
    "SE1": "lulea",
    "SE2": "sundsvall",
    "SE3": "stockholm",
    "SE4": "malmo",
    "NO1": "oslo",
    "NO2": "kristiansand",
    "NO3": "trondheim",
    "NO4": "tromsø",
    "NO5": "bergen",
}


def _regions(alpha_3: str) -> Iterator[_Region]:
    """Every region of a country that CodeCarbon has a figure for; none for most countries."""
    data = _data()
    if alpha_3 == "USA":
        states = data.get_country_emissions_data("usa")
        for name, entry in states.items():
            if name != "usa" and not name.startswith("_"):  # the whole country, and notes on the table
                code = entry["regionCode"].casefold()
                grams = entry["emissions"] * _GRAMS_PER_POUND / 1000  # pounds per MWh
                spellings = frozenset({name, code, f"us-{code}"})
                yield _Region(name, spellings, grams, states["_source"]["year"], "US states (EPA eGRID)", "direct")
    elif alpha_3 == "CAN":
        # The table itself has no year; its folder is named by it.
        year = int(Path(data.country_energy_mix_data_path("can")).parent.name)
        for name, mix in data.get_country_energy_mix_data("can").items():
            code = _PROVINCES.get(name, name).casefold()
            grams, note = _of_mix(mix)
            table = "Canadian provinces' energy mix, all sources"
            yield _Region(name, frozenset({name, code, f"ca-{code}"}), grams, year, table, "lifecycle", note)
    elif alpha_3 == "CHN":
        for code, entry in data.get_china_provincial_emissions_data()["data"].items():
            spellings = frozenset({code.casefold(), code.casefold().removeprefix("cn-"), *entry["names"]})
            table = "Chinese provinces (MEE/NBS), CO2 only"
            yield _Region(entry["names"][0], spellings, entry["emission_factor"], entry["year"], table, "direct")
    else:
        # SE1 to SE4, NO1 to NO5, FI: the names of the zones begin with the country's alpha-2 code.
        alpha_2 = {"SWE": "SE", "NOR": "NO", "FIN": "FI"}.get(alpha_3)
        table = data.get_nordic_country_energy_mix_data()
        for name, entry in table["data"].items():
            if name[:2] == alpha_2:
                yield _zone(name, entry, table["metadata"]["source"])


def _of_mix(mix: Mapping[str, float]) -> tuple[float, str | None]:
    """Grams per kWh of a mix of sources, at CodeCarbon's factors, and a note if some of it has none.

    CodeCarbon itself counts only what is burnt there of coal, oil and gas: Quebec, of water and wind, at 3.9 g.
    """
    names = {"naturalGas": "natural_gas", "hydro": "hydroelectricity"}
    factors = _data().get_carbon_intensity_per_source_data()
    shares = {names.get(source, source): share / mix["total"] for source, share in mix.items() if source != "total"}
    known = {source: share for source, share in shares.items() if source in factors}
    grams = sum(share * factors[source] for source, share in known.items())
    return grams, _lower_bound([(source, share) for source, share in shares.items() if source not in known])


def _zone(name: str, entry: Mapping[str, Any], of_table: str) -> _Region:
    """A bidding zone. The table counts waste and biomass as 0, for which CodeCarbon has factors since: they are added.

    Each entry says in words what it counts as 0: ``99.58% (uncovered: Waste 0.42%, Biomass 0.0004%)``.
    """
    factors = _data().get_carbon_intensity_per_source_data()
    left_out = re.findall(r"([A-Z][A-Za-z ]*?) ([0-9.]+)%", entry.get("coverage", "").partition("uncovered:")[2])
    shares = [(source, float(percent) / 100) for source, percent in left_out]
    added = sum(share * factors[source.casefold()] for source, share in shares if source.casefold() in factors)
    note = _lower_bound([(source, share) for source, share in shares if source.casefold() not in factors])
    year = entry["year"]
    if re.search(rf"\b{name}: prior value, unchanged", of_table):
        year, note = None, "copied from an earlier table, whose year nobody told"
    spellings = {name.casefold(), f"{name[:2]}-{name}".casefold()} | ({_CITIES[name]} if name in _CITIES else set())
    grams = entry["emission_factor"] + added
    return _Region(name, frozenset(spellings), grams, year, "Nordic bidding zones", "lifecycle", note)


def _lower_bound(without_factor: Sequence[tuple[str, float]]) -> str | None:
    """What is said of sources that count as 0 for want of a factor; None if there are none."""
    share = sum(share for _, share in without_factor)
    if not share:
        return None
    names = ", ".join(source.casefold() for source, share in without_factor if share)
    return f"lower bound: {share * 100:.2g} % of the generation ({names}) has no factor and counts as 0"


def _folded(text: str) -> str:
    """A name without case, accents and spare spaces: Québec is quebec."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _near(wanted: str, regions: Sequence[_Region]) -> str:
    spellings = {spelling for known in regions for spelling in known.spellings}
    close = difflib.get_close_matches(wanted, spellings, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; it knows {', '.join(sorted(known.name for known in regions))}"
