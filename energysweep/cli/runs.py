"""Commands over many runs: list, account."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import EXIT_FAILED, add_command, path
from energysweep.core.errors import InputError
from energysweep.core.terminal import note, say, show


def add(commands: Any) -> None:
    """Add them to the command line."""
    listing = add_command(
        commands, "list", _list, "lists runs, the newest first, with what each is charged and what it has found"
    )
    listing.add_argument(
        "folder",
        metavar="DIR",
        type=path,
        nargs="?",
        default=Path("results"),
        help="The runs below DIR are listed; those below results by default.",
    )
    add_json(listing)

    account = add_command(
        commands, "account", _account, "adds runs up, so that all that the meters saw is there once and has an owner"
    )
    account.add_argument(
        "folders", metavar="DIR", type=path, nargs="+", help="The runs in DIR, or below it, are added up."
    )
    account.add_argument(
        "--by",
        choices=("owner", "tag", "name", "month", "hardware"),
        default="owner",
        help="What the runs are charged is divided by this; by owner by default.",
    )
    how = account.add_mutually_exclusive_group()
    add_json(how)
    how.add_argument("--csv", action="store_true", help="A CSV file is printed, whose column of joules adds up.")


def _list(arguments: argparse.Namespace) -> int:
    from energysweep.ledger.folders import runs_below
    from energysweep.report.runs import listed, runs_dict, runs_table

    found = runs_below([arguments.folder])
    runs = listed(found.read)
    if arguments.json:
        say_answer("list", runs_dict(runs, found.problems))
    elif runs:
        show(runs_table(runs))
    elif not found.problems:
        note(f"There is no run below {arguments.folder}.")
    return _told(found.problems)


def _account(arguments: argparse.Namespace) -> int:
    from energysweep.ledger.account import account
    from energysweep.ledger.folders import runs_below
    from energysweep.report.runs import account_csv, account_dict, account_table

    found = runs_below(arguments.folders)
    if not found.read and not found.problems:
        raise InputError(f"there is no run below {', '.join(map(str, arguments.folders))}", key="DIR")
    added = account(found.read, arguments.by)
    code = _told(found.problems)
    if arguments.json:
        say_answer("account", account_dict(added, found.problems))
    elif arguments.csv:
        say(account_csv(added), end="")
    else:
        show(account_table(added, found.problems))
    return code


def _told(problems: Sequence[str]) -> int:
    """Say what is left out; the exit code that tells of it."""
    for problem in problems:
        note(f"energysweep: {problem}")
    return EXIT_FAILED if problems else 0
