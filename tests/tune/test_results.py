"""What is kept of a trial's results, and what leaves a trial's process."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.utils import flatten_dict

from energysweep.tune.results import DEEPEST, LONGEST_NAME, LONGEST_TEXT, MOST_METRICS, own_metrics, passed_on

NAMES = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/c", ""])
NESTED = st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=20)


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        np.float32(0.5),
        np.array(0.5),
        np.array([0.5]),
        torch.tensor(0.5),
        torch.tensor([[0.5]]),
        torch.tensor(0.5, requires_grad=True),
        Decimal("0.5"),
        Fraction(1, 2),
    ],
)
def test_a_scalar_of_any_library_is_a_number(value: object) -> None:
    (kept,) = own_metrics({"loss": value}).values()
    assert (type(kept), kept) == (float, 0.5)


def test_what_tune_and_energysweep_add_and_what_no_column_can_hold_is_left_out() -> None:
    result = {"training_iteration": 3, "energy_joules": 1.0, "images": np.zeros((2, 2)), "steps": [1], "best": True}
    assert own_metrics(result) == {"best": True}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (np.bool_(False), False),
        (2**64, 2**64),
        (10**400, "about 1e+400"),
        (-3 * 10**400, "about -3e+400"),
        (Decimal("1e400"), "1E+400"),
        ("n/a", "n/a"),
        ("bad\udcff.bin", r"bad\udcff.bin"),
        ("a\0b", r"a\x00b"),
        ("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 1) + "…"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (PurePosixPath("a/b"), "a/b"),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_values_are_kept_as_json_has_them(value: Any, kept: Any) -> None:
    found = own_metrics({"m": value})
    assert found == {"m": kept}
    assert type(found["m"]) is type(kept)


@given(st.dictionaries(NAMES, NESTED, max_size=4))
def test_nested_mappings_are_flattened_as_tune_does_it(result: dict[str, Any]) -> None:
    assert own_metrics(result) == flatten_dict(result)


def test_names_that_are_no_text_become_one_and_long_ones_are_cut() -> None:
    result: dict[Any, Any] = {
        "val": {1: 0.1, (2, 3): 0.2},
        7: 0.3,
        8: {"a": 0.4},
        None: 0.5,
        "x" * 1000: 0.6,
        "b\udcff": 0.7,
    }
    assert own_metrics(result) == {
        "val/1": 0.1, "val/(2, 3)": 0.2, "7": 0.3, "8/a": 0.4, "None": 0.5, "x" * (LONGEST_NAME - 1) + "…": 0.6,
        r"b\udcff": 0.7,
    }  # fmt: skip


def test_other_mappings_than_dict_are_nested_results_as_well() -> None:
    assert own_metrics({"val": MappingProxyType({"loss": 0.5})}) == {"val/loss": 0.5}


def test_a_mapping_that_holds_itself_and_one_that_is_very_deep_or_wide_come_to_an_end() -> None:
    itself: dict[str, Any] = {"one": 1}
    itself["again"] = itself
    assert len(own_metrics(itself)) == 1 + DEEPEST
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"deeper": deep, "level": 1}
    assert len(own_metrics(deep)) == 1 + DEEPEST
    branches: dict[str, Any] = {"leaf": 1}
    for _ in range(DEEPEST - 1):
        branches = {"left": branches, "right": branches}
    assert len(own_metrics({"accuracy": 0.5} | branches)) <= MOST_METRICS
    assert own_metrics({"accuracy": 0.5} | branches)["accuracy"] == 0.5
    wide = {f"m{number}": number for number in range(100_000)}
    assert list(own_metrics(wide)) == list(wide)[:MOST_METRICS]


def test_a_wanted_metric_that_no_column_can_hold_says_what_it_was() -> None:
    result = {"accuracy": [0.5], "other": [0.5], "val": {"loss": np.zeros(2)}}
    assert passed_on(result, ("accuracy", "val/loss")) == {"accuracy": "(list)", "val/loss": "(ndarray)"}


def test_tune_gets_of_its_own_names_only_what_it_can_count_with() -> None:
    result = {
        "training_iteration": "first", "time_total_s": None, "timesteps_total": 3, "done": np.bool_(True), "pid": 1,
        "should_checkpoint": 1, "episodes_this_iter": math.nan, "accuracy": 0.5,
    }  # fmt: skip
    kept = {"timesteps_total": 3, "done": True, "pid": 1, "should_checkpoint": True, "accuracy": 0.5}
    assert passed_on(result) == kept
    assert passed_on(result)["done"] is True


class Hostile:
    """Every use of it fails."""

    shape = (1,)

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def item(self) -> float:
        raise RuntimeError("no")


class HostileMapping(dict[str, Any]):
    """A mapping that cannot be read."""

    def items(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_whatever_is_reported_can_be_written_as_json_in_utf_8_and_is_bounded(chance: random.Random) -> None:
    makers = (
        chance.random, lambda: chance.choice((math.nan, math.inf, -math.inf, None, True, False)),
        lambda: chance.randrange(-(10**6), 10**6), lambda: 10 ** chance.randrange(6000) * chance.choice((1, -1)),
        lambda: "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(20))),
        lambda: chance.choice(("\udcff", "\0", "", "x" * 5000)), lambda: [1] * chance.randrange(10), lambda: {1, 2},
        lambda: b"\xff", lambda: np.zeros(chance.randrange(3)), lambda: np.float16(chance.random()), Hostile,
        lambda: HostileMapping(a=1), lambda: 1j, lambda: Decimal(chance.choice(("NaN", "sNaN", "1e999"))),
        lambda: dt.datetime.now(dt.UTC), lambda: torch.zeros(chance.randrange(1, 3)), lambda: range(10**9),
    )  # fmt: skip

    def mapping(depth: int) -> dict[Any, Any]:
        found = {}
        for _ in range(chance.randrange(8)):
            name = chance.choice((*makers[:6], lambda: chance.choice("abc")))()
            found[name] = mapping(depth + 1) if depth < 6 and chance.random() < 0.3 else chance.choice(makers)()
        return found

    for _ in range(3000):
        result = mapping(0)
        for kept in (own_metrics(passed_on(result, ("a",))), own_metrics(result)):
            assert json.dumps(json.loads(json.dumps(kept))) == json.dumps(kept)
            json.dumps(kept, ensure_ascii=False).encode()
            assert all(len(name) <= LONGEST_NAME for name in kept)
            assert all(len(value) <= LONGEST_TEXT for value in kept.values() if isinstance(value, str))
            assert all(value is None or type(value) in (bool, int, float, str) for value in kept.values())
