"""Optuna's samplers by its names: what each suggests, what each needs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from energysweep.core.errors import InputError
from energysweep.driver import search
from energysweep.sweepfile import SweepSpec, load_spec
from energysweep.sweepfile.algorithms import SAMPLERS
from energysweep.tune.points import unwrap

DOCUMENT = (Path(__file__).parents[2] / "docs/sweep-yaml.md").read_text(encoding="utf-8")
SWEEP = """\
name: a
workload: w.py:train
objective: {metric: accuracy, mode: max}
parameters: {o: {name: {choice: [sgd, adam]}, rate: {loguniform: [1e-4, 1e-1]}}, n: {randint: [1, 9]}}
search: {algorithm: optuna, num_samples: 8, seed: 3}
"""


def sweep(folder: Path, *options: str) -> SweepSpec:
    (folder / "sweep.yaml").write_text(SWEEP)
    return load_spec(folder / "sweep.yaml", options)


def suggested(spec: SweepSpec) -> list[dict[str, object]]:
    searcher = search.searcher(spec, {})
    assert isinstance(searcher, Searcher)
    found = []
    for number in range(4):
        suggestion = searcher.suggest(str(number))
        assert isinstance(suggestion, dict)
        found.append(unwrap(suggestion))
        result = {"accuracy": number / 10, "energy_joules": 5.0 - number, "training_iteration": 1}
        searcher.on_trial_complete(str(number), result)
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_documented_and_suggests_the_same_for_the_same_seed(name: str, tmp_path: Path) -> None:
    assert f"`{name}`" in DOCUMENT.partition("### search\n")[2].partition("### scheduler\n")[0]
    missing = [each for each in SAMPLERS[name].packages if importlib.util.find_spec(each) is None]
    spec = sweep(tmp_path, f"search.sampler={name}")
    if missing:
        with pytest.raises(InputError, match=f"{name} needs what is not installed: pip install {' '.join(missing)}"):
            search.searcher(spec, {})
        return
    found = suggested(spec)
    assert found == suggested(spec)
    assert all(set(config) == {"o", "n"} for config in found)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_energy_is_optimised_beside_accuracy(name: str, tmp_path: Path) -> None:
    metrics = "search.metrics={accuracy: max, energy_joules: min}"
    assert len(suggested(sweep(tmp_path, f"search.sampler={name}", metrics))) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["search={algorithm: grid, sampler: tpe}", "parameters={}"], "is Optuna's; it needs algorithm optuna"),
        (
            ["search.sampler=cmaes", "search.metrics={accuracy: max, energy_joules: min}"],
            "cmaes optimises one metric only; of several, tpe, random, nsga2, nsga3, gp or qmc",
        ),
        (["search.sampler=nsga4"], "did you mean nsga"),
    ],
)
def test_what_a_sampler_cannot_do_is_told(options: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        sweep(tmp_path, *options)
