"""Every distribution draws in its bounds and on its grid, at random and under Optuna, and always the same."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search import Searcher

from energysweep.core.naming import Shortened, configuration_text, parse
from energysweep.searching import search
from energysweep.sweepfile import SweepSpec, points
from energysweep.sweepfile.distributions import (
    DISTRIBUTIONS,
    Choice,
    Distribution,
    LogRandInt,
    LogUniform,
    Normal,
    QLogRandInt,
    QLogUniform,
    QNormal,
    QRandInt,
    QUniform,
    RandInt,
    Uniform,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def sweep(**keys: object) -> SweepSpec:
    objective = {"metric": "loss", "mode": "min"}
    return SweepSpec.model_validate({"name": "x", "command": ["ls"], "objective": objective, **keys})


def multiple(value: float, q: float) -> bool:
    """Of what is written: 0.3 is three times 0.1, though the doubles are not."""
    return (Fraction(repr(value)) / Fraction(repr(q))).denominator == 1


@st.composite
def distributions(draw: st.DrawFn) -> Distribution:
    """Any that the rules of a sweep file let pass."""
    low = draw(st.floats(-1e6, 1e6, allow_subnormal=False))
    above = draw(st.floats(1e-6, 1e6, allow_subnormal=False))
    whole, width, q = draw(st.integers(-1000, 1000)), draw(st.integers(1, 1000)), draw(st.integers(1, 50))
    step = draw(st.sampled_from([0.1, 0.25, 1e-3, 7.0, 0.3]))
    first = draw(st.integers(1, 1000))
    values: st.SearchStrategy[Any] = st.integers() | st.text() | st.lists(st.integers())
    found = draw(
        st.sampled_from(
            [
                Choice(choice=draw(st.lists(values, min_size=1, max_size=5))),
                Uniform(uniform=(low, low + above)),
                LogUniform(loguniform=(above, above * 3)),
                RandInt(randint=(whole, whole + width)),
                LogRandInt(lograndint=(first, first + width)),
                QUniform(quniform=(times(step, whole), times(step, whole + width), step)),
                QRandInt(qrandint=(whole * q, (whole + width) * q, q)),
                QLogUniform(qloguniform=(times(step, first), times(step, first + width), step)),
                QLogRandInt(qlograndint=(first * q, (first + width) * q, q)),
                Normal(normal=(low, above)),
                QNormal(qnormal=(low, above, step)),
            ]
        )
    )
    assert list(found.wrong()) == []
    return found


def times(q: float, number: int) -> float:
    return float(Fraction(repr(q)) * number)


def check(found: Distribution, value: Any) -> None:
    kind, given_ = found.key(), found.given
    if kind == "choice":
        assert value in given_
        return
    assert type(value) is (int if "randint" in kind else float)
    if "normal" in kind:
        q = given_[2] if kind == "qnormal" else 0
        assert abs(value - given_[0]) <= 6 * given_[1] + q
    elif kind in ("randint", "lograndint"):
        assert given_[0] <= value < given_[1]
    else:
        assert given_[0] <= value <= given_[1]
    if kind.startswith("q"):
        assert multiple(value, given_[2])


@given(distributions(), st.integers())
def test_what_is_drawn_is_in_its_bounds_and_on_its_grid(found: Distribution, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  repeatable
    values = [found.draw(rng) for _ in range(5)]
    for value in values:
        check(found, value)
        told = parse(configuration_text({"x": value})).parameters["x"]
        assert told == value or (found.key() == "choice" and isinstance(told, Shortened))
    again = random.Random(seed)  # noqa: S311  repeatable
    assert values == [found.draw(again) for _ in range(5)]


@pytest.mark.parametrize("given_", [(1.7e308, 1.0, 1e308), (0.0, 1.7e307, 1.7e308), (-1.7e308, 1.0, 1e308)])
def test_multiples_that_no_float_holds_are_told(given_: tuple[float, float, float]) -> None:
    [(path, problem)] = QNormal(qnormal=given_).wrong()
    assert (path, "keeps all values finite" in problem) == ((), True)


@given(distributions(), st.integers(0, 2**31))
def test_what_optuna_suggests_is_in_the_same_bounds(found: Distribution, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    value = found.suggest(trial, "x")
    check(found, value)
    assert found.suggest(trial, "x") == value


@pytest.mark.parametrize("part", [0.0, 1.0, 0.5])
@given(found=distributions())
def test_the_ends_of_what_a_search_can_ask_for_are_in_the_bounds_too(part: float, found: Distribution) -> None:
    class End(random.Random):
        def random(self) -> float:
            return min(part, math.nextafter(1, 0))

        def getrandbits(self, k: int, /) -> int:
            return int(part * (2**k - 1))

    class Trial:
        def suggest_float(self, _name: str, low: float, high: float, *, log: bool = False) -> float:
            return math.sqrt(low * high) if log and part == 0.5 else low if part == 0 else high

        def suggest_int(self, _name: str, low: int, high: int, *, log: bool = False) -> int:
            return low if part == 0 else high

        def suggest_categorical(self, _name: str, choices: list[Any]) -> Any:
            return choices[0] if part == 0 else choices[-1]

    if found.key() not in ("choice", "randint", "quniform", "qrandint"):  # drawn by getrandbits, which may ask again
        check(found, found.draw(End()))
    check(found, found.suggest(Trial(), "x"))


def test_the_strategy_above_knows_every_distribution_that_draws() -> None:
    drawn = {kind for kind in DISTRIBUTIONS.values() if kind.draws}
    here = {Choice, Uniform, LogUniform, RandInt, LogRandInt, QUniform, QRandInt, QLogUniform, QLogRandInt}
    assert drawn == here | {Normal, QNormal}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"quniform": [0, 1, 0.25]}, {0.0, 0.25, 0.5, 0.75, 1.0}),
        ({"quniform": [0.1, 0.3, 0.1]}, {0.1, 0.2, 0.3}),
        ({"qrandint": [16, 64, 16]}, {16, 32, 48, 64}),
        ({"randint": [1, 4]}, {1, 2, 3}),
        ({"lograndint": [1, 4]}, {1, 2, 3}),
        ({"qlograndint": [8, 24, 8]}, {8, 16, 24}),
        ({"qloguniform": [0.5, 1.5, 0.5]}, {0.5, 1.0, 1.5}),
    ],
)
def test_all_values_of_a_short_range_come_up(written: dict[str, Any], expected: set[float]) -> None:
    spec = sweep(parameters={"x": written}, search={"algorithm": "random", "num_samples": 300})
    assert {point.parameters["x"] for point in points(spec)} == expected


def test_a_normal_distribution_has_its_mean_and_width() -> None:
    rng = random.Random(1)  # noqa: S311  repeatable
    values = sorted(Normal(normal=(5.0, 2.0)).draw(rng) for _ in range(4001))
    # The median, and the quartiles at 0.6745 standard deviations; of 4,001 values they are known to about 0.05.
    assert values[2000] == pytest.approx(5, abs=0.15)
    assert values[1000] == pytest.approx(5 - 2 * 0.6745, abs=0.15)
    assert values[3000] == pytest.approx(5 + 2 * 0.6745, abs=0.15)


# Draws of sweeps that were begun before: fixed values, recorded with the version before nested parameters.

OLD = {
    "rate": {"loguniform": [1e-5, 1e-1]},
    "momentum": {"uniform": [0.5, 0.99]},
    "fixed": [64, 32],
    "layers": {"randint": [1, 9]},
}


def test_random_search_draws_what_it_always_drew() -> None:
    several = {"optimizer": {"choice": ["adam", {"name": "sgd"}, "rmsprop"]}, "batch": {"grid": [16, 32]}}
    spec = sweep(parameters={**OLD, **several}, search={"algorithm": "random", "num_samples": 2, "seed": 7})
    names = ("rate", "momentum", "layers", "optimizer", "batch")
    assert [tuple(point.parameters[name] for name in names) for point in points(spec)] == [
        (0.00019739268719706258, 0.5739160952230059, 1, "adam", 16),
        (0.01927956221060203, 0.5461237205504444, 1, "rmsprop", 32),
        (7.224249280166058e-05, 0.5421141445076941, 7, "adam", 16),
        (9.175970327467922e-05, 0.7700131543577791, 1, "rmsprop", 32),
    ]


def test_optuna_suggests_what_it_always_suggested() -> None:
    several = {"optimizer": {"choice": ["adam", "sgd", "rmsprop"]}}
    spec = sweep(parameters={**OLD, **several}, search={"algorithm": "optuna", "num_samples": 20, "seed": 7})
    searcher = search.searcher(spec, {})
    assert isinstance(searcher, Searcher)
    found = []
    for number in range(12):
        suggestion = searcher.suggest(str(number))
        assert isinstance(suggestion, dict)
        parameters = suggestion["_energysweep"]["parameters"]
        found.append(parameters)
        loss = (parameters["momentum"] - 0.7) ** 2 + parameters["layers"] * 0.01
        searcher.on_trial_complete(str(number), {"loss": loss, "training_iteration": 1})
    first = {"rate": 2.019450244810227e-05, "momentum": 0.8821602081976562, "layers": 4, "optimizer": "sgd"}
    learned = {"rate": 0.0007583293656962095, "momentum": 0.656639508817148, "layers": 1, "optimizer": "rmsprop"}
    assert found[0] == {**first, "fixed": [64, 32]}
    assert found[11] == {**learned, "fixed": [64, 32]}
