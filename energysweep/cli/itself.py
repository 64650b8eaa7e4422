"""Commands about the command line itself: schema, completion."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

from energysweep.cli.answering import VERSIONS
from energysweep.cli.common import add_command, path
from energysweep.core.terminal import say

_FOLDERS: Final = ("DIR", "RUN_DIR", "RUN_DIR|URL")  # what options and arguments call a folder


def add(commands: Any) -> None:
    """Add them to the command line."""
    schema = add_command(commands, "schema", _schema, "prints the JSON Schema of what a command answers with --json")
    schema.add_argument(
        "answer",
        metavar="COMMAND",
        choices=sorted(VERSIONS),
        help=f"COMMAND is {', '.join(sorted(VERSIONS))}; summary is a run's summary.json.",
    )

    completion = add_command(commands, "completion", _completion, "prints what lets a shell complete command lines")
    completion.add_argument(
        "shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="SHELL is bash, zsh or fish."
    )


def _schema(arguments: argparse.Namespace) -> int:
    from energysweep.cli.schemas import schema_text

    say(schema_text(arguments.answer), end="")
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    import shtab

    for action in _given(arguments.parser):
        if action.type is path or action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    say(shtab.complete(arguments.parser, arguments.shell), end="")
    return 0


def _given(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All that can be given to a command, or to one of its own; argparse lists that nowhere else."""
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                yield from _given(each)
        else:
            yield action
