"""Grams of CO2e from joules: the carbon intensity of the grid that a sweep drew its power from.

The figures are CodeCarbon's tables (yearly means of 213 countries, the states of the USA, the provinces of Canada and
China, the bidding zones of Sweden, Norway and Finland). Nothing here asks the network.

CodeCarbon counts a place that it does not know at the world average, in silence. Here such a place is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

from energysweep.core.errors import InputError
from energysweep.core.records import MAX_GRAMS_PER_KWH, MAX_PUE

if TYPE_CHECKING:
    from codecarbon.input import DataSource

JOULES_PER_KWH = 3_600_000


@dataclass(frozen=True, slots=True)
class Intensity:
    """What a kilowatt-hour of a computer's energy emits.

    Attributes:
        grams_per_kwh: grams of CO2e per kWh from the grid.
        zone: ``DEU``, ``USA/california``, ``world average`` or ``given``.
        year: the year that the figure describes, None if its source does not say.
        source: where the figure comes from, for people.
        pue: power usage effectiveness: what the building draws for each unit that its computers draw.
    """

    grams_per_kwh: float
    zone: str
    year: int | None
    source: str
    pue: float = 1.0

    def emissions_grams(self, energy_joules: float) -> float:
        """Grams of CO2e for ``energy_joules`` drawn by computers, the building's share (PUE) included."""
        return energy_joules / JOULES_PER_KWH * self.pue * self.grams_per_kwh


def resolve(
    country: str | None = None, region: str | None = None, grams_per_kwh: float | None = None, pue: float = 1.0
) -> Intensity:
    """The carbon intensity of a place; of the whole world if none is named.

    Args:
        country: ISO 3166 code, alpha-2 or alpha-3, in either case.
        region: a part of ``country`` that CodeCarbon has a figure for: ``california`` or ``CA``, ``quebec``, ``SE3``.
        grams_per_kwh: a figure of one's own, in place of a country.
        pue: power usage effectiveness, at least 1.

    Raises:
        InputError: an unknown place, a contradiction, or a number out of range. Its ``key`` is the argument's name.
    """
    _check_number("pue", pue, at_least=1.0, at_most=MAX_PUE)
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
    """The arguments of ``resolve``, as parsed from a command line."""

    country: str
    region: str
    grams_per_kwh: float
    pue: float


def parse_carbon_option(text: str) -> CarbonOptions:
    """The arguments of ``resolve`` from a command-line option such as ``country=FRA,pue=1.2``.

    Raises:
        InputError: the text is not of that form.
    """
    options: dict[str, str | float] = {}
    allowed = list(CarbonOptions.__annotations__)
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"{part.strip()!r} is not key=value, as in country=FRA,pue=1.2")
        if key not in allowed:
            raise InputError(f"unknown key; allowed are {', '.join(allowed)}", key=key)
        if key in options:
            raise InputError("given twice", key=key)
        options[key] = _number(key, value) if key in {"grams_per_kwh", "pue"} else value
    return cast("CarbonOptions", options)


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
    source = _source(f"world average ({table['world_average_source']})")
    return Intensity(float(table["world_average"]), "world average", None, source, pue)


def _of_country(alpha_3: str, pue: float) -> Intensity:
    entry = _data().get_global_energy_mix_data()[alpha_3]
    return Intensity(_grams_per_kwh(alpha_3), alpha_3, entry.get("year"), _source("global energy mix"), pue)


def _of_region(alpha_3: str, region: str, pue: float) -> Intensity:
    regions = list(_regions(alpha_3))
    if not regions:
        raise InputError(f"CodeCarbon has no regions of {alpha_3}; leave region out", key="region")
    wanted = " ".join(region.casefold().split())
    for known in regions:
        if wanted in known.spellings:
            grams = _grams_per_kwh(alpha_3, known.name)
            return Intensity(grams, f"{alpha_3}/{known.name}", known.year, _source(known.table), pue)
    spellings = {spelling for known in regions for spelling in known.spellings}
    raise InputError(
        f"{region!r} is no region of {alpha_3} known to CodeCarbon{_near(wanted, spellings)}", key="region"
    )


def _grams_per_kwh(alpha_3: str, region: str | None = None) -> float:
    """CodeCarbon's figure for a place that is known to be in its tables."""
    from codecarbon.core.emissions import Emissions  # noqa: PLC0415  (slow)
    from codecarbon.core.units import Energy  # noqa: PLC0415
    from codecarbon.external.geography import GeoMetadata  # noqa: PLC0415

    emissions = Emissions(_data())
    one_kwh = Energy.from_energy(kWh=1.0)
    place = GeoMetadata(alpha_3, region=region)
    # Not get_private_infra_emissions: it takes the country's figure when it fails to find the region's.
    kilograms: float = (
        emissions.get_country_emissions(one_kwh, place)
        if region is None
        else emissions.get_region_emissions(one_kwh, place)
    )
    return kilograms * 1000


def _find_country(code: str) -> str:
    """The alpha-3 code of a country that is in CodeCarbon's table."""
    import pycountry  # noqa: PLC0415  (comes with CodeCarbon; reads its tables on first use)

    names = {alpha_3: entry["country_name"] for alpha_3, entry in _data().get_global_energy_mix_data().items()}
    wanted = code.strip().upper()
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
    year: int | None
    table: str


def _regions(alpha_3: str) -> Iterator[_Region]:
    """Every region of a country that CodeCarbon has a figure for; none for most countries."""
    data = _data()
    if alpha_3 == "USA":
        states = data.get_country_emissions_data("usa")
        for name, entry in states.items():
            if name != "usa" and not name.startswith("_"):  # the whole country, and notes on the table
                spellings = frozenset({name, entry["regionCode"].casefold()})
                yield _Region(name, spellings, states["_source"]["year"], "US states (EPA eGRID)")
    elif alpha_3 == "CAN":
        # The table itself has no year; its folder is named by it.
        year = int(Path(data.country_energy_mix_data_path("can")).parent.name)
        for name in data.get_country_energy_mix_data("can"):
            yield _Region(name, frozenset({name}), year, "Canadian provinces' energy mix")
    elif alpha_3 == "CHN":
        for code, entry in data.get_china_provincial_emissions_data()["data"].items():
            spellings = frozenset({code.casefold(), *entry["names"]})
            yield _Region(entry["names"][0], spellings, entry["year"], "Chinese provinces (MEE/NBS)")
    else:
        # SE1 to SE4, NO1 to NO5, FI: the names of the zones begin with the country's alpha-2 code.
        alpha_2 = {"SWE": "SE", "NOR": "NO", "FIN": "FI"}.get(alpha_3)
        for name, entry in data.get_nordic_country_energy_mix_data()["data"].items():
            if name[:2] == alpha_2:
                yield _Region(name, frozenset({name.casefold()}), entry["year"], "Nordic bidding zones")


def _near(wanted: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; it knows {', '.join(sorted(name for name in known if len(name) > 2))}"
