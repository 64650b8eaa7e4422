"""One model for several tasks against one model for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from energysweep.analysis.intervals import geometric_mean
from energysweep.analysis.target import Ends, Quantity, Ratio, ratio_by, report_of, to_target, value_of, values_of
from energysweep.analysis.trials import TrialLike, decided, grouped, measured, own, rest_of

TASKS: Final = "tasks"  # the parameter: a list of names; one is a single task's model, several are a shared model


@dataclass(frozen=True, slots=True)
class Multitask:
    """A shared model against the separate models for the same tasks.

    Attributes:
        tasks: their names.
        settings: the other parameters, equal on both sides.
        hardware: the profile.
        shared_joules, separate_joules: the geometric mean of the shared model's energy to the target, and of the sum of
            the separate models' energies.
        ratio: shared over separate, paired by seed. Its epochs are the shared model's over the sum of the separate
            models'; its joules per epoch are those of a mean epoch. None if some trial never reached the target or was
            not measured, or the seeds do not match.
        by_task: what each separate model needs.
        shared_objective, separate_objective: mean last value; of the separate models the mean of the worst task's.
        censored: how many of the trials involved never reached the target.
    """

    tasks: tuple[str, ...]
    settings: Mapping[str, Any]
    hardware: str
    shared_joules: float | None
    separate_joules: float | None
    ratio: Ratio | None
    by_task: Mapping[str, float | None]
    shared_objective: float | None
    separate_objective: float | None
    censored: int


def multitask(trials: Sequence[TrialLike]) -> tuple[Multitask, ...]:
    """Every shared model of a sweep for whose tasks there are separate models under the same other settings."""
    found = []
    for members in grouped(decided(own(trials)), lambda trial: rest_of(trial, {TASKS})).values():
        by_tasks = grouped((trial for trial in members if _tasks(trial)), _tasks)
        for tasks, shared in by_tasks.items():
            if len(tasks) > 1 and all((task,) in by_tasks for task in tasks):
                found.append(_compared(tasks, shared, {task: by_tasks[task,] for task in tasks}))
    return tuple(found)


def _compared(
    tasks: tuple[str, ...], shared: Sequence[TrialLike], separate: Mapping[str, list[TrialLike]]
) -> Multitask:
    everything = [*shared, *(trial for trials in separate.values() for trial in trials)]
    sets = _by_seed(shared, separate)
    together = to_target(shared).energy_joules
    means = {task: to_target(trials).energy_joules for task, trials in separate.items()}
    sums = [math.fsum(joules for joules, _ in singles) for _, singles in sets]
    total = geometric_mean(sums) if sets else None
    first = shared[0]
    return Multitask(
        tasks=tasks,
        settings={name: value for name, value in first.parameters.items() if name != TASKS},
        hardware=first.hardware,
        shared_joules=together.value if together else None,
        separate_joules=total.value if total else None,
        ratio=_ratio(sets, shared, [*separate.values()]) if sets else None,
        by_task={task: mean.value if mean else None for task, mean in means.items()},
        shared_objective=_mean([trial.objective for trial in shared]),
        separate_objective=_mean([_worst(seed, separate) for seed in {trial.seed for trial in shared}]),
        censored=sum(trial.reached_target is not True for trial in everything),
    )


_Run = tuple[float, int]  # energy and epochs to the target


def _by_seed(
    shared: Sequence[TrialLike], separate: Mapping[str, Sequence[TrialLike]]
) -> list[tuple[_Run, tuple[_Run, ...]]]:
    """For each seed what the shared model needed, and what each separate one; empty unless that is all known."""
    sides = [{trial.seed: measured([trial]) for trial in trials} for trials in (shared, *separate.values())]
    seeds = list(sides[0])
    sizes = {len(shared), *(len(trials) for trials in separate.values())}
    if sizes != {len(seeds)} or any(set(side) != set(seeds) for side in sides):
        return []
    if not all(runs for side in sides for runs in side.values()):
        return []
    return [(sides[0][seed][0], tuple(side[seed][0] for side in sides[1:])) for seed in seeds]


def _ratio(
    sets: Sequence[tuple[_Run, tuple[_Run, ...]]], shared: Sequence[TrialLike], separate: Sequence[Sequence[TrialLike]]
) -> Ratio | None:
    runs = [
        (one, (math.fsum(joules for joules, _ in singles), sum(epochs for _, epochs in singles)))
        for one, singles in sets
    ]
    return ratio_by(
        lambda quantity: geometric_mean([value_of(quantity, *one) / value_of(quantity, *all_) for one, all_ in runs]),
        lambda quantity: _reports_apart(quantity, shared, separate),
        shared,
        [trial for trials in separate for trial in trials],
    )


def _reports_apart(quantity: Quantity, shared: Sequence[TrialLike], separate: Sequence[Sequence[TrialLike]]) -> Ends:
    """How far off the ratio may be, because nobody looks between two reports: each separate model by its own part."""
    low, high = report_of(quantity, shared)
    sums = [math.fsum(values_of(quantity, trials)) for trials in separate]
    ends = [report_of(quantity, trials) for trials in separate]
    least, most = (sum(each * end[at] for each, end in zip(sums, ends, strict=True)) / sum(sums) for at in (0, 1))
    return low / most, high / least


def _tasks(trial: TrialLike) -> tuple[str, ...]:
    tasks = trial.parameters.get(TASKS)
    return tuple(str(task) for task in tasks) if isinstance(tasks, list | tuple) else ()


def _worst(seed: int | None, separate: Mapping[str, Sequence[TrialLike]]) -> float | None:
    values = [trial.objective for trials in separate.values() for trial in trials if trial.seed == seed]
    known = [value for value in values if value is not None]
    return min(known, default=None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
