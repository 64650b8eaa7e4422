"""What the analyses know of a trial, and trials in groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from energysweep.analysis.intervals import is_positive
from energysweep.core.naming import exact_text
from energysweep.core.objective import number


class TrialLike(Protocol):
    """A trial with its energy. A report's ``TrialSummary`` is one; an ``Observation`` is one of one's own.

    Attributes:
        stage: the stage of the sweep that it belongs to; empty for the sweep's own trials.
        energy_joules: what it spent in all.
        iterations: how many epochs (reports) that were.
        reached_target: None if there was no target, or if it is not known: it has not ended, or crashed.
        energy_to_target_joules: what it had spent when it reached the target; None if it did not.
        iterations_to_target: how many epochs that were.
        objective: its last value of the objective.
        resolution_joules: steps of the counters behind it, as far as they are known; None if none is.
        power_watts: mean power of its work, None if unknown.
        relative_uncertainty: what its kinds of meters may get wrong, None if unknown.
        coverage: part of its time with good readings, None if unknown.
        source: the kinds of meters, joined by ``+``.
    """

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def hardware(self) -> str: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def stage(self) -> str: ...
    @property
    def energy_joules(self) -> float | None: ...
    @property
    def iterations(self) -> int | None: ...
    @property
    def reached_target(self) -> bool | None: ...
    @property
    def energy_to_target_joules(self) -> float | None: ...
    @property
    def iterations_to_target(self) -> int | None: ...
    @property
    def objective(self) -> float | None: ...
    @property
    def resolution_joules(self) -> float | None: ...
    @property
    def power_watts(self) -> float | None: ...
    @property
    def relative_uncertainty(self) -> float | None: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def source(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial from one's own table; the attributes are those of ``TrialLike``, and three that only whole hosts need.

    Attributes:
        active_energy_joules: its energy without its share of idle power.
        duration_seconds: for how long it held its lease, start-up included.
        startup_seconds: the part of it that was start-up, whose energy is in none of the others; None if its energy
            includes it.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = ""
    seed: int | None = None
    stage: str = ""
    energy_joules: float | None = None
    iterations: int | None = None
    reached_target: bool | None = None
    energy_to_target_joules: float | None = None
    iterations_to_target: int | None = None
    objective: float | None = None
    resolution_joules: float | None = None
    power_watts: float | None = None
    relative_uncertainty: float | None = None
    coverage: float | None = None
    source: str | None = None
    active_energy_joules: float | None = None
    duration_seconds: float | None = None
    startup_seconds: float | None = None


_Row = TypeVar("_Row")
_Key = TypeVar("_Key", bound=Hashable)
_Trial = TypeVar("_Trial", bound=TrialLike)


def grouped(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    """Rows by a key, each group in the order in which its rows came."""
    groups: dict[_Key, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def own(trials: Sequence[_Trial]) -> list[_Trial]:
    """The sweep's own trials, without those of its stages."""
    return [trial for trial in trials if not trial.stage]


def decided(trials: Iterable[_Trial]) -> list[_Trial]:
    """Those of which is known whether they reached the target: the others say nothing of their configuration."""
    return [trial for trial in trials if trial.reached_target is not None]


def varying(trials: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The parameters that are not the same in all of these trials, in the order in which they first appear.

    Args:
        trials: the parameters of each.
    """
    trials = list(trials)
    names = dict.fromkeys(name for parameters in trials for name in parameters)
    return tuple(name for name in names if len({exact_text(parameters.get(name)) for parameters in trials}) > 1)


def rest_of(trial: TrialLike, without: Collection[str]) -> str:
    """A text that is the same for trials whose other parameters and hardware are equal."""
    rest = {name: value for name, value in trial.parameters.items() if name not in without}
    return exact_text([rest, trial.hardware])


def paired(first: Sequence[_Trial], second: Sequence[_Trial]) -> list[tuple[_Trial, _Trial]]:
    """The trials of two groups that have the same seed, if that is clear; the order of ``first``."""
    by_seed = grouped(second, lambda trial: trial.seed)
    alone = {seed: trials[0] for seed, trials in by_seed.items() if len(trials) == 1}
    seeds = [trial.seed for trial in first]
    return [(trial, alone[trial.seed]) for trial in first if trial.seed in alone and seeds.count(trial.seed) == 1]


def value_order(value: Any) -> tuple[int, float, str]:
    """A sort key over parameter values of any type: numbers by size, then everything else by its text."""
    size = number(value)
    text = value if isinstance(value, str) else exact_text(value)
    return (1, 0.0, text) if size is None else (0, size, text)


def measured(trials: Sequence[TrialLike]) -> list[tuple[float, int]]:
    """Energy and epochs to the target of the trials that reached it and whose energy is known: finite and above 0."""
    return [
        (joules, trial.iterations_to_target)
        for trial in trials
        if (joules := trial.energy_to_target_joules) is not None and is_positive(joules) and trial.iterations_to_target
    ]
