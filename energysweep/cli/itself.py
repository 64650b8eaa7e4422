"""Commands about the command line itself: schema."""

from __future__ import annotations

import argparse
from typing import Any

from energysweep.cli.answering import VERSIONS
from energysweep.cli.common import add_command
from energysweep.core.terminal import say


def add(commands: Any) -> None:
    """Add them to the command line."""
    schema = add_command(commands, "schema", _schema, "prints the JSON Schema of what a command answers with --json")
    schema.add_argument(
        "answer",
        metavar="COMMAND",
        choices=sorted(VERSIONS),
        help=f"COMMAND is {', '.join(sorted(VERSIONS))}; summary is a run's summary.json.",
    )


def _schema(arguments: argparse.Namespace) -> int:
    from energysweep.cli.schemas import schema_text

    say(schema_text(arguments.answer), end="")
    return 0
