"""Hours from a CSV: our own columns, and exports of public data portals.

A column of times is one of UTC, or one whose every time has its offset, or of a zone that somebody names: in the
column's own head (``MTU (CET/CEST)``) or as an argument. Local times alone are refused: one hour of the autumn is there
twice, and nobody could say which is which.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from energysweep.core.errors import InputError, one_line
from energysweep.core.inputs import read_text
from energysweep.core.records import MAX_GRAMS_PER_KWH
from energysweep.hourly.hours import HourIntensity, Kind, hour_of

MOST_BYTES: Final = 64 * 1024 * 1024

# By what a head of a column begins, without case and spare signs; the first that is there counts.
_TIMES: Final = ("hour", "datetime", "timestamp", "hourutc", "mtu", "datum von", "start date", "from", "date", "time")
_GRAMS: Final = (
    "grams per kwh",
    "carbon intensity gco2eq kwh life cycle",  # Electricity Maps; it is before the direct one in its own files, too
    "carbon intensity gco2eq kwh lca",
    "carbon intensity gco2eq kwh direct",
    "actual carbon intensity",  # Great Britain; the forecast is another column
    "carbonintensity",
    "carbon intensity",
    "co2perkwh",  # Energi Data Service
    "co2emission",
)
_FORECASTS: Final = ("forecast carbon intensity",)
_KINDS: Final = ("kind", "data estimated")
_ZONES: Final = ("zone id", "zone", "pricearea")
_NO_VALUE: Final = frozenset({"", "-", "n/e", "n/a", "na", "nan", "null", "none"})
_EUROPEAN: Final = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})[ ,]+(\d{1,2}):(\d{2})(?::(\d{2}))?")


@dataclass(frozen=True)
class CsvHours:
    """A file of hours, read once and as a whole: a ``Source``.

    Attributes:
        path: of the file.
        by_hour: what it says.
    """

    path: Path
    by_hour: Mapping[int, HourIntensity]

    @classmethod
    def read(cls, path: Path, zone: str | None = None, timezone: str | None = None) -> CsvHours:
        """Read it.

        Args:
            path: of the file.
            zone: whose rows count, where the file has several zones.
            timezone: of local times without an offset, as ``Europe/Berlin``.

        Raises:
            InputError: it cannot be read, or it is not clear what it says; file and line are in the text.
        """
        text = read_text(path, MOST_BYTES, "a CSV of hours")
        return cls(path, _Table(path, text, zone, timezone).hours())

    def hours(self, first: int, last: int) -> Iterator[HourIntensity]:
        """As ``Source`` says."""
        return (each for hour, each in self.by_hour.items() if first <= hour <= last)


class _Table:
    def __init__(self, path: Path, text: str, zone: str | None, timezone: str | None) -> None:
        self._file, self._zone = path, zone
        text = text.removeprefix("\N{BYTE ORDER MARK}")
        head = text.partition("\n")[0]
        self._delimiter = max(",;\t", key=head.count)
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise self._wrong(f"this is no CSV: {error}") from None
        if not rows or not any(cell.strip() for cell in rows[0]):
            raise self._wrong("the file is empty")
        self._head = [one_line(cell, 100) for cell in rows[0]]
        self._rows = [(number, row) for number, row in enumerate(rows[1:], start=2) if any(map(str.strip, row))]
        self._time, self._zoneinfo = self._times(timezone)
        self._grams = self._column(_GRAMS)
        self._forecast = self._column(_FORECASTS)
        if self._grams is None and self._forecast is None:
            heads = ", ".join(self._head)
            raise self._wrong(f"no column is of the intensity: name one grams_per_kwh (there is {one_line(heads)})")
        # 1.234,5 is a number of several countries: where one has a comma, dots are for people.
        columns = [column for column in (self._grams, self._forecast) if column is not None]
        self._comma = self._delimiter != "," and any(
            "," in row[column] for _, row in self._rows for column in columns if column < len(row)
        )

    def hours(self) -> Mapping[int, HourIntensity]:
        """By hour. Parts of an hour are averaged; it is a forecast if one of them is."""
        kind_column, zone_column = self._column(_KINDS), self._column(_ZONES)
        parts: dict[int, list[tuple[float, Kind]]] = defaultdict(list)
        zones = set()
        for number, row, time in self._at():
            zone = self._cell(row, zone_column)
            if zone_column is not None and self._zone is not None and zone != self._zone:
                continue
            zones.add(zone)
            value = self._value(number, row, self._grams)
            kind: Kind = "measured"
            if value is None:
                value, kind = self._value(number, row, self._forecast), "forecast"
            elif self._cell(row, kind_column).casefold() in {"true", "forecast", "1"}:
                kind = "forecast"
            if value is not None:
                parts[hour_of(time)].append((value, kind))
        if len(zones) > 1:
            known = ", ".join(sorted(one_line(zone, 40) for zone in zones)[:10])
            raise self._wrong(f"has several zones ({known}); say which")
        if not parts:
            what = "" if self._zone is None else f" of zone {one_line(self._zone, 40)}"
            raise self._wrong(f"holds no hour{what} with an intensity")
        zone = self._zone or (zones.pop() if zones else "") or "given"
        return {hour: self._whole(zone, hour, given) for hour, given in sorted(parts.items())}

    def _whole(self, zone: str, hour: int, given: Sequence[tuple[float, Kind]]) -> HourIntensity:
        kind: Kind = "forecast" if any(kind == "forecast" for _, kind in given) else "measured"
        mean = math.fsum(value for value, _ in given) / len(given)
        return HourIntensity(one_line(zone, 100), hour, mean, kind, f"{one_line(self._file.name, 100)}", None)

    def _at(self) -> Iterator[tuple[int, Sequence[str], float]]:
        """Every row with its line and its moment; hours that local clocks have twice go by their order."""
        twice: dict[tuple[str, datetime], list[int]] = defaultdict(list)
        found = []
        zone_column = self._column(_ZONES)
        for number, row in self._rows:
            time = self._parsed(number, self._cell(row, self._time))
            if time.tzinfo is None:
                assert self._zoneinfo is not None  # noqa: S101  (_times has seen to it)
                first, second = (time.replace(tzinfo=self._zoneinfo, fold=fold).astimezone(UTC) for fold in (0, 1))
                if first.astimezone(self._zoneinfo).replace(tzinfo=None) != time:
                    raise self._wrong(f"there is no {time} in {self._zoneinfo}: clocks go forward there", number)
                if first != second:
                    seen = twice[self._cell(row, zone_column), time]
                    seen.append(number)
                    if len(seen) > 2:
                        raise self._wrong(f"{time} is here more than twice", number)
                    first = second if len(seen) == 2 else first
                time = first
            found.append((number, row, time.timestamp()))
        for (_, time), lines in twice.items():
            if len(lines) == 1:
                raise self._wrong(f"{time} is twice in {self._zoneinfo}, and here once: which one is it?", lines[0])
        yield from found

    def _parsed(self, number: int, text: str) -> datetime:
        begin = text.partition(" - ")[0].strip()  # ENTSO-E: 01.01.2025 00:00 - 01.01.2025 01:00
        try:
            if begin.isascii() and re.fullmatch(r"\d{9,10}", begin):
                return datetime.fromtimestamp(int(begin), UTC)
            if parts := _EUROPEAN.fullmatch(begin):
                day, month, year, hour, minute, second = (int(part or 0) for part in parts.groups())
                time = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  (its zone follows)
            else:
                time = datetime.fromisoformat(begin)
        except (ValueError, OverflowError):
            raise self._wrong(f"{one_line(text, 60)!r} is no time (such as 2026-03-01T13:00Z)", number) from None
        if not 1970 < time.year < 9000:
            raise self._wrong(f"{one_line(text, 60)!r} is no time of our days", number)
        if time.tzinfo is None and self._zoneinfo is None:
            raise self._wrong(
                f"{one_line(text, 60)!r} is a local time without its offset from UTC: write 2026-03-01T13:00+01:00,"
                f" call the column {_short(self._head[self._time])!r} '... (UTC)' if it is, or say its time zone",
                number,
            )
        return time

    def _times(self, timezone: str | None) -> tuple[int, ZoneInfo | None]:
        column = self._column(_TIMES)
        if column is None:
            raise self._wrong(f"no column is of the time: name one datetime (there is {', '.join(self._head)})")
        head = self._head[column].casefold()
        if re.search(r"cet|cest", head):
            timezone = timezone or "Europe/Brussels"
        elif re.search(r"utc|gmt", head):
            timezone = "UTC"
        if timezone is None:
            return column, None
        try:
            return column, ZoneInfo(timezone)
        except (ValueError, OSError):
            raise self._wrong(f"{one_line(timezone, 60)!r} is no time zone (such as Europe/Berlin)") from None

    def _column(self, names: Sequence[str]) -> int | None:
        heads = [_plain(head) for head in self._head]
        for name in names:
            for column, head in enumerate(heads):
                if head == name or head.startswith(f"{name} "):
                    return column
        return None

    def _cell(self, row: Sequence[str], column: int | None) -> str:
        return row[column].strip() if column is not None and column < len(row) else ""

    def _value(self, number: int, row: Sequence[str], column: int | None) -> float | None:
        text = self._cell(row, column)
        if text.casefold() in _NO_VALUE:
            return None
        plain = text.replace(".", "").replace(",", ".") if self._comma else text
        try:
            value = float(plain)
        except ValueError:
            value = math.nan
        if not 0 <= value <= MAX_GRAMS_PER_KWH:
            raise self._wrong(f"{one_line(text, 60)!r} is no number of grams per kWh", number)
        return value

    def _wrong(self, problem: str, line: int | None = None) -> InputError:
        return InputError(problem if line is None else f"line {line}: {problem}", file=str(self._file))


def _plain(head: str) -> str:
    """``Carbon intensity gCO2eq/kWh (Life cycle)`` as letters and single blanks."""
    text = head.casefold().replace("\N{SUBSCRIPT TWO}", "2").replace("_", " ")
    return " ".join(re.sub(r"[^\w ]", " ", text).split())


def _short(head: str) -> str:
    return one_line(head, 40)
