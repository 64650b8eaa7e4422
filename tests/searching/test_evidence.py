"""What ledgers say about a sweep's trials before they run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.analysis.forecast import Known
from energysweep.core.errors import InputError
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import read_ledger
from energysweep.searching.evidence import of_earlier_runs, of_this_run, tells_length
from energysweep.sweepfile import SweepSpec, load_spec
from tests.support.earlier_runs import SWEEP, Told, evidence, write_run, write_sweep


def spec_of(folder: Path, text: str = SWEEP) -> SweepSpec:
    return load_spec(write_sweep(folder, text))


def test_a_configuration_is_known_by_its_parameters_and_the_others_are_kept_apart(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [Told({"rate": 0.2}, 10.0, [0.5, 0.7, 0.8]), Told({"rate": 0.3}, 20.0, [0.1, 0.2, 0.3])]
    )
    found = evidence(spec_of(tmp_path), run)
    assert found.configurations == [{}, {0: Known([10.0, 20.0, 30.0], [0.5, 0.7, 0.8], 3)}, {}]
    assert found.others == [{0: Known([20.0, 40.0, 60.0], [0.1, 0.2, 0.3], 3)}]
    assert (found.seen, found.trials, found.length_is_known, found.notes) == (1, 2, True, ())


def test_a_trial_that_ended_at_the_target_or_was_stopped_would_have_gone_on_as_long_as_others(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            Told({"rate": 0.1}, 10.0, [0.1, 0.2, 0.3, 0.4]),
            Told({"rate": 0.2}, 10.0, [0.5, 0.95]),
            Told({"rate": 0.4}, 10.0, [0.1], status="pruned"),
        ],
    )
    found = evidence(spec_of(tmp_path), run)
    assert [own[0].length for own in found.configurations] == [4, 4, 4]
    assert [own[0].is_whole for own in found.configurations] == [True, False, False]


def test_where_no_trial_ran_to_its_end_nobody_knows_how_long_one_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.5, 0.95])])
    assert not evidence(spec_of(tmp_path), run).length_is_known
    said = evidence(spec_of(tmp_path, SWEEP + "stop: {training_iteration: 7}\n"), run)
    assert said.length_is_known
    assert said.configurations[0][0].length == 7


def test_what_the_sweep_stops_earlier_than_the_run_did_is_cut(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2, 0.3, 0.4])])
    found = evidence(spec_of(tmp_path, SWEEP + "stop: {training_iteration: 2}\n"), run)
    assert found.configurations[0] == {0: Known([10.0, 20.0], [0.1, 0.2], 2)}


def test_epochs_are_reports_of_the_built_in_workloads_alone(tmp_path: Path) -> None:
    text = SWEEP.replace("parameters: {", "parameters: {epochs: {grid: [1, 2]}, ")
    run = write_run(
        tmp_path / "run",
        [Told({"rate": 0.1, "epochs": 1}, 10.0, [0.1] * 5), Told({"rate": 0.1, "epochs": 2}, 10.0, [0.1] * 10)],
        varying=["rate", "epochs"],
    )
    spec = spec_of(tmp_path, text)  # of one's own, that reports five times in each
    assert [own[0].length for own in evidence(spec, run).configurations if own] == [5, 10]
    assert not tells_length(spec)
    built_in = text.replace("work.py:train", "energysweep.workloads.images:train")
    assert tells_length(spec_of(tmp_path, built_in))
    assert not tells_length(spec_of(tmp_path, SWEEP))
    assert tells_length(spec_of(tmp_path, SWEEP + "stop: {training_iteration: 3}\n"))


def test_several_runs_are_seeds_of_one_another(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [Told({"rate": 0.1}, 10.0, [0.1, 0.2], seed=s) for s in (0, 1)])
    second = write_run(tmp_path / "second", [Told({"rate": 0.1}, 14.0, [0.1, 0.2], seed=0)])
    own = evidence(spec_of(tmp_path), first, second).configurations[0]
    assert sorted(known.joules[-1] for known in own.values()) == [20.0, 20.0, 28.0]


def test_the_pilot_of_a_run_tells_what_others_cost_and_is_none_of_the_run_s_own_trials(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    pilot = Told({"rate": 0.2}, 10.0, [0.5, 0.7], stage="pilot")
    run = write_run(tmp_path / "run", [pilot], status="interrupted", pilot={"trials": 1, "reports": 2})
    found = evidence(spec, run)
    assert (found.seen, found.trials, found.notes) == (1, 1, ())
    data = read_ledger(run / LEDGER)
    state = RunState.of(data, {"": spec.objective.rule})
    assert of_this_run(spec, state, data.run) is None
    more = evidence(spec, write_run(tmp_path / "more", [pilot, Told({"rate": 0.1}, 10.0, [0.1, 0.2])]))
    assert (more.seen, more.trials) == (2, 2)


def test_power_and_the_cost_of_starts_are_those_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2], startup_joules=4.0)])
    power = evidence(spec_of(tmp_path), run).power
    # 20 J of work and 4 J of one start, in 2 s.
    assert (power.startup_joules, power.watts, power.at_once) == (4.0, 12.0, 1)
    assert power.resume_joules is None
    assert power.report_joules == 10.0


@pytest.mark.parametrize("places", [1, 2, 3])
def test_how_many_worked_side_by_side_and_how_long_a_place_stands_still_is_of_the_leases(
    tmp_path: Path, places: int
) -> None:
    trials = [Told({"rate": rate}, 10.0, [0.1] * 5) for rate in (0.1, 0.2, 0.4) * places]  # of 5 s each
    run = write_run(tmp_path / "run", trials, places=places, between_seconds=3.0)
    power = evidence(spec_of(tmp_path), run).power
    assert power.at_once == places
    assert power.start_seconds == pytest.approx(3.0)


def test_what_is_between_two_parts_of_a_run_or_before_its_first_trial_is_no_standing_still(tmp_path: Path) -> None:
    trials = [Told({"rate": rate}, 10.0, [0.1] * 5) for rate in (0.1, 0.2, 0.4)]
    parts = [{"started_at": 900.0, "duration_seconds": 111.0}, {"started_at": 1013.0, "duration_seconds": 9.0}]
    run = write_run(tmp_path / "run", trials, between_seconds=3.0, parts=parts)  # the third one begins at 1016
    assert evidence(spec_of(tmp_path), run).power.start_seconds == pytest.approx(3.0)
    alone = write_run(tmp_path / "alone", trials[:1])
    assert evidence(spec_of(tmp_path), alone).power.start_seconds is None


def test_a_moment_in_which_one_is_handed_over_is_no_place(tmp_path: Path) -> None:
    trials = [Told({"rate": rate}, 10.0, [0.1] * 5) for rate in (0.1, 0.2, 0.4)]
    power = evidence(spec_of(tmp_path), write_run(tmp_path / "run", trials, between_seconds=-0.1)).power
    assert power.at_once == 1


def test_a_run_of_which_no_lease_is_known_tells_what_its_reports_cost_and_no_time(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2])])
    data = replace(read_ledger(run / LEDGER), leases=(), energy=())
    spec = spec_of(tmp_path)
    found = of_earlier_runs(spec, [("run", RunState.of(data, {"": spec.objective.rule}), data.run)])
    assert found.configurations[0][0].joules == [10.0, 20.0]
    assert (found.power.at_once, found.power.watts, found.power.start_seconds) == (1, None, None)


def test_what_going_on_from_a_pause_costs_is_what_the_report_after_it_cost_more(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2, 0.3, 0.4], paused_after=2)])
    assert evidence(spec_of(tmp_path), run).power.resume_joules == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("trials", "facts", "said"),
    [
        ([Told({"rate": 0.1}, None, [0.1])], {}, "run: no trial has reported with its energy"),
        ([], {}, "run: no trial has reported with its energy"),
        (
            [Told({"rate": 0.1}, 1.0, [0.1])],
            {"spec": {"workload": "/elsewhere/other.py:train"}},
            "run: is a run of another workload (other.py:train; the sweep's is work.py:train)",
        ),
        ([Told({"rate": 0.1}, 1.0, [0.1])], {"spec": {"command": ["work.py:train"]}}, "is a run of another workload"),
        ([Told({"rate": 0.1}, 1.0, [0.1])], {"spec": None}, "is a run of another workload (unknown;"),
    ],
)
def test_a_run_that_says_nothing_of_the_sweep_is_told_in_one_line(
    tmp_path: Path, trials: list[Told], facts: dict[str, Any], said: str
) -> None:
    run = write_run(tmp_path / "run", trials, **facts)
    with pytest.raises(InputError) as told:
        evidence(spec_of(tmp_path), run)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_run_that_was_interrupted_or_had_other_constants_counts_and_says_so(tmp_path: Path) -> None:
    trials = [Told({"rate": 0.1, "width": 8}, 10.0, [0.1, 0.2])]
    run = write_run(tmp_path / "run", trials, status="interrupted")
    text = SWEEP.replace("parameters: {", "parameters: {width: 16, ")
    found = evidence(spec_of(tmp_path, text), run)
    assert found.seen == 0
    assert found.notes == (
        "run was not run to its end: what it has counts.",
        "run had other constants (width 8): its trials may be like those of the sweep or not.",
    )


def test_a_grid_of_one_value_is_a_constant(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1, "width": 8}, 10.0, [0.1, 0.2])])
    same = spec_of(tmp_path, SWEEP.replace("parameters: {", "parameters: {width: {grid: [8]}, "))
    assert (evidence(same, run).seen, evidence(same, run).notes) == (1, ())
    [note] = evidence(spec_of(tmp_path, SWEEP.replace("parameters: {", "parameters: {width: {grid: [9]}, ")), run).notes
    assert "other constants (width 8)" in note
    built_in = SWEEP.replace("work.py:train", "energysweep.workloads.images:train")
    assert tells_length(spec_of(tmp_path, built_in.replace("parameters: {", "parameters: {epochs: {grid: [30]}, ")))


def test_a_stage_that_no_run_has_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2])])
    text = SWEEP.replace("parameters: {", "parameters: {pretrained: {from: base}, ")
    with pytest.raises(InputError, match="none of the runs has a trial of stage base"):
        evidence(spec_of(tmp_path, text + "stages: {base: {parameters: {rate: 0.5}}}\n"), run)


def test_of_this_run_the_seeds_are_what_they_are_and_what_nobody_has_told_is_nothing(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SWEEP + "repeats: 3\n")
    run = write_run(tmp_path / "run", [Told({"rate": 0.1}, 10.0, [0.1, 0.2], seed=2, status="running")])
    data = read_ledger(run / LEDGER)
    found = of_this_run(spec, RunState.of(data, {"": spec.objective.rule}), data.run)
    assert found is not None
    assert [sorted(own) for own in found.configurations] == [[2], [], []]
    assert of_this_run(spec, RunState(), {}) is None


def test_a_pilot_does_not_tell_how_many_reports_a_trial_makes(tmp_path: Path) -> None:
    pilot = Told({"rate": 0.2}, 10.0, [0.5, 0.7, 0.8], stage="pilot")
    run = write_run(tmp_path / "run", [pilot], status="interrupted", pilot={"trials": 1, "reports": 3})
    assert not evidence(spec_of(tmp_path), run).length_is_known
    more = write_run(tmp_path / "more", [pilot, Told({"rate": 0.1}, 10.0, [0.1] * 5)])
    found = evidence(spec_of(tmp_path), more)
    assert found.length_is_known
    assert [known.length for own in found.configurations for known in own.values()] == [5, 5]
