"""From a file to a SweepSpec, and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from energysweep.core.errors import InputError
from energysweep.sweepfile import Carbon, Hardware, SweepSpec, json_schema, load_spec
from energysweep.sweepfile.distributions import Grid
from energysweep.sweepfile.yaml import read_document
from tests.support.broken_specs import GOOD, Broken, good

MINIMAL = "name: small\ncommand: [ls]\nobjective: {metric: loss, mode: min}\n"
SWEEPS = Path(__file__).parents[2] / "sweeps"

EVERYTHING = """\
name: everything
workload: energysweep.workloads.images:train
parameters:
  learning_rate: {loguniform: [1e-4, 1]}
  momentum: {uniform: [0, 0.9]}
  layers: {randint: [1, 4]}
  optimizer: {choice: [sgd, adam]}
  sizes: [128, 64]
  epochs: 20
  augment: NO
objective: {metric: accuracy, mode: max, target: 0.95, stop_at_target: true, patience: 2}
repeats: 2
search: {algorithm: optuna, num_samples: 12, seed: 7, metrics: {accuracy: max, energy_joules: min}}
scheduler: {type: asha, resource: energy_joules, grace_period: 50, max_resource: 500, reduction_factor: 3}
stop: {training_iteration: 50}
hardware:
  h100: {resources: {cpu: 4, gpu: 0.5, licence: 1}, labels: {ray.io/accelerator-type: H100}}
max_concurrent_trials: 2
max_failures: 1
storage: s3://bucket/path
environment: {OMP_PROC_BIND: "true"}
working_dir: code
runtime_env: {pip: [rich]}
tags: [study, "team: vision"]
owner: Ada's team
carbon: {grams_per_kwh: 380, pue: 1.2}
meters: ["replay:work.py?after=loop", rapl]
idle_power_watts: {cpu: 20, dram: 2.5}
"""


def write(folder: Path, text: str) -> Path:
    return Broken("", text, None, "").write(folder)


def test_every_key_of_the_design_is_understood(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, EVERYTHING))
    assert spec.name == "everything"
    assert spec.parameters["sizes"] == [128, 64]
    assert spec.parameters["augment"] == "NO"
    assert (spec.objective.target, spec.objective.stop_at_target, spec.objective.patience) == (0.95, True, 2)
    assert spec.search.metrics == {"accuracy": "max", "energy_joules": "min"}
    assert spec.scheduler.max_resource == 500
    profile = spec.profiles["h100"]
    assert (profile.cpu, profile.gpu, profile.custom) == (4, 0.5, {"licence": 1})
    assert spec.storage == "s3://bucket/path"
    assert spec.working_dir == str(tmp_path / "code")
    assert spec.meters == [f"replay:{tmp_path}/work.py?after=loop", "rapl"]
    assert spec.carbon == Carbon(grams_per_kwh=380, pue=1.2)
    assert (spec.owner, spec.tags) == ("Ada's team", ["study", "team: vision"])


def test_everything_but_name_program_and_objective_has_a_default(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, MINIMAL))
    assert spec.profiles == {"": Hardware(resources={"cpu": 1})}
    assert (spec.repeats, spec.search.algorithm, spec.scheduler.type, spec.max_failures) == (1, "grid", "fifo", 0)
    assert (spec.storage, spec.budget, spec.max_concurrent_trials, spec.objective.target) == (None, None, None, None)
    assert (spec.meters, spec.carbon) == (["auto"], Carbon())


def test_a_spec_knows_where_it_came_from(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    spec = load_spec(os.path.relpath(path))
    assert spec.source == path.resolve()
    assert spec.folder == path.resolve().parent
    assert spec.document.place(("objective", "mode"))[1] == 3


def test_a_spec_cannot_be_changed(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"


def test_one_tag_is_a_list_of_one(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, MINIMAL + "tags: a study\n")).tags == ["a study"]


@pytest.mark.parametrize("text", [GOOD, MINIMAL, EVERYTHING], ids=["good", "minimal", "everything"])
def test_a_written_sweep_loads_as_the_same_from_another_folder(text: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "run").mkdir()
    spec = load_spec(write(tmp_path / "here", text))
    copy = tmp_path / "run" / "sweep.yaml"
    copy.write_text(spec.to_yaml())
    again = load_spec(copy)
    before, after = spec.model_dump(), again.model_dump()
    assert before.pop("working_dir") in (None, after["working_dir"])
    after.pop("working_dir")
    assert before == after
    assert again.to_yaml() == spec.to_yaml()


def test_a_written_sweep_keeps_the_working_folder(tmp_path: Path) -> None:
    written = read_document(load_spec(write(tmp_path, MINIMAL)).to_yaml()).value
    assert written["working_dir"] == str(tmp_path)


def test_set_changes_values_and_items_and_makes_mappings(tmp_path: Path) -> None:
    options = [
        "parameters.learning_rate.grid.1=5e-2",
        "objective.target=null",
        "hardware.small.labels.zone=eu",
        "repeats=1",
    ]
    spec = load_spec(write(tmp_path, GOOD), options)
    assert spec.parameters["learning_rate"] == Grid(grid=[0.001, 0.05])
    assert spec.objective.target is None
    assert spec.hardware["small"].labels == {"zone": "eu"}
    assert spec.repeats == 1


def test_set_can_turn_a_grid_into_a_constant(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, GOOD), ["parameters.learning_rate=1e-3"]).parameters["learning_rate"] == 0.001


def test_the_last_set_of_a_key_wins(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, GOOD), ["repeats=4", "repeats=5"]).repeats == 5


def test_a_set_that_is_wrong_does_not_hide_where_the_file_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, good("mode: max", "mode: up"))
    with pytest.raises(InputError) as caught:
        load_spec(path, ["repeats=0"])
    assert str(caught.value).splitlines() == [
        "--set repeats=0: repeats: must be at least 1, not 0",
        f"{path}:7: objective.mode: must be one of 'min' or 'max', not \"up\"",
    ]


@pytest.mark.parametrize(
    "text",
    [GOOD, MINIMAL, EVERYTHING, *(path.read_text() for path in sorted(SWEEPS.glob("*.yaml")))],
)
def test_the_json_schema_accepts_good_sweeps(text: str) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(read_document(text).value)


@pytest.mark.parametrize(
    "text",
    [
        good("repeats: 3", "repeat: 3"),
        good("repeats: 3", "repeats: -3"),
        good("{grid: [1e-3, 1e-2]}", "{gird: [1]}"),
        good("{grid: [1e-3, 1e-2]}", "{uniform: [1]}"),
        good("name: good", "name: a/b"),
    ],
)
def test_the_json_schema_refuses_wrong_ones(text: str) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(read_document(text).value)


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for model in [schema, *schema["$defs"].values()]:
        for name, key in model.get("properties", {}).items():
            described = schema["$defs"][key["$ref"].rpartition("/")[2]] if "$ref" in key else key
            assert "description" in described, f"{model['title']}.{name}"
    assert json.loads(json.dumps(schema)) == schema


def test_every_key_stands_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "sweep-yaml.md").read_text()
    for key in SweepSpec.model_fields:
        assert f"`{key}`" in reference
