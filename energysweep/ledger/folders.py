"""The runs below some folders: where their ledgers are, and what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from energysweep.core.errors import InputError, LedgerError
from energysweep.core.inputs import is_folder
from energysweep.core.runfolder import DRIVER_LOCK, LEDGER, RUN_KEY, SUMMARY, TRIALS
from energysweep.ledger.copies import Named
from energysweep.ledger.store import read_ledger


@dataclass(frozen=True, slots=True)
class Runs:
    """What was found.

    Attributes:
        read: of each ledger its folder, and what it holds as far as it can be read.
        problems: one line for each folder that cannot be looked at, for each run that is left out because its ledger is
            not there or cannot be read, and for each table of a ledger of which something is left out.
    """

    read: Sequence[Named]
    problems: Sequence[str]


def runs_below(folders: Iterable[Path]) -> Runs:
    """The runs in these folders, each once: a folder may be a run's, or hold some at any depth, also by a link.

    Raises:
        InputError: there is no such folder.
    """
    found: list[Path] = []
    problems: list[str] = []
    seen: set[str] = set()
    for folder in folders:
        if not is_folder(folder):
            raise InputError("there is no such folder", file=str(folder))
        _look(folder, seen, found, problems)
    read: list[Named] = []
    for folder in found:
        try:
            data = read_ledger(folder / LEDGER)
        except LedgerError as error:
            problems.append(f"{error}: this run is left out")
            continue
        read.append((str(folder), data))
        problems += [f"{folder / LEDGER}: {line}" for line in data.damage]
    return Runs(read, problems)


def _look(top: Path, seen: set[str], found: list[Path], problems: list[str]) -> None:
    """Note the run folders below one, and what is left of a run without its ledger.

    Args:
        top: where to begin.
        seen: where somebody has looked already, by where folders really are: a link may lead back, or two to the same.
        found, problems: what is noted.
    """

    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror or error}: what is in it is left out")

    for root, folders, names in os.walk(top, onerror=unreadable, followlinks=True):
        here, real = Path(root), os.path.realpath(root)
        is_run = LEDGER in names or LEDGER in folders
        if real in seen or is_run:
            folders.clear()
        if is_run and real not in seen:
            found.append(here)
        elif real not in seen and (RUN_KEY in names or DRIVER_LOCK in names or {SUMMARY, TRIALS} <= set(names)):
            problems.append(f"{here}: a run folder without its {LEDGER}: this run is left out")
        seen.add(real)
        folders.sort()
