"""What several commands share: options, a run's folder, how they fail."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from energysweep.core import inputs
from energysweep.core.errors import InputError, one_line
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import note

if TYPE_CHECKING:
    from energysweep.core.carbon import Intensity
    from energysweep.hourly.grid import NamedSource

_T = TypeVar("_T")

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130


def fail(message: str, code: int) -> int:
    """Tell on standard error; returns ``code``."""
    note(f"energysweep: {message}")
    return code


class Parser(argparse.ArgumentParser):
    """Tells a wrong option like every other wrong input."""

    def error(self, message: str) -> NoReturn:
        sys.exit(fail(f"{message} (see {self.prog} --help)", EXIT_INPUT))


def add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A command: its name, what carries it out (returns the exit code), and the rest of a sentence about it."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=f"{text}.")
    parser.description = f"{parser.prog} {text}."
    parser.set_defaults(run=function)
    return parser


def add_set(parser: argparse.ArgumentParser) -> None:
    """The option --set."""
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="The key KEY of the file gets VALUE, such as objective.target=0.9. The option may be given several times.",
    )


def add_address(parser: argparse.ArgumentParser) -> None:
    """The option --address of a command that runs trials."""
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="The trials run on the Ray cluster at ADDR; by default at RAY_ADDRESS, else on a Ray of the run's own.",
    )


def add_metrics_port(parser: argparse.ArgumentParser) -> None:
    """The option --metrics-port."""
    parser.add_argument(
        "--metrics-port",
        metavar="N",
        type=port,
        default=9770,
        help="An agent that is started here serves /metrics at port N, 9770 by default, or at a free one.",
    )


def add_run_id(parser: argparse.ArgumentParser) -> None:
    """The option --run-id."""
    parser.add_argument(
        "--run-id", metavar="ID", help="The run is called ID; by default it has the sweep's name and the time."
    )


def add_run_folder(parser: argparse.ArgumentParser) -> None:
    """The argument that names a run folder."""
    parser.add_argument("folder", metavar="RUN_DIR", type=path, help="This is the folder of the run.")


def add_carbon(parser: argparse.ArgumentParser, also: str = "") -> None:
    """The option --carbon; ``also`` is what else it takes here."""
    parser.add_argument(
        "--carbon", metavar="KEY=VALUE,...", help=f"Emissions are counted for another grid, such as country=FRA{also}."
    )


def grid_of(arguments: argparse.Namespace) -> Intensity | None:
    """The grid that --carbon asks for; None: each run's own."""
    from energysweep.core import carbon

    return carbon.resolve(**carbon.parse_carbon_option(arguments.carbon)) if arguments.carbon is not None else None


def grid_and_hours(arguments: argparse.Namespace) -> tuple[Intensity | None, NamedSource | None]:
    """The same, and who knows its hours: ``hourly=``, with the ``zone=`` and ``timezone=`` that belong to it."""
    from energysweep.core import carbon

    parts = [] if arguments.carbon is None else arguments.carbon.split(",")
    ours: dict[str, str] = {}
    for part in parts:
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key in ("hourly", "zone", "timezone"):
            if key in ours or not value:
                raise InputError("given twice" if key in ours else "is empty", key=key)
            ours[key] = value
    if not ours:
        return grid_of(arguments), None
    if "hourly" not in ours:
        raise InputError("belongs to hourly=FILE.csv or hourly=electricitymaps", key=next(iter(ours)))
    others = ",".join(part for part in parts if part.partition("=")[0].strip() not in ours)
    grid = carbon.resolve(**carbon.parse_carbon_option(others)) if others else None
    from energysweep.hourly.named import source_of  # not before it is asked for: it loads requests

    return grid, source_of(ours["hourly"], ours.get("zone"), ours.get("timezone"))


def add_file_sd(parser: argparse.ArgumentParser, what: str) -> None:
    """The option --file-sd."""
    parser.add_argument(
        "--file-sd", metavar="FILE", type=path, help=f"FILE, for Prometheus' file_sd, always names {what}."
    )


def seconds(text: str) -> float:
    """The type of an option that is a duration."""
    return _given(inputs.seconds, text)


def grams(text: str) -> float:
    """The type of an option that is grams of something."""
    return _given(inputs.grams, text)


def path(text: str) -> Path:
    """The type of an option that is a path. Shells leave the ``~`` of ``--option=~/folder`` to the program."""
    return _given(inputs.checked_path, text)


def _given(check: Callable[[str], _T], text: str) -> _T:
    try:
        return check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    """The type of an option that is a number of times."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of times")
    return int(text)


def at_least_one(text: str) -> int:
    """The type of an option that is a number of things, of which there must be one."""
    found = count(text)
    if found < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return found


def port(text: str) -> int:
    """The type of an option that is a port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{one_line(text, 60)!r} is no port: 0 to 65535, 0 for any free one")
    return int(text)


def check_output(file: Path | None, key: str) -> None:
    """Whether a file can be written there, if one is wanted; by trying, and before anything else is done.

    Raises:
        InputError: it cannot.
    """
    if file is None:
        return
    probe = file.parent / f".{file.name}.{os.getpid()}"
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"{file} is no file", key=key)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error})", key=key) from error


def run_folder(folder: Path) -> Path:
    """The folder, if it is a run's.

    Raises:
        InputError
    """

    if not inputs.is_folder(folder):
        raise InputError("there is no such folder", file=str(folder))
    if not inputs.is_file(folder / LEDGER):
        raise InputError(f"this is no run folder: it has no {LEDGER}", file=str(folder))
    return folder
