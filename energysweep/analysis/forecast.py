"""What trials will cost that have made only their first reports, or none: learning curves drawn to their ends.

A forecast is made of *worlds*. Each world has a whole curve for every trial of a sweep, drawn from what is known; the
sweep is then rehearsed in each of them, and the spread of what it spends is the forecast's interval. Pure functions:
numbers in, numbers out.

The model, of every trial that is known in part:

- Values follow a power law of the number of the report or an exponential, fitted to the reports so far for each of
  several exponents and rates; one is drawn by how well it fits, and by a prior that all trials of a world share: how
  likely an exponential is, and about which exponent. First reports climb out of a random start and promise more than
  comes: what is still to be gained is less in the mean, by a factor that is shared, and nearer to 1 the more reports
  there are. To that comes a drift with the logarithm of t, a part of which is
  shared, too. What is shared is why many trials do not make a narrow interval.
- Joules per report are the trial's own so far, with the scatter that reports have, and change by a power of t that a
  world's trials share: half of the trend that the reports so far have in common goes on, or somewhat more or less.

A seed that is not known is another one of its configuration, a little off. A configuration that is not known is like
one of those that are, drawn at random, and in each world from another sample of them; and it is off by as much as they
differ, in joules per report and in values, the more so the fewer they are: otherwise nobody would be better than the
best of the few that are known, and a race or a cap is as dear as its best ones.

The widths are stated here once. They were chosen with an eye on the tables that docs/searching.md names, so how often
an interval holds there is no measure of how often it holds elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL: Final = 0.9  # of the intervals
FIRST_REPORTS: Final = 3  # of a trial, before its values say where they go

_EXPONENTS: Final = np.linspace(-3.0, 1.0, 17)
_RATES: Final = np.geomspace(0.05, 5.0, 13)  # of exponentials, per report
_SHARED_EXPONENT: Final = (-1.0, 0.7)  # mean and standard deviation
_OWN_EXPONENT: Final = 0.5  # standard deviation around the shared one
_MISFIT: Final = 0.05  # of the range of the values so far: what no power law follows
_SHARED_DRIFT: Final = 0.06  # standard deviation, of the same range, for each e-fold of reports to come
_OWN_DRIFT: Final = 0.04
_COST_TREND: Final = (0.08, 0.3)  # standard deviation of the exponent of joules per report: at least, and of its size
_PROMISED: Final = (-0.3, 0.4)  # logarithm of what comes over what a fit promises: mean and standard deviation
_SCATTER: Final = 0.3  # of joules per report, where one report alone is known
_MOST_UNSURE: Final = 3.0  # how many times as far apart as the known ones the others are taken to be, at most
_ALONE: Final = 0.5  # how far others are off from a configuration that alone is known
_LARGE: Final = 1e306  # of which several, one after the other, are still a float
_SEED_JOULES: Final = 0.05  # one seed's joules against another's
_BETWEEN_RUNS: Final = 0.1  # one run's joules against another's on the same machine, at least

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """A trial as far as it is known.

    Attributes:
        joules: since its beginning, at each report; they never fall.
        values: of the objective at each report; None where it had none.
        length: how many reports it makes if nobody stops it.
    """

    joules: Sequence[float]
    values: Sequence[float | None]
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to draw."""
        return len(self.joules) >= self.length


@dataclass(frozen=True, slots=True)
class Curve:
    """A whole trial of a world: joules and values of each report."""

    joules: Sequence[float]
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a quantity will be: the middle of what was drawn, and the interval that holds it in 9 of 10 cases."""

    value: float
    low: float
    high: float

    def contains(self, truth: float) -> bool:
        """Whether the interval holds it."""
        return self.low <= truth <= self.high

    def times(self, factor: float) -> Forecast:
        """The same of a quantity that is so many times as large."""
        return Forecast(self.value * factor, self.low * factor, self.high * factor)

    def plus(self, certain: float) -> Forecast:
        """The same with so much more, which is known."""
        return Forecast(self.value + certain, self.low + certain, self.high + certain)

    def at_least_as_wide(self, part: float) -> Forecast:
        """The same, with an interval that reaches so far beside the value at least, as a part of it."""
        return Forecast(self.value, min(self.low, self.value * (1 - part)), max(self.high, self.value * (1 + part)))

    def at_least(self, floor: float) -> Forecast:
        """The same where so much is certain already."""
        return Forecast(max(self.value, floor), max(self.low, floor), max(self.high, floor))


def forecast_of(samples: Sequence[float]) -> Forecast:
    """The forecast that these samples make; at least one."""
    low, value, high = np.quantile(np.asarray(samples, dtype=float), [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return Forecast(float(value), float(low), float(high))


def worlds(
    configurations: Sequence[Mapping[int, Known]],
    seeds: int,
    count: int,
    random_seed: int = 0,
    *,
    others: Sequence[Mapping[int, Known]] = (),
    again: bool,
) -> Iterator[list[list[Curve]]]:
    """Draw worlds.

    Args:
        configurations: of the sweep, in their order; of each the trials that are known, by the number of the seed.
        seeds: how many each configuration has.
        count: how many worlds.
        random_seed: the same one draws the same worlds.
        others: configurations that are known and not the sweep's, which unknown ones may be like.
        again: what is known is of an earlier run, and will be run anew; otherwise it is of this one, and is so.

    Returns:
        The worlds: by configuration and seed, the whole curves.

    Raises:
        ValueError: nothing is known.
    """
    rng = np.random.default_rng(random_seed)
    seen = [(place, own) for place, own in enumerate([*configurations, *others]) if own]
    if not seen:
        raise ValueError("no trial is known")
    keys = [(place, seed) for place, own in seen for seed in own]
    drawn = dict(zip(keys, _continued([known for _, own in seen for known in own.values()], count, rng), strict=True))
    apart = _between_seeds([own for _, own in seen])
    joules_apart = _joules_between_seeds([own for _, own in seen])
    between_runs = max(_BETWEEN_RUNS, joules_apart or 0.0)
    between_seeds = _SEED_JOULES if joules_apart is None else joules_apart
    others_apart = None if all(configurations) else _between_configurations([own for _, own in seen])
    for world in range(count):
        run_factor = math.exp(rng.normal(0.0, between_runs)) if again else 1.0
        pool = rng.choice(len(seen), len(seen))
        unlike = None if others_apart is None else _Others.drawn(others_apart, len(seen), rng)
        found = []
        for place, own in enumerate(configurations):
            source, theirs = (place, own) if own else seen[pool[rng.integers(len(pool))]]
            own_factor, own_offset = (1.0, 0.0) if own or unlike is None else unlike.one(rng)
            names = sorted(theirs)
            curves = []
            for seed in range(seeds):
                if seed in own and not again:
                    curves.append(drawn[place, seed][world])
                    continue
                curve = drawn[source, names[rng.integers(len(names))]][world]
                if again and bool(own) and (len(names) > 1 or seeds == 1):  # how seeds differ is among them
                    curves.append(_shifted(curve, run_factor, 0.0))
                    continue
                factor = run_factor * own_factor * math.exp(rng.normal(0.0, between_seeds))
                curves.append(_shifted(curve, factor, own_offset + rng.normal(0.0, apart)))
            found.append(curves)
        yield found


def drawn(trials: Sequence[Known], count: int, random_seed: int = 0) -> list[list[Curve]]:
    """For each trial, what becomes of it in each of so many worlds; of one that is whole, always the same.

    Args:
        trials: at least one.
        count: how many worlds.
        random_seed: the same one draws the same worlds.
    """
    return _continued(trials, count, np.random.default_rng(random_seed))


def _shifted(curve: Curve, factor: float, offset: float) -> Curve:
    values = [None if value is None else _finite(value + offset) for value in curve.values]
    return Curve([joules * factor for joules in curve.joules], values)


def _between_seeds(configurations: Sequence[Mapping[int, Known]]) -> float:
    """By how much the values of one seed differ from another's: of those that are known, else of one report's noise."""
    squares = []
    for own in configurations:
        trials = [*own.values()]
        for first, second in pairwise(trials):
            pairs = [
                (a, b) for a, b in zip(first.values, second.values, strict=False) if a is not None and b is not None
            ]
            squares += [(a / 2 - b / 2) ** 2 * 2 for a, b in pairs if abs(a) < 1e150 and abs(b) < 1e150]
    if squares:
        return math.sqrt(float(np.median(squares)) / 0.45)  # the median of a squared normal is 0.45 of its variance
    middle, scale = _scale([known for own in configurations for known in own.values()])
    scaled = [_scaled(known.values, middle, scale) for own in configurations for known in own.values()]
    return 2 * _noise(scaled) * scale


class _Apart(NamedTuple):
    """The standard deviations between configurations: of values, and of the logarithm of joules per report."""

    values: float
    joules: float


class _Others(NamedTuple):
    """How far the unknown configurations of a world are off from the known ones that they are like.

    A sample of few tells little of the others: how far they are off in the mean, how far apart, and even that.
    """

    off: _Apart
    wide: _Apart

    @classmethod
    def drawn(cls, apart: _Apart, known: int, rng: np.random.Generator) -> _Others:
        freedom = max(1, known - 1)
        unsure = min(_MOST_UNSURE, math.sqrt(freedom / rng.chisquare(freedom)))
        off = _Apart(*(unsure / known * each * rng.normal() for each in apart))
        return cls(off, _Apart(*(unsure * math.sqrt(2 / known) * each for each in apart)))

    def one(self, rng: np.random.Generator) -> tuple[float, float]:
        """Of one of them: a factor of its joules, and what its values are off by."""
        offset = self.off.values + rng.normal(0.0, self.wide.values)
        factor = math.exp(self.off.joules + rng.normal(0.0, self.wide.joules) - self.wide.joules**2 / 2)
        return factor, offset


def _between_configurations(configurations: Sequence[Mapping[int, Known]]) -> _Apart:
    """At the last report that all of them have; of one alone, as is usual."""
    firsts = [next(iter(own.values())) for own in configurations]
    made = min(len(known.joules) for known in firsts)
    values = [value for known in firsts if made and (value := known.values[made - 1]) is not None]
    logs = [math.log(known.joules[made - 1]) for known in firsts if made and known.joules[made - 1] > 0]
    middle, scale = _scale(firsts)
    scaled = [(value / 2 - middle / 2) / scale for value in values]
    apart = float(np.std(scaled, ddof=1)) * 2 if len(scaled) > 1 else _ALONE
    return _Apart(min(apart * scale, _LARGE), float(np.std(logs, ddof=1)) if len(logs) > 1 else _ALONE)


def _joules_between_seeds(configurations: Sequence[Mapping[int, Known]]) -> float | None:
    """The standard deviation of the logarithm of a seed's joules per report; None where no configuration has two.

    Seeds do the same work at other times: beside their own luck they tell what else the machine does meanwhile.
    """
    squares, freedom = 0.0, 0
    for own in configurations:
        made = min((len(known.joules) for known in own.values()), default=0)
        logs = [math.log(known.joules[made - 1]) for known in own.values() if known.joules[made - 1] > 0]
        if len(logs) > 1:
            squares += float(np.var(logs)) * len(logs)
            freedom += len(logs) - 1
    return math.sqrt(squares / freedom) if freedom else None


# One trial, drawn to its end -----------------------------------------------------------------------------------------


def _continued(trials: Sequence[Known], count: int, rng: np.random.Generator) -> list[list[Curve]]:
    """For each trial, what becomes of it in each world."""
    middle, scale = _scale(trials)
    scaled = [_scaled(known.values, middle, scale) for known in trials]
    noise = _noise(scaled)
    scatter = _joules_scatter(trials)
    shared = _Shared.drawn(_cost_trend(trials), count, rng)
    telling = [values for values in scaled if np.isfinite(values).sum() >= 2]
    found = []
    for known, own in zip(trials, scaled, strict=True):
        if known.is_whole:
            found.append([Curve(known.joules, known.values)] * count)
            continue
        joules = _further_joules(known, scatter, shared, rng)
        level = own[np.isfinite(own)]
        if len(level) >= 2:
            further = _further_values(own, known.length, noise, shared, rng)
        elif len(level) and telling:  # it goes on as another one does
            other = telling[rng.integers(len(telling))]
            its = _further_values(other, len(other) + known.length - len(own), noise, shared, rng)
            further = level[-1] + its - other[np.isfinite(other)][-1]
        else:
            further = np.full((count, known.length - len(own)), np.nan)
        with np.errstate(over="ignore"):  # of values near the largest float
            back = middle + further * (2 * scale)
        found.append(
            [
                Curve(
                    [*known.joules, *joules[world].tolist()],
                    [*known.values, *(None if math.isnan(v) else _finite(v) for v in back[world].tolist())],
                )
                for world in range(count)
            ]
        )
    return found


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all trials of a world have in common; each of one number for each world."""

    exponent: _Array
    exponentials: _Array  # how likely a curve saturates by one
    promised: _Array
    drift: _Array
    trend: _Array

    @classmethod
    def drawn(cls, cost_trend: float, count: int, rng: np.random.Generator) -> _Shared:
        trend = rng.normal(cost_trend / 2, _COST_TREND[0] + _COST_TREND[1] * abs(cost_trend), count)
        exponentials = np.clip(rng.beta(0.3, 0.3, count), 0.01, 0.99)
        exponent, promised = rng.normal(*_SHARED_EXPONENT, count), rng.normal(*_PROMISED, count)
        return cls(exponent, exponentials, promised, rng.normal(size=count), trend)

    def prior(self) -> _Array:
        """The logarithm of how likely each shape is, by world and shape."""
        powers = -0.5 * ((_EXPONENTS[None, :] - self.exponent[:, None]) / _OWN_EXPONENT) ** 2
        powers += np.log((1 - self.exponentials) / np.exp(powers).sum(axis=1))[:, None]
        exponentials = np.log(self.exponentials / len(_RATES))[:, None]
        return np.concatenate([powers, np.repeat(exponentials, len(_RATES), axis=1)], axis=1)


def _further_joules(known: Known, scatter: float, shared: _Shared, rng: np.random.Generator) -> _Array:
    done = len(known.joules)
    took = np.diff(known.joules) if done > 1 else np.asarray(known.joules, dtype=float)
    off = rng.normal(0.0, scatter / math.sqrt(max(1, len(took))), len(shared.trend))
    rate = float(took.mean()) * np.exp(off)
    later = np.arange(done + 1, known.length + 1) / done
    each = rate[:, None] * later[None, :] ** shared.trend[:, None]
    further: _Array = known.joules[-1] + np.cumsum(each, axis=1)
    return further


def _further_values(own: _Array, length: int, noise: float, shared: _Shared, rng: np.random.Generator) -> _Array:
    """The values of the reports to come, by world and report."""
    count, done = len(shared.exponent), len(own)
    place = np.flatnonzero(np.isfinite(own))
    values, extent = own[place], float(np.ptp(own[place]))
    shapes = _shapes(length)
    fits = [_fit(shape[place], values) for shape in shapes]
    fitting = np.array([-fit.squares for fit in fits]) / (2 * (noise**2 + (_MISFIT * extent) ** 2))
    chosen = (fitting[None, :] + shared.prior() + rng.gumbel(size=(count, len(shapes)))).argmax(axis=1)
    coefficients = np.array([fits[c].coefficients for c in chosen])
    spread = np.array([fits[c].spread for c in chosen])
    coefficients += noise * np.einsum("wij,wj->wi", spread, rng.normal(size=(count, 2)))
    now = coefficients[:, :1] + coefficients[:, 1:] * shapes[chosen, done - 1 : done]
    gain = coefficients[:, 1:] * (shapes[chosen, done:] - shapes[chosen, done - 1 : done])
    curve = now + gain * np.exp(shared.promised * FIRST_REPORTS / done)[:, None]
    drift = extent * (_SHARED_DRIFT * shared.drift + _OWN_DRIFT * rng.normal(size=count))
    curve += drift[:, None] * np.log(np.arange(done + 1.0, length + 1.0) / done)[None, :]
    further: _Array = curve + rng.normal(0.0, noise, curve.shape)
    return further


def _shapes(length: int) -> _Array:
    """By shape and report, from 0 at the first one: powers of t, then exponentials."""
    times = np.arange(1.0, length + 1.0)
    powers = [np.log(times) if gamma == 0 else np.expm1(gamma * np.log(times)) / gamma for gamma in _EXPONENTS]
    return np.array([*powers, *(-np.expm1(-rate * (times - 1)) for rate in _RATES)])


@dataclass(frozen=True, slots=True)
class _Fit:
    """Of a line over a shape: its two coefficients, how uncertain they are for noise of 1, and what is left."""

    coefficients: _Array
    spread: _Array
    squares: float


def _fit(shape: _Array, values: _Array) -> _Fit:
    design = np.stack([np.ones_like(shape), shape], axis=1)
    inverse = np.linalg.pinv(design.T @ design, hermitian=True)
    coefficients = inverse @ design.T @ values
    left = values - design @ coefficients
    root = np.linalg.cholesky(inverse + 1e-12 * np.trace(inverse) * np.eye(2))
    return _Fit(coefficients, root, float(left @ left))


# What several trials say together ------------------------------------------------------------------------------------


def _scale(trials: Sequence[Known]) -> tuple[float, float]:
    """The middle of all values and half their largest distance from it, so that the model works with small numbers."""
    values = [value for known in trials for value in known.values if value is not None]
    if not values:
        return 0.0, 1.0
    middle = float(np.quantile(values, 0.5, method="lower"))
    return middle, max(abs(value / 2 - middle / 2) for value in values) or 1.0


def _scaled(values: Sequence[float | None], middle: float, scale: float) -> _Array:
    return np.array([math.nan if value is None else (value / 2 - middle / 2) / scale for value in values])


def _noise(scaled: Sequence[_Array]) -> float:
    """The standard deviation of one value around its curve: what the best fit leaves, in the median of the trials."""
    variances = []
    last = []
    for own in scaled:
        place = np.flatnonzero(np.isfinite(own))
        if len(place):
            last.append(own[place[-1]])
        if len(place) >= 3:
            left = min(_fit(shape[place], own[place]).squares for shape in _shapes(len(own)))
            variances.append(left / (len(place) - 2.5))
    found = math.sqrt(float(np.median(variances))) if variances else 0.0
    return max(found, 0.02 * float(np.std(last)) if last else 0.0, 1e-9)


def _cost_trend(trials: Sequence[Known]) -> float:
    """The exponent by which joules per report have changed with the number of the report, of all trials together."""
    above = below = 0.0
    for known in trials:
        took = np.diff(known.joules, prepend=0.0)
        place = np.flatnonzero(took > 0)
        if len(place) > 1:
            logs, costs = np.log(place + 1.0), np.log(took[place])
            above += float(((logs - logs.mean()) * costs).sum())
            below += float(((logs - logs.mean()) ** 2).sum())
    return min(max(above / below, -1.0), 1.0) if below > 0 else 0.0


def _joules_scatter(trials: Sequence[Known]) -> float:
    """How much the joules of one report differ from another's of the trial, as a part of their mean."""
    found = []
    for known in trials:
        took = np.diff(known.joules)
        if len(took) > 1 and took.mean() > 0:
            found.append(float((took / took.mean()).var(ddof=1)))
    return math.sqrt(float(np.mean(found))) if found else _SCATTER


def _finite(value: float) -> float:
    return min(max(value, -1.7e308), 1.7e308)
