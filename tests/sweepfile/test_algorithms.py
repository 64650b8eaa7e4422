"""The tables of searches and schedulers: every row is documented, can be named in a sweep, and has its module."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from energysweep.searching import schedulers, search
from energysweep.sweepfile import Scheduler, SweepSpec, json_schema, load_spec
from energysweep.sweepfile.algorithms import ALGORITHMS, SCHEDULERS, Algorithm, those

DOCUMENT = (Path(__file__).parents[2] / "docs/sweep-yaml.md").read_text(encoding="utf-8")
SWEEP = """
name: tables
workload: work:train
parameters: {size: 1}
objective: {metric: loss, mode: min}
"""
GIVEN = {
    "perturbation_interval": "1",
    "hyperparam_mutations": "{size: {loguniform: [1, 2]}}",
    "hyperparam_bounds": "{size: [1, 2]}",
}


def section(key: str) -> str:
    return DOCUMENT.partition(f"\n### {key}\n")[2].partition("\n### ")[0]


def spec_of(folder: Path, *overrides: str) -> SweepSpec:
    (folder / "sweep.yaml").write_text(SWEEP)
    return load_spec(folder / "sweep.yaml", overrides)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_documented_and_makes_a_search(name: str, tmp_path: Path) -> None:
    row = ALGORITHMS[name]
    assert f"`{name}`" in section("search")
    assert f"{name} {row.does}" in json_schema()["$defs"]["Search"]["properties"]["algorithm"]["description"]
    drawn = ("search.num_samples=2", "parameters.size={uniform: [0, 1]}") if row.draws else ()
    spec = spec_of(tmp_path, f"search.algorithm={name}", *drawn)
    assert spec.search.kind is row
    made = search.searcher(spec, {})
    assert isinstance(made, Searcher) == (row.made_by is not None)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_is_documented_and_makes_tune_s(name: str, tmp_path: Path) -> None:
    row = SCHEDULERS[name]
    assert f"`{{type: {name}}}`" in section("scheduler")
    assert set(row.keys) <= set(Scheduler.model_fields)
    target = ("objective.target=0.1",) if row.needs_target else ()
    population = ("parameters.size={grid: [1, 2]}",) if row.changes else ()
    needed = "".join(f", {key}: {GIVEN[key]}" for key in row.needs)
    spec = spec_of(tmp_path, f"scheduler={{type: {name}{needed}}}", *target, *population)
    assert spec.scheduler.kind is row
    (tmp_path / "again.yaml").write_text(spec.to_yaml())
    assert load_spec(tmp_path / "again.yaml").scheduler == spec.scheduler
    made = schedulers.scheduler(spec)
    assert isinstance(made, schedulers.Scheduler)
    assert isinstance(made, TrialScheduler)
    assert set(made.pruned) == set()


@pytest.mark.parametrize(
    ("names", "text"), [("a", "a"), ("ab", "a or b"), ("abc", "a, b or c"), ("abcd", "a, b, c or d")]
)
def test_several_rows_are_named_in_one_phrase(names: str, text: str) -> None:
    assert those([Algorithm(name, "does something") for name in names]) == text


def test_every_key_of_a_scheduler_is_read_by_one() -> None:
    read = {key for row in SCHEDULERS.values() for key in row.keys}
    assert read == set(Scheduler.model_fields) - {"type"}
