"""What any number of runs have cost together, and who answers for it: showback that adds up to the meters.

A run is charged with what its trials and its overhead drew; that is booked to its group (its owner, say). What nobody
is charged with (the idle floor that no trial had reserved, background) and other sweeps stand apart, once for all runs
that were there at the same time. Together this is what the meters saw in the windows that held a lease.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from energysweep.core.buckets import BY_NAME, CHARGED, TRIALS
from energysweep.core.carbon import Intensity
from energysweep.core.jsontext import jsonable
from energysweep.core.text import count_text, energy_text
from energysweep.ledger.budget import Budget
from energysweep.ledger.copies import Named, by_run, copies_text, merged
from energysweep.ledger.periods import MONTH, Periods, month_of
from energysweep.ledger.run_state import RunState
from energysweep.ledger.shared import NOBODYS, Once, Seen, once
from energysweep.ledger.store import LedgerData
from energysweep.meters.kinds import is_model

By = Literal["owner", "tag", "name", "month", "hardware"]
BY: Final[tuple[By, ...]] = get_args(By)
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Charges:
    """What some runs, or parts of them, are charged with.

    Attributes:
        runs, trials: of how many it is, as far as something of them is in it.
        joules: by the names of ``CHARGED``; None where nobody measured, or told start-up apart.
        emissions_grams: of those runs whose grid is known; None if none is.
        cost: by currency, of those runs whose sweep names a price.
        runs_without_grid, runs_without_price: the others.
        unmeasured_runs: of which nothing was measured.
        estimated: some of the joules are.
    """

    runs: int
    trials: int
    joules: Mapping[str, float | None]
    emissions_grams: float | None
    cost: Mapping[str, float]
    runs_without_grid: int
    runs_without_price: int
    unmeasured_runs: int
    estimated: bool

    @property
    def energy_joules(self) -> float | None:
        """All of it; None if nothing was measured."""
        known = [joules for joules in self.joules.values() if joules is not None]
        return math.fsum(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        return {
            "runs": self.runs,
            "trials": self.trials,
            "trials_energy_joules": self.joules[TRIALS],
            **{f"{name}_joules": self.joules[name] for name in CHARGED if name != TRIALS},
            "emissions_grams": self.emissions_grams,
            "cost": dict(self.cost),
            "runs_without_grid": self.runs_without_grid,
            "runs_without_price": self.runs_without_price,
            "unmeasured_runs": self.unmeasured_runs,
            "estimated": self.estimated,
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Several runs, each joule once.

    Attributes:
        by: what its groups are.
        groups: by their names, those that are charged most first (months in their order); None: nobody noted it.
        charged: all of them together.
        once: what stands apart, and what the meters saw; None if nothing was measured.
        booked_joules: all parts together, by what was booked; the other side of the balance is what the meters saw,
            ``once.metered_joules``.
        notes: what cannot be told apart, and what is counted once, for people.
    """

    by: By
    groups: Mapping[str | None, Charges]
    charged: Charges
    once: Once | None
    booked_joules: float | None
    notes: tuple[str, ...]

    @property
    def apart(self) -> dict[str, float | None]:
        """Joules that are in no group, by name; what several runs were charged with twice is below 0."""
        if self.once is None:
            return dict.fromkeys((*NOBODYS, "other_sweeps", "booked_twice"))
        return {**self.once.nobodys, "other_sweeps": self.once.other_sweeps, "booked_twice": self.once.booked_twice}

    @property
    def apart_estimated(self) -> bool:
        """Whether what stands apart, and the sum, are estimates: some meter is one, or some overlap of runs."""
        return self.charged.estimated or (self.once is not None and self.once.estimated_joules > 0)

    @property
    def conservation_error_ratio(self) -> float | None:
        r"""\|booked - metered\| / metered."""
        if self.once is None or self.booked_joules is None or self.once.metered_joules <= 0:
            return None
        return abs(self.booked_joules - self.once.metered_joules) / self.once.metered_joules

    def to_dict(self) -> dict[str, Any]:
        """For JSON, schema version 1."""
        seen = self.once
        said: dict[str, Any] = jsonable(
            {
                "schema_version": SCHEMA_VERSION,
                "by": self.by,
                "groups": [
                    {"key": key, "energy_joules": charges.energy_joules, **charges.to_dict()}
                    for key, charges in self.groups.items()
                ],
                "totals": {
                    "energy_joules": None if seen is None else seen.metered_joules,
                    "charged_joules": self.charged.energy_joules,
                    **self.charged.to_dict(),
                    **{f"{name}_joules": joules for name, joules in self.apart.items()},
                    "apart_estimated": self.apart_estimated,
                    "conservation_error_ratio": self.conservation_error_ratio,
                    "runs_energy_joules": None if seen is None else seen.runs_joules,
                    "shared_joules": None if seen is None else seen.shared_joules,
                    "divided_joules": None if seen is None else seen.divided_joules,
                    "overlap_estimated_joules": None if seen is None else seen.estimated_joules,
                },
                "notes": list(self.notes),
            }
        )
        return said


class _Run:
    """One run, with what an account takes of it."""

    def __init__(self, data: LedgerData) -> None:
        self.data = data
        self.state = RunState.of(data)
        self.energy, self.meters = self.state.in_windows_with_leases()
        self.intensity = Intensity(**data.run["carbon"]) if data.run.get("carbon") else None
        self.budget = Budget.noted(data.run, self.intensity)
        self.told_startup = any(lease.startup_seconds is not None for lease in data.leases)
        self.estimated = any(map(is_model, self.state.sources()))

    def seen(self, number: int) -> Iterator[Seen]:
        """What its meters have seen, window by window.

        Args:
            number: of the run.
        """
        booked: dict[tuple[str, str, str, str], dict[str, list[float]]] = {}
        for row in self.energy:
            place = (row.host, row.window, row.device, row.source)
            booked.setdefault(place, {}).setdefault(row.bucket, []).append(row.joules)
        times = self._times()
        for meter in self.meters:
            place = (meter.host, meter.window, meter.device, meter.source)
            yield Seen(
                number,
                (meter.host, meter.device, meter.source),
                meter.books,
                meter.opened_joules,
                meter.joules,
                {bucket: math.fsum(joules) for bucket, joules in booked.pop(place, {}).items()},
                *times[meter.host, meter.window],
            )
        for (host, _, device, source), buckets in booked.items():  # of a damaged ledger: booked, and not metered
            sums = {bucket: math.fsum(joules) for bucket, joules in buckets.items()}
            yield Seen(number, (host, device, source), "", None, 0.0, sums, 0.0, 0.0)

    def _times(self) -> dict[tuple[str, str], tuple[float, float]]:
        """From when to when each window was open, by its host and id.

        Before schema 5 nobody told: it ended with the part of the run in which its last lease was opened, but was open
        at its first lease, and no longer than it says.
        """
        told: dict[tuple[str, str], float] = {}
        seconds: dict[tuple[str, str], float] = {}
        for meter in self.meters:
            window = (meter.host, meter.window)
            seconds[window] = max(seconds.get(window, 0.0), meter.window_seconds)
            if meter.opened_at is not None:
                told[window] = max(told.get(window, 0.0), meter.opened_at)
        noted = [(part["started_at"], part.get("duration_seconds")) for part in self.data.run.get("parts") or ()]
        parts = sorted((began, began + length) for began, length in noted if length is not None)
        first: dict[tuple[str, str], float] = {}
        last: dict[tuple[str, str], float] = {}
        for lease in self.data.leases:
            window = (lease.host, lease.window)
            ends = [end for began, end in parts if began <= lease.opened_at][-1:]
            ended = lease.opened_at + lease.held_seconds if lease.closed_at is None else lease.closed_at
            first[window] = min(first.get(window, lease.opened_at), lease.opened_at)
            last[window] = max(last.get(window, 0.0), ended, *ends)
        times: dict[tuple[str, str], tuple[float, float]] = {}
        for window, length in seconds.items():
            if window in told:
                times[window] = (told[window], told[window] + length)
            elif window in first:
                end = min(last[window], first[window] + length)
                times[window] = (end - length, end)
            else:  # its leases went on in another window: nobody knows, and it is compared with none
                times[window] = (0.0, 0.0)
        return times


# Its groups ----------------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """Of one run what is in one group: joules by the names of ``CHARGED``, and its trials."""

    run: _Run
    joules: dict[str, list[float]] = field(default_factory=dict)
    trials: set[str] = field(default_factory=set)

    @property
    def energy_joules(self) -> float:
        return math.fsum(joules for every in self.joules.values() for joules in every)


def _parts(run: _Run, by: By) -> dict[str | None, _Part]:
    """By group; a run of which nothing was measured is in one, too."""
    months = Periods(run.data, run.state, MONTH) if by == "month" else None
    trials = {row.trial: row for row in run.data.trials}
    whole = _whole(run.data.run, by)
    parts: dict[str | None, _Part] = {}

    def part(key: str | None) -> _Part:
        return parts.get(key) or parts.setdefault(key, _Part(run))

    for row in run.energy:
        bucket = BY_NAME[row.bucket]
        if not bucket.is_charged:
            continue
        lease = run.state.leases.get(row.lease)
        trial = None if lease is None else lease.trial
        hardware = trials[trial].hardware or None if trial in trials else None
        shares = months.of(row) if months is not None else {hardware if by == "hardware" else whole: 1.0}
        for key, share in shares.items():
            found = part(key)
            found.joules.setdefault(bucket.account, []).append(row.joules * share)
            if trial is not None:
                found.trials.add(trial)
    seen = {trial for each in parts.values() for trial in each.trials}
    for trial, told in trials.items():
        if trial not in seen:
            at = told.started_at if told.started_at is not None else run.data.run.get("started_at")
            month = None if at is None else month_of(at)
            part(month if by == "month" else told.hardware or None if by == "hardware" else whole).trials.add(trial)
    if not parts:
        part(whole)
    return parts


def _whole(run: Mapping[str, Any], by: By) -> str | None:
    """What a run as a whole belongs to; None where nobody said, or where its parts differ."""
    if by == "tag":
        return ", ".join(map(_tag, sorted(set((run.get("spec") or {}).get("tags") or ())))) or None
    if by == "month":
        return None if run.get("started_at") is None else month_of(run["started_at"])
    if by == "hardware":
        return None
    return (run.get("owner") if by == "owner" else run.get("name") or run.get("id")) or None


def _tag(tag: str) -> str:
    """A tag among others: in quotes where it would look like two."""
    return json.dumps(tag, ensure_ascii=False) if "," in tag or '"' in tag else tag


def _charges(parts: Sequence[_Part]) -> Charges:
    runs = {id(part.run): part.run for part in parts}
    measured = [part for part in parts if part.run.energy]
    joules: dict[str, float | None] = {
        name: math.fsum(each for part in measured for each in part.joules.get(name, ())) if measured else None
        for name in CHARGED
    }
    if not any(part.run.told_startup for part in measured):
        joules["startup"] = None
    grams = [part.run.intensity.emissions_grams(part.energy_joules) for part in measured if part.run.intensity]
    cost: dict[str, list[float]] = {}
    for part in measured:
        spent = None if part.run.budget is None else part.run.budget.spent("cost", part.energy_joules, None)
        if part.run.budget is not None and spent is not None:
            cost.setdefault(part.run.budget.currency, []).append(spent)
    return Charges(
        runs=len(runs),
        trials=len({(id(part.run), trial) for part in parts for trial in part.trials}),
        joules=joules,
        emissions_grams=math.fsum(grams) if grams else None,
        cost={currency: math.fsum(cost[currency]) for currency in sorted(cost)},
        runs_without_grid=sum(1 for run in runs.values() if run.intensity is None),
        runs_without_price=sum(1 for run in runs.values() if run.budget is None or run.budget.per_kwh is None),
        unmeasured_runs=sum(1 for run in runs.values() if not run.energy),
        estimated=any(part.run.estimated for part in measured),
    )


def account(given: Iterable[Named], by: By) -> Account:
    """Add runs up.

    Args:
        given: of each ledger, what people call it, and what it holds; several may be of one run.
        by: what the charges are divided by.
    """
    copies = by_run(sorted(given, key=lambda named: named[0]))
    runs = [_Run(merged(group)) for group in copies]
    groups: dict[str | None, list[_Part]] = {}
    over_a_month = 0
    for run in runs:
        parts = _parts(run, by)
        over_a_month += by == "month" and len(parts) > 1
        for key, part in parts.items():
            groups.setdefault(key, []).append(part)
    charges = {key: _charges(parts) for key, parts in groups.items()}
    seen = (
        once(each for number, run in enumerate(runs) for each in run.seen(number))
        if any(run.meters for run in runs)
        else None
    )
    charged = _charges([part for run in runs for part in _parts(run, "name").values()])
    booked = None
    if seen is not None:
        rows = [row.joules for run in runs for row in run.energy if BY_NAME[row.bucket].is_charged]
        booked = math.fsum([*rows, *seen.nobodys.values(), seen.other_sweeps, seen.booked_twice])
    notes = [text for group in copies if (text := copies_text(group)) is not None]
    return Account(
        by,
        {key: charges[key] for key in _ordered(charges, by)},
        charged,
        seen,
        booked,
        (*notes, *_notes(seen, charged, over_a_month)),
    )


def _ordered(charges: Mapping[str | None, Charges], by: By) -> list[str | None]:
    """Months in their order, all else by what it is charged; what nobody named comes last."""

    def place(key: str | None) -> tuple[bool, float, str]:
        return key is None, 0.0 if by == "month" else -(charges[key].energy_joules or 0.0), key or ""

    return sorted(charges, key=place)


def _notes(seen: Once | None, charged: Charges, over_a_month: int) -> Iterator[str]:
    """What a reader has to know of the numbers."""

    estimated = charged.estimated or (seen is not None and seen.estimated_joules > 0)
    if seen is not None and seen.estimated_joules > 0:
        overlap = energy_text(seen.estimated_joules, estimated=True)
        yield (
            f"What runs at the same time on one host have both seen, {overlap}, is an estimate by their times and mean"
            " power: the ledger of one is of an older energysweep, or their agents had no books in common. So is what"
            " the meters saw, and what stands apart."
        )
    if seen is not None and seen.divided_joules > 0:
        divided = energy_text(seen.divided_joules, estimated=charged.estimated)
        yield (
            f"Of {divided} that runs have both seen while one began before the other ended,"
            " no ledger says how much was idle floor and how much background: it is divided as in the mean of the two"
            " runs. The sum is exact."
        )
    if seen is not None and seen.booked_twice < 0:
        twice = energy_text(-seen.booked_twice, estimated=estimated)
        yield (
            f"{twice} are charged to several runs, one inside of another or with other idle floors, and were drawn"
            " once: they are taken off again, from no group."
        )
    if charged.unmeasured_runs:
        yield f"Of {count_text(charged.unmeasured_runs, 'run')} nothing was measured."
    if charged.runs_without_grid:
        yield f"{count_text(charged.runs_without_grid, 'run')} of {charged.runs} noted no grid: the grams are without."
    if charged.cost and charged.runs_without_price:
        yield f"{count_text(charged.runs_without_price, 'run')} of {charged.runs} named no price: the cost is without."
    if over_a_month:
        yield (
            f"{count_text(over_a_month, 'run')} went on over the end of a month (UTC): what each trial and bucket drew"
            " is divided as its samples are, about one a second, and else evenly over the time."
        )
