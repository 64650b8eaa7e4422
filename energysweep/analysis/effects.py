"""Main effects and interaction of the parameters on energy to target, epochs to target and joules per epoch.

The model is additive in logarithms: the geometric mean of a cell (a configuration on its hardware) is a constant times
one factor for the level of each parameter. It is fitted to the cells by least squares, each cell with the same weight,
so the grid may have holes. What the model leaves is the interaction, and the noise of the repeats.

Only cells in which every trial reached the target enter; the others are counted. Leaving out the settings that never
arrive makes the effects look smaller than they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from energysweep.analysis.family import studentised
from energysweep.analysis.intervals import Estimate, exp, exponential, welch_degrees
from energysweep.analysis.target import (
    TrialLike,
    canonical,
    decided,
    grouped,
    measured,
    one_report,
    own,
    value_order,
    varying,
    with_meters,
)

# The cells that effects are fitted to, and the algebra of their least squares ----------------------------------------

Array = npt.NDArray[np.float64]
HARDWARE: Final = "hardware"  # the profile counts as a parameter of this name, if there are several


@dataclass(frozen=True, slots=True)
class Cell:
    """A configuration on its hardware: its settings, its repeats, and the logarithm of the quantity of each."""

    settings: dict[str, Any]
    logs: tuple[float, ...]
    trials: tuple[TrialLike, ...]

    @property
    def mean(self) -> float:
        """The mean logarithm."""
        return math.fsum(self.logs) / len(self.logs)


def _trials_at(cells: Sequence[Cell], name: str, *levels: Any) -> list[list[TrialLike]]:
    """The trials at each of these levels, in the cells that differ in nothing else where there are such.

    In a grid with holes the others may have been read by meters that the levels have nothing to do with.
    """

    def rest(cell: Cell) -> str:
        return canonical({key: value for key, value in cell.settings.items() if key != name})

    sides = [[cell for cell in cells if canonical(cell.settings[name]) == canonical(level)] for level in levels]
    common = set.intersection(*({rest(cell) for cell in side} for side in sides))
    return [[trial for cell in side if not common or rest(cell) in common for trial in cell.trials] for side in sides]


def design_of(cells: Sequence[Cell], names: Sequence[str], levels: dict[str, list[Any]]) -> Array:
    """A column of ones, and one for each level of each parameter but its first."""
    columns = [np.ones(len(cells))]
    for name in names:
        columns += [
            np.array([float(canonical(cell.settings[name]) == canonical(level)) for cell in cells])
            for level in levels[name][1:]
        ]
    return np.column_stack(columns)


def _squares_left(design: Array, y: Array) -> float:
    """What least squares leave of ``y``."""
    residuals = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(residuals @ residuals)


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
    for group in dict.fromkeys(alike):
        members = [place for place, first in enumerate(alike) if first == group]
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
    rests = [canonical({key: value for key, value in cell.settings.items() if key != HARDWARE}) for cell in cells]
    seeds = [[trial.seed for trial in cell.trials] for cell in cells]
    clear = [None not in each and len(set(each)) == len(each) for each in seeds]
    found: list[int] = []
    for place, rest in enumerate(rests):
        first = (
            other
            for other in range(place)
            if rests[other] == rest
            and clear[other]
            and clear[place]
            and _one_holds_the_other(seeds[other], seeds[place])
        )
        other = next(first, None)
        found.append(place if other is None else found[other])
    return found


def _one_holds_the_other(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return set(first) <= set(second) or set(second) <= set(first)


def _levels_of(cells: Sequence[Cell], name: str) -> list[Any]:
    """The values of a parameter, in order."""
    values = {canonical(cell.settings[name]): cell.settings[name] for cell in cells}
    return sorted(values.values(), key=value_order)


# Main effects and interaction of the parameters on energy to target, epochs to target and joules per epoch -----------

Quantity = Literal["energy", "epochs", "joules_per_epoch"]
Acts = Literal["epochs", "joules_per_epoch", "both", "neither"]
QUANTITIES: Final[tuple[Quantity, ...]] = get_args(Quantity)


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
    named = [(_settings(trial), trial) for trial in decided(own(trials))]
    names = tuple(parameters) if parameters is not None else _names([trial for _, trial in named])
    groups = grouped(named, lambda pair: canonical([pair[0].get(name) for name in names]))
    cells, censored, unmeasured = [], [], 0
    for members in groups.values():
        settings = {name: members[0][0].get(name) for name in names}
        repeats = [trial for _, trial in members]
        known = measured(repeats)
        if any(trial.reached_target is not True for trial in repeats):
            censored.append(settings)
        elif len(known) < len(repeats):
            unmeasured += 1
        else:
            logs = tuple(_log(joules, epochs, quantity) for joules, epochs in known)
            cells.append(Cell(settings, logs, tuple(repeats)))
    return _fitted(cells, names, quantity, tuple(censored), unmeasured)


def acts_on(trials: Sequence[TrialLike], parameter: str) -> Acts | None:
    """By which of the two a parameter changes the energy to the target.

    A factor counts if its interval excludes 1. Of two that count, one is named alone if it is at least the square of
    the other. None if the effects cannot be told, or have no intervals.
    """
    found = [fitted.of(parameter) if (fitted := effects(trials, each)) else None for each in QUANTITIES[1:]]
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
    cells: Sequence[Cell],
    names: Sequence[str],
    quantity: Quantity,
    censored: tuple[dict[str, Any], ...],
    unmeasured: int,
) -> Effects | None:
    levels = {name: _levels_of(cells, name) for name in names}
    names = [name for name in names if len(levels[name]) > 1]
    # More unknowns than settings cannot be told, and so many would take long to find that out below.
    if not names or 1 + sum(len(levels[name]) - 1 for name in names) > len(cells):
        return None
    y = np.array([cell.mean for cell in cells])
    design = design_of(cells, names, levels)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    whole, left = _squares_left(np.ones((len(cells), 1)), y), _squares_left(design, y)
    noise = _noise_of(cells)
    residuals = y - design @ coefficients
    main = []
    for name in names:
        without = design_of(cells, [other for other in names if other != name], levels)
        share = (_squares_left(without, y) - left) / whole if whole > 0 else 0.0
        main.append(_effect(name, quantity, names, levels, design, coefficients, cells, noise, share))
    free = len(cells) - design.shape[1]
    far = int(np.argmax(np.abs(residuals)))
    by_noise = noise.left_by(np.eye(len(cells)) - design @ np.linalg.pinv(design)) if free > 0 else None
    return Effects(
        quantity=quantity,
        main=tuple(main),
        interaction_share=left / whole if free > 0 and whole > 0 else None,
        noise_share=by_noise / whole if by_noise is not None and whole > 0 else None,
        largest_departure=(cells[far].settings, exp(residuals[far])) if free > 0 else None,
        cells=len(cells),
        censored=censored,
        unmeasured=unmeasured,
    )


def _effect(
    name: str,
    quantity: Quantity,
    names: Sequence[str],
    levels: dict[str, list[Any]],
    design: Array,
    coefficients: Array,
    cells: Sequence[Cell],
    noise: Noise,
    share: float,
) -> Effect:
    start = 1 + sum(len(levels[other]) - 1 for other in names[: names.index(name)])
    logs = [0.0, *(float(each) for each in coefficients[start : start + len(levels[name]) - 1])]
    mean = math.fsum(logs) / len(logs)
    low, high = logs.index(min(logs)), logs.index(max(logs))
    contrast = np.zeros(design.shape[1])
    if high:
        contrast[start + high - 1] += 1
    if low:
        contrast[start + low - 1] -= 1
    weights = np.linalg.pinv(design).T @ contrast
    known = noise.of(weights)
    # The two levels are picked out of all of them, as the widest apart.
    half_width = None if known is None else studentised(known[1], len(logs)) * math.sqrt(known[0])
    between = exponential(logs[high] - logs[low], half_width, len(cells))
    if quantity != "joules_per_epoch":
        between = between.at_least_from(*_reports_apart(cells, weights, noise, of_energy=quantity == "energy"))
    best, worst = levels[name][low], levels[name][high]
    return Effect(
        parameter=name,
        quantity=quantity,
        levels=tuple((value, exp(log - mean)) for value, log in zip(levels[name], logs, strict=True)),
        range=between if quantity == "epochs" else with_meters(between, *_trials_at(cells, name, worst, best)),
        best=best,
        worst=worst,
        share=max(0.0, share),
    )


def _reports_apart(cells: Sequence[Cell], weights: Array, noise: Noise, *, of_energy: bool) -> tuple[float, float]:
    """How far off a range may be because nobody looks between two reports: what each cell's mean may be off, weighted.

    Cells that share their training runs are off by the same.
    """
    low = high = 0.0
    for group in dict.fromkeys(noise.alike):
        places = [place for place, each in enumerate(noise.alike) if each == group]
        weight = float(weights[places].sum())
        ends = [
            one_report([count for _, count in measured(cells[place].trials)], of_energy=of_energy) for place in places
        ]
        logs = [math.log(min(end[0] for end in ends)), math.log(max(end[1] for end in ends))]
        low += min(weight * each for each in logs)
        high += max(weight * each for each in logs)
    return math.exp(low), math.exp(high)


def _settings(trial: TrialLike) -> dict[str, Any]:
    return {**trial.parameters, HARDWARE: trial.hardware}


def _names(trials: Sequence[TrialLike]) -> tuple[str, ...]:
    several = len({trial.hardware for trial in trials}) > 1
    return (*varying(trial.parameters for trial in trials), *((HARDWARE,) if several else ()))


def _log(joules: float, epochs: int, quantity: Quantity) -> float:
    values = {"energy": joules, "epochs": float(epochs), "joules_per_epoch": joules / epochs}
    return math.log(values[quantity])
