"""What the tests of all formats share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.export.run import Exported
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summarise
from tests.support.ledgers import write_ledger

Said = tuple[int, str, str]
Export = Callable[..., Said]


def exported(data: LedgerData, folder: Path = Path("run")) -> Exported:
    """A run of these rows."""
    return Exported(folder, data, summarise(data))


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Export:
    """Exports a ledger as the command does; the run folder is ``tmp_path / "run"``.

    Returns the exit code, the output and the errors.
    """

    def carried_out(data: LedgerData | None, *arguments: str | Path) -> Said:
        if data is not None:
            write_ledger(tmp_path / "run", data)
        capsys.readouterr()
        code = main(["export", str(tmp_path / "run"), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return carried_out
