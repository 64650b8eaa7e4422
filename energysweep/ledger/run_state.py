"""A run, folded once from its rows: the driver's view of it live, and that of reports, OpenMetrics and the simulator.

``RunState.merge`` takes rows of every kind by the rules of ``merging``: in any order, and as often as they come. All
else is a view of what was merged. What is asked for at each poll is kept as a running sum; the rest is worked out when
it is asked for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from energysweep.core.buckets import BY_NAME, CHARGED, LEASE_BUCKETS, WORK_BUCKETS
from energysweep.core.objective import FirstHeld, Objective
from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    Standing,
    TrialRow,
)
from energysweep.ledger import merging
from energysweep.ledger.store import LedgerData
from energysweep.meters.kinds import is_model

Merged = EnergyRow | MeterRow | LeaseRow | TrialRow | AttemptRow | ResultRow | DecisionRow


class Grown(NamedTuple):
    """A counter, and by how many joules it is more than what was told of it before."""

    row: EnergyRow
    joules: float


class Charged(NamedTuple):
    """Energy that a sweep is charged with, over all its hosts and parts; ``bucket`` is one of ``CHARGED``."""

    component: str
    bucket: str
    source: str
    energy_joules: float


@dataclass(slots=True)
class Results:
    """What a trial's reports come to, in the order of their numbers.

    Attributes:
        last: the last report, None before the first.
        metrics: the last value of each metric.
        objective: the last value of its objective that was a number.
        at_target: the first of the reports that reached the target and held it.
    """

    last: ResultRow | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    objective: float | None = None
    at_target: FirstHeld[ResultRow] = field(default_factory=FirstHeld)

    @property
    def reached(self) -> bool:
        """Whether the target was reached and then held, measured or not."""
        return self.at_target.report is not None

    @classmethod
    def by(cls, objective: Objective | None) -> Results:
        """Those of no report yet."""
        return cls(at_target=FirstHeld(objective.patience if objective else 1))

    def see(self, report: ResultRow, objective: Objective | None) -> None:
        """Take the next report."""
        self.last = report
        self.metrics.update(report.metrics)
        if objective is not None:
            value = objective.value(report.metrics)
            self.objective = self.objective if value is None else value
            self.at_target.see(objective.reached_by(value), report)


class Reports:
    """The reports of a trial by their numbers, folded as far as they have been asked for."""

    __slots__ = ("_by", "_results", "rows")

    def __init__(self) -> None:
        self.rows: dict[int, ResultRow] = {}
        self._by: Objective | None = None
        self._results: Results | None = None

    def merge(self, row: ResultRow) -> None:
        known = self.rows.get(row.iteration)
        self.rows[row.iteration] = row if known is None else merging.RESULTS.merged(known, row)
        results = self._results
        if results is None:
            return
        if known is None and (results.last is None or row.iteration > results.last.iteration):
            results.see(row, self._by)
        elif self.rows[row.iteration] != known:
            self._results = None  # folded anew

    def results(self, objective: Objective | None) -> Results:
        """What they come to by an objective."""
        if self._results is None or self._by != objective:
            self._by, self._results = objective, Results.by(objective)
            for iteration in sorted(self.rows):
                self._results.see(self.rows[iteration], objective)
        return self._results


@dataclass(frozen=True, slots=True)
class TrialState:
    """One trial, as far as it has come; ``results`` is what its reports come to.

    Attributes:
        is_paused: its row says that it runs, and the last decision about it was to pause it: it draws nothing.
    """

    row: TrialRow
    results: Results
    is_paused: bool = False

    @property
    def status(self) -> Standing:
        """How it stands."""
        return "paused" if self.is_paused else self.row.status

    @property
    def iterations(self) -> int:
        """The number of its last report, 0 before the first."""
        return self.results.last.iteration if self.results.last else 0

    @property
    def objective(self) -> float | None:
        """The last value of its objective that was a number."""
        return self.results.objective

    @property
    def joules_at_target(self) -> float | None:
        """Energy at which the target was reached and then held; None before, or if it was not measured."""
        at_target = self.results.at_target.report
        return None if at_target is None else at_target.energy_joules


class RunState:
    """All that is known of a run. Thread-safe.

    Args:
        objectives: by stage, what its trials are judged by; the sweep's own under the empty name.
        rows: what to begin with.

    Attributes:
        objectives: the same.
        meters, leases, trials: rows by their keys.
    """

    def __init__(self, objectives: Mapping[str, Objective | None] | None = None, rows: Iterable[Merged] = ()) -> None:
        self.objectives: Mapping[str, Objective | None] = objectives or {}
        self.meters: dict[tuple[str, str, str, str], MeterRow] = {}
        self.leases: dict[str, LeaseRow] = {}
        self.trials: dict[str, TrialRow] = {}
        self._energy: dict[str, dict[tuple[str, ...], EnergyRow]] = {}  # by lease; a node's own under the empty name
        self._attempts: dict[str, dict[int, AttemptRow]] = {}
        self._decisions: dict[int, DecisionRow] = {}
        self._decided_of: dict[str, set[int]] = {}  # by trial; of the sweep under the empty name
        self._last_decision = 0
        self._windows: set[tuple[str, str]] = set()  # of leases
        self._sources: dict[tuple[str, str], set[str]] = {}  # by host and window
        self._reports: dict[str, Reports] = {}
        self._leases_of: dict[str, dict[str, None]] = {}
        self._charged: dict[tuple[str, str, str, str, str], int] = {}  # exact, see ``_exact``
        self._lock = threading.RLock()
        self.merge(rows)

    @classmethod
    def of(cls, data: LedgerData, objectives: Mapping[str, Objective | None] | None = None) -> RunState:
        """The state of the run whose rows these are, by these objectives or by those that it noted."""
        state = cls(_objectives_noted(data.run) if objectives is None else objectives)
        for rows in (data.trials, data.attempts, data.results, data.decisions, data.leases, data.meters, data.energy):
            state.merge(rows)
        return state

    def merge(self, rows: Iterable[Merged]) -> list[Grown]:
        """Take over rows of any kind, in any order.

        Returns:
            Of energy, what is more than before.
        """
        grown: list[Grown] = []
        with self._lock:
            for row in rows:
                if isinstance(row, EnergyRow):
                    more = self._merge_energy(row)
                    if more > 0:
                        grown.append(Grown(row, more))
                elif isinstance(row, ResultRow):
                    self._reports.setdefault(row.trial, Reports()).merge(row)
                elif isinstance(row, LeaseRow):
                    _merge(merging.LEASES, self.leases, row.lease, row)
                    self._leases_of.setdefault(row.trial, {})[row.lease] = None
                    self._windows.add((row.host, row.window))
                elif isinstance(row, MeterRow):
                    _merge(merging.METERS, self.meters, (row.host, row.window, row.device, row.source), row)
                    self._sources.setdefault((row.host, row.window), set()).add(row.source)
                elif isinstance(row, TrialRow):
                    _merge(merging.TRIALS, self.trials, row.trial, row)
                elif isinstance(row, DecisionRow):
                    _merge(merging.DECISIONS, self._decisions, row.number, row)
                    self._decided_of.setdefault(row.trial, set()).add(row.number)
                    self._last_decision = max(self._last_decision, row.number)
                else:
                    _merge(merging.ATTEMPTS, self._attempts.setdefault(row.trial, {}), row.number, row)
        return grown

    def _merge_energy(self, row: EnergyRow) -> float:
        counters = self._energy.setdefault(row.lease, {})
        key = row[:-1]
        known = counters.get(key)
        if known is not None and known.joules >= row.joules:
            return 0.0
        counters[key] = row
        self._sources.setdefault((row.host, row.window), set()).add(row.source)  # its meter's row may be lost
        if row.lease:  # its own row tells of one window; it may have gone on in another
            self._windows.add((row.host, row.window))
        more = row.joules - (known.joules if known else 0.0)
        bucket = BY_NAME.get(row.bucket)
        if bucket is not None and bucket.is_charged:
            place = (row.host, row.window, row.component, bucket.account, row.source)
            grown = _exact(row.joules) - (_exact(known.joules) if known else 0)
            self._charged[place] = self._charged.get(place, 0) + grown
        return more

    # Views -----------------------------------------------------------------------------------------------------------

    def energy(self) -> Iterator[EnergyRow]:
        """All counters."""
        with self._lock:
            counters = [*self._energy.values()]
            return iter([row for rows in counters for row in rows.values()])

    def energy_of(self, lease: str) -> list[EnergyRow]:
        """What was booked to a lease; to a node's own buckets under the empty name."""
        with self._lock:
            return [*self._energy.get(lease, {}).values()]

    def windows(self) -> set[tuple[str, str]]:
        """Host and window of those that have held a lease: the others did nothing for the sweep."""
        with self._lock:
            return set(self._windows)

    def in_windows_with_leases(self) -> tuple[list[EnergyRow], list[MeterRow]]:
        """The energy and the meters that are the sweep's to explain."""
        with self._lock:
            windows = self.windows()
            energy = [row for row in self.energy() if (row.host, row.window) in windows]
            return energy, [row for row in self.meters.values() if (row.host, row.window) in windows]

    def charged(self) -> list[Charged]:
        """What the sweep is charged with: in the buckets of ``CHARGED``, on the hosts that have held a lease.

        A component that was metered on a host that has not is there with 0: a series begins at 0, or its first joules
        are lost to ``rate()``. Each sum is exact and then rounded once. So it never falls, in whatever order rows came:
        Prometheus takes a counter that falls by its last digit for one that began anew, and counts all of it twice.
        """
        with self._lock:
            windows = self.windows()
            sums = {(meter.component, bucket, meter.source): 0 for meter in self.meters.values() for bucket in CHARGED}
            for (host, window, *rest), exact in self._charged.items():
                component, bucket, source = rest
                key = (component, bucket, source)
                sums[key] = sums.get(key, 0) + (exact if (host, window) in windows else 0)
        return [Charged(*key, exact / _ONE_JOULE) for key, exact in sums.items()]

    @property
    def charged_joules(self) -> float | None:
        """All of it together; None before an agent has told of a lease."""
        return math.fsum(each.energy_joules for each in self.charged()) if self.leases else None

    def sources(self) -> tuple[str, ...]:
        """The kinds of meters behind the energy that is the sweep's to explain."""
        with self._lock:
            return tuple(sorted(set().union(*(self._sources.get(window, ()) for window in self.windows()))))

    @property
    def estimated(self) -> bool:
        """Whether any device is only estimated."""
        with self._lock:
            return any(is_model(source) for sources in self._sources.values() for source in sources)

    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        with self._lock:
            states: list[str] = ["paused" if self._is_paused(row) else row.status for row in self.trials.values()]
        return {state: states.count(state) for state in sorted(set(states))}

    def best(self) -> float | None:
        """The best last value of the objective so far, of the sweep's own configurations."""
        objective = self.objectives.get("")
        own = (trial.objective for trial in self.all_trials() if not trial.row.stage)
        return None if objective is None else objective.best(own)

    def trial(self, trial: str) -> TrialState:
        """One that was told of by a driver.

        Raises:
            KeyError: it was not.
        """
        with self._lock:
            row = self.trials[trial]
            reports = self._reports.get(trial)
            objective = self.objectives.get(row.stage)
            results = reports.results(objective) if reports else Results.by(objective)
            return TrialState(row, results, self._is_paused(row))

    def _is_paused(self, row: TrialRow) -> bool:
        if row.status != "running":
            return False
        found = (self._decisions[number] for number in self._decided_of.get(row.trial, ()))
        last = max((each for each in found if each.trial == row.trial), default=None, key=lambda each: each.number)
        return last is not None and last.what == "paused"

    def all_rows(self) -> list[TrialRow]:
        """All trials, as the driver has told of them."""
        with self._lock:
            return [*self.trials.values()]

    def of_stage(self, stage: str) -> list[TrialRow]:
        """The trials of a stage."""
        return [row for row in self.all_rows() if row.stage == stage]

    def all_trials(self) -> list[TrialState]:
        """All of them."""
        with self._lock:
            return [self.trial(trial) for trial in self.trials]

    def attempts_of(self, trial: str) -> list[AttemptRow]:
        """In their order."""
        with self._lock:
            attempts = self._attempts.get(trial, {})
            return [attempts[number] for number in sorted(attempts)]

    def decisions_of(self, trial: str) -> list[DecisionRow]:
        """In their order; those about the sweep as a whole under the empty name."""
        with self._lock:
            found = [self._decisions[number] for number in sorted(self._decided_of.get(trial, ()))]
        return [row for row in found if row.trial == trial]

    def decisions(self) -> list[DecisionRow]:
        """All of them, in their order."""
        with self._lock:
            return [self._decisions[number] for number in sorted(self._decisions)]

    @property
    def last_decision(self) -> int:
        """The highest number of a decision; 0 before the first."""
        return self._last_decision

    def leases_of(self, trial: str) -> list[LeaseRow]:
        """In the order in which they were opened."""
        with self._lock:
            leases = [self.leases[lease] for lease in self._leases_of.get(trial, ())]
        return sorted(leases, key=lambda lease: (lease.opened_at, lease.lease))

    def reports_of(self, trial: str) -> list[ResultRow]:
        """In their order."""
        with self._lock:
            reports = self._reports.get(trial)
            return [] if reports is None else [reports.rows[number] for number in sorted(reports.rows)]

    def booked(self, trial: str) -> dict[str, dict[str, float]]:
        """Joules that a trial was booked, by window and bucket; of windows with leases of it, the last at the end."""
        with self._lock:
            found: dict[str, dict[str, list[float]]] = {}
            for lease in self.leases_of(trial):
                parts = found.pop(lease.window, None) or {bucket: [] for bucket in LEASE_BUCKETS}
                for row in self._energy.get(lease.lease, {}).values():
                    if row.bucket in parts:
                        parts[row.bucket].append(row.joules)
                found[lease.window] = parts
        return {
            window: {bucket: math.fsum(joules) for bucket, joules in parts.items()} for window, parts in found.items()
        }

    def joules(self, trial: str) -> float | None:
        """A trial's energy, its start-up apart; None before any was told of."""
        with self._lock:
            rows = [row for lease in self._leases_of.get(trial, ()) for row in self._energy.get(lease, {}).values()]
        return math.fsum(row.joules for row in rows if row.bucket in WORK_BUCKETS) if rows else None

    def series_of(self, row: EnergyRow) -> str:
        """The name of the power series that a counter is part of: its trial's, or ``bucket:overhead`` and so on."""
        lease = self.leases.get(row.lease) if row.bucket in WORK_BUCKETS else None
        return lease.trial if lease else f"bucket:{row.bucket}"

    def attempt_at(self, trial: str, at: float) -> int:
        """The number of the attempt that a lease opened at this Unix time belongs to; agents know of no attempts."""
        with self._lock:
            attempts = self._attempts.get(trial, {})
            last = max(attempts, default=0)
            ended = (row for row in attempts.values() if row.number < last or row.outcome in ("failed", "interrupted"))
            return 1 + sum(1 for row in ended if row.ended_at is not None and row.ended_at <= at)


def with_waiting(counts: Mapping[str, int], planned: int) -> dict[str, int]:
    """The states of a sweep that runs, with the trials that wait in it.

    Args:
        counts: number of trials by state. A driver tells of a trial when it begins.
        planned: how many the sweep makes. Optuna, too, makes a fixed number.

    Returns:
        The same, where ``pending`` is all that neither run nor have ended: one that an earlier part of the run has
        left interrupted waits as well, because it goes on.
    """
    begun = {state: number for state, number in counts.items() if state not in ("pending", "interrupted")}
    waiting = planned - sum(begun.values())
    return {"pending": waiting} | begun if waiting > 0 else begun


def with_never_begun(counts: Mapping[str, int], planned: int) -> dict[str, int]:
    """The states of a sweep that has ended, with those trials ``pending`` that never began."""
    never = planned - sum(counts.values())
    return {**counts, "pending": counts.get("pending", 0) + never} if never > 0 else dict(counts)


_FINEST: Final = 1074  # the smallest float above 0 is 2**-1074: each is a whole number of these
_ONE_JOULE: Final = 1 << _FINEST


def _exact(joules: float) -> int:
    """A finite number in units of 2**-1074, of which sums and differences are exact. Divide by ``_ONE_JOULE``."""
    numerator, denominator = joules.as_integer_ratio()
    return numerator << (_FINEST + 1 - denominator.bit_length())


def _merge(rule: merging.Rule[Any], rows: dict[Any, Any], key: Any, row: Any) -> None:
    known = rows.get(key)
    rows[key] = row if known is None else rule.merged(known, row)


def _objectives_noted(run: Mapping[str, Any]) -> dict[str, Objective | None]:
    """The objectives that the driver noted of a run, by stage; the sweep's own under the empty name."""
    own = Objective(**run["objective"]) if run.get("objective") else None
    return {"": own} | {name: Objective(**stage["objective"]) for name, stage in run.get("stages", {}).items()}
