"""Any program as a Tune trainable, which reports by what it writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from ray import tune

from energysweep.errors import SweepError
from energysweep.phases import COMMAND_OUTPUT, PHASE_LINE, output_name, startup
from energysweep.spec import render_command
from energysweep.tuning.output import Line, Lines, Patterns, json_reports

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
                    [sys.executable, "-m", "energysweep.tuning.supervisor", *arguments],
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
