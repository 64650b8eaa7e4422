"""Reports in what a program writes: JSON objects, or what regular expressions find."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

LONGEST_LINE: Final = 1_000_000  # characters; a longer one is no report, and is not kept
SEARCHED_CHARACTERS: Final = 10_000  # of a line: a pattern may take time that grows fast with its length

# Colours, cursor movements, titles.
_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_LINE_END = re.compile(r"(\r\n|\r|\n)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_DECODER = json.JSONDecoder(
    parse_constant={"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.__getitem__,
    parse_int=lambda digits: int(digits) if len(digits) <= 400 else digits,  # Python refuses to read longer ones
)


class Line(NamedTuple):
    """A line of text; ``overwrites``: it comes after a carriage return, as a progress bar does."""

    text: str
    overwrites: bool = False


Reports = Callable[[Line], Iterator[dict[str, Any]]]  # those of one line


class Lines:
    """Cuts what a program writes into lines, as a terminal would show them one after the other.

    A carriage return ends a line, too: a progress bar is a line that is written over and over. Colours and a byte order
    mark are taken out, bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._parts: list[str] = []
        self._length = 0
        self._overwrites = False

    def feed(self, data: bytes, *, is_end: bool = False) -> Iterator[Line]:
        """The lines that end in this piece; at the end also one without a line end."""
        *ended, rest = _LINE_END.split(self._decoder.decode(data, is_end))
        for part, end in zip(ended[::2], ended[1::2], strict=True):
            self._add(part)
            yield self._take(ends_with=end)
        self._add(rest)
        if is_end and self._length:
            yield self._take(ends_with="\n")

    def _add(self, part: str) -> None:
        self._length += len(part)
        if self._length <= LONGEST_LINE:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _take(self, ends_with: str) -> Line:
        text = _CONTROL_SEQUENCE.sub("", "".join(self._parts)).replace("\ufeff", "")
        line = Line(text, self._overwrites)
        self._parts, self._length = [], 0
        self._overwrites = ends_with == "\r"
        return line


def json_reports(line: Line) -> Iterator[dict[str, Any]]:
    """The JSON objects of a line that has nothing else. Empty ones are no reports.

    Where a progress bar is drawn, what stands before the first of them is the bar.
    """
    text = line.text.strip()
    place = text.find("{")
    if place < 0 or (place > 0 and not line.overwrites):
        return
    found = []
    while place < len(text):
        try:
            content, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        if not isinstance(content, dict):
            return
        found.append(content)
        while place < len(text) and text[place].isspace():
            place += 1
    yield from (content for content in found if content)


class Patterns:
    """Finds reports with regular expressions: a named group is a metric.

    Several patterns are looked for in their order in each line. Each match gives its values; one of the last pattern
    makes a report of all that have been found since the report before.

    Args:
        patterns: regular expressions, at least one.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._values: dict[str, Any] = {}

    def reports(self, line: Line) -> Iterator[dict[str, Any]]:
        """The reports that a line completes."""
        text = line.text[:SEARCHED_CHARACTERS]
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                self._values |= {name: _value(found) for name, found in match.groupdict().items() if found is not None}
                if pattern is self._patterns[-1] and self._values:
                    yield self._values
                    self._values = {}


def _value(text: str) -> int | float | str:
    """A number, if the text is one."""
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
