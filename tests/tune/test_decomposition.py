"""Energy to target and its two factors in a sweep whose host draws a replayed 100 W."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from energysweep.analysis import effects, ratio_to_target, to_target, worst_to_best
from energysweep.driver.run import Run
from tests.support.sweeps import read_ledger

# Ray's own warnings are not ours to fix.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_sweep_s_decomposition_is_what_its_trace_implies(run_sweep: Callable[..., Run]) -> None:
    # All power is idle power, and a trial reserves the whole host: 100 J for each second of a lease. The score is 0, g,
    # 2 g, 3 g, so the target of 2 is reached, and held for two reports, at the 3rd for g = 1 and the 2nd for g = 2.
    done = run_sweep(
        "parameters={kind: sleep, reports: 4, seconds: {grid: [0.6, 1.5]}, gain: {grid: [0.1, 1, 2]}}",
        "objective={metric: score, mode: max, target: 2, patience: 2}",
        "idle_power_watts={cpu: 100}",
        f"hardware={{host: {{resources: {{cpu: {os.cpu_count()}}}}}}}",
    )

    summary = done.summary
    data = read_ledger(done)
    reported: dict[str, list[float]] = {}
    for row in data.results:
        reported.setdefault(row.trial, []).append(row.energy_joules or 0)
    trials = {(each.parameters["seconds"], each.parameters["gain"]): each for each in summary.trials}
    for each in summary.trials:
        leases = {lease.lease: lease.held_seconds for lease in data.leases if lease.trial == each.trial}
        booked = sum(row.joules for row in data.energy if row.lease in leases)
        # A lease is booked to its ends by readings, which come late on a busy machine.
        assert booked == pytest.approx(100 * sum(leases.values()), rel=0.25)
        assert each.energy_joules == pytest.approx(booked - (each.startup_joules or 0))
    for (_, gain), each in trials.items():
        arrives_at = {0.1: None, 1: 3, 2: 2}[gain]
        assert each.iterations_to_target == arrives_at
        if arrives_at is not None:
            energy = each.energy_to_target_joules or 0
            assert energy == reported[each.trial][arrives_at - 1]
            assert reported[each.trial][0] < energy < (each.energy_joules or 0)

    slow, fast = trials[1.5, 1], trials[0.6, 2]
    ratio = ratio_to_target([slow], [fast])
    assert ratio is not None
    assert ratio.energy.value == pytest.approx(
        (slow.energy_to_target_joules or 0) / (fast.energy_to_target_joules or 1)
    )
    assert ratio.epochs.value == pytest.approx(1.5)
    assert ratio.energy.value == pytest.approx(1.5 * ratio.joules_per_epoch.value)
    assert ratio.energy.low is None  # one repeat

    lost = to_target([trials[0.6, 0.1]])
    assert (lost.energy_joules, lost.at_least_joules) == (None, pytest.approx(trials[0.6, 0.1].energy_joules))
    found = worst_to_best([(each.config, each.trials) for each in summary.configurations])
    assert found is not None
    # By the trace these are 120 and 450 J, with 180 and 300 J between them; a host that stalls may order them anew.
    needed = {f"seconds={key[0]} gain={key[1]}": each.energy_to_target_joules for key, each in trials.items()}
    cheapest, *others, dearest = sorted((joules, label) for label, joules in needed.items() if joules is not None)
    assert len(others) == 2
    assert (found.cheapest, found.dearest) == (cheapest[1], dearest[1])
    assert len(found.censored) == 2
    epochs = effects(summary.trials, "epochs")
    assert epochs is not None
    assert [each.range.value for each in epochs.main] == pytest.approx([1, 1.5])  # seconds, gain
