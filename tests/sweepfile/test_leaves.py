"""What is nested is searched by its dotted name, exists where its conditions say so, and is given as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search import Searcher

from energysweep.core.errors import InputError
from energysweep.core.naming import configuration_text, parse
from energysweep.searching import search
from energysweep.sweepfile import SweepSpec, load_spec, points, trial_count, varying
from energysweep.tune.points import KEY, unwrap, wrap

HEAD = "name: a\nworkload: w.py:train\nobjective: {metric: s, mode: max}\n"
NESTED = """\
search: {algorithm: random, num_samples: 20}
parameters:
  optimizer:
    name: {grid: [sgd, adam]}
    lr: {loguniform: [1e-4, 1e-1]}
    momentum: {when: {optimizer.name: sgd}, uniform: [0.5, 0.99]}
    betas: {when: {optimizer.name: adam}, choice: [[0.9, 0.99], [0.9, 0.999]]}
  layers: [64, {qrandint: [16, 64, 16]}]
  epochs: 3
"""


def load(folder: Path, text: str, *options: str) -> SweepSpec:
    (folder / "sweep.yaml").write_text(HEAD + text)
    return load_spec(folder / "sweep.yaml", options)


def refused(folder: Path, text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(folder, text)
    return caught.value


def test_a_workload_gets_what_is_nested_as_it_was_written(tmp_path: Path) -> None:
    found = points(load(tmp_path, NESTED))
    assert len(found) == 40
    sgd = found[0]
    assert list(sgd.parameters) == [
        *("optimizer.name", "optimizer.lr", "optimizer.momentum"),
        *("layers.0", "layers.1", "epochs"),
    ]
    config = unwrap({KEY: wrap(sgd, is_command=False)})
    assert config == {
        "optimizer": {
            "name": "sgd",
            "lr": sgd.parameters["optimizer.lr"],
            "momentum": sgd.parameters["optimizer.momentum"],
        },
        "layers": [64, sgd.parameters["layers.1"]],
        "epochs": 3,
    }
    adam = found[1]
    assert set(adam.config["optimizer"]) == {"name", "lr", "betas"}
    assert adam.config["optimizer"]["betas"] in ([0.9, 0.99], [0.9, 0.999])


def test_the_names_of_what_differs_have_dots_and_stand_in_a_configuration_s_text(tmp_path: Path) -> None:
    spec = load(tmp_path, NESTED)
    assert varying(spec) == (
        *("optimizer.name", "optimizer.lr", "optimizer.momentum", "optimizer.betas"),
        "layers.1",
    )
    for point in points(spec):
        text = configuration_text(point.parameters, varying(spec))
        assert parse(text).parameters == {
            name: point.parameters[name] for name in varying(spec) if name in point.parameters
        }


def test_a_sweep_with_nested_parameters_is_written_and_read_as_the_same(tmp_path: Path) -> None:
    spec = load(tmp_path, NESTED)
    (tmp_path / "again.yaml").write_text(spec.to_yaml())
    assert points(load_spec(tmp_path / "again.yaml")) == points(spec)


def test_a_set_reaches_into_what_is_nested(tmp_path: Path) -> None:
    spec = load(tmp_path, NESTED, "parameters.optimizer.lr.loguniform.1=2e-4", "parameters.layers.1=8")
    for point in points(spec):
        assert 1e-4 <= point.config["optimizer"]["lr"] <= 2e-4
        assert point.config["layers"] == [64, 8]  # nothing is searched in it any more: a value
    with pytest.raises(InputError, match=r'optimizer\.name is never "adam": it is "sgd"'):
        load(tmp_path, NESTED, "parameters.optimizer.name=sgd")


def test_a_grid_leaves_out_what_does_not_exist(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        "parameters:\n  momentum: {when: {optimizer: sgd}, grid: [0, 0.9]}\n  optimizer: {grid: [adam, sgd]}\n"
        "  nesterov: {when: {momentum: 0.9}, grid: [true, false]}\n  lr: {grid: [0.1, 0.2]}\n",
    )
    found = [point.parameters for point in points(spec)]
    assert found[0] == {"optimizer": "adam", "lr": 0.1}
    assert found == [
        *({"optimizer": "adam", "lr": lr} for lr in (0.1, 0.2)),
        *({"momentum": 0, "optimizer": "sgd", "lr": lr} for lr in (0.1, 0.2)),
        *({"momentum": 0.9, "optimizer": "sgd", "nesterov": n, "lr": lr} for n in (True, False) for lr in (0.1, 0.2)),
    ]
    assert trial_count(spec).configurations == len(found) == 8


def test_a_mapping_may_have_a_condition_for_all_that_it_holds(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        "parameters:\n  kind: {grid: [cnn, mlp, none]}\n"
        "  cnn: {when: {kind: cnn}, filters: {grid: [8, 16]}, pool: true}\n  both: {when: {kind: [cnn, mlp]}, x: 1}\n",
    )
    assert [point.config for point in points(spec)] == [
        {"kind": "cnn", "cnn": {"filters": 8, "pool": True}, "both": {"x": 1}},
        {"kind": "cnn", "cnn": {"filters": 16, "pool": True}, "both": {"x": 1}},
        {"kind": "mlp", "both": {"x": 1}},
        {"kind": "none"},
    ]


def test_optuna_asks_for_what_exists_only(tmp_path: Path) -> None:
    text = NESTED.replace("algorithm: random", "algorithm: optuna").replace("grid", "choice")
    searcher = search.searcher(load(tmp_path, text), {})
    assert isinstance(searcher, Searcher)
    names = set()
    for number in range(10):
        suggestion = searcher.suggest(str(number))
        assert isinstance(suggestion, dict)
        config = unwrap(suggestion)
        names.add(config["optimizer"]["name"])
        assert ("momentum" in config["optimizer"]) == (config["optimizer"]["name"] == "sgd")
        assert ("betas" in config["optimizer"]) == (config["optimizer"]["name"] == "adam")
        assert config["layers"][0] == 64
        assert config["layers"][1] in (16, 32, 48, 64)
        searcher.on_trial_complete(str(number), {"s": config["optimizer"]["lr"], "training_iteration": 1})
    assert names == {"sgd", "adam"}


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("a: {grid: [1, 2]}\n  b: {when: {aa: 1}, grid: [1]}", "b.when.aa", "'aa' is no parameter; did you mean a?"),
        ("a: {grid: [1, 2]}\n  b: {when: {a: 3}, grid: [1]}", "b.when.a", "a is never 3: it is grid [1, 2]"),
        ("a: {grid: [1, 2]}\n  b: {when: {a: [1, '2']}, grid: [1]}", "b.when.a", 'a is never "2"'),
        ("a: {grid: [1, 2]}\n  b: {when: {a: []}, grid: [1]}", "b.when.a", "must be a value, or a list of some"),
        ("a: {grid: [1, 2]}\n  b: {when: {}, grid: [1]}", "b.when", "must not be empty"),
        ("a: {grid: [1, 2]}\n  b: {when: a, grid: [1]}", "b.when", "must be a mapping"),
        ("a: {when: {a: 1}, grid: [1]}", "a.when", "exists only where another one does: a"),
        (
            "a: {when: {b: 1}, grid: [1]}\n  b: {when: {a: 1}, grid: [1]}",
            "a.when",
            "each of these exists only where another one does: a, b",
        ),
        ("o: {x: {grid: [1]}}\n  b: {when: {o: 1}, grid: [1]}", "b.when.o", "'o' holds several parameters"),
        ("o: {when: {o.x: 1}, x: {grid: [1]}}", "o.when", "exists only where another one does"),
        ("o: {'a b': {grid: [1]}}", "o", "letters, digits, underscores and dashes"),
        ("o: {a.b: {grid: [1]}}", "o", "letters, digits, underscores and dashes"),
        (
            "o.x: {when: {p: 1}, grid: [1]}\n  o: {x: {grid: [1]}}\n  p: {grid: [1]}",
            "o.x",
            "two parameters have the name o.x",
        ),
        ("pretrained: {from: {grid: [base]}}", "pretrained", "inside of it nothing is searched"),
        ("o: {lr: {uniform: [0, 1]}}", "o.lr.uniform", "under algorithm grid only grid and constants work"),
        ("o: {lr: {normal: [0, 1]}}", "o.lr.normal", "normal needs search.algorithm random or optuna"),
    ],
)
def test_what_is_wrong_with_a_nested_parameter_or_a_condition_is_told_at_its_key(
    text: str, key: str, said: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, f"parameters:\n  {text}\n")
    assert said in str(error)
    assert f"parameters.{key}" in str(error).replace('["', ".")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{normal: [0]}", "must be [mean, sd]"),
        ("{normal: [0, 0]}", "must be above 0"),
        ("{normal: [1e308, 1e308]}", "keeps all values finite"),
        ("{quniform: [0, 1]}", "must be [low, high, q]"),
        ("{quniform: [0, 1, 0.3]}", "ends that are multiples of q; 1 is none of 0.3"),
        ("{quniform: [1, 0, 0.5]}", "low < high"),
        ("{quniform: [0, 1, 1e-300]}", "at most 2^53 steps"),
        ("{qrandint: [1, 8, 2]}", "1 is none of 2"),
        ("{qrandint: [0, 8, 0]}", "must be at least 1"),
        ("{lograndint: [0, 8]}", "must be at least 1"),
        ("{lograndint: [1.5, 8]}", "must be a whole number"),
        ("{qloguniform: [0, 1, 0.5]}", "must be above 0"),
        ("{qlograndint: [8, 64]}", "must be [low, high, q]"),
        ("{qnormal: [0, 1, 2, 3]}", "must be [mean, sd, q]"),
        ("{uniform: [0, 1], x: 1}", "exactly one of grid"),
    ],
)
def test_a_distribution_s_rules_are_told(written: str, said: str, tmp_path: Path) -> None:
    text = "search: {algorithm: random, num_samples: 1}\nparameters:\n  "
    assert said in str(refused(tmp_path, f"{text}o: {{a: {written}}}\n"))
    assert said in str(refused(tmp_path, f"{text}a: {written}\n"))


def test_a_grid_may_not_depend_on_what_is_drawn(tmp_path: Path) -> None:
    text = "search: {algorithm: random, num_samples: 1}\nparameters:\n  a: {choice: [1, 2]}\n"
    assert "draw with choice instead of this grid" in str(
        refused(tmp_path, f"{text}  b: {{when: {{a: 1}}, grid: [1]}}\n")
    )
    spec = load(tmp_path, f"{text}  b: {{when: {{a: 1}}, choice: [1, 2]}}\n")
    assert trial_count(spec).configurations == 1


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters that depend on any before or behind them, without circles."""
    names = draw(st.permutations([f"p{index}" for index in range(draw(st.integers(1, 6)))]))
    parameters: dict[str, Any] = {}
    for index, name in enumerate(names):
        parameters[name] = {draw(st.sampled_from(["grid"])): list(range(draw(st.integers(1, 3))))}
        if index and draw(st.booleans()):
            others = draw(st.lists(st.sampled_from(names[:index]), min_size=1, max_size=2, unique=True))
            when = {other: draw(st.sampled_from(parameters[other]["grid"])) for other in others}
            parameters[name]["when"] = when
    order = draw(st.permutations(names))
    return {name: parameters[name] for name in order}


@given(spaces(), st.booleans())
def test_conditions_hold_in_every_configuration_and_each_comes_once(space: dict[str, Any], drawn: bool) -> None:
    keys: dict[str, Any] = {"parameters": space}
    if drawn:
        written = {name: {**value, "choice": value["grid"]} for name, value in space.items()}
        for value in written.values():
            del value["grid"]
        keys = {"parameters": written, "search": {"algorithm": "random", "num_samples": 5}}
    spec = SweepSpec.model_validate(
        {"name": "x", "command": ["ls"], "objective": {"metric": "s", "mode": "max"}, **keys}
    )
    found = [point.parameters for point in points(spec)]
    assert len(found) == trial_count(spec).trials
    for parameters in found:
        for name, written_ in space.items():
            holds = all(parameters.get(other) == value for other, value in written_.get("when", {}).items())
            assert (name in parameters) == holds
    if not drawn:
        assert len({tuple(parameters.items()) for parameters in found}) == len(found)
