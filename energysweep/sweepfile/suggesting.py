"""The trials that a function of a space asks for values (``space: space.py:space``): with Optuna's three methods.

One remembers what was suggested. It asks another: Optuna's, one that draws at random, or one that tries all values.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from energysweep.core.errors import one_line
from energysweep.core.objective import scalar
from energysweep.sweepfile.leaves import NESTED_NAME
from energysweep.sweepfile.yaml import shown

METHODS: Final = "suggest_float, suggest_int and suggest_categorical"
LONGEST: Final = 300  # characters of what others say
MOST_PARAMETERS: Final = 1000  # of a configuration
OTHERS: Final = (
    "makes other configurations each time, so that nobody could repeat the sweep or resume it: what is drawn is asked"
    f" for: trial.{METHODS}"
)


class Wrong(ValueError):
    """What a function of a space does that no space may."""


def check_name(name: Any) -> None:
    """Whether a parameter may be called so.

    Raises:
        Wrong
    """
    first, *others = name.split(".") if isinstance(name, str) and len(name) <= LONGEST else [""]
    if not first.isidentifier() or first.startswith("_") or not all(map(NESTED_NAME.fullmatch, others)):
        raise Wrong(
            f"makes a parameter called {said(name)}; a name is letters, digits and underscores, begins with a letter,"
            f" and goes on with dots for what is nested (optimizer.lr)"
        )


def said(value: Any) -> str:
    """A value in an error: of the user's own class its name, because its text may be anything."""
    known = isinstance(value, str | int | float | bool | list | tuple | dict | None)
    try:
        return one_line(shown(value)) if known else f"a {type(value).__name__}"
    except (ValueError, TypeError, RecursionError):
        return f"a {type(value).__name__}"


class Trial:
    """A trial that remembers what was suggested; a name has one range in a configuration.

    Attributes:
        values: by name.
        kinds: what each was suggested from, as far as Optuna wants it to be the same in all trials.
    """

    def __init__(self, trial: Any) -> None:
        self._trial = trial
        self._given: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}

    @property
    def params(self) -> dict[str, Any]:
        """As Optuna's: what was suggested so far."""
        return dict(self.values)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        """As Optuna's."""
        low, high, step = scalar(low), scalar(high), scalar(step)
        kind = f"a range of floats{' with log' if log else ''}"
        return self._suggest(
            kind,
            (name, low, high, step, log),
            lambda: _check_range(low, high, step, log),
            lambda: self._float(name, low, high, step=step, log=log),
        )

    def _float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Three steps of 0.1 above 0 are 0.3, as a person writes it, and not 0.30000000000000004, as Optuna does."""
        found = self._trial.suggest_float(name, low, high, step=step, log=log)
        return float(found) if step is None else _at_step(low, step, round((found - low) / step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        """As Optuna's."""
        low, high, step = scalar(low), scalar(high), scalar(step)
        kind = f"a range of integers{' with log' if log else ''}"
        return self._suggest(
            kind,
            (name, low, high, step, log),
            lambda: _check_integers(low, high, step, log),
            lambda: self._trial.suggest_int(name, low, high, step=step, log=log),
        )

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """As Optuna's; lists and mappings, which Optuna does not know, are suggested by their number."""
        values = tuple(choices)
        simple = all(value is None or isinstance(value, bool | int | float | str) for value in values)
        offered = values if simple else tuple(range(len(values)))

        def pick() -> Any:
            found = self._trial.suggest_categorical(name, offered)
            return found if simple else values[found]

        return self._suggest(f"the choices {said(list(values))}", (name, values), lambda: _check_choices(values), pick)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Wrong(f"calls trial.{one_line(name, 60)}; there is {METHODS}, and params")

    def _suggest(self, kind: str, given: tuple[Any, ...], check: Callable[[], None], draw: Callable[[], Any]) -> Any:
        name = given[0]
        check_name(name)
        try:
            self._draw(name, kind, f"{kind} {given!r}", check, draw)
        except Wrong:
            raise
        except ArithmeticError:
            raise Wrong(f"suggests {shown(name)}: there are more steps than can be counted") from None
        except (ValueError, TypeError) as error:
            raise Wrong(f"suggests {shown(name)}: {one_line(str(error), LONGEST)}") from None
        return self.values[name]

    def _draw(self, name: str, kind: str, asked: str, check: Callable[[], None], draw: Callable[[], Any]) -> None:
        if self._given.setdefault(name, asked) != asked:
            raise Wrong(f"suggests {shown(name)} twice, from two ranges")
        if name in self.values:
            return
        if len(self.values) == MOST_PARAMETERS:
            raise Wrong(f"suggests more than {MOST_PARAMETERS} parameters; at most so many are allowed")
        check()
        self.values[name] = draw()
        self.kinds[name] = kind


def _check_choices(choices: Sequence[Any]) -> None:
    if not choices:
        raise ValueError("there are no choices")


def _check_integers(low: int, high: int, step: int, log: bool) -> None:
    if any(isinstance(each, bool) or not isinstance(each, int) for each in (low, high, step)):
        raise ValueError("low, high and step are integers")
    if log and step != 1:
        raise ValueError("step and log exclude each other")
    _check_range(low, high, None if log else step, log)


def _check_range(low: float, high: float, step: float | None, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)) or low > high:
        raise ValueError(f"low must not be above high, and both are finite, not {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"low must be above 0 with log, not {low}")
    if step is not None and log:
        raise ValueError("step and log exclude each other")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be above 0, not {step}")


def _steps(low: float, high: float, step: float) -> int:
    """How many values there are from low on."""
    return int((Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))) + 1


def _at_step(low: float, step: float, place: int) -> float:
    return float(Decimal(str(low)) + place * Decimal(str(step)))


class Drawer:
    """Draws at random what is asked for, as Optuna's random sampler would.

    Args:
        rng: repeatable.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def suggest_float(self, _name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """A float of [low, high]."""
        if step is not None:
            return _at_step(low, step, self._rng.randrange(_steps(low, high, step)))
        if log:
            return min(max(math.exp(self._rng.uniform(math.log(low), math.log(high))), low), high)
        return self._rng.uniform(low, high)

    def suggest_int(self, _name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """An integer of [low, high]."""
        if log:
            drawn = math.exp(self._rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        return low + step * self._rng.randrange((high - low) // step + 1)

    def suggest_categorical(self, _name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        return choices[self._rng.randrange(len(choices))]


class Tried:
    """Gives what is asked for one value after the other: in each trial those of one path through all choices.

    The last suggestion changes fastest; what is suggested in a branch is tried there only.
    """

    def __init__(self) -> None:
        self._path: list[tuple[int, int]] = []  # place and number of the values of each suggestion
        self._at = 0

    def trials(self) -> Iterator[Tried]:
        """Itself, for each path."""
        while True:
            self._at = 0
            yield self
            if self._at != len(self._path):
                raise Wrong(OTHERS)
            while self._path and self._path[-1][0] + 1 == self._path[-1][1]:
                self._path.pop()
            if not self._path:
                return
            place, count = self._path.pop()
            self._path.append((place + 1, count))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """A float of those that are a step apart."""
        if step is None and low < high:
            raise Wrong(
                f"suggests {shown(name)} from a range{' with log' if log else ''} of infinitely many values, which"
                " search.algorithm grid cannot try one by one: give it a step, suggest_categorical or suggest_int, or"
                " take random or optuna"
            )
        return float(low) if step is None else _at_step(low, step, self._next(_steps(low, high, step)))

    def suggest_int(self, _name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """An integer of [low, high]; of all, with or without a logarithm."""
        del log
        return low + step * self._next((high - low) // step + 1)

    def suggest_categorical(self, _name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        return choices[self._next(len(choices))]

    def _next(self, count: int) -> int:
        if self._at == len(self._path):
            self._path.append((0, count))
        place, before = self._path[self._at]
        if before != count:
            raise Wrong(OTHERS)
        self._at += 1
        return place
