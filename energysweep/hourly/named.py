"""The sources of hours by the names that people give them: a public API, or else a file."""

from __future__ import annotations

import os
import re
from typing import Final

from energysweep.core import inputs
from energysweep.core.errors import InputError, one_line
from energysweep.hourly import apis
from energysweep.hourly.grid import NamedSource, cache_file
from energysweep.hourly.hours import Source
from energysweep.hourly.table import CsvHours

_MAPS: Final = "electricitymaps"
_UK: Final = "uk"
_MAPS_ADDRESS: Final = "ENERGYSWEEP_ELECTRICITYMAPS"
_UK_ADDRESS: Final = "ENERGYSWEEP_CARBONINTENSITY"
_CACHE: Final = "XDG_CACHE_HOME"
_ZONE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,10}){0,3}")


def source_of(said: str, zone: str | None = None, timezone: str | None = None) -> NamedSource:
    """Whom a report asks. Nobody is asked here.

    Args:
        said: ``electricitymaps``, ``uk``, or the path of a CSV: ``./uk`` is one.
        zone: of Electricity Maps, or of a file that has several.
        timezone: of a file's local times.

    Raises:
        InputError: it is none of them, a file cannot be read, or what belongs to it is missing or too much.
    """
    if said == _MAPS:
        _refuse("timezone", timezone, said)
        key = _zone(zone)
        address = _address(_MAPS_ADDRESS, apis.ELECTRICITYMAPS)
        return _api(f"Electricity Maps, {key}, lifecycle", apis.ElectricityMaps(key, base=address), said, key, address)
    if said == _UK:
        _refuse("timezone", timezone, said)
        _refuse("zone", zone, said)
        address = _address(_UK_ADDRESS, apis.UK)
        source = apis.CarbonIntensityUk(base=address)
        return _api("Carbon Intensity API, GB, direct", source, said, source.zone, address)
    path = inputs.variable_path("hourly", said)
    if re.fullmatch(r"\w+", said) and not inputs.is_there(path):
        raise InputError(
            f"{one_line(said, 60)!r} is neither a file here nor one of {_MAPS} (with zone=) and {_UK}", key="hourly"
        )
    return NamedSource(path.name, CsvHours.read(path, zone, timezone))


def _api(name: str, source: Source, said: str, zone: str, address: str) -> NamedSource:
    # Without a folder to keep answers in, each report asks for them anew: no reason to have none.
    try:
        folder = inputs.checked_path(os.environ.get(_CACHE) or "~/.cache") / "energysweep"
    except ValueError as error:
        return NamedSource(name, source, notes=(f"answers are not kept: {_CACHE}: {error}",))
    return NamedSource(name, source, cache_file(folder, said, zone, address))


def _zone(zone: str | None) -> str:
    allowed = f"Electricity Maps' own key of the zone, such as {_MAPS},zone=DE or {_MAPS},zone=US-CAL-CISO"
    if zone is None:
        raise InputError(f"is missing: hourly={_MAPS} needs {allowed}", key="zone")
    if not _ZONE.fullmatch(zone.upper()):
        raise InputError(f"{one_line(zone, 60)!r} is not {allowed}", key="zone")
    return zone.upper()


def _refuse(key: str, value: str | None, said: str) -> None:
    if value is not None:
        allowed = "only zone" if said == _MAPS else "neither zone (it is Great Britain's) nor timezone"
        raise InputError(f"hourly={said} takes {allowed}; a file of that name is ./{said}", key=key)


def _address(variable: str, usual: str) -> str:
    given = os.environ.get(variable)
    if not given:
        return usual
    inputs.web_address(given, variable)
    return given.rstrip("/")
