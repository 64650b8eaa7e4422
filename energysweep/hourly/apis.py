"""Public APIs that know hours: Electricity Maps (version 3) and Great Britain's Carbon Intensity API (version 2).

Both were built by their documents and tried against stand-ins; no test here asks the real ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from energysweep.core.inputs import is_token
from energysweep.core.records import MAX_GRAMS_PER_KWH
from energysweep.hourly.hours import SECONDS, HourIntensity, Kind, hour_of
from energysweep.hourly.web import SourceError, Web

ELECTRICITYMAPS: Final = "https://api.electricitymaps.com/v3"
UK: Final = "https://api.carbonintensity.org.uk"
TOKEN_VARIABLE: Final = "ELECTRICITYMAPS_TOKEN"  # noqa: S105  (its name)

_DAY: Final = 24 * SECONDS
_MAPS_SPAN: Final = 10 * _DAY  # the longest that one request may ask for
_UK_SPAN: Final = 13 * _DAY  # one less than the documents allow, for the ends
_MOST_ENTRIES: Final = 20_000

_Grams = Annotated[float, Field(strict=True, ge=0, le=MAX_GRAMS_PER_KWH, allow_inf_nan=False)]


class _MapsHour(BaseModel):
    datetime: AwareDatetime
    carbonIntensity: _Grams | None = None  # noqa: N815  (as the API has it)
    isEstimated: bool | None = None  # noqa: N815


class _Halves(BaseModel):
    forecast: _Grams | None = None
    actual: _Grams | None = None


# Its own word is `from`, which Python keeps for itself.
class _UkHalf(BaseModel):
    begin: AwareDatetime
    intensity: _Halves


@dataclass
class ElectricityMaps:
    """Electricity Maps: what is used in a zone, over the life of the plants.

    Attributes:
        zone: by its own key: ``DE``, ``SE-SE3``, ``US-CAL-CISO``.
        token: of the account; by default of the environment.
        web: by which it is asked.
        clock: Unix time.
        base: the address, for stand-ins.
    """

    zone: str
    token: str | None = field(default=None, repr=False)
    web: Web = field(default_factory=Web)
    clock: Callable[[], float] = time.time
    base: str = ELECTRICITYMAPS

    def hours(self, first: int, last: int) -> Iterator[HourIntensity]:
        """As ``Source`` says: history of the last day, older hours by ranges, hours to come by forecast."""
        token = self.token if self.token is not None else os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            raise SourceError(f"Electricity Maps needs a token, in the environment variable {TOKEN_VARIABLE}")
        if not is_token(token):
            raise SourceError(f"a token is one line of printable ASCII characters; {TOKEN_VARIABLE} holds none")
        now = hour_of(self.clock())
        if first < now - 23 * SECONDS:
            until = min(last, now)
            for begin in range(first, until + 1, _MAPS_SPAN):
                end = min(begin + _MAPS_SPAN, until + SECONDS)
                asked = {"start": _iso(begin), "end": _iso(end)}
                yield from self._given(token, "past-range", asked, "data", first, last)
        elif first <= now:
            yield from self._given(token, "history", {}, "history", first, last)
        if last >= now:
            yield from self._given(token, "forecast", {}, "forecast", first, last)

    def _given(
        self, token: str, what: str, asked: Mapping[str, str], key: str, first: int, last: int
    ) -> Iterator[HourIntensity]:
        url = f"{self.base}/carbon-intensity/{what}"
        answer = self.web.json(url, {"auth-token": token}, {"zone": self.zone, **asked})
        source = "Electricity Maps API v3, lifecycle"
        for entry in _entries(answer, key, _MapsHour):
            hour = hour_of(entry.datetime.timestamp())
            if entry.carbonIntensity is not None and first <= hour <= last:
                kind: Kind = "forecast" if key == "forecast" or entry.isEstimated else "measured"
                yield HourIntensity(self.zone, hour, entry.carbonIntensity, kind, source, self.clock())


@dataclass
class CarbonIntensityUk:
    """Great Britain's Carbon Intensity API (NESO): half hours, direct, without a token."""

    web: Web = field(default_factory=Web)
    clock: Callable[[], float] = time.time
    base: str = UK
    zone: str = "GB"

    def hours(self, first: int, last: int) -> Iterator[HourIntensity]:
        """As ``Source`` says. An hour is measured if both its halves are, and unknown if one is."""
        for begin in range(first, last + 1, _UK_SPAN):
            end = min(begin + _UK_SPAN - SECONDS, last)
            answer = self.web.json(f"{self.base}/intensity/{_iso(begin)}/{_iso(end + SECONDS)}")
            halves: dict[int, _Halves] = {}
            for entry in _entries(answer, "data", _UkHalf, {"from": "begin"}):
                halves[int(entry.begin.timestamp())] = entry.intensity
            yield from self._whole(halves, begin, end)

    def _whole(self, halves: Mapping[int, _Halves], first: int, last: int) -> Iterator[HourIntensity]:
        for hour in range(first, last + 1, SECONDS):
            pair = [halves.get(hour), halves.get(hour + SECONDS // 2)]
            known = [each for each in pair if each is not None]
            actual = [each.actual for each in known if each.actual is not None]
            given = [each.forecast if each.actual is None else each.actual for each in known]
            grams = [each for each in given if each is not None]
            if len(grams) == 2:
                kind: Kind = "measured" if len(actual) == 2 else "forecast"
                source = "Carbon Intensity API (NESO), direct"
                yield HourIntensity(self.zone, hour, sum(grams) / 2, kind, source, self.clock())


def _entries(answer: Any, key: str, model: type[Any], names: Mapping[str, str] | None = None) -> Iterable[Any]:
    """The entries of an answer that can be; garbage among them is left out, an answer of nothing else is an error."""
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list) or len(found) > _MOST_ENTRIES:
        raise SourceError(f"the answer has no list of hours under {key!r}")
    adapter, entries = TypeAdapter(model), []
    for each in found:
        try:
            if names and isinstance(each, dict):
                each = {names.get(name, name): value for name, value in each.items()}  # noqa: PLW2901
            entries.append(adapter.validate_python(each))
        except ValidationError:
            continue
    if found and not entries:
        raise SourceError(f"no hour of the answer, under {key!r}, can be read")
    return entries


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%MZ")
