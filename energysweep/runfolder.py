"""The folder of a run, as far as it is read before Ray is started."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from energysweep.errors import InputError
from energysweep.ledger import FILE_NAME, Ledger
from energysweep.spec import SweepSpec, load_spec

SPEC_NAME: Final = "sweep.yaml"


def to_resume(folder: Path) -> tuple[str, SweepSpec]:
    """The id and the sweep of a run that is to go on.

    Raises:
        InputError: this is no run folder, or its sweep is wrong.
        LedgerError: its ledger is damaged: what is written on top of it could not be trusted.
    """
    if not (folder / FILE_NAME).is_file():
        raise InputError(f"this is no run folder: it has no {FILE_NAME}", file=str(folder))
    with Ledger.open(folder / FILE_NAME) as ledger:
        run_id = str(ledger.read_whole().run["id"])
    return run_id, load_spec(folder / SPEC_NAME)
