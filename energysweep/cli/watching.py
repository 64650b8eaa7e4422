"""The command that shows a run that works elsewhere: watch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from energysweep.cli.common import add_command, path, run_folder
from energysweep.core.errors import InputError
from energysweep.core.runfolder import LEDGER, REPORT
from energysweep.core.terminal import say, show


def add(commands: Any) -> None:
    """Add it to the command line."""
    watch = add_command(
        commands, "watch", _watch, "shows a run that works elsewhere, as its own live table does, until it has ended"
    )
    watch.add_argument(
        "run_dir",
        metavar="RUN_DIR|URL",
        type=_given,
        help="This is the folder of the run, or the address that it has printed for its metrics.",
    )
    watch.add_argument("--run-id", metavar="ID", default="", help="Of several runs at URL this one is shown.")


def _given(text: str) -> Path | str:
    """The type of an argument that is a folder or an address."""
    return text if text.startswith(("http://", "https://")) else path(text)


def _watch(arguments: argparse.Namespace) -> int:
    if isinstance(arguments.run_dir, Path):
        if arguments.run_id:
            raise InputError("a folder holds one run: it goes with a URL", key="--run-id")
        return _folder(run_folder(arguments.run_dir))
    from energysweep.monitoring.watched_agents import WatchedAgents
    from energysweep.monitoring.watching import shown_here, watch
    from energysweep.report.live import line

    run = WatchedAgents(arguments.run_dir, arguments.run_id)
    end = watch(run, shown_here())
    say(f"{run.run_id} has ended: {line(end.status)}")
    return 0


def _folder(folder: Path) -> int:
    from energysweep.ledger.store import read_ledger
    from energysweep.monitoring.watching import WatchedFolder, shown_here, watch
    from energysweep.report import summarise, terminal_table

    end = watch(WatchedFolder(folder), shown_here())
    summary = summarise(read_ledger(folder / LEDGER, untouched=True))
    show(terminal_table(summary))
    say(f"{summary.sweep} has ended: {end.ended}")
    if (folder / REPORT).is_file():
        say(f"report: {folder / REPORT}")
    return 0
