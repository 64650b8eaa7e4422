"""Every hour's figure, whatever happens: from a source, from what it said before, or else the yearly mean.

Nothing here raises into a sweep. What went wrong is a note, told once, and each figure says which kind it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from energysweep.core.carbon import Intensity
from energysweep.core.errors import one_line
from energysweep.core.inputs import is_there, read_bytes
from energysweep.core.records import MAX_GRAMS_PER_KWH
from energysweep.hourly.hours import SECONDS, HourIntensity, Kind, Source, best, better, hours_between

MOST_BYTES: Final = 64 * 1024 * 1024
MOST_HOURS: Final = 24 * 366 * 10
STALE_SECONDS: Final = 3600.0  # after that, a forecast is asked for anew
PAUSE_SECONDS: Final = 60.0  # after a failure of any source; the web's own are longer
_MOST_NOTES: Final = 50


@dataclass(frozen=True)
class NamedSource:
    """A source as people ask for it.

    Attributes:
        name: of it, for people.
        source: who is asked.
        cache: the file in which its answers are kept; None: nowhere.
        notes: what they are to be told of it beforehand.
    """

    name: str
    source: Source
    cache: Path | None = None
    notes: tuple[str, ...] = ()


class GridByTheHour:
    """A grid's intensity by the hour.

    Args:
        source: who is asked; None: nobody, and all hours have the yearly mean.
        yearly: what counts where nobody knows better; None: such hours have no figure.
        cache: where answers are kept, a file; None: in memory alone.
        clock: Unix time.
    """

    def __init__(
        self,
        source: Source | None,
        yearly: Intensity | None,
        cache: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._yearly, self._cache, self._clock = source, yearly, cache, clock
        self._notes: dict[str, None] = {}
        self._known: dict[int, HourIntensity] = {}
        self._asked: dict[int, float] = {}
        self._failed_at: float | None = None
        if cache is not None:
            self._known = self._read(cache)

    @property
    def notes(self) -> list[str]:
        """What went wrong, each once, in the order in which it first did."""
        return list(self._notes)

    def between(self, first: int, last: int) -> list[HourIntensity]:
        """One figure for each hour from ``first`` to ``last``, both included, that has one. It never raises."""
        hours = hours_between(first, min(last, first + MOST_HOURS * SECONDS))
        wanted = [hour for hour in hours if self._is_to_ask(hour)]
        pauses = self._failed_at is not None and 0 <= self._clock() - self._failed_at < PAUSE_SECONDS
        if wanted and self._source is not None and not pauses:
            self._ask(self._source, wanted[0], wanted[-1])
        found = (self._known.get(hour) or self._mean(hour) for hour in hours)
        return [each for each in found if each is not None]

    def _is_to_ask(self, hour: int) -> bool:
        known, now = self._known.get(hour), self._clock()
        if known is not None and known.kind == "measured":
            return False
        asked = max(self._asked.get(hour, -STALE_SECONDS), -STALE_SECONDS if known is None else known.fetched_at or 0.0)
        return not 0 <= now - asked < STALE_SECONDS

    def _ask(self, source: Source, first: int, last: int) -> None:
        given: list[HourIntensity] = []
        # A plug-in may raise anything, and what it gives may be anything: neither may end a sweep.
        try:
            given.extend(each for each in source.hours(first, last) if self._can_be(each, first, last))
        except Exception as error:  # noqa: BLE001
            self._note(str(error) or type(error).__name__)
            self._failed_at = self._clock()
        else:
            now = self._clock()
            self._asked.update((hour, now) for hour in hours_between(first, last))
            self._failed_at = None
        for hour, each in best(given).items():
            self._known[hour] = better(each, self._known[hour]) if hour in self._known else each
        if given and self._cache is not None:
            self._write(self._cache)

    def _can_be(self, each: Any, first: int, last: int) -> bool:
        """Whether a source's figure is one, and of an hour that was asked for."""
        try:
            _HOUR.validate_python(asdict(each), strict=True)
        except (TypeError, ValidationError):
            self._note("the source gave something that is no hour's figure")
            return False
        return bool(first <= each.hour <= last)

    def _mean(self, hour: int) -> HourIntensity | None:
        yearly = self._yearly
        if yearly is None:
            return None
        return HourIntensity(yearly.zone, hour, yearly.grams_per_kwh, "yearly", yearly.told, None)

    def _note(self, text: str) -> None:
        if len(self._notes) < _MOST_NOTES:
            self._notes.setdefault(one_line(text, 300))

    # What was answered before -----------------------------------------------------------------------------------------

    def _read(self, cache: Path) -> dict[int, HourIntensity]:
        if not is_there(cache):
            return {}
        try:
            rows = json.loads(read_bytes(cache, MOST_BYTES, "a cache of hours"))
            found = [HourIntensity(**row.model_dump()) for row in _HOURS.validate_python(rows)]
        except Exception as error:  # noqa: BLE001  (whatever is in the file, it can be asked for again)
            self._note(f"the cache of hours {one_line(cache, 100)} cannot be read: {type(error).__name__}")
            return {}
        return best(found)

    def _write(self, cache: Path) -> None:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=cache.parent, prefix=f".{cache.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump([asdict(each) for each in self._kept()], file)
                Path(name).replace(cache)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except (OSError, ValueError) as error:
            self._note(f"the cache of hours {one_line(cache, 100)} cannot be written: {type(error).__name__}")

    def _kept(self) -> Iterable[HourIntensity]:
        newest: Mapping[int, HourIntensity] = dict(sorted(self._known.items())[-MOST_HOURS:])
        return newest.values()


def cache_file(folder: Path, source: str, zone: str, address: str = "") -> Path:
    """Where the answers of a source on a zone are kept: one file for each, whatever signs its name has.

    What another address has answered, a stand-in's, say, is in another one.
    """
    safe = re.sub(r"[^A-Za-z0-9]+", "-", f"{source}-{zone}")[:100]
    exact = hashlib.sha256(repr((source, zone, address)).encode()).hexdigest()[:8]
    return folder / f"hours-{safe}-{exact}.json"


class _Hour(BaseModel, extra="forbid"):
    zone: str
    hour: Annotated[int, Field(ge=0, le=2**40, multiple_of=SECONDS)]
    grams_per_kwh: Annotated[float, Field(ge=0, le=MAX_GRAMS_PER_KWH, allow_inf_nan=False)]
    kind: Kind
    source: str
    fetched_at: Annotated[float, Field(allow_inf_nan=False)] | None


_HOUR: Final = TypeAdapter(_Hour)
_HOURS: Final = TypeAdapter(list[_Hour])
