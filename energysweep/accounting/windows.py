"""The account of one sweep on one host.

Attribution says which owner used a joule; a window says what that means for its sweep. What is a trial's active
energy in the window of its own sweep is ``other_sweeps`` in another's, and ``trials`` in the account of the host.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from energysweep.accounting.accounts import UNKNOWN_FLOOR, Floor, Lease, Sweep, Trial
from energysweep.accounting.attribution import Owner, Shares, StartupParts, Usage
from energysweep.accounting.counters import Counter
from energysweep.core.buckets import LEASE_BUCKETS
from energysweep.core.host import Host
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow
from energysweep.meters.base import Component, Device

_UNSAVED_ANSWERS = 1_000_000  # a driver may have had so many, all without anything new, since the state was saved


class Key(NamedTuple):
    """What one row of a tally counts."""

    lease: str
    device: str
    component: Component
    bucket: str
    source: str


@dataclass(slots=True)
class Row:
    """One row of a tally, and the revision of its last change."""

    joules: float
    revision: int


class _Tally:
    """Sums of joules, each with the revision of its last change.

    Attributes:
        rows: the sums.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def add(self, device: Device, lease: str, bucket: str, joules: float, revision: int) -> None:
        """More joules of a device: a lease's (empty: nobody's) for a bucket, booked at this revision of the window."""
        if joules <= 0:
            return
        key = Key(lease, device.name, device.component, bucket, device.source)
        row = self.rows.get(key)
        if row is None:
            self.rows[key] = Row(joules, revision)
        else:
            row.joules += joules
            row.revision = revision

    def changed(self, since: int) -> Iterator[tuple[Key, float]]:
        """The sums that have changed after a revision."""
        return ((key, row.joules) for key, row in self.rows.items() if row.revision > since)

    def newest(self) -> dict[str, int]:
        """The revision of the last change, by lease."""
        newest: dict[str, int] = {}
        for key, row in self.rows.items():
            newest[key.lease] = max(newest.get(key.lease, 0), row.revision)
        return newest

    def forget(self, leases: Set[str]) -> None:
        """Let go of all that is of these leases."""
        self.rows = {key: row for key, row in self.rows.items() if key.lease not in leases}


class Coverage(NamedTuple):
    """How long a lease was held, and for how long of that its devices have told something.

    Attributes:
        covered_seconds: the mean over the devices that its trial can use; a GPU that no meter counts is one of 0 s.
        least_covered_seconds: of the device that has told the least.
    """

    held_seconds: float
    covered_seconds: float
    least_covered_seconds: float


class Mark(NamedTuple):
    """Where a counter stood when a window was opened."""

    total_joules: float
    covered_seconds: float
    failures: int
    resets: int

    @classmethod
    def of(cls, counter: Counter) -> Mark:
        """Where it stands now."""
        return cls(counter.total_joules, counter.covered_seconds, counter.failures, counter.resets)


_BEGINNING = Mark(0.0, 0.0, 0, 0)  # of a counter that an agent's restart has brought


@dataclass(slots=True)
class SavedWindow:
    """All that a window holds, to be resumed after the agent's restart."""

    id: str
    run: str
    floors: dict[str, Floor]
    opened: float
    last_seen: float
    closed: float | None
    sweep: Sweep
    leases: dict[str, Lease]
    trials: dict[str, Trial]
    revision: int
    opening: dict[str, Mark]
    rows: dict[Key, Row]
    final: list[MeterRow]
    key: str
    peer: str
    opened_at: float


class Window:
    """The account of one sweep on one host, counted from zero.

    Every booking carries the window's revision, so that a driver can ask for what has changed since its last poll;
    asking acknowledges everything up to there.

    Attributes:
        id: unique for all time.
        run: the sweep's run id.
        floors: the frozen idle floors, by device name.
        sweep: what the driver says of its sweep, for the dashboards.
        opened, opened_at: the clock when it was opened, and the wall clock.
        last_seen: the clock when a process of the run was there.
        closed: the clock when it was closed, None while it counts.
        key: the fingerprint of the run's key.
        peer: who opened it.
    """

    def __init__(
        self, run: str, host: Host, counters: Mapping[str, Counter], floors: Mapping[str, Floor], books: str = ""
    ) -> None:
        self.id = uuid.uuid4().hex
        self.run = run
        self.floors = floors
        self.opened = self.last_seen = host.clock()
        self.opened_at = host.wall_clock()
        self.closed: float | None = None
        self.sweep = Sweep()
        self.leases: dict[str, Lease] = {}
        self.trials: dict[str, Trial] = {}
        self.revision = 1
        self._host = host
        self._books = books
        self._counters = counters
        self._opening = {name: Mark.of(counter) for name, counter in counters.items()}
        self._tally = _Tally()
        self._final: list[MeterRow] = []
        self._read: list[tuple[str, float, float]] = []  # when last; lost with the agent: it is for the picture only
        self.key = self.peer = ""

    def saved(self) -> SavedWindow:
        """All that it holds, as it is now: no copy."""
        return SavedWindow(
            self.id,
            self.run,
            dict(self.floors),
            self.opened,
            self.last_seen,
            self.closed,
            self.sweep,
            self.leases,
            self.trials,
            self.revision,
            self._opening,
            self._tally.rows,
            self._final,
            self.key,
            self.peer,
            self.opened_at,
        )

    @classmethod
    def restored(cls, saved: SavedWindow, host: Host, counters: Mapping[str, Counter], books: str) -> Window:
        """The window as it was saved, over counters that go on from where they were then."""
        window = cls(saved.run, host, counters, saved.floors, books)
        window.id, window.opened, window.opened_at = saved.id, saved.opened, saved.opened_at
        window.last_seen, window.closed = saved.last_seen, saved.closed
        window.sweep, window.leases, window.trials = saved.sweep, saved.leases, saved.trials
        window.revision = saved.revision + _UNSAVED_ANSWERS
        window._opening, window._tally.rows, window._final = saved.opening, saved.rows, saved.final
        window.key, window.peer = saved.key, saved.peer
        return window

    def close(self) -> None:
        """Count no further, also not what the meters go on to see; what was counted can still be read."""
        self.readings(self._host.clock())
        self._final = list(self._meter_rows())
        self.closed = self._host.clock()

    def trial(self, name: str) -> Trial:
        """The trial's account; a new one at zero if there is none."""
        return self.trials.setdefault(name, Trial())

    def open_lease(self, lease: Lease) -> None:
        """Take a new lease into the account."""
        lease.revision = self.revision
        self.leases[lease.id] = lease
        account = self.trial(lease.trial)
        if not account.open_leases:
            account.begin_power(self._counters)
        account.open_leases += 1
        account.ended, account.is_over = None, False
        for counter in self._counters.values():
            device = counter.device
            if device.component != "gpu" or device.name in lease.gpus:
                for bucket in LEASE_BUCKETS:  # a series begins at 0, or its first joules are lost to rate()
                    account.joules.setdefault((device.component, bucket, device.source), 0.0)

    def close_lease(self, lease: Lease) -> None:
        """It holds nothing any more; what it used until now is booked."""
        self.revision += 1
        lease.closed, lease.closed_at = self._host.clock(), self._host.wall_clock()
        lease.revision = self.revision
        account = self.trial(lease.trial)
        account.open_leases -= 1
        if account.open_leases == 0:
            account.ended = lease.closed
            account.rest()

    def forget_trials(self, before: float) -> None:
        """Let go of trials that ended before then: of what only their series show, and wholly of those that are over.

        One that may go on keeps its joules: its next lease is told what it has cost.
        """
        booked = {lease.trial for lease in self.leases.values()}  # something may still be booked to them
        for name, trial in list(self.trials.items()):
            if trial.ended is None or trial.ended >= before:
                continue
            if trial.is_over and name not in booked:
                del self.trials[name]
            else:
                trial.results, trial.watts = {}, {}

    def cover(self, device: Device, usage: Usage) -> None:
        """Note for how long a booked interval of a device covers each lease."""
        for owner, seconds in usage.held_seconds.items():
            lease = self.leases.get(owner.name)
            if lease is not None:
                lease.covered_seconds[device.name] = lease.covered_seconds.get(device.name, 0.0) + seconds
                lease.revision = self.revision

    def book(
        self, device: Device, usage: Usage, shares: Shares, startup: Mapping[Owner, StartupParts], sweeps: int
    ) -> None:
        """Book what one device saw over one interval.

        Args:
            device: the device.
            usage: who used and held what.
            shares: where its joules went.
            startup: which part of that was start-up, by lease.
            sweeps: how many windows share what serves all of them.
        """
        worked: dict[str, float] = {}
        for bucket, owners in (("active", shares.active), ("idle", shares.idle)):
            for owner, joules in owners.items():
                own = owner.of(self.run)
                parts = startup.get(own) if own is not None else None
                loading = joules * getattr(parts, bucket) if parts else 0.0
                self._book_owner(device, owner, bucket, joules - loading, sweeps)
                if loading > 0:
                    self._book_owner(device, owner, "startup", loading, sweeps)
                if own is not None and own.name in self.leases:
                    worked[own.name] = worked.get(own.name, 0.0) + joules - loading
        self._note_work(device, usage, shares.joules, worked)
        self._add(device, "", "background", shares.background)
        self._add(device, "", "unreserved_idle", shares.unreserved_idle)

    def _note_work(self, device: Device, usage: Usage, joules: float, worked: Mapping[str, float]) -> None:
        """Note what the work of each trial drew, by lease, and for how long it worked: the time of no start-up.

        Shares follow CPU time, so that a short piece of work may have the joules of a long, idle start-up beside it. It
        counts as long as the device took for these joules, or its power would be more than any that the device drew.
        """
        drew: dict[str, float] = {}
        seconds: dict[str, float] = {}
        for owner, held in usage.held_seconds.items():
            lease = self.leases.get(owner.name)
            uses = lease is not None and (device.component != "gpu" or device.name in lease.gpus or lease.id in worked)
            if lease is not None and uses:
                drew[lease.trial] = drew.get(lease.trial, 0.0) + worked.get(lease.id, 0.0)
                working = held - usage.startup_seconds.get(owner, 0.0)
                seconds[lease.trial] = max(seconds.get(lease.trial, 0.0), working)
        for trial, amount in drew.items():
            at_least = usage.seconds * amount / joules if joules > 0 else 0.0
            self.trial(trial).note_work(device.name, amount, max(seconds[trial], at_least))

    def _book_owner(self, device: Device, owner: Owner, bucket: str, joules: float, sweeps: int) -> None:
        if owner.kind == "shared":
            self._add(device, "", "overhead", joules / sweeps)
            self._add(device, "", "other_sweeps", joules - joules / sweeps)
            return
        own = owner.of(self.run)
        if own is None:
            self._add(device, "", "other_sweeps", joules)
        elif own.kind == "run":
            part = joules / sum(each.kind == "run" for each in owner.all)  # runs of one process share what it draws
            self._add(device, "", "overhead", part)
            self._add(device, "", "other_sweeps", joules - part)
        elif own.name in self.leases:
            self._add(device, own.name, bucket, joules)
            trial = self.trial(self.leases[own.name].trial)
            key = (device.component, bucket, device.source)
            trial.joules[key] = trial.joules.get(key, 0.0) + joules
            trial.drawn_joules[device.name] = trial.drawn_joules.get(device.name, 0.0) + joules
        else:  # of an earlier window of this run
            self._add(device, "", "other_sweeps", joules)

    def _add(self, device: Device, lease: str, bucket: str, joules: float) -> None:
        self._tally.add(device, lease, bucket, joules, self.revision)

    def energy_rows(self, since: int) -> list[EnergyRow]:
        """The counters that have changed after revision ``since``."""
        return [EnergyRow(self._host.boot_id, self.id, *key, joules) for key, joules in self._tally.changed(since)]

    def meter_rows(self) -> list[MeterRow]:
        """What the devices' own counters saw since the window was opened."""
        return list(self._meter_rows()) if self.closed is None else self._final

    def readings(self, advanced: float) -> list[tuple[str, float, float]]:
        """By device: the seconds since the window was opened that its intervals cover, and how old the last one is.

        Covered time is not cut off at the opening: together with the counter's joules it gives the mean power.

        Args:
            advanced: the clock at the last scan.
        """
        if self.closed is None:
            opened = {name: self._opening.get(name, _BEGINNING).covered_seconds for name in self._counters}
            self._read = [
                (name, counter.covered_seconds - opened[name], counter.read_at(advanced))
                for name, counter in self._counters.items()
            ]
        now = self._host.clock()
        return [(name, covered, now - at) for name, covered, at in self._read]

    def _meter_rows(self) -> Iterator[MeterRow]:
        end = self._host.clock()
        for name, counter in self._counters.items():
            joules, covered, failures, resets = self._opening.get(name, _BEGINNING)
            floor = self.floors.get(name, UNKNOWN_FLOOR)
            device = counter.device
            yield MeterRow(
                host=self._host.boot_id,
                window=self.id,
                node=self._host.node,
                device=name,
                component=device.component,
                source=device.source,
                joules=counter.total_joules - joules,
                window_seconds=end - self.opened,
                # An interval that was open when the window was opened began before it.
                covered_seconds=min(counter.covered_seconds - covered, end - self.opened),
                idle_floor_watts=floor.watts,
                idle_floor_from=floor.known_from,
                resolution_joules=device.resolution_joules,
                failures=counter.failures - failures,
                resets=counter.resets - resets,
                books=self._books,
                opened_joules=joules,
                opened_at=self.opened_at,
            )

    def lease_rows(self, since: int) -> list[LeaseRow]:
        """The leases that have changed after revision ``since``; an open one always has."""
        return [
            self._lease_row(lease) for lease in self.leases.values() if lease.closed is None or lease.revision > since
        ]

    def coverage(self, lease_id: str) -> Coverage | None:
        """Of one lease; None if there is none, or its driver has settled it."""
        lease = self.leases.get(lease_id)
        return None if lease is None else self._coverage(lease)

    def _coverage(self, lease: Lease) -> Coverage:
        # Only the devices that the trial can use: another trial's GPU says nothing about this one, nor does a device
        # that was lost before. A GPU that it holds and no meter counts is covered for no time.
        shared = [
            name
            for name, counter in self._counters.items()
            if counter.device.component != "gpu" and (name in lease.covered_seconds or not counter.is_absent)
        ]
        used = dict.fromkeys([*shared, *lease.gpus])
        covered = [min(lease.covered_seconds.get(name, 0.0), lease.held_seconds) for name in used] or [0.0]
        return Coverage(lease.held_seconds, sum(covered) / len(covered), min(covered))

    def _lease_row(self, lease: Lease) -> LeaseRow:
        return LeaseRow(
            lease=lease.id,
            host=self._host.boot_id,
            window=self.id,
            node=self._host.node,
            trial=lease.trial,
            attempt=0,  # the driver numbers attempts
            pid=lease.root.pid,
            opened_at=lease.opened_at,
            closed_at=lease.closed_at,
            held_seconds=lease.held_seconds,
            covered_seconds=self._coverage(lease).covered_seconds,
            cpu_seconds=lease.cpu_seconds,
            reserved_cpus=lease.reserved_cpus,
            gpus=json.dumps(lease.gpus),
            startup_seconds=lease.startup_seconds,
            works_elsewhere=1 if lease.works_elsewhere else 0,
        )

    def acknowledge(self, since: int, pending: set[str]) -> None:
        """Forget closed leases that the driver has in its ledger with all that will ever be booked to them.

        Args:
            since: the driver has everything up to this revision.
            pending: leases in an interval that has not been booked on every device (a failed reading left it open).
        """
        newest = self._tally.newest()
        gone = {
            lease.id
            for lease in self.leases.values()
            if lease.closed is not None
            and lease.id not in pending
            and max(lease.revision, newest.get(lease.id, 0)) <= since
        }
        if gone:
            self.leases = {name: lease for name, lease in self.leases.items() if name not in gone}
            self._tally.forget(gone)
