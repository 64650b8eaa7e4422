"""The accounting, against sums worked out by hand (see ``example``)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.buckets import BUCKETS, Bucket
from energysweep.core.carbon import Intensity
from energysweep.core.objective import Objective
from energysweep.core.records import AttemptRow, EnergyRow, MeterRow, ResultRow, TrialRow
from energysweep.ledger.account import account
from energysweep.ledger.balance import Spread
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData
from energysweep.ledger.trials import TrialSummary
from energysweep.report import summarise, write_report
from tests.support.example import CRASHED, HOST, NODE, PRUNED, WINDOW, example
from tests.support.found import values_of

Ended = Literal["completed", "failed", "interrupted"]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise(example())


def trial_of(summary: Summary, name: str) -> TrialSummary:
    return next(trial for trial in summary.trials if trial.trial == name)


def configuration_of(summary: Summary, learning_rate: float, batch_size: int) -> ConfigurationSummary:
    wanted = {"learning_rate": learning_rate, "batch_size": batch_size}
    return next(each for each in summary.configurations if each.parameters == wanted)


def test_the_totals_are_those_of_the_meters(summary: Summary) -> None:
    totals = summary.totals
    assert totals.energy_joules == pytest.approx(3000)
    assert totals.trials_energy_joules == pytest.approx(2183)
    assert totals.buckets["active"] == pytest.approx(0.8 * 2183)
    assert totals.buckets["idle"] == pytest.approx(0.2 * 2183)
    assert totals.buckets["overhead"] == pytest.approx(100)
    assert totals.buckets["other_sweeps"] == 0
    assert totals.buckets["background"] == pytest.approx(150)
    assert totals.buckets["unreserved_idle"] == pytest.approx(567)
    assert totals.lost_joules == pytest.approx(11)
    assert totals.pruned_joules == pytest.approx(22)
    assert totals.emissions_grams == pytest.approx(0.2283)  # (2183 + 100) J at 0.0001 g/J
    assert totals.conservation_error_ratio == pytest.approx(0, abs=1e-12)


def test_a_report_that_is_made_twice_has_the_same_numbers(tmp_path: Path) -> None:
    data = example()
    first = write_report(tmp_path, data)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert write_report(tmp_path, data) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert first.totals == summarise(data).totals


def test_a_configuration_sums_what_its_trials_lost_and_what_was_pruned(summary: Summary) -> None:
    crashed, pruned = configuration_of(summary, 0.01, 64), configuration_of(summary, 0.001, 256)
    assert (crashed.lost_joules, crashed.pruned_joules) == (pytest.approx(11), 0)
    assert (pruned.lost_joules, pruned.pruned_joules) == (0, pytest.approx(22))
    assert trial_of(summary, PRUNED).pruned_joules == pytest.approx(22)
    said = next(each for each in summary.to_dict()["configurations"] if each["config"] == crashed.config)
    assert said["lost_joules"] == pytest.approx(11)


def test_a_meter_says_its_resolution_and_how_uncertain_it_is() -> None:
    data = example()
    meters = [row._replace(resolution_joules=0.5, covered_seconds=90.0) for row in data.meters]
    cpu, dram = summarise(replace(data, meters=meters)).to_dict()["meters"]
    assert (cpu["resolution_joules"], cpu["uncovered_seconds"], cpu["coverage"]) == (0.5, 30.0, 0.75)
    assert (cpu["uncertainty"]["relative"], dram["uncertainty"]["relative"]) == (0.1, 0.2)
    assert "Khan 2018" in cpu["uncertainty"]["reason"]


def test_a_trial_s_uncertainty_is_that_of_its_meters_by_energy(summary: Summary) -> None:
    trial = trial_of(summary, CRASHED)
    assert trial.relative_uncertainty == pytest.approx(0.75 * 0.1 + 0.25 * 0.2)
    assert trial.resolution_joules is None
    data = example()
    meters = [row._replace(resolution_joules=0.5) for row in data.meters]
    stepped = trial_of(summarise(replace(data, meters=meters)), CRASHED)
    assert stepped.resolution_joules == pytest.approx(2.0)  # two leases, two devices
    cpu, dram = data.meters
    one = trial_of(summarise(replace(data, meters=[cpu._replace(resolution_joules=0.5), dram])), CRASHED)
    assert one.resolution_joules == pytest.approx(1.0)  # a device without a step does not hide those of the other


def test_the_balance_is_a_check_of_two_independent_sides() -> None:
    data = example()
    cpu, dram = data.meters
    unbalanced = replace(data, meters=[cpu._replace(joules=cpu.joules + 30), dram])
    assert summarise(unbalanced).totals.conservation_error_ratio == pytest.approx(30 / 3030)


def test_a_host_that_never_held_a_lease_is_not_the_sweeps_to_explain() -> None:
    data = example()
    idle = MeterRow("boot-2", "window-9", "other", "cpu-0", "cpu", "rapl", 5e6, 120, 120, None, "unknown", None, 0, 0)
    booked = EnergyRow("boot-2", "window-9", "", "cpu-0", "cpu", "background", "rapl", 5e6)
    more = replace(data, meters=[*data.meters, idle], energy=[*data.energy, booked])
    assert summarise(more) == summarise(data)


def test_a_trial_knows_its_energy_time_and_meter(summary: Summary) -> None:
    trial = trial_of(summary, "t-0.1-16-1")
    assert trial.energy_joules == pytest.approx(220)
    assert trial.active_energy_joules == pytest.approx(176)
    assert trial.idle_energy_joules == pytest.approx(44)
    assert trial.component_joules == pytest.approx({"cpu": 165, "dram": 55})
    assert trial.duration_seconds == pytest.approx(22)
    assert trial.power_watts == pytest.approx(10)
    assert trial.emissions_grams == pytest.approx(0.022)
    assert trial.joules_per_iteration == pytest.approx(22)
    assert trial.objective == 0.96
    assert (trial.nodes, trial.source, trial.coverage) == ((NODE,), "rapl", pytest.approx(1))
    assert (trial.iterations_to_target, trial.energy_to_target_joules) == (2, pytest.approx(44))


def test_a_crash_loses_what_came_after_its_checkpoint(summary: Summary) -> None:
    trial = trial_of(summary, CRASHED)
    assert trial.energy_joules == pytest.approx(121)
    assert trial.lost_joules == pytest.approx(11)
    assert trial.coverage == pytest.approx(0.9)
    assert trial.attempts == 2


def attempts_of(*checkpoints: float | None, last: Ended) -> list[AttemptRow]:
    outcomes: list[Ended] = ["failed" for _ in checkpoints[1:]]
    outcomes.append(last)
    pairs = enumerate(zip(outcomes, checkpoints, strict=True), start=1)
    return [AttemptRow("a", number, 0.0, 1.0, outcome, joules, None) for number, (outcome, joules) in pairs]


def tiny(joules: list[float], attempts: list[AttemptRow], status: Any = "completed", **more: Any) -> LedgerData:
    """One trial ``a`` whose attempts spent ``joules``."""
    template = example().leases[0]
    leases = [template._replace(lease=f"a/{number}", trial="a", attempt=number) for number in range(1, len(joules) + 1)]
    energy = [
        EnergyRow(HOST, WINDOW, lease.lease, "cpu-0", "cpu", "active", "rapl", spent)
        for lease, spent in zip(leases, joules, strict=True)
    ]
    trial = TrialRow("a", {"x": 1}, None, "", status, len(joules), None, None, None)
    run = {"objective": {"metric": "loss", "mode": "min", "target": 0.5, "patience": 2}}
    return LedgerData(run=run, leases=leases, energy=energy, trials=[trial], attempts=attempts, **more)


@pytest.mark.parametrize(
    ("joules", "attempts", "status", "lost"),
    [
        pytest.param([10], attempts_of(4, last="completed"), "completed", 0, id="nothing is lost without a crash"),
        pytest.param([10, 5], attempts_of(None, None, last="completed"), "completed", 10, id="no checkpoint loses all"),
        pytest.param([10, 5, 8], attempts_of(6, None, None, last="completed"), "completed", 9, id="4 J, then all 5 J"),
        pytest.param([10, 5, 8], attempts_of(6, 12, None, last="completed"), "completed", 7, id="4 J, then 3 J"),
        pytest.param([10, 5], attempts_of(6, 13, last="failed"), "failed", 6, id="a final failure loses too"),
        pytest.param([10], [], "failed", 10, id="nobody noted an attempt"),
        pytest.param(
            [10], attempts_of(10.5, last="failed"), "failed", 0, id="a checkpoint just after the last reading"
        ),
    ],
)
def test_lost_energy_counts_each_joule_once(
    joules: list[float], attempts: list[AttemptRow], status: str, lost: float
) -> None:
    assert summarise(tiny(joules, attempts, status)).totals.lost_joules == pytest.approx(lost)


def reports(*losses: float | None) -> list[ResultRow]:
    return [
        ResultRow("a", number, 1.0 * number, 10.0 * number, None, {} if loss is None else {"loss": loss})
        for number, loss in enumerate(losses, start=1)
    ]


@pytest.mark.parametrize(
    ("losses", "joules"),
    [
        ((0.9, 0.5, 0.4), 20),  # the target itself counts, and the first of the two
        ((0.4, 0.9, 0.4, 0.3), 30),  # a single lucky report does not
        ((0.9, 0.8, 0.4), None),  # not held yet
        ((0.4, math.nan, 0.4), None),
        ((0.4, None, 0.4), None),
        ((), None),
    ],
)
def test_the_target_is_reached_when_it_is_held_for_patience_reports(
    losses: tuple[float | None, ...], joules: float | None
) -> None:
    trial = summarise(tiny([100], [], results=reports(*losses))).trials[0]
    assert trial.energy_to_target_joules == joules
    assert trial.reached_target is (joules is not None)


def test_a_diverged_last_value_is_not_the_objective() -> None:
    assert summarise(tiny([100], [], results=reports(0.7, math.nan))).trials[0].objective == 0.7


def test_a_configuration_is_the_mean_of_its_repeats(summary: Summary) -> None:
    each = configuration_of(summary, 0.1, 256)
    assert each.config == "learning_rate=0.1 batch_size=256"
    assert values_of(each.energy_joules) == pytest.approx((52.5, 5 / math.sqrt(2), 2))  # 50 and 55
    assert values_of(each.energy_to_target_joules) == pytest.approx((21, math.sqrt(2), 2))  # 20 and 22
    assert each.iterations_to_target == Spread(4, 0, 2)
    assert each.reached_target == 2


def test_who_did_not_reach_the_target_has_no_energy_to_it(summary: Summary) -> None:
    each = configuration_of(summary, 0.001, 64)
    assert (each.reached_target, each.energy_to_target_joules) == (0, None)


def test_a_crashed_trial_does_not_make_its_configuration_look_cheap() -> None:
    data = example()
    trials = [row._replace(status="failed") if row.trial == PRUNED else row for row in data.trials]
    each = configuration_of(summarise(replace(data, trials=trials)), 0.001, 256)
    assert values_of(each.energy_joules) == pytest.approx((50, None, 1))
    assert len(each.trials) == 2


def test_the_pareto_front_has_whom_nobody_beats_on_both_sides(summary: Summary) -> None:
    # 36 J for 0.828 (one repeat pruned); 52.5 J for 0.96, twice; all others cost more for no better accuracy.
    assert [each.config for each in summary.configurations if each.pareto] == [
        "learning_rate=0.001 batch_size=256",
        "learning_rate=0.01 batch_size=256",
        "learning_rate=0.1 batch_size=256",
    ]


def test_the_headline_compares_at_equal_target(summary: Summary) -> None:
    # Two repeats each, the second a tenth more: in logarithms an error of 0.0477 on both sides, 0.0674 together. Of 7
    # configurations and 2 degrees the studentised range has 12.43 at 95 %: 12.43 / sqrt(2) * 0.0674 = 0.593.
    headline = summary.headline
    assert headline.worst_to_best_energy_ratio == pytest.approx(8)  # 168 J over 21 J
    assert headline.sentence == (
        "Reaching accuracy 0.92 took between 21.0 J, the lowest of 7 configurations, and 168 J"
        " (\N{MULTIPLICATION SIGN}8.00, 95 %: 4.42 to 14.5); cheapest:"
        " learning_rate=0.1 batch_size=256, tied with learning_rate=0.1 batch_size=64; 2 of 9 configurations"
        " did not reach it in every trial."
    )


def test_the_headline_calls_an_estimate_an_estimate() -> None:
    assert "≈ 21.0 J, the lowest of 7 configurations, and ≈ 168 J" in summarise(example("estimate")).headline.sentence
    assert "estimated" in summarise(example("estimate")).headline.sentence


@pytest.mark.parametrize("data", [example("estimate"), replace(example("estimate"), meters=())])
def test_an_estimate_is_one_also_where_the_rows_of_the_meters_are_lost(data: LedgerData) -> None:
    told = summarise(data)
    assert (told.estimated, told.sources) == (True, ("estimate",))
    assert told.to_dict()["estimated"] is True
    assert "≈ 21.0 J" in told.headline.sentence
    assert RunState.of(data).estimated
    charged = account([("run", data)], "name").charged
    assert (charged.energy_joules, charged.estimated) == (pytest.approx(2283), True)


def test_a_meter_of_a_host_that_held_no_lease_is_no_source_of_the_sweep_s_energy() -> None:
    data = example()
    idle = data.meters[0]._replace(host="boot-2", source="estimate")
    booked = EnergyRow("boot-2", WINDOW, "", "cpu-0", "cpu", "background", "estimate", 5.0)
    told = summarise(replace(data, meters=[*data.meters, idle], energy=[*data.energy, booked]))
    assert (told.estimated, told.sources) == (False, ("rapl",))


def test_a_gpu_was_measured_whose_meter_s_row_is_lost() -> None:
    data = example()
    lease = data.leases[0]
    held = [lease._replace(gpus='{"gpu-0": 1.0}'), *data.leases[1:]]
    booked = EnergyRow(HOST, WINDOW, lease.lease, "gpu-0", "gpu", "active", "nvml", 5.0)
    assert summarise(replace(data, leases=held)).unmeasured_gpus == ((NODE, "gpu-0", 1),)
    assert summarise(replace(data, leases=held, energy=[*data.energy, booked])).unmeasured_gpus == ()


def test_a_configuration_that_only_sometimes_arrives_is_not_the_cheapest() -> None:
    data = example()
    results = [row for row in data.results if row.trial != "t-0.1-256-1"]
    headline = summarise(replace(data, results=results)).headline
    assert headline.cheapest is not None
    assert headline.cheapest.config == "learning_rate=0.1 batch_size=64"


def test_without_a_target_the_headline_is_about_whole_trials() -> None:
    # Not learning_rate=0.001 batch_size=256: 50 J, and 22 J of a trial that was pruned.
    headline = summarise(example(objective={"metric": "accuracy", "mode": "max"})).headline
    assert headline.worst_to_best_energy_ratio is None
    assert headline.sentence.startswith("A trial took between 52.4 J, the lowest of 8 configurations, and 210 J")
    assert "best accuracy: 0.96" in headline.sentence
    assert "; 1 of 9 configurations was stopped before its end, and not compared" in headline.sentence


def test_no_configuration_at_the_target_is_said_plainly() -> None:
    objective = {"metric": "accuracy", "mode": "max", "target": 0.999, "patience": 1}
    assert summarise(example(objective=objective)).headline.sentence == "No configuration reached accuracy 0.999."


def test_another_grid_changes_emissions_and_nothing_else(summary: Summary) -> None:
    other = summarise(example(), Intensity(36.0, "FRA", 2023, "CodeCarbon", pue=2.0))
    assert other.totals.emissions_grams == pytest.approx(0.2283 / 5)  # a tenth, twice
    assert other.totals.energy_joules == summary.totals.energy_joules


def test_scope_2_is_told_both_ways_where_a_market_based_figure_is_given(summary: Summary) -> None:
    both = Intensity(360.0, "DEU", 2023, "CodeCarbon", market_grams_per_kwh=36.0)
    told = summarise(example(), both).totals.to_dict()
    assert told["emissions_grams"] == summary.totals.emissions_grams
    assert told["market_emissions_grams"] == pytest.approx(0.02283)
    assert summary.totals.to_dict()["market_emissions_grams"] is None


def test_an_empty_ledger_has_no_numbers_and_no_zeros() -> None:
    empty = summarise(LedgerData(run={}))
    assert set(vars_of(empty)) == {None}
    assert empty.headline.sentence == "No trial has ended with a measured energy yet."


def vars_of(summary: Summary) -> list[Any]:
    return list(summary.to_dict()["totals"].values())


def test_summary_json_has_the_fixed_shape(summary: Summary) -> None:
    said = summary.to_dict()
    assert said["schema_version"] == 1
    assert said["started"] == "2023-11-14T22:13:20+00:00"
    assert set(said["configurations"][0]) >= {
        "config",
        "hardware",
        "trials",
        "reached_target",
        "energy_joules",
        "emissions_grams",
        "objective",
        "energy_to_target_joules",
        "power_watts",
        "joules_per_iteration",
        "iterations_to_target",
        "pareto",
    }
    assert set(said["meters"][0]) >= {
        "node",
        "device",
        "component",
        "source",
        "coverage",
        "idle_floor_watts",
        "idle_floor_from",
    }
    assert said["carbon"]["zone"] == "DEU"
    assert said["headline"]["cheapest"]["config"] == "learning_rate=0.1 batch_size=256"


def test_what_is_no_finite_number_is_null_in_json() -> None:
    said = summarise(example(extra={"limit": math.inf})).to_dict()
    assert json.loads(json.dumps(said, allow_nan=False))["configurations"][0]["parameters"]["limit"] is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(BUCKETS),
            st.sampled_from(["cpu", "dram", "gpu"]),
            st.floats(0, 1e9),
        ),
        max_size=30,
    )
)
def test_the_buckets_always_add_up_to_the_meters(steps: list[tuple[Bucket, str, float]]) -> None:
    lease = tiny([1.0], []).leases[0]
    rows = [
        EnergyRow(HOST, WINDOW, lease.lease if bucket.of == "lease" else "", f"d-{n}", part, bucket.name, "x", joules)
        for n, (bucket, part, joules) in enumerate(steps)
    ]
    template = example().meters[0]
    meters = [template._replace(device=row.device, component=row.component, joules=row.joules) for row in rows]
    totals = summarise(replace(tiny([1.0], []), energy=rows, meters=meters)).totals
    if not rows:
        assert totals.energy_joules is None
        return
    parts = [totals.trials_energy_joules, *(totals.buckets[bucket.name] for bucket in BUCKETS if not bucket.is_work)]
    assert sum(part or 0.0 for part in parts) == pytest.approx(totals.energy_joules)
    assert sum(part or 0.0 for part in totals.buckets.values()) == pytest.approx(totals.energy_joules)
    assert totals.conservation_error_ratio in (None, pytest.approx(0, abs=1e-9))


@given(st.permutations(range(len(example().trials))))
def test_the_order_of_the_ledgers_rows_does_not_matter(order: list[int]) -> None:
    data = example()
    shuffled = replace(data, trials=[data.trials[index] for index in order], results=list(reversed(data.results)))
    assert summarise(shuffled) == summarise(data)


@given(value=st.floats(-1e6, 1e6), target=st.floats(-1e6, 1e6))
def test_a_target_is_reached_from_one_side_or_the_other(value: float, target: float) -> None:
    high, low = Objective("m", "max", target), Objective("m", "min", target)
    assert high.reached_by(value) or low.reached_by(value)
    assert (high.reached_by(value) and low.reached_by(value)) == (value == target)


def test_the_summary_says_what_was_saved_with_its_interval_and_against_what() -> None:
    # Of asha: one trial was pruned after 4 reports at 5.5 J each, where the others made 10; at least nothing.
    said = summarise(example()).to_dict()["saved"]
    assert said == {
        "joules": pytest.approx(33.0),
        "low": 0.0,
        "high": pytest.approx(33.0),
        "against": "every trial run to its end",
    }
    assert summarise(example(spec={"scheduler": {"type": "fifo"}})).to_dict()["saved"] is None


@pytest.mark.parametrize("scheduler", ["asha", "race"])
def test_where_nothing_was_stopped_early_nothing_is_told_to_be_saved(scheduler: str) -> None:
    data = example(spec={"scheduler": {"type": scheduler}}, objective={"metric": "accuracy"})
    data = replace(data, trials=[row for row in data.trials if row.status != "pruned"])
    assert summarise(data).saved is None


@pytest.mark.parametrize("noted", [{"full_reports": 10}, {}])  # earlier versions did not
def test_a_race_s_saving_is_told_against_the_grid_that_stops_at_the_target(noted: dict[str, Any]) -> None:
    spec = {"scheduler": {"type": "race"}, "repeats": 2, "stop": {"training_iteration": 12 if noted else 10}}
    saved = summarise(example(spec=spec, **noted)).saved
    assert saved is not None
    assert saved.joules is not None
    assert saved.high is not None
    # The pruned trial has spent 22 J in 4 reports; 6 more at its own 5.5 J make 55 J.
    assert saved.joules == pytest.approx(33 / math.log(55 / 22) - 22)
    assert 0 < saved.low < saved.joules < saved.high < 33
    assert saved.against == "the full grid with all repeats, each trial stopped at the target"
