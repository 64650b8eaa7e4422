"""A Python function that makes the configurations: ``space: space.py:space``."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import InputError
from energysweep.core.naming import exact_text
from energysweep.sweepfile import SweepSpec, check_search, count_sentence, load_spec, points, stage_spec, varying
from energysweep.sweepfile.defined import DefinedSpace, names_sentence, nested, noted
from energysweep.sweepfile.pilot import pilot_of
from energysweep.sweepfile.reports import full_reports, only_values
from energysweep.sweepfile.suggesting import Drawer, Trial, Tried
from energysweep.sweepfile.workload import Imported, render_command

SWEEP = """\
name: a
workload: work.py:train
space: space.py:space
objective: {metric: accuracy, mode: max}
search: {algorithm: random, num_samples: 12, seed: 3}
"""
BRANCHES = """
def space(trial):
    if trial.suggest_categorical("optimizer.name", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("optimizer.momentum", 0.0, 0.6, step=0.3)
    layers = trial.suggest_int("layers", 1, 2)
    return {"widths": [16] * layers, "optimizer": {"nesterov": True}}
"""


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("space", "other_module"):
        sys.modules.pop(name, None)


def spec_of(folder: Path, function: str | None, *overrides: str, sweep: str = SWEEP) -> SweepSpec:
    """A sweep whose space is a file with this text; a line alone is what a function does."""
    if function is not None:
        text = function if "\n" in function else f"def space(trial):\n    {function}\n"
        (folder / "space.py").write_text(text)
    (folder / "sweep.yaml").write_text(sweep)
    return load_spec(folder / "sweep.yaml", overrides)


def refused(spec: SweepSpec) -> str:
    with pytest.raises(InputError) as caught:
        check_search(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


GRID = "search={algorithm: grid}"
OPTUNA = "search.algorithm=optuna"


def test_a_grid_tries_what_is_suggested_in_each_branch_once(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, BRANCHES, GRID)
    check_search(spec)
    made = [
        (
            each.parameters["optimizer.name"],
            each.parameters.get("optimizer.momentum"),
            each.parameters["layers"],
            each.parameters["widths"],
        )
        for each in points(spec)
    ]
    assert made == [
        ("sgd", 0.0, 1, [16]),
        ("sgd", 0.0, 2, [16, 16]),
        ("sgd", 0.3, 1, [16]),
        ("sgd", 0.3, 2, [16, 16]),
        ("sgd", 0.6, 1, [16]),
        ("sgd", 0.6, 2, [16, 16]),
        ("adam", None, 1, [16]),
        ("adam", None, 2, [16, 16]),
    ]
    assert count_sentence(spec) == "8 configurations = 8 trials"
    made_always = "optimizer.name, layers, widths, optimizer.nesterov"
    assert names_sentence(spec) == f"space.py:space makes {made_always}; in some configurations optimizer.momentum"
    assert points(spec)[0].config == {
        "optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": True},
        "layers": 1,
        "widths": [16],
    }
    assert points(spec)[-1].config["optimizer"] == {"name": "adam", "nesterov": True}


def test_random_search_draws_the_same_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    function = 'trial.suggest_float("lr", 1e-4, 1e-1, log=True)'
    first, again, other = (
        [each.parameters["lr"] for each in points(spec_of(tmp_path, function, f"search.seed={seed}"))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert len(first) == 12
    assert not set(first) & set(other)
    assert all(1e-4 <= each <= 1e-1 for each in first)


@pytest.mark.parametrize("search", [GRID, "search.num_samples=50", OPTUNA])
def test_parameters_that_differ_or_are_not_in_all_configurations_vary(tmp_path: Path, search: str) -> None:
    spec = spec_of(tmp_path, BRANCHES, search, "parameters={epochs: 20}")
    assert set(varying(spec)) == {"optimizer.name", "optimizer.momentum", "layers", "widths"}
    values = only_values(spec)
    assert values["epochs"] == 20
    assert values["optimizer.nesterov"] is True
    assert values["optimizer.name"].choice in (["sgd", "adam"], ["adam", "sgd"])


def test_constants_stand_beside_a_function_and_come_first(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'trial.suggest_int("layers", 1, 3)', "parameters={data: small, head: {size: 3}}")
    check_search(spec)
    assert list(points(spec)[0].parameters) == ["data", "head", "layers"]
    assert points(spec)[0].parameters["head"] == {"size": 3}


def test_what_is_returned_replaces_what_is_suggested_by_the_same_name(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'return {"size": 2 ** trial.suggest_int("size", 4, 6), "none": None}', GRID)
    assert [each.parameters for each in points(spec)] == [{"size": size, "none": None} for size in (16, 32, 64)]


def test_configurations_of_a_grid_that_are_the_same_are_tried_once(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'return {"size": trial.suggest_int("size", 4, 9) // 3}', GRID)
    assert [each.parameters["size"] for each in points(spec)] == [1, 2, 3]


def test_names_that_end_in_numbers_are_a_list(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        """
def space(trial):
    for layer in range(trial.suggest_int("depth", 1, 2)):
        trial.suggest_int(f"model.layers.{layer}.width", 1, 2)
    return {"tags": [{"0": "a"}]}
""",
        GRID,
        "parameters={head: {'0': 7}}",
    )
    check_search(spec)
    layers = [[layer["width"] for layer in each.config["model"]["layers"]] for each in points(spec)]
    assert layers == [[1], [2], [1, 1], [1, 2], [2, 1], [2, 2]]
    assert points(spec)[0].config == {
        "head": {"0": 7},
        "depth": 1,
        "model": {"layers": [{"width": 1}]},
        "tags": [{"0": "a"}],
    }


def test_a_sample_from_of_tunes_is_what_the_function_computes(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'x = trial.suggest_int("a", 1, 9); return {"b": x * x, "c": trial.params["a"] + 1}')
    for each in points(spec):
        assert each.parameters["b"] == each.parameters["a"] ** 2
        assert each.parameters["c"] == each.parameters["a"] + 1


WRONG = {
    'raise KeyError("lr\\n\x1b[31m")': "space.py:space failed in line 2: KeyError: ",
    "raise SystemExit(3)": "space.py:space failed in line 2: SystemExit: 3",
    "raise type('Mine', (BaseException,), {})": "space.py:space failed in line 2: space.Mine",
    'for i in range(10**9): trial.suggest_int(f"x{i}", 0, 0)': "suggests more than 1000 parameters; at most so many",
    'trial.suggest_float("x", 0, 1e30, step=1)': 'suggests "x": there are more steps than can be counted',
    'trial.suggest_int("x", 0, 10 ** 5000)': 'suggests "x": ',
    "import asyncio; return asyncio.sleep(0)": "or None for what it suggests, not a coroutine",
    "return 7": "must return a mapping of parameters, or None for what it suggests, not 7",
    "return object()": "or None for what it suggests, not a object",
    "yield 1": "or None for what it suggests, not a generator",
    "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})": "failed in line 2: space.E: <exception str() fai",
    "import types; return types.MappingProxyType({'a': type('T', (tuple,), {'__iter__': None})()})": "failed: TypeErr",
    'return {"a": {1, 2}}': 'makes "a" a set; a parameter is a finite number, a text, true, false, null, or a list or',
    'return {"a": float("nan")}': 'makes "a" NaN; a number is finite, at most 1.8e308',
    'return {"a": [1, {"b": float("inf")}]}': 'makes "a" Infinity; a number is finite',
    'return {"a": 10 ** 400}': "a number is finite, at most 1.8e308",
    'return {"a": lambda spec: 1}': "what is drawn is asked for: trial.suggest_float, suggest_int and suggest_categ",
    'from ray import tune; return {"a": tune.uniform(0, 1)}': 'makes "a" a Float; ',
    'return {"a": {"uniform": [0, 1]}}': 'makes a {"uniform": [0, 1]}, which nobody draws: call trial.suggest_float',
    'return {"a": {"grid_search": [0, 1]}}': 'makes a {"grid_search": [0, 1]}, which nobody draws',
    'return {"a": "\\0"}': "of such as no text may hold",
    'return {"a": "\\ud800"}': "of such as no text may hold",
    'x = []; x.append(x); return {"a": x}': 'makes "a" of too much: 20 levels and 20,000 values are allowed',
    'x = {}; x["b"] = x; return {"a": x}': "makes a of mappings that are nested too deeply",
    'return {"a": list(range(30000))}': 'makes "a" of too much',
    'return {f"a{i}": 1 for i in range(1001)}': "makes 1001 parameters; at most 1000 are allowed",
    "return {1: 2}": "makes a parameter called 1; a name is letters, digits and underscores",
    'return {"_a": 2}': 'makes a parameter called "_a"; a name is letters',
    'trial.suggest_int("a/b", 1, 2)': 'makes a parameter called "a/b"; a name is letters',
    'trial.suggest_int("a..b", 1, 2)': 'makes a parameter called "a..b"; a name is letters',
    "trial.suggest_int(None, 1, 2)": "makes a parameter called null; a name is letters",
    'return {"a": {"b c": 2}}': 'makes "b c" inside of a; a name inside of a parameter is letters, digits',
    'return {"a": {"b.c": 2}}': 'makes "b.c" inside of a; a name inside of a parameter is letters, digits',
    'return {"a": {"0": 2}}': 'makes "0" inside of a; return a list, or a name that is no number',
    'trial.suggest_int("a.1", 1, 2)': "makes a.1; names that are numbers are places in a list, all from a.0 on",
    'trial.suggest_int("a.0", 1, 2); return {"a.b": 1}': "makes a.0, a.b; names that are numbers are places in a list",
    'trial.suggest_int("a.0", 1, 2); return {"a.00": 1}': "makes a.0, a.00; names that are numbers are places in a",
    'return {"a": {1: 2}}': "makes 1 inside of a; a name inside of a parameter is letters, digits",
    'trial.suggest_int("a", 1, 2); trial.suggest_int("a.b", 1, 2)': "makes a, and a.b inside of it; a parameter is a",
    'trial.suggest_int("a.b", 1, 2); return {"a": 1}': "makes a, and a.b inside of it",
    'return {"seed": 2}': "makes seed, which is the number of the repeat; use another name",
    'trial.suggest_int("data", 1, 2)': "makes data, which stands under parameters, too; use another name",
    'return {"pretrained": {"from": "base"}}': "makes pretrained, which belongs under parameters",
    'trial.suggest_uniform("a", 1, 2)': "calls trial.suggest_uniform; there is suggest_float, suggest_int and suggest",
    "return {'n': trial.number}": "calls trial.number; there is suggest_float, suggest_int and suggest_categor",
    'trial.suggest_int("a", 1, 2); trial.suggest_int("a", 1, 3)': 'suggests "a" twice, from two ranges',
    'trial.suggest_int("a", 3, 2)': 'suggests "a": low must not be above high, and both are finite, not 3 and 2',
    'trial.suggest_int("a", 1, 2.5)': 'suggests "a": low, high and step are integers',
    'trial.suggest_int("a", 1, 9, step=0)': 'suggests "a": step must be above 0, not 0',
    'trial.suggest_int("a", 1, 9, step=2, log=True)': 'suggests "a": step and log exclude each other',
    'trial.suggest_float("a", 0, 1, log=True)': 'suggests "a": low must be above 0 with log, not 0',
    'trial.suggest_float("a", 0, 1, step=0.1, log=True)': 'suggests "a": low must be above 0 with log',
    'trial.suggest_float("a", 0, float("inf"))': 'suggests "a": low must not be above high, and both are finite',
    'trial.suggest_float("a", "x", "y")': 'suggests "a": ',
    'trial.suggest_float("a")': "failed in line 2: TypeError: Trial.suggest_float() missing 2 required",
    'trial.suggest_categorical("a", [])': 'suggests "a": there are no choices',
    'import random; return {"a": random.random()}': "makes other configurations each time, so that nobody could repeat",
    "import itertools; x = globals().setdefault('x', itertools.count()); return {'a': next(x)}": "other configurations",
}


@pytest.mark.parametrize("function", WRONG, ids=lambda text: str(text)[:60].encode("unicode_escape").decode())
@pytest.mark.parametrize("search", ["search.num_samples=3", GRID, OPTUNA])
def test_a_function_that_does_what_it_may_not_is_told_so(tmp_path: Path, function: str, search: str) -> None:
    spec = spec_of(tmp_path, function, search, "repeats=2", "parameters.data=1")
    said = refused(spec)
    assert said.startswith(f"{tmp_path}/sweep.yaml:3: space: space.py:space ")
    assert WRONG[function] in said
    assert "\x1b" not in said


NO_GRID = {
    'trial.suggest_float("lr", 1e-3, 1e-1, log=True)': 'suggests "lr" from a range with log of infinitely many values',
    'trial.suggest_float("lr", 0, 1)': "give it a step, suggest_categorical or suggest_int, or take random or optuna",
    'trial.suggest_int("a", 1, 10 ** 9)': "makes more than 100000 configurations of a grid",
}


@pytest.mark.parametrize("function", NO_GRID)
def test_a_grid_that_cannot_be_tried_one_by_one_is_told_so(tmp_path: Path, function: str) -> None:
    said = refused(spec_of(tmp_path, function, GRID))
    assert said.startswith(f"{tmp_path}/sweep.yaml:3: space: space.py:space ")
    assert NO_GRID[function] in said


def test_a_grid_of_more_trials_than_a_sweep_may_have_is_told_so(tmp_path: Path) -> None:
    said = refused(spec_of(tmp_path, 'trial.suggest_int("a", 1, 1000)', GRID, "repeats=101"))
    assert "space: makes 101000 trials; at most 100000 are allowed" in said


@pytest.mark.parametrize(
    ("space", "text", "said"),
    [
        ("space.py:space", None, "there is no file {folder}/space.py"),
        ("space.py:spice", "def space(trial): pass\n", "has no spice; did you mean space?"),
        ("space.py:space", "space = 3\n", "space.py:space is a int, not a function or a class"),
        ("space.py:space", "import nowhere_at_all\n", "importing space.py failed: ModuleNotFoundError: "),
        ("nowhere_at_all:space", None, "there is no module nowhere_at_all"),
        ("space.py:space", "def space():\n    pass\n", "failed: TypeError: space() takes 0 positional arguments but 1"),
    ],
)
def test_a_function_that_is_not_there_is_told_by_the_key(
    tmp_path: Path, space: str, text: str | None, said: str
) -> None:
    found = refused(spec_of(tmp_path, text, f"space={space}"))
    assert found.startswith("--set space=")
    assert ": space: " in found
    assert said.format(folder=tmp_path) in found


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("space=space.py", "space: must be module:attr or path.py:attr, not '"),
        ("space=7", "space: must be text, not 7"),
        ("parameters={lr: {uniform: [0, 1]}}", "parameters.lr: stands beside space, so it is a constant; the function"),
        ("parameters={o: {a: 1, lr: {choice: [0, 1]}}}", "parameters.o.lr: stands beside space, so it is a constant"),
        (
            "scheduler={type: pbt, perturbation_interval: 1, hyperparam_mutations: {a: [1, 2]}}",
            "space: pbt changes parameters that the sweep's file has; write them in parameters",
        ),
    ],
)
def test_what_cannot_stand_beside_a_function_is_told(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_of(tmp_path, "return {}", override)
    assert said in str(caught.value)


def test_optuna_needs_the_same_choices_for_a_name_in_all_branches(tmp_path: Path) -> None:
    function = (
        'x = trial.suggest_categorical("x", [1, 2]); trial.suggest_categorical("y", ["a", "b"] if x == 1 else ["c"])'
    )
    check_search(spec_of(tmp_path, function))
    check_search(spec_of(tmp_path, function, GRID))
    said = refused(spec_of(tmp_path, function, OPTUNA))
    assert 'suggests "y" now from the choices ["' in said
    assert "use another name in each branch" in said


def test_nothing_of_a_function_is_imported_when_a_file_is_read(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "raise AssertionError\n", "search.num_samples=7")
    assert count_sentence(spec) == "7 configurations = 7 trials"


def test_a_file_that_changes_while_a_sweep_runs_changes_nothing(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, 'trial.suggest_int("a", 1, 9)')
    before = [each.parameters for each in points(spec)]
    (tmp_path / "space.py").unlink()
    assert [each.parameters for each in points(spec.model_copy(update={"repeats": 1}))] == before
    assert varying(spec) == ("a",)


def test_a_command_may_name_what_a_function_makes(tmp_path: Path) -> None:
    sweep = SWEEP.replace("workload: work.py:train", 'command: [train, "{a.b}", "--m={m}", "{a}", "{hardware}"]')
    function = 'x = trial.suggest_int("a.b", 1, 2); return {"m": 5} if x == 1 else {}'
    spec = spec_of(tmp_path, function, GRID, sweep=sweep)
    check_search(spec)
    rendered = [render_command(spec.command or (), {**each.config, "hardware": "x"}) for each in points(spec)]
    assert rendered == [["train", "1", "--m=5", '{"b": 1}', "x"], ["train", "2", '{"b": 2}', "x"]]
    wrong = spec_of(tmp_path, function, GRID, 'command=[train, "{lr}"]', sweep=sweep)
    assert "command[1]: {lr} is no parameter (known: a.b, m, a, seed, hardware)" in refused(wrong)
    program = spec_of(tmp_path, function, GRID, 'command=["{m}"]', sweep=sweep)
    assert "the program itself is always there: m is not in every configuration" in refused(program)


def test_a_stage_and_a_pilot_of_a_sweep_with_a_function(tmp_path: Path) -> None:
    also = ("stages={base: {}}", "parameters={pretrained: {from: base}, data: small}")
    spec = spec_of(tmp_path, BRANCHES, GRID, *also)
    check_search(spec)
    assert [each.parameters for each in points(stage_spec(spec, "base"))] == [{"data": "small"}]
    assert points(spec)[0].parameters["pretrained"] == {"from": "base"}
    pilot = pilot_of(spec_of(tmp_path, BRANCHES, GRID), 3, 2)
    tried = [each.parameters for each in points(pilot)]
    assert len({exact_text(each) for each in tried}) == 3
    assert all(set(each) >= {"optimizer.name", "layers", "widths"} for each in tried)


def test_epochs_that_a_function_makes_say_how_long_a_built_in_workload_trains(tmp_path: Path) -> None:
    built_in = "workload=energysweep.workloads.images:train"
    spec = spec_of(tmp_path, 'return {"epochs": trial.suggest_int("epochs", 2, 3)}', GRID, built_in)
    assert [full_reports(spec, each.parameters) for each in points(spec)] == [2, 3]
    assert full_reports(spec_of(tmp_path, 'return {"epochs": 7}', GRID, built_in)) == 7


def test_the_ledger_keeps_the_text_of_the_function_and_knows_when_it_makes_something_else(tmp_path: Path) -> None:
    first = noted(spec_of(tmp_path, BRANCHES))
    assert first["source"] == BRANCHES
    same = noted(spec_of(tmp_path, f"# a comment\n{BRANCHES}"))
    assert same["source"] != BRANCHES
    assert same["digest"] == first["digest"]
    nearly = 'return {"a": [{"b": 0.1 + 0.2}]}', 'return {"a": [{"b": 0.3}]}', 'return {"a": [{"b": 0.3000001}]}'
    digests = [noted(spec_of(tmp_path, each))["digest"] for each in nearly]
    assert digests[0] == digests[1] != digests[2]
    assert noted(spec_of(tmp_path, BRANCHES.replace("16", "17")))["digest"] != first["digest"]
    (tmp_path / "other_module.py").write_text(BRANCHES)
    assert noted(spec_of(tmp_path, None, "space=other_module:space")) == first


def test_the_function_of_the_example_makes_lists_of_layers_of_which_none_is_wider_than_the_one_before() -> None:
    spec = load_spec(Path(__file__).parents[2] / "sweeps" / "define-by-run.yaml", ["search.algorithm=random"])
    layers = [each.config["layers"] for each in points(spec)]
    assert {len(each) for each in layers} == {1, 2, 3}
    assert all(each == sorted(each, reverse=True) for each in layers)


# Properties ----------------------------------------------------------------------------------------------------------

Tree = list[Any]  # of each choice what is asked for next: a tree, or nothing
trees = st.recursive(
    st.none(), lambda below: st.lists(st.lists(below, min_size=1, max_size=3), min_size=1, max_size=2), max_leaves=12
)


def _walk(tree: Any, trial: Any, name: str = "n") -> dict[str, int]:
    """Asks for one choice after the other, and below each for what follows from it."""
    found: dict[str, int] = {}
    for index, branches in enumerate(tree or ()):
        key = f"{name}{index}"
        found[key] = trial.suggest_categorical(key, list(range(len(branches))))
        found |= _walk(branches[found[key]], trial, f"{key}_")
    return found


def _expected(tree: Any, name: str = "n") -> list[dict[str, int]]:
    """All that it can make, by another way: the product of the alternatives of each choice."""
    made: list[dict[str, int]] = [{}]
    for index, branches in enumerate(tree or ()):
        key = f"{name}{index}"
        alternatives = [
            {key: place, **rest} for place, below in enumerate(branches) for rest in _expected(below, f"{key}_")
        ]
        made = [{**before, **after} for before in made for after in alternatives]
    return made


@given(trees)
def test_a_grid_makes_every_configuration_of_a_tree_of_choices_once_and_no_other(tree: Any) -> None:
    made = [_walk(tree, Trial(trial)) for trial in Tried().trials()]
    assert made == _expected(tree)


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(0, 1e6),
    step=st.none() | st.floats(1e-3, 1e3),
    log=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_drawn_float_is_one_that_optuna_might_suggest(
    low: float, width: float, step: float | None, log: bool, seed: int
) -> None:
    if log:
        low, step = abs(low) + 1e-6, None
    drawn = Trial(Drawer(random.Random(seed))).suggest_float("x", low, low + width, step=step, log=log)  # noqa: S311
    assert isinstance(drawn, float)
    assert low - 1e-9 <= drawn <= low + width + 1e-9 * abs(low + width)
    if step is not None:
        steps = (drawn - low) / step
        assert math.isclose(steps, round(steps), abs_tol=1e-6 * max(1.0, abs(low) / step))


@given(low=st.integers(1, 1000), width=st.integers(0, 1000), step=st.integers(1, 50), log=st.booleans(), data=st.data())
def test_a_drawn_integer_is_one_that_optuna_might_suggest(
    low: int, width: int, step: int, log: bool, data: st.DataObject
) -> None:
    step = 1 if log else step
    high = low + width - width % step  # Optuna warns of others
    rng = random.Random(data.draw(st.integers(0, 2**32)))  # noqa: S311
    drawn = Trial(Drawer(rng)).suggest_int("x", low, high, step=step, log=log)
    allowed = optuna.distributions.IntDistribution(low, high, step=step, log=log)
    assert allowed._contains(allowed.to_internal_repr(drawn))


names = st.text("abc-_0", min_size=1, max_size=3).filter(lambda text: not text.isdecimal())
plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3).filter(lambda text: "\0" not in text)
mappings = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.recursive(
        plain | st.lists(plain, max_size=2),
        lambda below: st.dictionaries(names, below, min_size=1, max_size=3),
        max_leaves=8,
    ),
)


@given(mappings)
def test_a_workload_gets_the_mapping_that_the_function_returned(whole: dict[str, Any]) -> None:
    space = DefinedSpace(Imported("builtins", "", ()), frozenset())
    flat = space._made(lambda _: whole, Trial(None))
    assert not any(isinstance(value, dict) and value for value in flat.values())
    given_to_workload = nested(flat)
    assert json.dumps(flat if given_to_workload is None else given_to_workload) == json.dumps(whole)
