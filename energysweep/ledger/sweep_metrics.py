"""What the metrics of a sweep come to, ``energysweep_sweep_*``: live for its agent, and of a finished run.

Each is one of ``core.metrics.SWEEP_FAMILIES``, and what it comes to stands here. Whoever sends, keeps and shows them
knows only that table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from energysweep.analysis.early_stopping import Effort, saved_joules
from energysweep.analysis.intervals import geometric_mean, is_positive
from energysweep.analysis.trials import grouped
from energysweep.core.carbon import Intensity
from energysweep.core.metrics import (
    SWEEP_BEST,
    SWEEP_CHEAPEST,
    SWEEP_EMISSIONS,
    SWEEP_END,
    SWEEP_ENERGY,
    SWEEP_INFO,
    SWEEP_SAVED,
    SWEEP_START,
    SWEEP_TRIALS,
    Family,
)
from energysweep.core.naming import configuration_text, exact_text
from energysweep.core.objective import outcome
from energysweep.ledger.ranking import do_same_work
from energysweep.ledger.run_state import RunState, TrialState, with_never_begun, with_waiting
from energysweep.sweepfile import Scheduler

SweepNumber = tuple[Family, tuple[str, ...], float]
"""The family, the values of its labels without the sweep, and the number."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a sweep beside the rows of its ledger.

    Attributes:
        planned: how many trials it makes.
        varying: the parameters that differ between its configurations.
        scheduler: None if nobody knows it any more.
        intensity: of the grid, None if nobody said.
        started_at, ended_at: Unix time; ``ended_at`` is None while it runs.
    """

    name: str
    owner: str
    planned: int
    varying: Sequence[str]
    scheduler: Scheduler | None
    intensity: Intensity | None
    started_at: float
    ended_at: float | None = None


class Cheapest(NamedTuple):
    """The configuration that reaches the target for the least energy so far, by the mean of its trials that did."""

    config: str
    hardware: str
    energy_joules: float


def sweep_numbers(state: RunState, about: About) -> Iterator[SweepNumber]:
    """All metrics of a sweep, as far as there is something to tell.

    Args:
        state: the run so far.
        about: what else is known of the sweep.
    """
    yield SWEEP_INFO, (about.name, about.owner), 1.0
    yield SWEEP_START, (), about.started_at
    if about.ended_at is not None:
        yield SWEEP_END, (), about.ended_at

    counts = state.counts()
    is_over = about.ended_at is not None
    shown = with_never_begun(counts, about.planned) if is_over else with_waiting(counts, about.planned)
    for status, number in shown.items():
        yield SWEEP_TRIALS, (status,), float(number)

    objective, best = state.objectives.get(""), state.best()
    if objective is not None and best is not None:
        yield SWEEP_BEST, (objective.metric,), best

    trials = [trial for trial in state.all_trials() if not trial.row.stage]
    found = cheapest(trials, about.varying)
    if found is not None:
        yield SWEEP_CHEAPEST, (found.config, found.hardware), found.energy_joules

    grams: dict[str, float] = {}
    for component, bucket, source, joules in state.charged():
        yield SWEEP_ENERGY, (component, bucket, source), joules
        if about.intensity is not None:
            grams[bucket] = grams.get(bucket, 0.0) + about.intensity.emissions_grams(joules)
    for bucket, emissions in grams.items():
        yield SWEEP_EMISSIONS, (bucket,), emissions

    efforts = (Effort(trial.row.status, trial.iterations, state.joules(trial.row.trial)) for trial in trials)
    saved = saved_joules(efforts, about.scheduler) if about.scheduler is not None else None
    if saved is not None:
        yield SWEEP_SAVED, (), saved


def cheapest(trials: Iterable[TrialState], varying: Sequence[str]) -> Cheapest | None:
    """The configuration whose trials took the least to reach the target, by their geometric mean, as reports rank them.

    One that sometimes fails to reach it is cheap only when it is lucky: those in which no trial has missed it are
    compared, if there are any. Configurations that do not do the same work are not compared.

    Args:
        trials: so far. A mean is over those that have reached the target.
        varying: the parameters that differ between configurations.
    """
    own = [trial for trial in trials if not trial.row.stage]
    if not do_same_work([trial.row.parameters for trial in own]):
        return None
    always: list[Cheapest] = []
    sometimes: list[Cheapest] = []
    for repeats in grouped(own, lambda trial: (exact_text(trial.row.parameters), trial.row.hardware)).values():
        joules = [trial.joules_at_target for trial in repeats if trial.joules_at_target is not None]
        if not joules:
            continue
        row = repeats[0].row
        mean = geometric_mean(joules) if all(map(is_positive, joules)) else None
        if mean is None:
            continue
        missed = any(outcome(trial.row.status, reached=trial.results.reached) == "missed" for trial in repeats)
        found = Cheapest(configuration_text(row.parameters, varying), row.hardware, mean.value)
        (sometimes if missed else always).append(found)
    return min(always or sometimes, key=lambda each: each.energy_joules, default=None)
