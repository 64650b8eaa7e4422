"""The charts of each parameter, on trials that go on after their target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energysweep.core.objective import Objective
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.charts.configurations import parameters_at_work
from energysweep.report.charts.grid import heatmaps
from tests.support import regimes


def going_on() -> LedgerData:
    """Trials of 10 epochs that reach the target on the way, with 50 J each that they spend after their last report.

    Up to the target: rate 0.1 in 2 epochs of 3 J, 0.01 in 5 of 3 J for batch size 16; 4 and 8 of 1 J for 64.
    """
    runs = [
        regimes.Run({"lr": rate, "batch_size": batch}, 0, joules, arrives_at, 10)
        for rate, batch, joules, arrives_at in (
            (0.1, 16, 3.0, 2),
            (0.01, 16, 3.0, 5),
            (0.1, 64, 1.0, 4),
            (0.01, 64, 1.0, 8),
        )
    ]
    data = regimes.ledger("going-on", runs, ["lr", "batch_size"])
    return replace(data, energy=[row._replace(joules=row.joules + 50.0) if row.lease else row for row in data.energy])


def dots(figure_index: int, objective: Objective | None = None) -> list[tuple[float, float]]:
    summary = summarise(going_on())
    figure = parameters_at_work(summary if objective is None else replace(summary, objective=objective))[figure_index]
    return sorted(
        (x, y) for each in figure.plot.data if each.mode == "markers" for x, y in zip(each.x, each.y, strict=True)
    )


@pytest.mark.parametrize("index", [0, 1])
def test_a_dot_s_two_numbers_are_the_factors_of_its_energy_to_the_target(index: int) -> None:
    # not 80 J / 10 and 60 J / 10, which are those of whole trials
    assert dots(index) == [(1.0, 4), (1.0, 8), (3.0, 2), (3.0, 5)]
    assert sorted(x * y for x, y in dots(index)) == pytest.approx([4, 6, 8, 15])
    energies = [each.energy_to_target_joules or 0 for each in summarise(going_on()).trials]
    assert sorted(energies) == pytest.approx([4, 6, 8, 15])


def test_without_a_target_they_are_those_of_the_whole_trial() -> None:
    assert dots(0, Objective("accuracy")) == [(6.0, 10), (6.0, 10), (8.0, 10), (8.0, 10)]


def test_what_never_arrived_is_no_dot() -> None:
    (rate,) = parameters_at_work(summarise(regimes.hardware()))
    counts = {y for each in rate.plot.data if each.mode == "markers" for y in each.y}
    assert counts == {4, 8}


def test_the_heatmaps_multiply_to_the_energy_to_the_target() -> None:
    energy, iterations, joules = (figure.plot.data[0].z for figure in heatmaps(summarise(going_on())))
    # rows: batch size 16, 64; columns: learning rate 0.01, 0.1
    for row, wanted in zip(energy, [[15, 6], [8, 4]], strict=True):
        assert list(row) == pytest.approx(wanted)
    assert [[x * y for x, y in zip(*rows, strict=True)] for rows in zip(iterations, joules, strict=True)] == [
        pytest.approx([15, 6]),
        pytest.approx([8, 4]),
    ]
