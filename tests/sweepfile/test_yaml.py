"""Scalars as YAML 1.2 defines them, and the line of every key."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import InputError
from energysweep.sweepfile.yaml import read_document, write_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("12.", 12.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("017", 17),
        ("0o17", 15),
        ("0xff", 255),
        ("+3", 3),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("1_000", "1_000"),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    read = read_document(f"key: {text}").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_read_as_a_number() -> None:
    assert math.isnan(read_document(".nan").value)


def test_country_codes_and_switches_stay_text_as_keys() -> None:
    assert read_document("{NO: 1, on: 2}").value == {"NO": 1, "on": 2}


def test_anchors_may_be_used_again() -> None:
    assert read_document("a: &x [1, 2]\nb: *x").value == {"a": [1, 2], "b": [1, 2]}


def test_a_merge_brings_keys_that_the_mapping_does_not_have() -> None:
    text = "small: &small {cpu: 1, gpu: 0}\nother: &other {gpu: 2, tpu: 3}\nlarge:\n  <<: [*small, *other]\n  cpu: 8\n"
    document = read_document(text)
    assert document.value["large"] == {"cpu": 8, "gpu": 0, "tpu": 3}
    assert document.lines["large", "gpu"] == 1
    assert document.lines["large", "cpu"] == 5


def test_a_merge_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="needs a mapping"):
        read_document("a: {<<: 3}")


def test_every_key_and_item_knows_its_line() -> None:
    document = read_document("a:\n  b:\n    - 1\n    - c: 2\n", "x.yaml")
    assert document.place(("a", "b", 1, "c")) == ("x.yaml", 4)
    assert document.place(("a", "b", 0)) == ("x.yaml", 3)
    assert document.place(("a", "missing", "deeper")) == ("x.yaml", 1)


def test_an_error_shows_keys_that_are_no_words_in_quotes() -> None:
    error = read_document("a: {x.y/z: [1]}", "x.yaml").error("is odd", ("a", "x.y/z", 0))
    assert str(error) == 'x.yaml:1: a["x.y/z"][0]: is odd'


@pytest.mark.parametrize("text", ["!!int x", "!!bool yes", "!!null 3", "9" * 5000])
def test_a_value_that_is_none_of_its_kind_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="key"):
        read_document(f"key: {text}")


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!!set", "!!binary", "!own"])
def test_only_plain_values_are_read(tag: str) -> None:
    with pytest.raises(InputError, match="is not allowed"):
        read_document(f"key: {tag} {{}}")


def test_nested_merges_cannot_grow_without_limit() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 7)]
    with pytest.raises(InputError, match="more than 20000 values"):
        read_document("\n".join(lines))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.from_regex(
    r"[-+0-9.eoxa_:~<=]{1,8}", fullmatch=True
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


@given(values)
def test_what_is_written_is_read_as_the_same_value(value: object) -> None:
    text = write_document(value)
    assert read_document(text).value == value


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1), st.integers() | st.booleans() | st.sampled_from(["NO", "1e-3", "on"])
    )
)
def test_what_is_written_means_the_same_to_a_reader_of_yaml_1_1(value: object) -> None:
    assert yaml.safe_load(write_document(value)) == value
