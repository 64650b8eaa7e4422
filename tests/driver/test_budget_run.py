"""A budget of a real sweep, whose driver is killed twice."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.budget import STOPPED
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import read_ledger
from tests.driver.test_race import STEPS, SWEEP
from tests.driver.test_resume import kill_at, start

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

LIMIT = 3000.0  # of 100 W: beside it, what a driver and Ray take to begin three times is little
AT_ONCE = 2


def resumed(folder: Path) -> subprocess.Popen[bytes]:
    """The driver that goes on with a run."""
    return subprocess.Popen(
        [sys.executable, "-m", "energysweep", "resume", str(folder), "--metrics-port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def charged(folder: Path) -> float:
    return RunState.of(read_ledger(folder / LEDGER)).charged_joules or 0.0


@pytest.mark.variant
def test_a_run_that_is_killed_twice_and_resumed_keeps_one_budget(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep_folder / "steps.py").write_text(STEPS.replace("at < 40", "at < 8"))  # no trial takes much of it
    sweep = SWEEP.replace(
        "scheduler: {type: race, winners: 2}", f"budget: {{energy_joules: {LIMIT:g}}}\nstop: {{training_iteration: 8}}"
    )
    (sweep_folder / "sweep.yaml").write_text(sweep.replace("repeats: 2", "repeats: 100"))
    folder = sweep_folder / "results" / "it"

    def has_spent(joules: float) -> bool:
        return (folder / LEDGER).exists() and charged(folder) > joules

    kill_at(start(sweep_folder), lambda: has_spent(LIMIT / 10))
    first = charged(folder)
    kill_at(resumed(folder), lambda: has_spent(first + LIMIT / 20))
    second = charged(folder)
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 0

    data = read_ledger(folder / LEDGER)
    state = RunState.of(data)
    assert data.run["status"] == STOPPED
    assert len(data.run["parts"]) == 3
    (stop,) = [row for row in data.decisions if row.what == "stopped"]
    told = [[0.0, *(each.energy_joules or 0.0 for each in state.reports_of(trial))] for trial in state.trials]
    report = max(after - before for joules in told for before, after in pairwise(joules))
    startup = max(sum(each["startup"] for each in state.booked(trial).values()) for trial in state.trials)
    assert stop.joules is not None
    assert LIMIT / 10 < first < second < stop.joules <= LIMIT + AT_ONCE * (report + startup)

    # All parts are spent of it: as soon as it holds no trial by itself, nothing goes on in the same one.
    capsys.readouterr()
    while (code := main(["resume", str(folder), "--metrics-port", "0"])) == 0:
        assert charged(folder) <= LIMIT + AT_ONCE * (report + startup)
        capsys.readouterr()
    assert code == 2
    said = capsys.readouterr().err.splitlines()
    assert f"of {LIMIT:,.0f} J are spent" in said[-1]
    assert "--set budget.energy_joules=" in said[-1]
