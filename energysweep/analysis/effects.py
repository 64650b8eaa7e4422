"""Main effects and interaction of the parameters on energy to target, epochs to target and joules per epoch.

The model is additive in logarithms: the geometric mean of a cell (a configuration on its hardware) is a constant times
one factor for the level of each parameter. It is fitted to the cells by least squares, each cell with the same weight,
so the grid may have holes. What the model leaves is the interaction, and the noise of the repeats.

Only cells in which every trial reached the target enter; the others are counted. Leaving out the settings that never
arrive makes the effects look smaller than they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from energysweep.analysis.family import studentised
from energysweep.analysis.intervals import Estimate, exp, exponential, welch_degrees
from energysweep.analysis.target import QUANTITIES, Ends, Quantity, report_of, values_of, with_room
from energysweep.analysis.trials import TrialLike, decided, grouped, measured, own, value_order, varying
from energysweep.core.naming import exact_text

# The cells that effects are fitted to, and the algebra of their least squares ----------------------------------------

Array = npt.NDArray[np.float64]
HARDWARE: Final = "hardware"  # the profile counts as a parameter of this name, if there are several
_ROUNDING: Final = 1e-9  # what differs by less of it is equal


@dataclass(frozen=True, slots=True)
class Cell:
    """A configuration on its hardware.

    Attributes:
        settings: its values by name.
        keys: the same as texts that are equal for equal values.
        trials: its repeats.
        logs: the logarithm of a quantity of each.
    """

    settings: dict[str, Any]
    keys: dict[str, str]
    trials: tuple[TrialLike, ...]
    logs: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean logarithm."""
        return math.fsum(self.logs) / len(self.logs)

    def of(self, quantity: Quantity) -> Cell:
        """The same with this quantity's logarithms."""
        return replace(self, logs=tuple(map(math.log, values_of(quantity, self.trials))))

    def without(self, name: str) -> tuple[str, ...]:
        """Its other settings."""
        return tuple(key for each, key in self.keys.items() if each != name)


def _trials_at(cells: Sequence[Cell], name: str, *levels: str) -> list[list[TrialLike]]:
    """The trials at each of these levels (their keys), in the cells that differ in nothing else where there are such.

    In a grid with holes the others may have been read by meters that the levels have nothing to do with.
    """
    sides = [[(cell.without(name), cell) for cell in cells if cell.keys[name] == level] for level in levels]
    common = set.intersection(*({rest for rest, _ in side} for side in sides))
    return [[trial for rest, cell in side if not common or rest in common for trial in cell.trials] for side in sides]


class Model:
    """A constant and one factor for each level of each parameter, fitted to the means of cells by least squares.

    Args:
        cells: as many as there are unknowns at least.
        levels: by parameter, its levels in order, each as its key and its value.

    Attributes:
        design: a column of ones, and one for each level of each parameter but its first.
        told: whether all unknowns can be told from each other.
    """

    def __init__(self, cells: Sequence[Cell], levels: Mapping[str, Sequence[tuple[str, Any]]]) -> None:
        self.levels = levels
        self._blocks = {name: _block(cells, name, [key for key, _ in each]) for name, each in levels.items()}
        self._ones = np.ones((len(cells), 1))
        self.design = np.hstack([self._ones, *self._blocks.values()])
        left, sizes, right = np.linalg.svd(self.design, full_matrices=False)
        self.told = bool(sizes[-1] > sizes[0] * max(self.design.shape) * np.finfo(np.float64).eps)
        # The coefficients of the model are this times the cells' means.
        self.inverse: Array = (right.T / sizes) @ left.T if self.told else np.zeros(self.design.T.shape)

    def left_by_constant(self, means: Array) -> Array:
        """The squares of each column of ``means`` around its own mean."""
        return _squares_left(self._ones, means)

    def left_without(self, name: str, means: Array) -> Array:
        """What the model without a parameter leaves of each column of ``means``."""
        others = [block for other, block in self._blocks.items() if other != name]
        return _squares_left(np.hstack([self._ones, *others]), means)

    def begins(self, name: str) -> int:
        """The column of the parameter's second level."""
        names = list(self._blocks)
        return 1 + sum(len(self.levels[other]) - 1 for other in names[: names.index(name)])


def _block(cells: Sequence[Cell], name: str, keys: Sequence[str]) -> Array:
    places = {key: place for place, key in enumerate(keys)}
    return np.eye(len(keys))[[places[cell.keys[name]] for cell in cells], 1:]


def _squares_left(design: Array, means: Array) -> Array:
    residuals = means - design @ np.linalg.lstsq(design, means, rcond=None)[0]
    return np.asarray((residuals**2).sum(axis=0))


@dataclass(frozen=True, slots=True)
class Noise:
    """What the repeats say of the noise in the means of cells, in logarithms.

    Trials that share a seed and differ only in hardware are one training run: they need the same epochs, so they count
    as one value where cells are taken together, and cancel where the hardware is compared. So the noise has two parts,
    as in a split-plot design: that between training runs, and that within one.

    Attributes:
        between, within: the covariance of the cells' means for a variance of 1 between runs, and within them.
        variances: between the mean values of runs, and within them; None if there is no such noise to be seen.
        degrees: their degrees of freedom.
        alike: for each cell, which group of cells shares its training runs.
    """

    between: Array
    within: Array
    variances: tuple[float | None, float | None]
    degrees: tuple[int, int]
    alike: tuple[int, ...]

    def of(self, weights: Array) -> tuple[float, float] | None:
        """The variance of a weighted sum of the cells' means, and its degrees of freedom; None if nobody knows."""
        errors, degrees = [], []
        for covariance, variance, free in zip((self.between, self.within), self.variances, self.degrees, strict=True):
            size = float(weights @ covariance @ weights)
            if size <= 1e-12 * float(weights @ weights):
                continue
            if variance is None:
                return None
            errors.append(variance * size)
            degrees.append(float(free))
        return (math.fsum(errors), welch_degrees(errors, degrees)) if errors else None

    def left_by(self, projection: Array) -> float | None:
        """What it alone leaves of the squares of the cells' means in this projection, on average."""
        parts = [
            (float(np.trace(projection @ covariance)), variance)
            for covariance, variance in zip((self.between, self.within), self.variances, strict=True)
            if covariance.any()
        ]
        if any(variance is None for _, variance in parts):
            return None
        return math.fsum(size * (variance or 0.0) for size, variance in parts)


def _noise_of(cells: Sequence[Cell]) -> Noise:
    """The noise of these cells' means."""
    alike = _alike(cells)
    between, within = (np.zeros((len(cells), len(cells))) for _ in range(2))
    squares, degrees = [0.0, 0.0], [0, 0]
    for members in grouped(range(len(cells)), lambda place: alike[place]).values():
        runs: dict[Any, list[tuple[int, float]]] = {}
        for place in members:
            cell = cells[place]
            for repeat, (trial, log) in enumerate(zip(cell.trials, cell.logs, strict=True)):
                run = trial.seed if len(members) > 1 and trial.seed is not None else (place, repeat)
                runs.setdefault(run, []).append((place, log - cell.mean))
        for each in runs.values():
            mean = math.fsum(residual for _, residual in each) / len(each)
            squares[0] += mean**2
            squares[1] += math.fsum((residual - mean) ** 2 for _, residual in each)
            for one, _ in each:
                for other, _ in each:
                    share = 1 / (len(cells[one].logs) * len(cells[other].logs))
                    between[one, other] += share
                    within[one, other] += ((one == other) - 1 / len(each)) * share
        trials = sum(len(cells[place].logs) for place in members)
        degrees[0] += len(runs) - 1
        degrees[1] += trials - len(members) - (len(runs) - 1)
    variances = [square / free if free > 0 else None for square, free in zip(squares, degrees, strict=True)]
    return Noise(between, within, (variances[0], variances[1]), (degrees[0], degrees[1]), tuple(alike))


def _alike(cells: Sequence[Cell]) -> list[int]:
    """For each cell the first one that differs from it in nothing but hardware and ran its seeds, or itself.

    A trial may be missing on one side, because it crashed. A seed that a cell has twice tells no run from another.
    """
    seeds = [[trial.seed for trial in cell.trials] for cell in cells]
    clear = [None not in each and len(set(each)) == len(each) for each in seeds]
    before: dict[tuple[str, ...], list[int]] = {}  # clear cells, by their settings beside the hardware
    found: list[int] = []
    for place, cell in enumerate(cells):
        others = before.setdefault(cell.without(HARDWARE), [])
        alike = (other for other in others if clear[place] and _one_holds_the_other(seeds[other], seeds[place]))
        other = next(alike, None)
        found.append(place if other is None else found[other])
        if clear[place]:
            others.append(place)
    return found


def _one_holds_the_other(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return set(first) <= set(second) or set(second) <= set(first)


def _levels_of(cells: Sequence[Cell], name: str) -> list[tuple[str, Any]]:
    """The values of a parameter in order, each with its key."""
    values = {cell.keys[name]: cell.settings[name] for cell in cells}
    return sorted(values.items(), key=lambda level: value_order(level[1]))


# Main effects and interaction of the parameters on energy to target, epochs to target and joules per epoch -----------

Acts = Literal["epochs", "joules_per_epoch", "both", "neither"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one parameter does to one quantity, averaged over the other parameters.

    Attributes:
        levels: its values in order, each with its factor to the mean over the levels.
        range: the factor between its highest and its lowest level. Its interval is from the spread of the training
            runs (``Noise``), and corrected for having picked these two of all levels; None if no cell has two repeats.
            Of an energy it also has room for what the meters get wrong, more of it where the two levels were read by
            different kinds.
        best, worst: the levels with the lowest and the highest value.
        share: the part of the cells' variance (of logarithms) that this parameter explains beyond the others.
    """

    parameter: str
    quantity: Quantity
    levels: tuple[tuple[Any, float], ...]
    range: Estimate
    best: Any
    worst: Any
    share: float


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects of all parameters on one quantity.

    Attributes:
        main: one for each parameter with two levels or more among the cells that count.
        interaction_share: the part of the cells' variance that the additive model leaves; None if it has as many
            unknowns as there are cells.
        noise_share: what of that the spread of the repeats alone would leave; None without repeats.
        largest_departure: the cell furthest from the additive model, as (its parameters, the factor).
        cells: how many cells entered.
        censored: the parameters of those that did not, because a trial never reached the target.
        unmeasured: how many did not, because the energy of a trial is not known.
    """

    quantity: Quantity
    main: tuple[Effect, ...]
    interaction_share: float | None
    noise_share: float | None
    largest_departure: tuple[dict[str, Any], float] | None
    cells: int
    censored: tuple[dict[str, Any], ...]
    unmeasured: int

    def of(self, parameter: str) -> Effect | None:
        """The effect of one parameter; None if it has none that can be told."""
        return next((each for each in self.main if each.parameter == parameter), None)


def effects(trials: Sequence[TrialLike], quantity: Quantity, parameters: Sequence[str] | None = None) -> Effects | None:
    """Fit the model to a sweep's own trials.

    Args:
        trials: those of stages are ignored.
        quantity: what is explained.
        parameters: which; all that vary (and ``hardware``), if None.

    Returns:
        None if no parameter's effect can be told: fewer than two cells, or levels that never occur together.
    """
    return all_effects(trials, parameters).get(quantity)


def all_effects(trials: Sequence[TrialLike], parameters: Sequence[str] | None = None) -> dict[Quantity, Effects]:
    """The same of every quantity, for little more than of one; empty if no parameter's effect can be told."""
    named = [(_settings(trial), trial) for trial in decided(own(trials))]
    names = tuple(parameters) if parameters is not None else _names([trial for _, trial in named])
    groups = grouped(named, lambda pair: tuple(exact_text(pair[0].get(name)) for name in names))
    cells, censored, unmeasured = [], [], 0
    for keys, members in groups.items():
        settings = {name: members[0][0].get(name) for name in names}
        repeats = [trial for _, trial in members]
        if any(trial.reached_target is not True for trial in repeats):
            censored.append(settings)
        elif len(measured(repeats)) < len(repeats):
            unmeasured += 1
        else:
            cells.append(Cell(settings, dict(zip(names, keys, strict=True)), tuple(repeats)))
    levels = {name: each for name in names if len(each := _levels_of(cells, name)) > 1}
    # More unknowns than settings cannot be told, and so many would take long to find that out below.
    if not levels or 1 + sum(len(each) - 1 for each in levels.values()) > len(cells):
        return {}
    model = Model(cells, levels)
    return _fitted(model, cells, tuple(censored), unmeasured) if model.told else {}


def acts_on(trials: Sequence[TrialLike], parameter: str) -> Acts | None:
    """By which of the two a parameter changes the energy to the target: ``acts_by`` of the effects of these trials."""
    return acts_by(all_effects(trials), parameter)


def acts_by(fitted: Mapping[Quantity, Effects], parameter: str) -> Acts | None:
    """By which of the two a parameter changes the energy to the target.

    A factor counts if its interval excludes 1. Of two that count, one is named alone if it is at least the square of
    the other. None if the effects cannot be told, or have no intervals.
    """
    found = [fitted[each].of(parameter) if each in fitted else None for each in QUANTITIES[1:]]
    epochs, per_epoch = (each.range if each is not None and each.range.has_interval else None for each in found)
    if epochs is None or per_epoch is None:
        return None
    logs = [0.0 if each.contains(1.0) else math.log(each.value) for each in (epochs, per_epoch)]
    if max(logs) == 0.0:
        return "neither"
    if logs[0] >= 2 * logs[1]:
        return "epochs"
    return "joules_per_epoch" if logs[1] >= 2 * logs[0] else "both"


def _fitted(
    model: Model, cells: Sequence[Cell], censored: tuple[dict[str, Any], ...], unmeasured: int
) -> dict[Quantity, Effects]:
    of_each = {quantity: [cell.of(quantity) for cell in cells] for quantity in QUANTITIES}
    means = np.array([[cell.mean for cell in each] for each in of_each.values()]).T
    coefficients = model.inverse @ means
    residuals = means - model.design @ coefficients
    left, whole = (residuals**2).sum(axis=0), model.left_by_constant(means)
    left_without = {name: model.left_without(name, means) for name in model.levels}
    free = len(cells) - model.design.shape[1]
    found: dict[Quantity, Effects] = {}
    for place, (quantity, own_cells) in enumerate(of_each.items()):
        noise = _noise_of(own_cells)
        by_noise = noise.left_by(np.eye(len(cells)) - model.design @ model.inverse) if free > 0 else None
        all_squares = float(whole[place])
        shares = {
            name: float(each[place] - left[place]) / all_squares if all_squares > 0 else 0.0
            for name, each in left_without.items()
        }
        apart = np.abs(residuals[:, place])
        # The first of those that are equal but for rounding, which differs between processors.
        far = int(np.argmax(apart >= apart.max() * (1 - _ROUNDING)))
        found[quantity] = Effects(
            quantity=quantity,
            main=tuple(
                _effect(name, quantity, model, coefficients[:, place], own_cells, noise, share)
                for name, share in shares.items()
            ),
            interaction_share=float(left[place]) / all_squares if free > 0 and all_squares > 0 else None,
            noise_share=by_noise / all_squares if by_noise is not None and all_squares > 0 else None,
            largest_departure=(cells[far].settings, exp(float(residuals[far, place]))) if free > 0 else None,
            cells=len(cells),
            censored=censored,
            unmeasured=unmeasured,
        )
    return found


def _effect(
    name: str, quantity: Quantity, model: Model, coefficients: Array, cells: Sequence[Cell], noise: Noise, share: float
) -> Effect:
    levels, begins = model.levels[name], model.begins(name)
    # Of levels that differ by rounding alone none is higher: of such the first is the lowest, the last the highest.
    logs = [0.0, *(round(float(each), 12) for each in coefficients[begins : begins + len(levels) - 1])]
    mean = math.fsum(logs) / len(logs)
    low, high = logs.index(min(logs)), len(logs) - 1 - logs[::-1].index(max(logs))
    contrast = np.zeros(model.design.shape[1])
    if high:
        contrast[begins + high - 1] += 1
    if low:
        contrast[begins + low - 1] -= 1
    weights = model.inverse.T @ contrast
    known = noise.of(weights)
    # The two levels are picked out of all of them, as the widest apart.
    half_width = None if known is None else studentised(known[1], len(logs)) * math.sqrt(known[0])
    between = exponential(logs[high] - logs[low], half_width, len(cells))
    sides = _trials_at(cells, name, levels[high][0], levels[low][0])
    return Effect(
        parameter=name,
        quantity=quantity,
        levels=tuple((value, exp(log - mean)) for (_, value), log in zip(levels, logs, strict=True)),
        range=with_room(between, quantity, _reports_apart(quantity, cells, weights, noise), *sides),
        best=levels[low][1],
        worst=levels[high][1],
        share=max(0.0, share),
    )


def _reports_apart(quantity: Quantity, cells: Sequence[Cell], weights: Array, noise: Noise) -> Ends:
    """How far off a range may be because nobody looks between two reports: what each cell's mean may be off, weighted.

    Cells that share their training runs are off by the same.
    """
    low = high = 0.0
    for places in grouped(range(len(cells)), lambda place: noise.alike[place]).values():
        weight = float(weights[places].sum())
        ends = [report_of(quantity, cells[place].trials) for place in places]
        logs = [math.log(min(end[0] for end in ends)), math.log(max(end[1] for end in ends))]
        low += min(weight * each for each in logs)
        high += max(weight * each for each in logs)
    return math.exp(low), math.exp(high)


def _settings(trial: TrialLike) -> dict[str, Any]:
    return {**trial.parameters, HARDWARE: trial.hardware}


def _names(trials: Sequence[TrialLike]) -> tuple[str, ...]:
    several = len({trial.hardware for trial in trials}) > 1
    return (*varying(trial.parameters for trial in trials), *((HARDWARE,) if several else ()))
