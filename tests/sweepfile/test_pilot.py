"""A few of a sweep's configurations, for a few reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.core.errors import InputError
from energysweep.sweepfile import SweepSpec, load_spec, points
from energysweep.sweepfile.pilot import pilot_of


def spec_of(folder: Path, parameters: str, more: str = "") -> SweepSpec:
    (folder / "work.py").touch()
    (folder / "sweep.yaml").write_text(
        f"name: n\nworkload: work.py:train\nparameters: {parameters}\n"
        f"objective: {{metric: a, mode: max, target: 1}}\n{more}"
    )
    return load_spec(folder / "sweep.yaml")


def test_a_pilot_of_a_grid_tries_configurations_of_it_that_differ(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path, "{a: {grid: [1, 2, 3]}, b: {grid: [x, y, z]}, c: 7}", "repeats: 3\nscheduler: {type: race}"
    )
    pilot = pilot_of(spec, 3, 4)
    tried = [point.parameters for point in points(pilot)]
    assert len(tried) == 3
    assert {each["a"] for each in tried} == {1, 2, 3}
    assert {each["b"] for each in tried} == {"x", "y", "z"}
    assert {each["c"] for each in tried} == {7}
    assert pilot.stop == {"training_iteration": 4}
    assert (pilot.scheduler.type, pilot.objective.stop_at_target, pilot.name) == ("fifo", False, "n")


def test_it_is_a_sweep_that_loads_again(tmp_path: Path) -> None:
    pilot = pilot_of(spec_of(tmp_path, "{a: {grid: [1, 2, 3]}}"), 2, 3)
    (tmp_path / "pilot.yaml").write_text(pilot.to_yaml())
    assert points(load_spec(tmp_path / "pilot.yaml")) == points(pilot)


def test_it_makes_no_more_trials_and_no_more_reports_than_the_sweep(tmp_path: Path) -> None:
    pilot = pilot_of(spec_of(tmp_path, "{a: {grid: [1, 2]}}", "stop: {training_iteration: 2}"), 9, 3)
    assert len(points(pilot)) == 2
    assert pilot.stop == {"training_iteration": 2}
    assert len(points(pilot_of(spec_of(tmp_path, "{a: 1}"), 9, 3))) == 1


def test_what_else_ends_a_trial_ends_one_of_a_pilot_too(tmp_path: Path) -> None:
    pilot = pilot_of(spec_of(tmp_path, "{a: {grid: [1, 2]}}", "stop: {energy_joules: 500}"), 9, 3)
    assert pilot.stop == {"energy_joules": 500, "training_iteration": 3}


def test_stages_would_be_run_whole_so_there_is_no_pilot(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a sweep with stages has no pilot"):
        pilot_of(spec_of(tmp_path, "{a: 1, pretrained: {from: base}}", "stages: {base: {parameters: {a: 2}}}"), 1, 1)
