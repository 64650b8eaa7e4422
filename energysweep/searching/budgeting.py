"""The budget of a run: made of its sweep and its ledger, and told to people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from energysweep import sweepfile as specs
from energysweep.core.carbon import Intensity
from energysweep.core.errors import InputError
from energysweep.core.records import OPEN, PILOT
from energysweep.core.text import count_text
from energysweep.ledger.budget import Budget, Charge
from energysweep.ledger.run_state import RunState
from energysweep.searching.budget import NOTHING, Amount, Group, Spending
from energysweep.sweepfile import SweepSpec, stage_spec
from energysweep.sweepfile.reports import full_reports

_SURELY: Final = 1.2  # of a forecast, in what is proposed to a person


class _StateAccounts:
    """What the state of a run has.

    Args:
        state: the run.
        elapsed_seconds: for how long it has run.
    """

    def __init__(self, state: RunState, elapsed_seconds: Callable[[], float]) -> None:
        self._state = state
        self.elapsed_seconds = elapsed_seconds

    def charged_joules(self) -> float:
        """All that the sweep is charged with."""
        return self._state.charged_joules or 0.0

    def overhead_joules(self) -> float:
        """The part of it that is of no trial."""
        return sum(each.energy_joules for each in self._state.charged() if each.bucket == "overhead")

    def booked_joules(self, trial: str) -> float:
        """A trial's work and start-up."""
        return sum(sum(buckets.values()) for buckets in self._state.booked(trial).values())


def budget_of(spec: SweepSpec, grid: Intensity) -> Budget | None:
    """The limits of a sweep, None if it has none."""
    if spec.budget is None:
        return None
    price = spec.price
    return Budget(
        spec.budget.limits, grid, None if price is None else price.per_kwh, "" if price is None else price.currency
    )


def spending_of(
    spec: SweepSpec, grid: Intensity, state: RunState, elapsed_seconds: Callable[[], float]
) -> Spending | None:
    """The budget of a run as it goes on, with what the parts before have taken; None if it has none.

    Args:
        spec: the sweep.
        grid: the carbon intensity.
        state: the run, as far as it has come.
        elapsed_seconds: for how long it has run.
    """
    budget = budget_of(spec, grid)
    if budget is None:
        return None
    spending = Spending(budget, _StateAccounts(state, elapsed_seconds), dict(_most_reports(spec)))
    for row in state.all_rows():
        reports = list(_reports(state, row.trial))
        if reports or row.status != "pending":
            ended = row.status in ("completed", "pruned") or row.stage == PILOT  # of which nothing goes on
            spending.learn(row.trial, (row.stage, row.hardware), reports, has_ended=ended)
    return spending


def _most_reports(spec: SweepSpec) -> Iterator[tuple[str, int]]:
    """How many reports a trial makes at most, where the sweep says it."""
    for stage in ("", *spec.stages):
        part = stage_spec(spec, stage) if stage else spec
        limits: list[float | None] = [full_reports(part)]
        if part.scheduler.kind.ends_at_max_resource and part.scheduler.resource == "training_iteration":
            limits.append(part.scheduler.max_resource)
        known = [limit for limit in limits if limit is not None]
        if known:
            yield stage, max(1, round(min(known)))


def _reports(state: RunState, trial: str) -> Iterator[Amount]:
    """What each report of a trial took; the first one with the start-up of one start."""
    rows, leases = state.reports_of(trial), state.leases_of(trial)
    startup = sum(each["startup"] for each in state.booked(trial).values()) / max(1, len(leases))
    held = sum(lease.held_seconds for lease in leases)
    at = None
    joules = 0.0
    for report in rows:
        told = joules if report.energy_joules is None else max(joules, report.energy_joules)
        if at is None:
            yield Amount(told + startup, max(0.0, held - (rows[-1].elapsed_seconds - report.elapsed_seconds)))
        else:
            yield Amount(told - joules, max(0.0, report.elapsed_seconds - at))
        joules, at = told, report.elapsed_seconds


# What a person is told -----------------------------------------------------------------------------------------------


def check_begins(spending: Spending, spec: SweepSpec, folder: str, *, estimated: bool) -> None:
    """Whether a run that goes on can start anything.

    Args:
        spending: its budget.
        spec: the sweep.
        folder: of the run.
        estimated: some of its joules are of an estimate.

    Raises:
        InputError: nothing is left, or not enough for one trial.
    """
    groups: list[Group] = [("", name) for name in spec.profiles]
    candidates: list[tuple[str | None, Group]] = [*spending.waiting, *((None, group) for group in groups)]
    if any(spending.could_hold(*each) for each in candidates):
        return
    forecasts = [forecast for group in groups if (forecast := spending.forecast(group)) is not None]
    needs = min(forecasts, default=NOTHING)
    budget, charges = spending.budget, spending.charges()
    need = {
        kind: needs.seconds if kind == "duration_seconds" else budget.spent(kind, needs.joules, None) or 0.0
        for kind in charges
    }
    left = {kind: charge.left or 0.0 for kind, charge in charges.items()}
    kind = next((kind for kind in charges if left[kind] <= 0 or left[kind] < need[kind]), next(iter(charges)))
    takes = f"; one more trial takes ≈ {budget.text(kind, need[kind])}" if need[kind] else ""
    more = _larger(charges[kind], need[kind])
    raise InputError(
        f"{budget.text(kind, charges[kind].charged, estimated=estimated)}"
        f" of {budget.text(kind, charges[kind].limit)} are spent{takes}:"
        f" more goes on, as --set budget.{kind}={more:g}",
        file=folder,
        key=f"budget.{kind}",
    )


def _larger(charge: Charge, more: float) -> float:
    """A limit of two digits that holds so much more, and is larger than the one that there was."""
    value = max(charge.limit, (charge.charged or 0.0) + _SURELY * more)
    unit = 10.0 ** max(-300, math.floor(math.log10(value)) - 1)
    return (math.floor(value / unit) + 1) * unit


def ending(spending: Spending, spec: SweepSpec, state: RunState) -> dict[str, Any]:
    """What the ledger keeps of a budget's end: what is open, and what more would buy.

    Returns:
        ``ended_early``: how many trials it has ended; ``open``: how many the sweep would still run, these among them;
        ``more_joules``: what all of them are forecast to take, ``trial_joules``: one that has not begun, both None if
        nothing is known; ``from_trials``: how many ended ones that is from; ``over_joules``: what was charged beyond.
    """
    begun = [row for row in state.all_rows() if row.stage != PILOT]
    waiting = [row for row in begun if row.status in OPEN]
    never = max(0, specs.trial_count(spec).expected_trials - len(begun))
    own = [("", name) for name in spec.profiles]
    usual = [forecast.joules for group in own if (forecast := spending.forecast(group)) is not None]
    each = sum(usual) / len(usual) if usual else None
    rest = [spending.rest_joules(row.trial, (row.stage, row.hardware)) for row in waiting]
    known = each is not None and None not in rest
    more = sum(joules or 0.0 for joules in rest) + never * (each or 0.0) if known else None
    return {
        "ended_early": len({row.trial for row in begun}.intersection(spending.ended)),
        "open": len(waiting) + never,
        "more_joules": more,
        "trial_joules": each,
        "from_trials": sum(spending.known(group) for group in own),
        "over_joules": max(0.0, -spending.left().joules),
    }


def numbers_of(spending: Spending) -> dict[str, Any]:
    """What the sweep's decision to stop went by, as ``Recorder.decide`` takes it."""
    limit = spending.budget.most_joules()
    numbers: dict[str, Any] = {
        "joules": spending.charged_joules(),
        "limit_joules": limit if limit < math.inf else None,
    }
    for kind, each in spending.charges().items():
        numbers |= {f"charged_{kind}": each.charged, f"limit_{kind}": each.limit}
    return numbers


def stopped_text(spending: Spending, end: Mapping[str, Any], folder: str, *, estimated: bool) -> str:
    """The last line of a run that its budget has ended."""
    budget, charged = spending.budget, spending.charges()
    spent = ", ".join(
        f"{budget.text(kind, each.charged, estimated=estimated)} of {budget.text(kind, each.limit)}"
        + (
            f" ({budget.text(kind, -each.left, estimated=estimated)} over)"
            if each.left is not None and each.left < 0
            else ""
        )
        for kind, each in charged.items()
    )
    text = f"stopped by budget: {spent}; {count_text(end['open'], 'trial')} open"
    if end["ended_early"]:
        text += f", {end['ended_early']} of them ended early"
    if end["more_joules"] is not None:
        text += f"; these are forecast to take ≈ {budget.text('energy_joules', end['more_joules'])} more"
    kind = min(charged, key=lambda kind: (charged[kind].left or 0.0) / charged[kind].limit)
    each = budget.per_joule(kind)
    more = (end["more_joules"] or 0.0) * each if each else charged[kind].limit
    larger = _larger(charged[kind], more or charged[kind].limit)
    return f"{text}: energysweep resume {folder} --set budget.{kind}={larger:g}"
