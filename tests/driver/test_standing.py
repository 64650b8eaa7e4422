"""What dashboards are told of a sweep that runs, by hand."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from energysweep.core.buckets import LEASE_BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.objective import Objective
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow, TrialStatus
from energysweep.driver.run_facts import beginning
from energysweep.ledger.ranking import ranked
from energysweep.ledger.run_state import Charged, Results, RunState, TrialState, with_waiting
from energysweep.ledger.saving import Plan
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summarise
from energysweep.ledger.sweep_metrics import Cheapest, cheapest
from energysweep.report.live import RunningTrial, Status, line, table
from energysweep.sweepfile import SweepSpec


@pytest.mark.parametrize(
    ("counts", "planned", "shown"),
    [
        ({}, 6, {"pending": 6}),
        ({"running": 2}, 6, {"pending": 4, "running": 2}),
        # One whose attempt has failed waits for the next one, beside those that have not begun.
        ({"completed": 1, "pending": 1, "running": 2}, 6, {"pending": 3, "completed": 1, "running": 2}),
        # A run that was resumed: what was interrupted goes on when there is room.
        ({"completed": 1, "interrupted": 3, "running": 2}, 6, {"pending": 3, "completed": 1, "running": 2}),
        ({"completed": 4, "failed": 1, "pruned": 1}, 6, {"completed": 4, "failed": 1, "pruned": 1}),
        # Tune had lost its state and began all over again: more trials than planned, and none waits.
        ({"completed": 7}, 6, {"completed": 7}),
    ],
)
def test_what_neither_runs_nor_has_ended_waits(counts: dict[str, int], planned: int, shown: dict[str, int]) -> None:
    assert with_waiting(counts, planned) == shown


def booked(window: str, component: str, bucket: str, source: str, joules: float) -> list[EnergyRow | MeterRow]:
    """What an agent tells of one bucket of a window's device."""
    lease = f"lease-{window}" if bucket in LEASE_BUCKETS else ""
    return [
        EnergyRow("boot", window, lease, component, component, bucket, source, joules),
        MeterRow("boot", window, "n", component, component, source, joules, 1, 1, None, "unknown", None, 0, 0),
    ]


def test_a_sweep_is_charged_with_trials_and_overhead_of_hosts_that_have_held_a_lease() -> None:
    state = RunState()
    state.merge(booked("head", "cpu", "overhead", "rapl", 50.0))  # no trial has ever run there
    assert state.charged() == [Charged("cpu", bucket, "rapl", 0.0) for bucket in ("trials", "startup", "overhead")]
    assert state.charged_joules is None  # for a person: not known yet
    state.merge([LeaseRow("lease-node", "boot", "node", "n", "t", 1, 1, 1.0, None, 0, 0, 0, 0, "{}")])
    for joules in (100.0, 120.0):  # one counter, told twice
        state.merge(booked("node", "cpu", "active", "rapl", joules))
    state.merge(booked("node", "cpu", "idle", "rapl", 4.0))
    state.merge(booked("node", "cpu", "background", "rapl", 1000.0))
    state.merge(booked("node", "cpu", "overhead", "rapl", 5.0))
    state.merge(booked("node", "dram", "active", "estimate", 10.0))
    assert state.charged() == [
        Charged("cpu", "trials", "rapl", 124.0),
        Charged("cpu", "startup", "rapl", 0.0),
        Charged("cpu", "overhead", "rapl", 5.0),
        Charged("dram", "trials", "estimate", 10.0),
        Charged("dram", "startup", "estimate", 0.0),
        Charged("dram", "overhead", "estimate", 0.0),
    ]
    assert (state.charged_joules, state.joules("t"), state.estimated) == (139.0, 134.0, True)


TARGET = Objective("accuracy", "max", 0.5)


def record(
    rate: float,
    status: TrialStatus,
    joules: float | None,
    hardware: str = "cpu",
    stage: str = "",
    *,
    is_measured: bool = True,
) -> TrialState:
    row = TrialRow("id", {"rate": rate, "depth": 1}, 0, hardware, status, 1, 1.0, None, None, stage)
    results = Results()
    results.at_target.see(joules is not None or not is_measured, ResultRow("id", 1, 1.0, joules, None, {}))
    return TrialState(row, results)


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([], None),
        ([record(0.1, "running", None)], None),
        # The luckiest trial, 10 J, is of the configuration with the higher geometric mean: 30 J against 25 J.
        (
            [
                *(record(0.1, "completed", 10.0), record(0.1, "completed", 90.0)),
                *(record(0.2, "completed", 20.0), record(0.2, "running", 31.25)),
            ],
            Cheapest("rate=0.2", "cpu", 25.0),
        ),
        # The same parameters on other hardware are another configuration.
        (
            [record(0.1, "completed", 10.0, "gpu"), record(0.1, "completed", 30.0, "cpu")],
            Cheapest("rate=0.1", "gpu", 10.0),
        ),
        # It was pruned once before the target: cheap only when it is lucky.
        (
            [record(0.1, "completed", 10.0), record(0.1, "pruned", None), record(0.2, "completed", 30.0)],
            Cheapest("rate=0.2", "cpu", 30.0),
        ),
        # It got there twice, once while its agent was away: what that took is not known.
        (
            [
                *(record(0.1, "completed", 10.0), record(0.1, "completed", None, is_measured=False)),
                record(0.2, "completed", 30.0),
            ],
            Cheapest("rate=0.2", "cpu", 30.0),
        ),
        # It may still get there.
        (
            [record(0.1, "completed", 10.0), record(0.1, "running", None), record(0.2, "completed", 30.0)],
            Cheapest("rate=0.1", "cpu", 10.0),
        ),
        # Nobody always gets there.
        (
            [
                *(record(0.1, "completed", 10.0), record(0.1, "failed", None)),
                *(record(0.2, "completed", 9.0), record(0.2, "interrupted", None)),
            ],
            Cheapest("rate=0.2", "cpu", 9.0),
        ),
        # Equal ones: the first by parameters and hardware, in whichever order they came.
        (
            [
                *(record(10.0, "completed", 9.0, "gpu"), record(2.0, "completed", 9.0, "gpu")),
                record(2.0, "completed", 9.0, "cpu"),
            ],
            Cheapest("rate=2.0", "cpu", 9.0),
        ),
        # A stage is no configuration, and not one that fails to reach the target.
        (
            [record(0.1, "completed", None, stage="base"), record(0.1, "completed", 10.0)],
            Cheapest("rate=0.1", "cpu", 10.0),
        ),
    ],
)
def test_the_cheapest_configuration_is_told_by_the_mean_of_its_trials(
    records: list[TrialState], found: Cheapest | None
) -> None:
    told = cheapest(records, ["rate"], TARGET)
    assert (told and told[:2]) == (found and found[:2])
    assert (told and told.energy_joules) == pytest.approx(found and found.energy_joules)


def test_where_only_winners_repeat_one_lucky_trial_is_no_answer() -> None:
    lucky = record(0.1, "completed", 10.0)
    winner = [record(0.2, "completed", 20.0), record(0.2, "completed", 45.0)]
    told = [cheapest([lucky, *winner], ["rate"], TARGET, only_winners_repeat=only) for only in (False, True)]
    assert [each and each.config for each in told] == ["rate=0.1", "rate=0.2"]


STATUSES: tuple[TrialStatus, ...] = ("pending", "running", "completed", "pruned", "failed", "interrupted")
REPORTS = st.lists(
    st.tuples(st.sampled_from([0.25, 0.75, None]), st.sampled_from([None, 0.0, 1.0, 8.0, 27.0])), max_size=3
)
TRIALS = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {"rate": st.sampled_from([0.1, 0.2])}, optional={"pretrained": st.sampled_from(["", "a"])}
        ),
        st.sampled_from(["", "gpu"]),
        st.sampled_from(STATUSES),
        st.sampled_from(["", "", "", "base"]),
        REPORTS,
    ),
    max_size=8,
)


@given(trials=TRIALS, target=st.sampled_from([0.5, None]))
@example(
    trials=[
        ({"rate": 0.1, "pretrained": "a"}, "gpu", "pending", "", [(0.75, 0.0)]),
        ({"rate": 0.1, "pretrained": "a"}, "", "pending", "", [(0.75, 0.0)]),
    ],
    target=0.5,
)
def test_what_is_the_cheapest_while_a_sweep_runs_is_so_in_its_report(
    trials: list[tuple[dict[str, object], str, TrialStatus, str, list[tuple[float | None, float | None]]]],
    target: float | None,
) -> None:
    rows = [
        TrialRow(f"t{number}", dict(parameters), None, hardware, status, 1, 1.0, None, None, stage)
        for number, (parameters, hardware, status, stage, _) in enumerate(trials)
    ]
    results = [
        ResultRow(f"t{number}", iteration, float(iteration), joules, joules, {"accuracy": accuracy})
        for number, (*_, reports) in enumerate(trials)
        for iteration, (accuracy, joules) in enumerate(reports, start=1)
    ]
    objective = {"metric": "accuracy", "mode": "max", "target": target, "patience": 1}
    noted = {"objective": objective, "stages": {"base": {"objective": objective}}, "varying": ["rate", "pretrained"]}
    data = LedgerData({"id": "r", "status": "running", **noted}, trials=rows, results=results)
    state = RunState.of(data)
    rule = state.objectives[""]
    assert rule is not None
    told = cheapest(state.all_trials(), ["rate", "pretrained"], rule)
    found = summarise(data)
    first = ranked(found.configurations, found.objective)[:1] if target is not None else []
    live = [(told.config, told.hardware, told.energy_joules)] if told else []
    assert live == [(each.config, each.hardware, joules) for joules, each in first]


@pytest.mark.parametrize(("hardware", "label"), [("gpu", "rate=0.2 on gpu"), ("", "rate=0.2")])
def test_the_terminal_names_the_same_configuration(hardware: str, label: str) -> None:
    found = cheapest(
        [record(0.2, "completed", 24.0, hardware), record(0.2, "completed", 26.0, hardware)], ["rate"], TARGET
    )
    said = line(Status(4, {"completed": 2}, "accuracy", None, found, None, 90.0, 1.0, False, 10.0, ()))
    assert f"cheapest at target 25.0 J ({label})" in said


@pytest.mark.parametrize(("joules", "shown"), [(None, "n/a"), (0.0, "≈ 0 J (est.)"), (12.0, "≈ 12.0 J (est.)")])
def test_a_trial_of_which_no_agent_has_told_has_no_energy_yet(joules: float | None, shown: str) -> None:
    running = (RunningTrial("rate=0.1", 0, None, joules),)
    status = Status(4, {"running": 1}, "accuracy", None, None, None, 90.0, 1.0, True, 10.0, running)
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(table(status))
    (row,) = (text for text in captured.get().splitlines() if text.startswith("rate=0.1"))
    assert row.rstrip().endswith(shown)


@pytest.mark.parametrize("epochs", [8, {"grid": [4, 8]}])
@pytest.mark.parametrize("stop", [{}, {"training_iteration": 5}])
def test_what_a_sweep_saves_is_told_by_one_plan_while_it_runs_and_in_its_report(
    epochs: Any, stop: dict[str, float]
) -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "x",
            "workload": "energysweep.workloads.images:train",
            "objective": {"metric": "accuracy", "mode": "max", "target": 0.9},
            "parameters": {"learning_rate": {"grid": [1, 2]}, "epochs": epochs},
            "scheduler": {"type": "race"},
            "repeats": 3,
            "stop": stop,
        }
    )
    noted = Plan.noted(beginning("it", spec, Intensity(475.0, "world", None, "stated"), 1.0))
    assert noted == Plan.of(spec)
    assert noted is not None
    assert noted.full_reports == (stop.get("training_iteration") or (8 if epochs == 8 else None))
