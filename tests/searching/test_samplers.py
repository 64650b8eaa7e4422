"""Optuna's samplers by its names: what each suggests, what each needs."""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path

import optuna
import pytest
from ray.tune.search import Searcher

from energysweep.core.errors import InputError
from energysweep.driver.run_facts import shown_first
from energysweep.searching import search
from energysweep.sweepfile import SweepSpec, check_search, load_spec
from energysweep.sweepfile.algorithms import SAMPLERS
from energysweep.sweepfile.samplers import make_sampler, settings_of
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
        (
            ["search={algorithm: grid, sampler_settings: {n_startup_trials: 5}}", "parameters={}"],
            "is Optuna's; it needs algorithm optuna",
        ),
    ],
)
def test_what_a_sampler_cannot_do_is_told(options: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        sweep(tmp_path, *options)


@pytest.mark.parametrize(
    ("sampler", "settings", "attribute", "value"),
    [
        ("tpe", "{n_startup_trials: 5, multivariate: true}", "_n_startup_trials", 5),
        ("tpe", "{multivariate: true, group: true}", "_multivariate", True),
        ("nsga2", "{population_size: 7, mutation_prob: null}", "_population_size", 7),
        ("nsga3", "{crossover_prob: 1}", "_child_generation_strategy", None),
    ],
)
def test_a_sampler_is_made_with_its_settings(
    sampler: str, settings: str, attribute: str, value: object, tmp_path: Path
) -> None:
    spec = sweep(tmp_path, f"search.sampler={sampler}", f"search.sampler_settings={settings}")
    made = make_sampler(spec)
    assert hasattr(made, attribute)
    assert value is None or getattr(made, attribute) == value
    assert suggested(spec) == suggested(spec)


def test_settings_change_what_is_suggested(tmp_path: Path) -> None:
    at_random = suggested(sweep(tmp_path))
    learned = suggested(sweep(tmp_path, "search.sampler_settings={n_startup_trials: 1}"))
    assert at_random[0] == learned[0]
    assert at_random[2:] != learned[2:]


@pytest.mark.parametrize(
    ("sampler", "settings", "said"),
    [
        ("tpe", "{n_startup: 5}", r"sampler_settings.n_startup: is no setting of tpe; did you mean n_startup_trials"),
        ("tpe", "{seed: 5}", r"seed: is no setting of tpe.*allowed: .*n_startup_trials"),
        ("tpe", "{gamma: 5}", r"gamma: is no setting of tpe"),
        ("tpe", "{constraints_func: 5}", r"constraints_func: is no setting of tpe"),
        ("random", "{n_startup_trials: 5}", r"is no setting of random \(it has none\)"),
        ("tpe", "{n_startup_trials: 5.5}", r"n_startup_trials: must be a whole number, not 5.5"),
        ("tpe", "{n_startup_trials: true}", r"n_startup_trials: must be a whole number, not true"),
        ("tpe", "{multivariate: 1}", r"multivariate: must be true or false or null, not 1"),
        ("nsga2", "{crossover_prob: .inf}", r"crossover_prob: must be a number, not Infinity"),
        ("nsga2", "{population_size: 1}", r"sampler_settings: Optuna refuses them for nsga2: .*population_size"),
        ("tpe", "{group: true, multivariate: false}", r"sampler_settings: Optuna refuses them for tpe: .*group"),
    ],
)
def test_what_a_sampler_refuses_is_told_before_anything_runs(
    sampler: str, settings: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        check_search(sweep(tmp_path, f"search.sampler={sampler}", f"search.sampler_settings={settings}"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_setting_that_a_sampler_has_can_be_given_as_its_default(name: str, tmp_path: Path) -> None:
    made_by = getattr(optuna.samplers, SAMPLERS[name].made_by)
    defaults = {each: inspect.signature(made_by).parameters[each].default for each in settings_of(made_by)}
    assert "seed" not in defaults
    if all(importlib.util.find_spec(each) is not None for each in SAMPLERS[name].packages):
        check_search(sweep(tmp_path, f"search.sampler={name}", f"search.sampler_settings={json.dumps(defaults)}"))


def tried(spec: SweepSpec, number: int) -> list[float]:
    """The energy of each suggestion, where accuracy has its price: the better, the dearer."""
    searcher = search.searcher(spec, {})
    assert isinstance(searcher, Searcher)
    found = []
    for trial in map(str, range(number)):
        suggestion = searcher.suggest(trial)
        assert isinstance(suggestion, dict)
        x = unwrap(suggestion)["x"]
        found.append(1000 * x)
        result = {"accuracy": x, "energy_joules": 1000 * x, "joules_left": 1000 - 1000 * x, "training_iteration": 1}
        searcher.on_trial_complete(trial, result)
    return found


@pytest.mark.parametrize("limit", ["energy_joules: {at_most: 500}", "joules_left: {at_least: 500}"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(row.name, marks=pytest.mark.slow if row.name == "gp" else ())
        for row in SAMPLERS.values()
        if row.constraints
    ],
)
def test_a_configuration_within_its_limits_is_preferred(name: str, limit: str, tmp_path: Path) -> None:
    options = ["parameters={x: {uniform: [0, 1]}}", f"search.sampler={name}"]
    if "nsga" in name:
        options.append("search.sampler_settings={population_size: 10, mutation_prob: 0.2}")
    number = 20 if name == "gp" else 60  # it takes the longest, and learns the fastest
    free = tried(sweep(tmp_path, *options), number)[-number // 2 :]
    limited = tried(sweep(tmp_path, *options, f"search.constraints={{{limit}}}"), number)[-number // 2 :]
    assert sum(joules > 600 for joules in free) > number / 4
    assert sum(joules <= 501 for joules in limited) > number / 4  # a Gaussian process goes to the limit itself
    assert max(joules for joules in limited if joules <= 501) > 400  # and of those, the best


def test_optuna_knows_how_far_the_mean_of_the_repeats_is_beyond_each_limit(tmp_path: Path) -> None:
    limits = "search.constraints={energy_joules: {at_most: 500, at_least: 1}, accuracy: {at_least: 0.5}}"
    searcher = search.searcher(sweep(tmp_path, limits, "repeats=2"), {})
    assert isinstance(searcher, search.RepeatedSearch)
    for trial in "ab":
        searcher.suggest(trial)
    searcher.on_trial_complete("a", {"accuracy": 0.25, "energy_joules": 400.0})
    searcher.on_trial_complete("b", {"accuracy": 0.5, "energy_joules": 800.0})
    for trial in "cd":
        searcher.suggest(trial)
        searcher.on_trial_complete(trial, {"accuracy": 0.5})
    [known, unknown] = searcher._searcher._ot_study.trials
    assert known.state.name == "COMPLETE"
    assert list(known.user_attrs.values()) == [[100.0, -599.0, 0.125]]
    assert list(known.system_attrs["constraints"]) == [100.0, -599.0, 0.125]
    assert unknown.state.name == "FAIL"


def test_limits_are_kept_where_a_search_is_saved_and_goes_on(tmp_path: Path) -> None:
    spec = sweep(tmp_path, "search.constraints={energy_joules: {at_most: 500}}")
    first, second = (search.searcher(spec, {}) for _ in range(2))
    assert isinstance(first, search.RepeatedSearch)
    assert isinstance(second, search.RepeatedSearch)
    first.suggest("a")
    first.save(str(tmp_path / "saved"))
    second.restore(str(tmp_path / "saved"))
    second._searcher.on_trial_complete("a", {"accuracy": 0.25, "energy_joules": 600.0})
    assert [list(trial.user_attrs.values()) for trial in second._searcher._ot_study.trials] == [[[100.0]]]


def test_the_samplers_that_know_constraints_are_those_that_take_them() -> None:
    takes = {
        row.name
        for row in SAMPLERS.values()
        if "constraints_func" in inspect.signature(getattr(optuna.samplers, row.made_by)).parameters
    }
    assert takes == {row.name for row in SAMPLERS.values() if row.constraints}


def test_a_sweep_with_constraints_is_written_as_it_was_and_dashboards_show_their_metrics(tmp_path: Path) -> None:
    spec = sweep(
        tmp_path, "search.constraints={energy_joules: {at_most: 500}}", "search.sampler_settings={group: false}"
    )
    (tmp_path / "again.yaml").write_text(spec.to_yaml())
    assert load_spec(tmp_path / "again.yaml").search == spec.search
    assert shown_first(spec) == ("accuracy", "energy_joules")
