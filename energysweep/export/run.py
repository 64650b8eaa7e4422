"""What is exported of a run, what may be asked for, and how files of it are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from energysweep.core.errors import EnergysweepError, InputError
from energysweep.core.inputs import is_file, is_folder, is_there
from energysweep.core.runfolder import LEDGER, OWN
from energysweep.ledger.model import Summary
from energysweep.ledger.store import LedgerData
from energysweep.report.files import write_whole


@dataclass(frozen=True, slots=True)
class Exported:
    """A run.

    Attributes:
        folder: of the run.
        data: its ledger.
        summary: what a report says of it; all numbers are from here, or are rows of the ledger.
    """

    folder: Path
    data: LedgerData
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked for; None, or False, where nobody did. A format goes by some of them.

    Attributes:
        output: the file, or the folder, that is written.
        force: replace what is there.
        of: what it is of, ``sweep`` or ``trial``.
        trial: which trial or configuration, as ``energysweep explain`` takes it.
        training_type: a word for the training.
        embodied_grams: CO2e of making the hardware, its part for the time and the share that the sweep had of it.
        set: settings of the sweep that are to be others, ``KEY=VALUE`` each.
    """

    output: Path | None = None
    force: bool = False
    of: Literal["sweep", "trial"] | None = None
    trial: str | None = None
    training_type: str | None = None
    embodied_grams: float | None = None
    set: Sequence[str] | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that are asked for."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not field.default)


def write_file(run: Exported, options: Options, name: str, content: str) -> Path:
    """Write a format's one file, whole or not at all.

    Args:
        run: its folder is where the file goes if nobody says otherwise.
        options: ``output`` is a file, or a folder that is there.
        name: what it is called where only its folder is known.
        content: of the file.

    Returns:
        Where it is.

    Raises:
        InputError: a file is in the way.
        EnergysweepError: it cannot be written.
    """
    given = options.output
    path = run.folder / name if given is None else given / name if is_folder(given) else given
    _check_free(path, options)
    write_whole(path, content)
    return path


def write_folder(run: Exported, options: Options, name: str, files: Mapping[str, bytes]) -> list[Path]:
    """Write a format's several files into one folder, each whole or not at all.

    Args:
        run: in its folder is the folder of the files if nobody says otherwise.
        options: ``output`` is that folder; it is made if its parent is there.
        name: what it is called else.
        files: their contents by their names.

    Returns:
        Where they are.

    Raises:
        InputError: a file is in the way.
        EnergysweepError: they cannot be written.
    """
    folder = options.output or run.folder / name
    if is_there(folder) and not is_folder(folder):
        raise InputError("this is no folder, and several files are written", file=str(folder), key="--output")
    paths = {folder / file: content for file, content in files.items()}
    for path in paths:
        _check_free(path, options)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EnergysweepError(f"{folder}: cannot be made ({error.strerror or error})") from error
    for path, content in paths.items():
        write_whole(path, content)
    return list(paths)


def _check_free(path: Path, options: Options) -> None:
    """Nothing of a run is ever replaced, and nothing else unless that is asked for: people fill reports in by hand."""
    if path.name in OWN and is_file(path.parent / LEDGER):
        raise InputError("this is a file of the run itself, which no export replaces", file=str(path), key="--output")
    if is_folder(path) or (is_there(path) and not is_file(path)):
        raise InputError("this is no file", file=str(path), key="--output")
    if is_there(path) and not options.force:
        raise InputError("there is such a file already; --force replaces it", file=str(path))
