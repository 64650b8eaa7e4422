"""The books of an agent: leases, the windows of the sweeps, and the host's own account.

Attribution says which owner used a joule; a book says what that means for its reader. What is a trial's active
energy in the window of its own sweep is ``other_sweeps`` in another's, and ``trials`` in the account of the host.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from energysweep.agent.attribution import Owner, Shares
from energysweep.agent.counters import Counter
from energysweep.agent.processes import Root
from energysweep.host import Host
from energysweep.meters.base import Component, Device
from energysweep.records import EnergyRow, LeaseRow, MeterRow

JOULES_PER_KWH = 3_600_000


class Floor(NamedTuple):
    """A device's idle floor, and where it is known from; ``watts`` is None if it is not."""

    watts: float | None
    known_from: str


UNKNOWN_FLOOR = Floor(None, "unknown")


class Energy(NamedTuple):
    """Energy of a trial in joules: what its work drew, and its share of the idle floor."""

    active_joules: float
    idle_joules: float

    @property
    def joules(self) -> float:
        """Both together: what the trial costs."""
        return self.active_joules + self.idle_joules


@dataclass(slots=True)
class Lease:
    """A process tree that works for a trial, with what it has reserved.

    Attributes:
        root: the process that the kernel named.
        reserved_cpus: logical CPUs.
        gpus: fraction by device name.
        opened, closed: on the host's monotonic clock; ``closed`` is None while it is open.
        covered_seconds: by device name: time with readings that could be subtracted.
        revision: of its last change, see Window.
    """

    id: str
    run: str
    trial: str
    root: Root
    reserved_cpus: float
    gpus: Mapping[str, float]
    opened: float
    opened_at: float
    closed: float | None = None
    closed_at: float | None = None
    held_seconds: float = 0.0
    cpu_seconds: float = 0.0
    covered_seconds: dict[str, float] = field(default_factory=dict)
    revision: int = 0

    @property
    def owner(self) -> Owner:
        """Its name in attribution."""
        return Owner("lease", self.id)


@dataclass(slots=True)
class Trial:
    """What an agent knows of one trial: all its leases on this host together, and what dashboards show of it.

    Attributes:
        joules: by component, bucket (``active`` or ``idle``) and source.
        watts: by component: mean power of the last second.
        measured_joules: by component: what ``watts`` was computed from last.
        results: its last reported numbers, by metric.
        open_leases: how many it has now.
        ended: when the last lease was closed, on the monotonic clock.
    """

    config: str = ""
    hardware: str = ""
    joules: dict[tuple[Component, str, str], float] = field(default_factory=dict)
    watts: dict[Component, float] = field(default_factory=dict)
    measured_joules: dict[Component, float] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)
    open_leases: int = 0
    ended: float | None = None

    def energy(self) -> Energy:
        """Over all leases on this host."""
        return Energy(
            sum(joules for (_, bucket, _), joules in self.joules.items() if bucket == "active"),
            sum(joules for (_, bucket, _), joules in self.joules.items() if bucket == "idle"),
        )

    def measure_watts(self, seconds: float) -> None:
        """Mean power since the last call, ``seconds`` ago; 0 if it has no open lease any more."""
        before, self.measured_joules = self.measured_joules, self.joules_by_component()
        self.watts = {
            component: (joules - before.get(component, 0.0)) / seconds if self.open_leases else 0.0
            for component, joules in self.measured_joules.items()
        }

    def joules_by_component(self) -> dict[Component, float]:
        """Active and idle together."""
        total: dict[Component, float] = {}
        for (component, _, _), joules in self.joules.items():
            total[component] = total.get(component, 0.0) + joules
        return total


@dataclass(slots=True)
class Sweep:
    """What a driver says of its sweep; only for the dashboards.

    Attributes:
        grams_per_kwh: intensity of the grid, None if nobody said; ``pue`` multiplies it.
        trials: number of trials by state.
        best: best value so far by metric.
        started_at, ended_at: seconds since the Unix epoch.
    """

    name: str = ""
    owner: str = ""
    grams_per_kwh: float | None = None
    zone: str = ""
    carbon_source: str = ""
    pue: float = 1.0
    trials: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None

    def emissions_grams(self, joules: float) -> float | None:
        """Grams of CO2e, None if the grid is not known."""
        return None if self.grams_per_kwh is None else joules / JOULES_PER_KWH * self.pue * self.grams_per_kwh


class _Key(NamedTuple):
    lease: str
    device: str
    component: Component
    bucket: str
    source: str


@dataclass(slots=True)
class _Row:
    joules: float
    revision: int


class Window:
    """The account of one sweep on one host, counted from zero.

    Every booking carries the window's revision, so that a driver can ask for what has changed since its last poll;
    asking acknowledges everything up to there.

    Attributes:
        id: unique for all time.
        run: the sweep's run id.
        floors: the frozen idle floors, by device name.
        sweep: what the driver says of its sweep, for the dashboards.
        last_seen: the clock when a process of the run was there.
        closed: the clock when it was closed, None while it counts.
    """

    def __init__(self, run: str, host: Host, counters: Mapping[str, Counter], floors: Mapping[str, Floor]) -> None:
        self.id = uuid.uuid4().hex
        self.run = run
        self.floors = floors
        self.opened = self.last_seen = host.clock()
        self.closed: float | None = None
        self.sweep = Sweep()
        self.leases: dict[str, Lease] = {}
        self.trials: dict[str, Trial] = {}
        self.revision = 1
        self._host = host
        self._counters = counters
        self._opening = {
            name: (counter.total_joules, counter.covered_seconds, counter.failures, counter.resets)
            for name, counter in counters.items()
        }
        self._rows: dict[_Key, _Row] = {}
        self._final: list[MeterRow] = []

    def close(self) -> None:
        """Count no further, also not what the meters go on to see; what was counted can still be read."""
        self._final = list(self._meter_rows())
        self.closed = self._host.clock()

    def trial(self, name: str) -> Trial:
        """The trial's account; a new one at zero if there is none."""
        return self.trials.setdefault(name, Trial())

    def book(self, device: Device, shares: Shares, sweeps: int) -> None:
        """Book what one device saw over one interval.

        Args:
            device: the device.
            shares: where its joules went.
            sweeps: how many windows share what serves all of them.
        """
        for bucket, owners in (("active", shares.active), ("idle", shares.idle)):
            for owner, joules in owners.items():
                self._book_owner(device, owner, bucket, joules, sweeps)
        self._add(device, "", "background", shares.background)
        self._add(device, "", "unreserved_idle", shares.unreserved_idle)

    def _book_owner(self, device: Device, owner: Owner, bucket: str, joules: float, sweeps: int) -> None:
        if owner.kind == "lease" and owner.name in self.leases:
            self._add(device, owner.name, bucket, joules)
            account = self.trial(self.leases[owner.name].trial).joules
            key = (device.component, bucket, device.source)
            account[key] = account.get(key, 0.0) + joules
        elif owner.kind == "shared":
            self._add(device, "", "overhead", joules / sweeps)
            self._add(device, "", "other_sweeps", joules - joules / sweeps)
        else:
            self._add(device, "", "overhead" if owner == Owner("run", self.run) else "other_sweeps", joules)

    def _add(self, device: Device, lease: str, bucket: str, joules: float) -> None:
        if joules <= 0:
            return
        key = _Key(lease, device.name, device.component, bucket, device.source)
        row = self._rows.get(key)
        if row is None:
            self._rows[key] = _Row(joules, self.revision)
        else:
            row.joules += joules
            row.revision = self.revision

    def energy_rows(self, since: int) -> list[EnergyRow]:
        """The counters that have changed after revision ``since``."""
        return [
            EnergyRow(self._host.boot_id, self.id, *key, row.joules)
            for key, row in self._rows.items()
            if row.revision > since
        ]

    def meter_rows(self) -> list[MeterRow]:
        """What the devices' own counters saw since the window was opened."""
        return list(self._meter_rows()) if self.closed is None else self._final

    def _meter_rows(self) -> Iterator[MeterRow]:
        end = self._host.clock()
        for name, counter in self._counters.items():
            joules, covered, failures, resets = self._opening[name]
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
                covered_seconds=counter.covered_seconds - covered,
                idle_floor_watts=floor.watts,
                idle_floor_from=floor.known_from,
                resolution_joules=device.resolution_joules,
                failures=counter.failures - failures,
                resets=counter.resets - resets,
            )

    def lease_rows(self, since: int) -> list[LeaseRow]:
        """The leases that have changed after revision ``since``; an open one always has."""
        return [
            self._lease_row(lease) for lease in self.leases.values() if lease.closed is None or lease.revision > since
        ]

    def _lease_row(self, lease: Lease) -> LeaseRow:
        # Only the devices that the trial can use: another trial's GPU says nothing about this one.
        used = [
            name for name, counter in self._counters.items() if counter.device.component != "gpu" or name in lease.gpus
        ]
        covered = sum(lease.covered_seconds.get(name, 0.0) for name in used)
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
            covered_seconds=min(covered / len(used), lease.held_seconds) if used else 0.0,
            cpu_seconds=lease.cpu_seconds,
            reserved_cpus=lease.reserved_cpus,
            gpus=json.dumps(lease.gpus),
        )

    def acknowledge(self, since: int, settled: set[str]) -> None:
        """Forget closed leases that the driver has in its ledger with all that will ever be booked to them.

        Args:
            since: the driver has everything up to this revision.
            settled: leases whose last interval has been booked on every device.
        """
        newest: dict[str, int] = {}
        for key, row in self._rows.items():
            newest[key.lease] = max(newest.get(key.lease, 0), row.revision)
        gone = {
            lease.id
            for lease in self.leases.values()
            if lease.id in settled and max(lease.revision, newest.get(lease.id, 0)) <= since
        }
        if gone:
            self.leases = {name: lease for name, lease in self.leases.items() if name not in gone}
            self._rows = {key: row for key, row in self._rows.items() if key.lease not in gone}


class NodeAccount:
    """The account of the host itself, over all sweeps and also between them, since the agent began.

    Attributes:
        joules: by component and bucket (``trials``, ``overhead``, ``background``, ``unreserved_idle``).
    """

    def __init__(self) -> None:
        self.joules: dict[tuple[Component, str], float] = {}

    def book(self, device: Device, shares: Shares) -> None:
        """Book what one device saw over one interval."""
        for owners in (shares.active, shares.idle):
            for owner, joules in owners.items():
                self._add(device, "trials" if owner.kind == "lease" else "overhead", joules)
        self._add(device, "background", shares.background)
        self._add(device, "unreserved_idle", shares.unreserved_idle)

    def _add(self, device: Device, bucket: str, joules: float) -> None:
        key = (device.component, bucket)
        self.joules[key] = self.joules.get(key, 0.0) + joules
