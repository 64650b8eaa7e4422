"""What the metrics of a sweep come to, ``energysweep_sweep_*``: live for its agent, and of a finished run.

Each is one of ``core.metrics.SWEEP_FAMILIES``, and what it comes to stands here. Whoever sends, keeps and shows them
knows only that table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from energysweep.analysis.trials import Observation, grouped
from energysweep.core.carbon import Intensity
from energysweep.core.metrics import (
    SWEEP_BEST,
    SWEEP_BUDGET_CHARGED,
    SWEEP_BUDGET_LIMIT,
    SWEEP_CHEAPEST,
    SWEEP_DECISIONS,
    SWEEP_EMISSIONS,
    SWEEP_END,
    SWEEP_ENERGY,
    SWEEP_INFO,
    SWEEP_SAVED,
    SWEEP_SAVED_LEAST,
    SWEEP_SAVED_MOST,
    SWEEP_START,
    SWEEP_TRIALS,
    Family,
)
from energysweep.core.naming import configuration_text, exact_text, tags_text
from energysweep.core.objective import Objective, outcome
from energysweep.core.records import PILOT, TrialRow
from energysweep.ledger.balance import Spread
from energysweep.ledger.budget import Budget
from energysweep.ledger.decisions import counted
from energysweep.ledger.model import planned_trials
from energysweep.ledger.ranking import ranked
from energysweep.ledger.run_state import RunState, TrialState, with_never_begun, with_waiting
from energysweep.ledger.saving import Plan, saved
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import shown_parameters

SweepNumber = tuple[Family, tuple[str, ...], float]
"""The family, the values of its labels without the sweep, and the number."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a sweep beside the rows of its ledger.

    Attributes:
        planned: how many trials it makes.
        varying: the parameters that differ between its configurations.
        plan: its scheduler and what it would have run without; None if nobody knows it any more.
        intensity: of the grid, None if nobody said.
        started_at, ended_at: Unix time; ``ended_at`` is None while it runs.
        budget: None if it has none.
        duration_seconds: for how long it has run, all its parts together; None if nobody knows.
        tags: in any order.
    """

    name: str
    owner: str
    planned: int
    varying: Sequence[str]
    plan: Plan | None
    intensity: Intensity | None
    started_at: float
    ended_at: float | None = None
    budget: Budget | None = None
    duration_seconds: float | None = None
    tags: Sequence[str] = ()


def about_of(data: LedgerData, state: RunState, intensity: Intensity | None, ended_at: float | None) -> About:
    """What a ledger says of its sweep.

    Args:
        data: the ledger.
        state: the run that it holds.
        intensity: of the grid.
        ended_at: Unix time; None while it runs.
    """
    run, pilot = data.run, len(state.of_stage(PILOT))
    return About(
        name=str(run.get("name", "")),
        owner=str(run.get("owner", "")),
        planned=planned_trials(run, len(state.trials) - pilot, pilot),
        varying=shown_parameters(data),
        plan=Plan.noted(run),
        intensity=intensity,
        started_at=run.get("started_at") or 0.0,
        ended_at=ended_at,
        budget=Budget.noted(run, intensity),
        duration_seconds=run.get("duration_seconds"),
        tags=(run.get("spec") or {}).get("tags") or (),
    )


class Cheapest(NamedTuple):
    """The configuration that reaches the target for the least energy so far, by the mean of its trials that did."""

    config: str
    hardware: str
    energy_joules: float


def _of_budget(state: RunState, about: About) -> Iterator[SweepNumber]:
    if about.budget is None:
        return
    for kind, charge in about.budget.charges(state.charged_joules, about.duration_seconds).items():
        yield SWEEP_BUDGET_LIMIT, (kind,), charge.limit
        if charge.charged is not None:
            yield SWEEP_BUDGET_CHARGED, (kind,), charge.charged


def sweep_numbers(state: RunState, about: About) -> Iterator[SweepNumber]:
    """All metrics of a sweep, as far as there is something to tell.

    Args:
        state: the run so far.
        about: what else is known of the sweep.
    """
    yield SWEEP_INFO, (about.name, about.owner, tags_text(about.tags)), 1.0
    yield SWEEP_START, (), about.started_at
    if about.ended_at is not None:
        yield SWEEP_END, (), about.ended_at

    yield from _counts(state, about)
    objective, best = state.objectives.get(""), state.best()
    if objective is not None and best is not None:
        yield SWEEP_BEST, (objective.metric,), best

    trials = [trial for trial in state.all_trials() if not trial.row.stage]
    found = None
    if objective is not None:
        only_winners_repeat = about.plan is not None and about.plan.scheduler.kind.needs_all
        found = cheapest(trials, about.varying, objective, only_winners_repeat=only_winners_repeat)
    if found is not None:
        yield SWEEP_CHEAPEST, (found.config, found.hardware), found.energy_joules

    of_bucket: dict[str, list[float]] = {}
    for component, bucket, source, joules in state.charged():
        yield SWEEP_ENERGY, (component, bucket, source), joules
        of_bucket.setdefault(bucket, []).append(joules)
    if about.intensity is not None:
        for bucket, each in of_bucket.items():  # fsum: the same in any order, as the counter must not fall
            yield SWEEP_EMISSIONS, (bucket,), about.intensity.emissions_grams(math.fsum(each))
    yield from _of_budget(state, about)

    yield from _saved(state, about)


def _saved(state: RunState, about: About) -> Iterator[SweepNumber]:
    found = saved(state, about.plan, is_over=about.ended_at is not None) if about.plan is not None else None
    if found is not None:
        yield SWEEP_SAVED_LEAST, (), found.low
        for family, joules in ((SWEEP_SAVED, found.joules), (SWEEP_SAVED_MOST, found.high)):
            if joules is not None:
                yield family, (), joules


def _counts(state: RunState, about: About) -> Iterator[SweepNumber]:
    """Of trials by their states, and of what was decided of them."""
    counts = state.counts()
    is_over = about.ended_at is not None
    shown = with_never_begun(counts, about.planned) if is_over else with_waiting(counts, about.planned)
    for status, number in shown.items():
        yield SWEEP_TRIALS, (status,), float(number)
    for (what, why), number in counted(state.decisions()).items():
        yield SWEEP_DECISIONS, (what, why), float(number)


@dataclass(frozen=True, slots=True)
class _Repeats:
    """The trials of a configuration so far, as far as energies are ranked by them."""

    row: TrialRow
    trials: tuple[Observation, ...]
    unconfirmed: bool

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.row.parameters

    @property
    def hardware(self) -> str:
        return self.row.hardware

    @property
    def energy_joules(self) -> Spread | None:
        return None  # of trials that run it says nothing: without a target none is the cheapest so far

    @property
    def cut_short(self) -> bool:
        return False  # the same

    @property
    def energy_to_target_joules(self) -> Spread | None:
        return Spread.over(trial.energy_to_target_joules for trial in self.trials)


def cheapest(
    trials: Iterable[TrialState], varying: Sequence[str], objective: Objective, *, only_winners_repeat: bool = False
) -> Cheapest | None:
    """The configuration whose trials took the least to reach the target, as a report of this moment would rank it.

    Args:
        trials: so far.
        varying: the parameters that differ between configurations.
        objective: the sweep's.
        only_winners_repeat: as of ``summary.configurations_of``.
    """
    own = (trial for trial in trials if not trial.row.stage)
    groups = grouped(own, lambda trial: (exact_text(trial.row.parameters), trial.row.hardware)).values()
    most = max(map(len, groups), default=0)
    repeats = [
        _Repeats(group[0].row, tuple(map(_observed, group)), only_winners_repeat and len(group) < most)
        for group in groups
    ]
    found = ranked(repeats, objective)
    for joules, first in found[:1]:
        return Cheapest(configuration_text(first.parameters, varying), first.hardware, joules)
    return None


def _observed(trial: TrialState) -> Observation:
    report = trial.results.at_target.report
    decided = {"reached": True, "missed": False}.get(outcome(trial.row.status, reached=trial.results.reached))
    return Observation(
        reached_target=decided,
        energy_to_target_joules=trial.joules_at_target,
        iterations_to_target=report.iteration if report else None,
    )
