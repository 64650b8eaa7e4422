"""The distributions of a parameter: how each is written, checked, drawn at random, and suggested by Optuna.

A distribution is a class here, and nothing else: the sweep's model, its checks, both searches and docs go by the list
``DISTRIBUTIONS``. Names are Ray Tune's.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, Strict

from energysweep.core.naming import exact_text
from energysweep.sweepfile.yaml import KeyPath, shown

MAX_CONDITIONS: Final = 20
"""Parameters that one ``when`` may name."""
_MAX_DRAWN: Final = 2**53  # Optuna draws in doubles
_TAIL: Final = 1e-9  # of a normal distribution, which nothing is drawn from: 6 standard deviations away

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1)]
When = Annotated[Mapping[str, JsonValue], Field(min_length=1, max_length=MAX_CONDITIONS)]
Wrong = tuple[KeyPath, str]  # below the distribution's key, what is wrong


class Model(BaseModel):
    """What all parts of a sweep file have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Distribution(Model):
    """What a parameter's value is taken from.

    Attributes:
        shape: how it is written, after its key.
        draws: values are drawn, and not all tried.
    """

    shape: ClassVar[str] = "[low, high]"
    draws: ClassVar[bool] = True

    when: When | None = None
    """The parameter exists only where these others have these values: a value, or a list of some."""

    @classmethod
    def key(cls) -> str:
        """The key that it is written with: ``uniform``."""
        return next(name for name in cls.model_fields if name != "when")

    @property
    def given(self) -> Any:
        """What stands behind the key."""
        return getattr(self, self.key())

    @property
    def varies(self) -> bool:
        """Whether it has several values."""
        return True

    def wrong(self) -> Iterator[Wrong]:
        """What is wrong with its values together."""
        yield from ()

    def never(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """Those of the values that it does not have; None of numbers of which nobody asks for a certain one."""
        return None

    def draw(self, rng: random.Random) -> Any:
        """A value, drawn at random."""
        raise NotImplementedError

    def suggest(self, trial: Any, name: str) -> Any:
        """A value, suggested by a trial of Optuna's."""
        raise NotImplementedError


# Of values -----------------------------------------------------------------------------------------------------------


class _Values(Distribution):
    """One of some values."""

    shape = "[value, ...]"

    @property
    def varies(self) -> bool:
        """Whether it has several values."""
        return len(self.given) > 1

    def never(self, values: Sequence[Any]) -> Sequence[Any]:
        """Those that are none of its own."""
        own = set(map(exact_text, self.given))
        return [value for value in values if exact_text(value) not in own]


class Grid(_Values):
    """Every value is tried."""

    draws = False

    grid: Annotated[Sequence[JsonValue], Field(min_length=1)]
    """The values, each once."""

    def wrong(self) -> Iterator[Wrong]:
        """No value twice."""
        seen: set[str] = set()
        for index, value in enumerate(self.grid):
            text = json.dumps(value, sort_keys=True)
            if text in seen:
                yield (index,), f"{shown(value)} stands here twice"
            seen.add(text)
        yield from not_nan((), list(self.grid))


class Choice(_Values):
    """One of the values is drawn (algorithms random and optuna)."""

    choice: Annotated[Sequence[JsonValue], Field(min_length=1)]
    """The values; all are equally likely."""

    def wrong(self) -> Iterator[Wrong]:
        """Each is a value."""
        yield from not_nan((), list(self.choice))

    def draw(self, rng: random.Random) -> Any:
        """One of them."""
        return rng.choice(self.choice)

    def suggest(self, trial: Any, name: str) -> Any:
        """One of them; lists and mappings, which Optuna does not know, by their number."""
        if any(isinstance(value, list | dict) for value in self.choice):
            return self.choice[trial.suggest_categorical(name, list(range(len(self.choice))))]
        return trial.suggest_categorical(name, list(self.choice))


# Of ranges -----------------------------------------------------------------------------------------------------------


class _Range(Distribution):
    """From low to high."""

    def wrong(self) -> Iterator[Wrong]:
        """Low is lower than high."""
        low, high = self.given[:2]
        if low >= high:
            yield (), f"must be {self.shape} with low < high, not {shown(list(self.given))}"


class Uniform(_Range):
    """A number is drawn from a range (algorithms random and optuna)."""

    uniform: Annotated[tuple[Number, Number], Strict(strict=False)]
    """Lowest and highest value."""

    def wrong(self) -> Iterator[Wrong]:
        """Low is lower than high, by a number."""
        low, high = self.uniform
        if math.isinf(high - low):
            yield (), f"must be [low, high] with a width that is finite, not [{low}, {high}]"
        else:
            yield from super().wrong()

    def draw(self, rng: random.Random) -> float:
        """A number."""
        return rng.uniform(*self.uniform)

    def suggest(self, trial: Any, name: str) -> float:
        """A number."""
        return float(trial.suggest_float(name, *self.uniform))


class LogUniform(_Range):
    """A number whose logarithm is drawn from a range (algorithms random and optuna)."""

    loguniform: Annotated[tuple[Positive, Positive], Strict(strict=False)]
    """Lowest and highest value, both above 0."""

    def draw(self, rng: random.Random) -> float:
        """A number."""
        return _log_drawn(rng, *self.loguniform)

    def suggest(self, trial: Any, name: str) -> float:
        """A number."""
        return float(trial.suggest_float(name, *self.loguniform, log=True))


class _WholeRange(_Range):
    """Whole numbers, from low to one below high."""

    @property
    def varies(self) -> bool:
        """Whether it has several values."""
        low, high = self.given
        return bool(high - low > 1)

    def wrong(self) -> Iterator[Wrong]:
        """Low is lower than high, and a double can have all between."""
        yield from super().wrong()
        low, high = self.given
        if max(abs(low), abs(high)) > _MAX_DRAWN:
            yield (), f"must lie within -2^53 and 2^53, not [{low}, {high}]"

    def never(self, values: Sequence[Any]) -> Sequence[Any]:
        """Those that are not in the range."""
        low, high = self.given
        return [value for value in values if type(value) is not int or not low <= value < high]


class RandInt(_WholeRange):
    """A whole number is drawn from a range (algorithms random and optuna)."""

    randint: Annotated[tuple[int, int], Strict(strict=False)]
    """Lowest value, and the first one above the range."""

    def draw(self, rng: random.Random) -> int:
        """A whole number."""
        return rng.randrange(*self.randint)

    def suggest(self, trial: Any, name: str) -> int:
        """A whole number."""
        return int(trial.suggest_int(name, self.randint[0], self.randint[1] - 1))


class LogRandInt(_WholeRange):
    """A whole number whose logarithm is drawn from a range (algorithms random and optuna)."""

    lograndint: Annotated[tuple[Whole, Whole], Strict(strict=False)]
    """Lowest value, from 1 on, and the first one above the range."""

    def draw(self, rng: random.Random) -> int:
        """A whole number."""
        low, high = self.lograndint
        return min(int(_log_drawn(rng, low, high)), high - 1)

    def suggest(self, trial: Any, name: str) -> int:
        """A whole number."""
        return int(trial.suggest_int(name, self.lograndint[0], self.lograndint[1] - 1, log=True))


# Of multiples of a step ----------------------------------------------------------------------------------------------


class _Steps(_Range):
    """Multiples of q, from low to high, which are such and belong to them."""

    shape = "[low, high, q]"

    @property
    def varies(self) -> bool:
        """Whether it has several values."""
        first, last = self._ends()
        return last > first

    def wrong(self) -> Iterator[Wrong]:
        """Low and high are multiples of q, not too many apart."""
        yield from super().wrong()
        low, high, q = self.given
        for end in (low, high):
            if (_exact(end) / _exact(q)).denominator != 1:
                yield (), f"must be {self.shape} with ends that are multiples of q; {end:g} is none of {q:g}"
                return
        if max(abs(each) for each in self._ends()) > _MAX_DRAWN:
            yield (), f"must have at most 2^53 steps, not {shown(list(self.given))}"

    def _ends(self) -> tuple[int, int]:
        low, high, q = self.given
        return round(_exact(low) / _exact(q)), round(_exact(high) / _exact(q))

    def _value(self, steps: int) -> Any:
        """This many times q: 3 times 0.1 is 0.3."""
        return float(steps * _exact(self.given[2]))

    def _nearest(self, number: float) -> Any:
        first, last = self._ends()
        return self._value(min(max(_steps(number, self.given[2]), first), last))


class _Whole(_Steps):
    """Whole ones."""

    def never(self, values: Sequence[Any]) -> Sequence[Any]:
        """Those that are no such multiples."""
        low, high, q = self.given
        return [value for value in values if type(value) is not int or not low <= value <= high or value % q]

    def _value(self, steps: int) -> Any:
        return steps * self.given[2]


class _Even(_Steps):
    """All equally likely."""

    def draw(self, rng: random.Random) -> Any:
        """A multiple of q."""
        return self._value(rng.randint(*self._ends()))

    def suggest(self, trial: Any, name: str) -> Any:
        """A multiple of q."""
        return self._value(trial.suggest_int(name, *self._ends()))


class _Logarithmic(_Steps):
    """The nearest to a number whose logarithm is drawn."""

    def draw(self, rng: random.Random) -> Any:
        """A multiple of q."""
        return self._nearest(_log_drawn(rng, *self.given[:2]))

    def suggest(self, trial: Any, name: str) -> Any:
        """A multiple of q: the nearest to what Optuna, which knows no such steps, suggests."""
        low, high, _ = self.given
        return self._nearest(trial.suggest_float(name, low, high, log=True))


class QUniform(_Even):
    """A multiple of q is drawn from a range (algorithms random and optuna)."""

    quniform: Annotated[tuple[Number, Number, Positive], Strict(strict=False)]
    """Lowest and highest value, both multiples of the third number, q; all between are equally likely."""


class QRandInt(_Whole, _Even):
    """A whole multiple of q is drawn from a range (algorithms random and optuna)."""

    qrandint: Annotated[tuple[int, int, Whole], Strict(strict=False)]
    """Lowest and highest value, both multiples of the third number, q; all between are equally likely."""


class QLogUniform(_Logarithmic):
    """A number whose logarithm is drawn from a range, then the nearest multiple of q (algorithms random and optuna)."""

    qloguniform: Annotated[tuple[Positive, Positive, Positive], Strict(strict=False)]
    """Lowest and highest value, both above 0 and multiples of the third number, q."""


class QLogRandInt(_Whole, _Logarithmic):
    """As qloguniform, of whole numbers (algorithms random and optuna)."""

    qlograndint: Annotated[tuple[Whole, Whole, Whole], Strict(strict=False)]
    """Lowest and highest value, from 1 on and both multiples of the third number, q."""


# Without ends --------------------------------------------------------------------------------------------------------


class _Bell(Distribution):
    """Around a mean."""

    def wrong(self) -> Iterator[Wrong]:
        """All that may be drawn are numbers."""
        mean, deviation = self.given[:2]
        if math.isinf(abs(mean) + 10 * deviation):
            yield (), f"must be {self.shape} that keeps all values finite, not {shown(list(self.given))}"

    def draw(self, rng: random.Random) -> float:
        """A number."""
        return self._at(rng.random())

    def suggest(self, trial: Any, name: str) -> float:
        """A number: Optuna, which knows no such distribution, suggests what part of it lies below."""
        return self._at(trial.suggest_float(name, 0.0, 1.0))

    def _at(self, part: float) -> float:
        mean, deviation = self.given[:2]
        return float(mean + deviation * NormalDist().inv_cdf(min(max(part, _TAIL), 1 - _TAIL)))


class Normal(_Bell):
    """A number is drawn from a normal distribution (algorithms random and optuna)."""

    shape = "[mean, sd]"

    normal: Annotated[tuple[Number, Positive], Strict(strict=False)]
    """Mean and standard deviation; no value is more than 6 of these away."""


class QNormal(_Bell):
    """The multiple of q that is nearest to a number from a normal distribution (algorithms random and optuna)."""

    shape = "[mean, sd, q]"

    qnormal: Annotated[tuple[Number, Positive, Positive], Strict(strict=False)]
    """Mean, standard deviation, and q."""

    def wrong(self) -> Iterator[Wrong]:
        """The multiples are numbers, too."""
        mean, deviation, q = self.qnormal
        if math.isinf(abs(mean) + 10 * deviation + q):
            yield (), f"must be {self.shape} that keeps all values finite, not {shown(list(self.given))}"

    def _at(self, part: float) -> float:
        q = self.qnormal[2]
        return float(_steps(super()._at(part), q) * _exact(q))


DISTRIBUTIONS: Final[Mapping[str, type[Distribution]]] = {
    kind.key(): kind
    for kind in (
        Grid,
        Choice,
        Uniform,
        QUniform,
        LogUniform,
        QLogUniform,
        RandInt,
        QRandInt,
        LogRandInt,
        QLogRandInt,
        Normal,
        QNormal,
    )
}


def not_nan(path: KeyPath, value: Any) -> Iterator[Wrong]:
    """Where a value, or one inside of it, is none."""
    if isinstance(value, float) and math.isnan(value):
        yield path, "must be a value, not .nan"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from not_nan((*path, index), item)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from not_nan((*path, key), item)


def _log_drawn(rng: random.Random, low: float, high: float) -> float:
    # exp(log(x)) may miss x by a rounding error.
    return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)


def _exact(number: float) -> Fraction:
    """The number that is written: a tenth, and not the double next to it."""
    return Fraction(repr(number))


def _steps(number: float, q: float) -> int:
    return round(Fraction(number) / _exact(q))
