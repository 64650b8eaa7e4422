"""Stages: which sweep each of them is, who goes on from it, how many trials there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.sweepfile import (
    SweepSpec,
    count_sentence,
    load_spec,
    origin,
    points,
    stage_spec,
    trial_count,
    with_origin,
)

SWEEP = """
name: pretraining
workload: work.py:train
parameters:
  pretrained: {grid: [null, {from: base, freeze_encoder: true}]}
  learning_rate: {grid: [1e-2, 1e-1]}
  model: {kind: cnn, width: 8}
  epochs: 9
stages:
  base: {parameters: {learning_rate: 3e-2, epochs: 5}, stop: {training_iteration: 4}}
  better:
    parameters: {pretrained: {from: base}}
    objective: {metric: loss, mode: min, target: 0.5}
objective: {metric: accuracy, mode: max, target: 0.9, stop_at_target: true}
repeats: 3
stop: {training_iteration: 7}
search: {algorithm: random, num_samples: 1}
scheduler: {type: asha}
hardware: {one: {resources: {cpu: 1}}, two: {resources: {cpu: 2}}}
"""


def sweep(folder: Path, **changes: Any) -> SweepSpec:
    content = yaml.safe_load(SWEEP) | changes
    content["parameters"]["pretrained"]["grid"].append({"from": "better"})
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    return load_spec(folder / "sweep.yaml")


def test_a_stage_is_the_sweep_s_constants_with_its_own(tmp_path: Path) -> None:
    base = stage_spec(sweep(tmp_path), "base")
    # The learning rate is varied by the sweep, and given by the stage; what is pretrained is the stage's own affair.
    assert base.parameters == {"model": {"kind": "cnn", "width": 8}, "learning_rate": 0.03, "epochs": 5}
    assert base.stop == {"training_iteration": 4}
    assert base.objective.target == 0.9
    assert (base.search.algorithm, base.scheduler.type) == ("grid", "fifo")
    assert [(point.hardware, point.seed) for point in points(base)] == [
        ("one", 0), ("two", 0), ("one", 1), ("two", 1), ("one", 2), ("two", 2)
    ]  # fmt: skip


def test_a_stage_may_have_its_own_objective_and_go_on_from_an_earlier_one(tmp_path: Path) -> None:
    better = stage_spec(sweep(tmp_path), "better")
    assert better.parameters == {"model": {"kind": "cnn", "width": 8}, "epochs": 9, "pretrained": {"from": "base"}}
    assert better.objective.metric == "loss"
    assert better.stop == {"training_iteration": 7}


def test_the_trials_of_stages_are_counted(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    # 3 origins x 2 learning rates = 6 configurations; on 2 profiles with 3 repeats.
    assert trial_count(spec).configured_trials == len(points(spec)) == 36
    assert trial_count(spec).stage_trials == 12
    assert trial_count(spec).trials == 48
    assert count_sentence(spec) == (
        "2 stages x 3 repeats x 2 hardware profiles = 12 trials,"
        " then 6 configurations x 3 repeats x 2 hardware profiles = 36 trials; 48 trials in all"
    )


def test_a_sweep_with_stages_is_written_and_read_as_the_same(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "sweep.yaml").write_text(spec.to_yaml())
    again = load_spec(other / "sweep.yaml")
    assert again.stages == spec.stages
    assert points(again) == points(spec)


def test_the_origin_of_a_trial(tmp_path: Path) -> None:
    frozen = {"pretrained": {"from": "base", "freeze_encoder": True}, "epochs": 3}
    assert origin(frozen) == "base"
    assert origin({"pretrained": None}) is None
    assert origin({"pretrained": True}) is None  # a workload of the user's own may mean something else by it
    assert with_origin(frozen, "/a/b") == {"pretrained": {"from": "/a/b", "freeze_encoder": True}, "epochs": 3}
    assert frozen["pretrained"] == {"from": "base", "freeze_encoder": True}


def test_a_checkpoint_s_folder_is_found_from_the_file_s(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    spec = sweep(tmp_path, parameters={"pretrained": {"grid": [{"from": "checkpoint"}, {"from": "base"}]}})
    found = [origin(point.parameters) for point in points(spec)]
    assert set(found) == {str(tmp_path / "checkpoint"), "base", "better"}


@pytest.mark.parametrize("value", ["{from: x, freeze_encoder: true}", "{kind: cnn, width: 8}", "{a: {sizes: [1]}}"])
def test_a_mapping_that_looks_like_no_distribution_is_a_constant(tmp_path: Path, value: str) -> None:
    text = f"name: a\nworkload: w.py:f\nobjective: {{metric: m, mode: max}}\nparameters: {{model: {value}}}\n"
    (tmp_path / "sweep.yaml").write_text(text)
    (tmp_path / "x").mkdir()
    assert load_spec(tmp_path / "sweep.yaml").parameters["model"] == yaml.safe_load(value)
