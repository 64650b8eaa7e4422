"""The text of a configuration: written, bounded, and read again."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from energysweep.core.naming import (
    LONGEST,
    LONGEST_VALUE,
    NAMES_PATTERN,
    Shortened,
    configuration_text,
    parse,
    rows,
    setting_text,
    settings_text,
    trial_text,
    value_pattern,
    value_text,
)


def is_one_text(text: str) -> bool:
    """Whether no two halves of a pair of surrogates stand in it, which JSON reads as one character."""
    return text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


any_text = st.text(st.characters(exclude_categories=[])).filter(is_one_text)
awkward = st.text(' "\\=,:{}[]…`·\n\t\u00a0\u2028\u202e\x00\x7fé😀$/%01eEsdonl', max_size=12)
texts = st.one_of(any_text, awkward, st.sampled_from(["1", "1.0", "true", "null", "NaN", "1e-3", "default", "on", ""]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
names = texts.filter(bool)
settings = st.dictionaries(names, values, max_size=6)


def same(one: Any, other: Any) -> bool:
    """Whether values are equal and of the same types, so that 1, 1.0 and true are three."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(each, other[key]) for key, each in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


# Written -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        ("1", '"1"'),
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (1 / 3, "0.3333333333333333"),
        (True, "true"),
        ("true", '"true"'),
        (None, "null"),
        ("", '""'),
        ("adam", "adam"),
        ("data/x.csv?v=2:3", "data/x.csv?v=2:3"),
        ("two words", '"two words"'),
        ("two  words", r'"two \u0020words"'),
        ('say "no"', r'"say \"no\""'),
        ("a\nb", r'"a\nb"'),
        ("right\u202eleft", r'"right\u202eleft"'),
        ("\ud800", r'"\ud800"'),
        ("größe", "größe"),
        ([64, 32.0, "a b"], '[64,32.0,"a b"]'),
        ({"from": "base", "freeze_encoder": True}, "{freeze_encoder:true,from:base}"),
        ({"a.b": 2, "a": 1}, "{a:1,a.b:2}"),
        ({"a:b": [], "c": {}}, '{"a:b":[],c:{}}'),
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
        (math.inf, "Infinity"),
    ],
)
def test_a_value_is_short_and_no_other_value_reads_like_it(value: Any, text: str) -> None:
    assert value_text(value) == text
    assert value_text(parse(f"x={text}").parameters["x"]) == text


def test_a_configuration_has_the_parameters_that_are_asked_for_in_their_order() -> None:
    parameters = {"epochs": 3, "lr": 0.1, "opt": "adam"}
    assert configuration_text(parameters, ["opt", "lr", "missing"]) == "opt=adam lr=0.1"
    assert configuration_text(parameters) == "epochs=3 lr=0.1 opt=adam"
    assert configuration_text(parameters, []) == "default"
    assert configuration_text(parameters, ["lr"], stage="base") == "stage=base"


def test_a_parameter_called_like_a_seed_or_a_stage_is_not_taken_for_one() -> None:
    text = configuration_text({"seed": 3, "stage": "base"})
    assert text == '"seed"=3 "stage"=base'
    named = parse(trial_text(text, seed=1))
    assert (named.parameters, named.seed, named.stage) == ({"seed": 3, "stage": "base"}, 1, "")


def test_a_long_value_keeps_its_beginning_and_differs_from_one_that_ends_otherwise() -> None:
    one, other = value_text("a b" * 40), value_text("a b" * 39 + "a c")
    assert one.startswith("_a_ba_ba")
    assert len(one) == len(other) == LONGEST_VALUE
    assert one != other


def test_of_many_parameters_those_that_fit_are_shown_and_all_count() -> None:
    many = {f"parameter_{number:02}": number for number in range(50)}
    one, other = settings_text(many), settings_text(many | {"parameter_49": 48})
    # "parameter_00=0 " has 15 characters, "parameter_10=10 " 16: 10 x 15 + 8 x 16 = 278 of 300 - 13.
    assert re.fullmatch(r"parameter_00=0 .* parameter_17=17 …[0-9a-f]{12}", one)
    assert one[:278] == other[:278]
    assert one != other


def test_an_integer_that_python_does_not_write_has_a_text() -> None:
    assert value_text(10**5000) != value_text(10**5000 + 1)


# Read ----------------------------------------------------------------------------------------------------------------


@given(st.tuples(names, values))
@example(("lr", 1e-3))
@example(("a b", {"": [None, {"x:y": "…"}]}))
def test_a_setting_parses_back_to_its_value(setting: tuple[str, Any]) -> None:
    name, value = setting
    text = setting_text(name, value)
    assert text.isprintable()
    assert text.encode()
    found = parse(text).parameters
    assert list(found) == [name]
    assert isinstance(found[name], Shortened) or same(found[name], value)
    assert setting_text(name, found[name]) == text


@given(settings, st.none() | st.integers(0), st.sampled_from(["", "gpu", "default", "on", "h100.8"]))
def test_a_trial_s_text_parses_back_to_what_it_was_made_of(
    parameters: dict[str, Any], seed: int | None, hardware: str
) -> None:
    config = configuration_text(parameters)
    named = parse(trial_text(config, seed, hardware))
    assert len(config) <= LONGEST
    assert (named.seed, named.hardware, named.stage) == (seed, hardware, "")
    if not named.left_out:
        assert named.parameters.keys() == parameters.keys()
    for name, value in named.parameters.items():
        assert isinstance(value, Shortened) or same(value, parameters[name])
    assert named.configuration == parse(config).configuration


@given(settings, settings)
def test_only_equal_configurations_share_a_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    is_same = list(one) == list(other) and same(one, other)
    assert (configuration_text(one) == configuration_text(other)) is is_same


@pytest.mark.parametrize("beyond", [10, 100, 1000])
def test_what_differs_only_beyond_the_bound_has_a_text_of_its_own(beyond: int) -> None:
    lists = [[*range(beyond), last] for last in ("a", "b")]
    assert len({configuration_text({"x": each}) for each in lists}) == 2
    many = [{f"x{number}": 0 for number in range(beyond)} | {"last": last} for last in (1, 1.0, "1", True)]
    assert len({configuration_text(each) for each in many}) == 4


@pytest.mark.parametrize(
    ("text", "values", "seed", "hardware", "trial"),
    [
        ("lr=1e-3 n=16", {"lr": 0.001, "n": 16}, None, "", ""),
        ("n=16 seed=2", {"n": 16}, 2, "", ""),
        ("n=16 seed=2 on gpu", {"n": 16}, 2, "gpu", ""),
        ("n=16 on gpu seed=2", {"n": 16}, 2, "gpu", ""),
        ("  n=16\n gpu  ·  3f_0001 ", {"n": 16}, None, "gpu", "3f_0001"),
        ("layers=[64, 32] head={rate: 0.1}", {"layers": [64, 32], "head": {"rate": 0.1}}, None, "", ""),
        ('head={"rate":0.1}', {"head": {"rate": 0.1}}, None, "", ""),
        ("default", {}, None, "", ""),
        ("default seed=0 on default", {}, 0, "default", ""),
    ],
)
def test_a_text_is_read_as_people_find_or_write_it(
    text: str, values: dict[str, Any], seed: int | None, hardware: str, trial: str
) -> None:
    named = parse(text)
    assert same(named.parameters, values)
    assert (named.seed, named.hardware, named.trial) == (seed, hardware, trial)


@pytest.mark.parametrize(
    "text",
    ["x=", "=1", 'x="a', 'x=1"', "x=[1", "x=[1 2]", "x={a}", "x=}", "x=1 x=2", 'x="\\q"', '"x" "y"', "x=" + "[" * 9999],
)
def test_what_is_no_text_of_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text(' "\\=,:{}[]…`·a1', max_size=20))
def test_whatever_people_type_is_read_or_refused(text: str) -> None:
    try:
        named = parse(text)
    except ValueError:
        return
    assert named.configuration


# Found by a dashboard ------------------------------------------------------------------------------------------------


@given(settings)
@example({"lr": 0.1, "note": "x lr=3 y"})
@example({"note": "x lr=3 y", "lr": 0.1})
@example({"a.b": 1, "a+b": 2})
def test_dashboards_find_every_parameter_and_its_value(parameters: dict[str, Any]) -> None:
    config = configuration_text(parameters)
    shown = [setting_text(name, value) for name, value in parameters.items()]
    found = re.findall(NAMES_PATTERN, config)
    assert len(found) == len(shown) or "…" in config
    for name, pair in zip(found, shown, strict=False):
        match = re.fullmatch(value_pattern(re.escape(name)), config)
        assert match is not None
        assert f"{name}={match.group(1)}" == pair


def test_a_text_has_rows_of_one_parameter_each() -> None:
    assert rows('lr=0.1 note="a on b=1" seed=2 on gpu') == ["lr=0.1", 'note="a on b=1"', "seed=2", "on gpu"]
    assert rows("pretrained={from:base} reused unfrozen") == ["pretrained={from:base} reused unfrozen"]
    assert rows('an open " quote') == ['an open " quote']
