"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done; 1 the sweep or a step failed; 2 the user's input is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from energysweep import __version__
from energysweep.cli import (
    exporting,
    host,
    itself,
    monitoring,
    planning,
    reports,
    runs,
    searching,
    submit,
    sweeping,
    watching,
)
from energysweep.cli.common import EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED, Parser, fail
from energysweep.core.errors import EnergysweepError, InputError, MeterUnavailable


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold what no terminal can show
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except (InputError, MeterUnavailable) as error:
        hint = error.hint if isinstance(error, MeterUnavailable) else None
        return fail(f"{error}; {hint}" if hint else str(error), EXIT_INPUT)
    except EnergysweepError as error:
        return fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # `energysweep report ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # standard output on a full disk; a file that went away in mid-work
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its rest is tried again at the end
        return fail(f"{error.filename or 'the output'}: {error.strerror or error}", EXIT_FAILED)


def _parser() -> Parser:
    parser = Parser(
        prog="energysweep", description="Hyperparameter sweeps with their cost in joules and grams of CO2e."
    )
    parser.add_argument("--version", action="version", version=f"energysweep {__version__}")
    parser.set_defaults(parser=parser)  # for completion
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    # In the order of --help.
    for group in (sweeping, watching, planning, submit, reports, runs, exporting, searching, monitoring, host, itself):
        group.add(commands)
    return parser
