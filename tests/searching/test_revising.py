"""The forecast of a run follows what its trials have told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.core.runfolder import LEDGER
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import read_ledger
from energysweep.searching.revising import Revising
from energysweep.sweepfile import load_spec
from tests.support.earlier_runs import SWEEP, Told, write_run, write_sweep

FIRST = RunForecast(5000.0, 4000.0, 6000.0, None)


class Run:
    """A run that goes on, with what its trials have told so far."""

    def __init__(self, folder: Path, *trials: Told) -> None:
        self.spec = load_spec(write_sweep(folder, SWEEP + "stop: {training_iteration: 10}\n"))
        self.folder, self.work = folder, list[Callable[[], None]]()
        self.state = RunState()
        self.tell("first", *trials)

    def tell(self, name: str, *trials: Told) -> None:
        data = read_ledger(write_run(self.folder / name, trials, status="running") / LEDGER)
        self.state = RunState.of(data, {"": self.spec.objective.rule})

    def revising(self, first: RunForecast | None = FIRST) -> Revising:
        return Revising(self.spec, self.state, first, lambda: 10.0, self.work.append)


def three(reports: int, joules: float = 10.0) -> list[Told]:
    values = [0.1 * number for number in range(1, reports + 1)]
    return [Told({"rate": rate}, joules, values, status="running") for rate in (0.1, 0.2, 0.4)]


def test_it_is_revised_once_every_configuration_has_told_its_first_reports(tmp_path: Path) -> None:
    run = Run(tmp_path, *three(3))
    revising = run.revising()
    assert revising.latest() == FIRST
    (work,) = run.work
    assert revising.latest() == FIRST  # it is being made
    assert len(run.work) == 1
    work()
    revised = revising.latest()
    assert revised is not None
    # Ten reports for 10 J each are 300 J of three trials, of which the first one or two hundred may lie at the target.
    assert 90.0 <= revised.low <= revised.joules <= revised.high < 1000.0
    assert revising.latest() == revised
    assert len(run.work) == 1  # not before there are twice as many reports


@pytest.mark.parametrize(
    "told",
    [
        three(2),  # too few
        [*three(9)[:2]],  # of one nobody knows anything
        [],
    ],
)
def test_before_that_the_first_one_stands(tmp_path: Path, told: list[Told]) -> None:
    run = Run(tmp_path, *told)
    revising = run.revising()
    revising.latest()
    for work in run.work:
        work()
    assert revising.latest() == FIRST


def test_without_a_first_one_none_is_made(tmp_path: Path) -> None:
    run = Run(tmp_path, *three(9))
    assert run.revising(None).latest() is None
    assert run.work == []


def test_what_goes_wrong_leaves_it_as_it_was(tmp_path: Path) -> None:
    run = Run(tmp_path, *three(3))

    def broken() -> float:
        raise RuntimeError("no clock")

    revising = Revising(run.spec, run.state, FIRST, broken, run.work.append)
    revising.latest()
    run.work[0]()
    assert revising.latest() == FIRST
