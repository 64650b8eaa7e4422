"""Any program as a Tune trainable: it prints one JSON object per line for each report."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from ray import tune

from energysweep.errors import SweepError
from energysweep.phases import COMMAND_OUTPUT, PHASE_LINE, output_name, startup
from energysweep.spec import render_command

_SHOWN_OF_STDERR = 2000  # characters


def program(
    command: Sequence[str], folder: str | None, environment: Mapping[str, str] | None = None
) -> Callable[[dict[str, Any]], None]:
    """The function trainable that runs a program, without a shell.

    A line on its standard output that is a JSON object is a report, but for ``{"energysweep": "startup"}`` and
    ``{"energysweep": "work"}``: what it does between them is start-up. It ends when its trial ends, with all its
    children.

    Args:
        command: program and arguments, with ``{parameter}`` where a value goes.
        folder: where it runs.
        environment: all of its environment; None: the worker's.

    Raises (in the trial):
        SweepError: it ended with an exit code other than 0; with the end of its standard error.
    """

    def run(config: dict[str, Any]) -> None:
        arguments = render_command(command, config)
        source, sink = os.pipe()
        variables = {**(os.environ if environment is None else environment), COMMAND_OUTPUT: output_name(sink)}
        with tempfile.TemporaryFile("w+b") as errors, os.fdopen(source, "rb") as output, ExitStack() as phase:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "energysweep.tuning.supervisor", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=errors,
                    cwd=folder,
                    env=variables,
                )
            finally:
                os.close(sink)
            try:
                reports = 0
                for line in output:
                    report = parse_report(line)
                    if report == {PHASE_LINE: "startup"}:
                        phase.enter_context(startup())
                    elif report == {PHASE_LINE: "work"}:
                        phase.close()
                    elif report is not None:
                        tune.report(report)
                        reports += 1
                code = process.wait()
            finally:  # also when Tune stops the trial inside report
                process.terminate()
                output.close()
                process.wait()
            if code != 0:
                raise SweepError(f"{arguments[0]} ended with exit code {code}{_end_of(errors)}")
            if reports == 0:
                raise SweepError(
                    f"{arguments[0]} reported nothing: it has to print one JSON object per line, like"
                    f' {{"accuracy": 0.9}}{_end_of(errors)}'
                )

    run.__name__ = "program"
    return run


def parse_report(line: bytes) -> dict[str, Any] | None:
    """A report, None if the line is none: no JSON object, or an empty one."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        content = json.loads(line, parse_constant=_constant)
    except ValueError:
        return None
    return content if isinstance(content, dict) and content else None


def _constant(name: str) -> float:
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[name]


def _end_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    if not text:
        return "; it wrote nothing to standard error"
    return f"; the end of its standard error:\n{text[-_SHOWN_OF_STDERR:]}"
