"""Any program as a Tune trainable, which reports by what it writes."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, Final, NamedTuple

from ray import tune

from energysweep.core.errors import SweepError
from energysweep.core.phases import COMMAND_OUTPUT, PHASE_LINE, output_name, startup
from energysweep.sweepfile import render_command

# Reports in what a program writes: JSON objects, or what regular expressions find ------------------------------------

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


# The trainable that runs it ------------------------------------------------------------------------------------------

_SHOWN_BYTES = 2000  # of what a program said before it failed
_PIECE_BYTES = 65536


def program(
    command: Sequence[str],
    folder: str | None,
    environment: Mapping[str, str] | None = None,
    patterns: Sequence[str] = (),
) -> Callable[[dict[str, Any]], None]:
    """The function trainable that runs a program, without a shell. It ends when its trial ends, with all its children.

    A line on its standard output that is JSON objects is as many reports, but for ``{"energysweep": "startup"}`` and
    ``{"energysweep": "work"}``: what it does between them is start-up. With ``patterns``, reports are what these find
    in what it writes, also to standard error.

    Args:
        command: program and arguments, with ``{parameter}`` where a value goes.
        folder: where it runs.
        environment: all of its environment; None: the worker's.
        patterns: regular expressions with named groups, see ``output.Patterns``.

    Raises (in the trial):
        SweepError: it ended with an exit code other than 0, or without a report; with the end of what it said.
    """

    def run(config: dict[str, Any]) -> None:
        arguments = render_command(command, config)
        source, sink = os.pipe()
        variables = {**(os.environ if environment is None else environment), COMMAND_OUTPUT: output_name(sink)}
        with tempfile.TemporaryFile("w+b") as errors, os.fdopen(source, "rb", buffering=0) as output, _Said() as said:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "energysweep.tune.supervisor", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT if patterns else errors,
                    cwd=folder,
                    env=variables,
                )
            finally:
                os.close(sink)
            try:
                reports, find = 0, Patterns(patterns).reports if patterns else None
                for line in said.lines(output):
                    objects = list(said.without_phases(line))
                    for report in objects if find is None else find(line):
                        tune.report(report)
                        reports += 1
                code = process.wait()
            finally:  # also when Tune stops the trial inside report
                process.terminate()
                output.close()
                process.wait()
            end = _end("its output", said.tail) if patterns else _end("its standard error", _tail_of(errors))
            if code != 0:
                raise SweepError(f"{arguments[0]} ended with exit code {code}{end}")
            if reports == 0:
                how = 'it has to print one JSON object per line, like {"accuracy": 0.9}'
                how = "nothing that it wrote completes results.pattern" if patterns else how
                raise SweepError(f"{arguments[0]} reported nothing: {how}{end}")

    run.__name__ = "program"
    return run


class _Said(ExitStack):
    """What a program has written; while it is in start-up, the trial is.

    Attributes:
        tail: the end of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tail = b""

    def lines(self, output: IO[bytes]) -> Iterator[Line]:
        """Its lines as they come."""
        lines = Lines()
        while piece := output.read(_PIECE_BYTES):
            self.tail = (self.tail + piece)[-_SHOWN_BYTES:]
            yield from lines.feed(piece)
        yield from lines.feed(b"", is_end=True)

    def without_phases(self, line: Line) -> Iterator[dict[str, Any]]:
        """The JSON objects of a line; those that tell of a phase are taken out."""
        for content in json_reports(line):
            if content == {PHASE_LINE: "startup"}:
                self.enter_context(startup())
            elif content == {PHASE_LINE: "work"}:
                self.close()
            else:
                yield content


def _tail_of(file: IO[bytes]) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _SHOWN_BYTES))
    return file.read()


def _end(of: str, tail: bytes) -> str:
    text = tail.decode(errors="replace").strip()
    return f"; the end of {of}:\n{text}" if text else f"; it wrote nothing to {of.removeprefix('its ')}"
