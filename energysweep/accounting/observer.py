"""What an agent sees: the counters of its meters, and what every owner uses and holds meanwhile. It books nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from energysweep.accounting.accounts import Lease
from energysweep.accounting.attribution import SHARED, Owner, Usage, by_owner, enclosing, joined, layered, member
from energysweep.accounting.counters import Counter
from energysweep.accounting.processes import CpuClocks, Proc, Process, ProcessTable, Root
from energysweep.core.errors import LeaseRefused
from energysweep.core.host import Host
from energysweep.meters import Device, Opened
from energysweep.meters.base import gpu_text

_MOST_NOTED = 8  # GPUs in the notes; their names are the clients'


class Interval(NamedTuple):
    """What one device's counter saw between two readings, and who used and held what meanwhile."""

    device: Device
    joules: float
    usage: Usage


class Member(NamedTuple):
    """A process that works for a run."""

    root: Root
    run: str


@dataclass(slots=True)
class Observed:
    """All that an observer knows, at one moment between two readings: what the next agent's observer goes on from.

    Attributes:
        first_window_at: the clock when the first window was opened (a replay's time 0), None before.
        advanced, read_at: the clock at the last scan and reading.
        busy_seconds: CPU time of the host at the last scan.
        counters: of the devices, as the observer has them.
        members: the processes that work for a run.
        processes: the last scan.
    """

    first_window_at: float | None
    advanced: float
    read_at: float
    busy_seconds: float
    counters: list[Counter]
    members: list[Member]
    processes: list[Process]


class Observer:
    """Reads the meters of one host and watches its processes.

    Args:
        host: the host.
        meters: its open meters.
        own: the agent's own process, which serves all sweeps; None if it is part of a sweep's tree (embedded).
        table: the host's processes; those of its procfs if None.

    Attributes:
        counters: by device name.
        leases: the open leases, by id. Whoever has the observer puts them in and takes them out; before that,
            ``advance`` credits what has been used so far.
        members: the processes that work for a run without a lease; the same holds for them.
        clocks: the CPU time of the processes.
        logical_cpus: of the host.
        advanced, read_at: the clock at the last scan and the last reading.
        busy_seconds: CPU time of the host at the last scan.
        first_window_at: the clock when the first window was opened, None before.
    """

    def __init__(self, host: Host, meters: Opened, own: Root | None, table: ProcessTable | None) -> None:
        self.counters: dict[str, Counter] = {device.name: Counter(device) for device in meters.devices}
        self.leases: dict[str, Lease] = {}
        self.members: set[Member] = set()
        self.first_window_at: float | None = None
        self._host = host
        self._meters = meters
        self._own = own
        self._table = table or Proc(host.proc_root)
        self.clocks = CpuClocks(self._table)
        self.logical_cpus = self._table.logical_cpus
        self.advanced = self.read_at = host.clock()
        self.busy_seconds = self._table.busy_seconds()
        self._around: dict[Owner, Owner] = {}

    def begin(self) -> None:
        """A window is about to be opened; a replayed trace begins with the first one."""
        now = self._host.clock()
        self._meters.start(now)
        if self.first_window_at is None:
            self.first_window_at = now

    def state(self) -> Observed:
        """What the next agent goes on from."""
        return Observed(
            first_window_at=self.first_window_at,
            advanced=self.advanced,
            read_at=self.read_at,
            busy_seconds=self.busy_seconds,
            counters=list(self.counters.values()),
            members=sorted(self.members),
            processes=list((self.clocks.before or {}).values()),
        )

    def can_restore(self, saved: Observed) -> bool:
        """Whether what an earlier agent has saved is of these meters."""
        return not any(_differs(self.counters.get(counter.device.name), counter.device) for counter in saved.counters)

    def restore(self, saved: Observed) -> None:
        """Go on from the last scan and reading of an earlier agent. Leases are not restored here."""
        self._restore_counters(saved)
        self.advanced, self.read_at, self.busy_seconds = saved.advanced, saved.read_at, saved.busy_seconds
        self.clocks.before = {process.pid: process for process in saved.processes}
        self.members = set(saved.members)

    def _restore_counters(self, saved: Observed) -> None:
        self.first_window_at = saved.first_window_at
        if saved.first_window_at is not None:
            self._meters.start(saved.first_window_at)
        for counter in self.counters.values():
            self.counters[counter.device.name] = Counter(counter.device)  # of a new device: it counts from here
        for counter in saved.counters:
            name = counter.device.name
            counter.is_absent = name not in self.counters
            if counter.is_absent:
                counter.lose()
            else:
                counter.device = self.counters[name].device
            self.counters[name] = counter

    def observe(self) -> list[Interval]:
        """Read all meters and bring everything else up to the same moment. Returns the intervals that this ends."""
        now = self._host.clock()
        # The meters first, together with the clock: a scan of many processes takes time, and power x time must fit.
        readings = [reading for meter in self._meters.meters for reading in meter.read()]
        self._advance_to(now)
        self.read_at = now
        self._ask_who_uses_gpus()
        intervals = []
        for reading in readings:
            counter = self.counters[reading.device.name]
            ended = counter.take(reading)
            if ended is not None:
                intervals.append(Interval(counter.device, *ended))
        return intervals

    def advance(self) -> None:
        """Bring everything up to now that is not a meter: CPU clocks, and what the leases hold."""
        self._advance_to(self._host.clock())

    def _advance_to(self, now: float) -> None:
        roots = self._roots()
        cpu_seconds = self.clocks.advance(roots)
        busy = self._table.busy_seconds()
        seconds, self.advanced = now - self.advanced, now
        busy_cpu_seconds, self.busy_seconds = max(0.0, busy - self.busy_seconds), busy
        used_by_lease: dict[str, float] = {}
        for whose, used in cpu_seconds.items():
            for each in whose.all:
                if each.kind == "lease":
                    used_by_lease[each.name] = used_by_lease.get(each.name, 0.0) + used
        for lease in self.leases.values():
            lease.held_seconds += seconds
            lease.cpu_seconds += used_by_lease.get(lease.id, 0.0)
            if lease.in_startup:
                lease.startup_seconds += seconds
        leases = {lease.owner: lease for lease in self.leases.values()}
        around = self._around = self._nesting(roots, leases)
        held_seconds = dict.fromkeys(leases, seconds)
        loading = {lease.owner: used_by_lease.get(lease.id, 0.0) for lease in leases.values() if lease.in_startup}
        reserved = layered({each: seconds * lease.reserved_cpus for each, lease in leases.items()}, around)
        for name, counter in self.counters.items():
            counter.wait(seconds)
            if counter.is_absent:
                continue
            usage = counter.usage
            usage.busy_cpu_seconds += busy_cpu_seconds
            _accumulate(usage.cpu_seconds, cpu_seconds)
            _accumulate(usage.held_seconds, held_seconds)
            _accumulate(usage.startup_seconds, dict.fromkeys(loading, seconds))
            _accumulate(usage.startup_cpu_seconds, loading)
            _accumulate(usage.reserved_cpu_seconds, reserved)
            held = {each: seconds * lease.gpus[name] for each, lease in leases.items() if name in lease.gpus}
            if held:
                _accumulate(usage.gpu_seconds, layered(held, around))
                usage.gpu_held_seconds += seconds

    def _nesting(self, roots: Mapping[Root, Owner], leases: Collection[Owner]) -> dict[Owner, Owner]:
        """By lease the next one around it. A tree whose root has ended since the last scan is where it was then."""
        known = {inner: outer for inner, outer in self._around.items() if inner in leases and outer in leases}
        owner_of = self.clocks.owners(roots)
        found = enclosing(owner for root in roots if (owner := owner_of(root.pid)) is not None)
        return known | enclosing(roots.values()) | found

    def _roots(self) -> dict[Root, Owner]:
        claims: dict[Root, list[Owner]] = {}
        oldest_first = sorted(self.leases.values(), key=lambda lease: lease.opened)
        for lease in oldest_first[::-1]:  # the newest is the innermost
            claims.setdefault(lease.root, []).append(lease.owner)
        # The process of a worker is a member of its run and, while it works for a trial, the lease's.
        for each in sorted(self.members):
            claims.setdefault(each.root, []).append(member(each.run))
        roots = {self._own: SHARED} if self._own else {}
        roots.update((root, joined(owners)) for root, owners in claims.items())
        return roots

    def _ask_who_uses_gpus(self) -> None:
        """Note whose processes are on the GPUs that leases hold; of shared ones their use since the last reading."""
        held = {name: counter for name, counter in self.counters.items() if counter.usage.gpu_seconds}
        if not held:
            return
        owner_of = self.clocks.owners(self._roots())

        def owners(by_pid: Mapping[int, float] | None) -> dict[Owner | None, float] | None:
            return by_owner(by_pid, self.clocks.sees, owner_of)

        for meter in self._meters.gpu_details:
            for name, pids in meter.processes(held).items():
                held[name].usage.add_presence(owners(None if pids is None else dict.fromkeys(pids, 1.0)))
        shared = [
            name for name, counter in held.items() if counter.usage.is_gpu_shared or counter.device.is_partitioned
        ]
        for meter in self._meters.gpu_details if shared else ():
            for name, by_pid in meter.process_utilisation().items():
                if name in shared:
                    held[name].usage.add_utilisation(owners(by_pid))

    def held_gpus(self, gpus: Mapping[str, float]) -> dict[str, float]:
        """Fractions of GPUs by device, as ``Opened.held``. What is no device here is held, and nobody measures it."""
        return self._meters.held({name: fraction for name, fraction in gpus.items() if fraction > 0})

    def pending_leases(self) -> set[str]:
        """The leases that held something in an interval that has not ended yet: more may be booked to them."""
        return {owner.name for counter in self.counters.values() for owner in counter.usage.held_seconds}

    def notes(self) -> str:
        """What the meters are, and what is wrong with them now; GPUs that leases hold and no meter counts."""
        measured = {name for name, counter in self.counters.items() if not counter.is_absent}
        unmeasured = sorted({name for lease in self.leases.values() for name in lease.gpus.keys() - measured})
        said = [f"a trial holds {gpu_text(name)}, which no meter here counts" for name in unmeasured[:_MOST_NOTED]]
        return "; ".join([self._meters.summary(), *said])


def _accumulate(sums: dict[Owner, float], more: Mapping[Owner, float]) -> None:
    for owner, amount in more.items():
        sums[owner] = sums.get(owner, 0.0) + amount


def _differs(counter: Counter | None, saved: Device) -> bool:
    """Whether a device of this agent has a saved one's name, and is another."""
    return counter is not None and (counter.device.component, counter.device.source) != (saved.component, saved.source)


# Presence: which connections make a process a member of a run, and hold its leases -----------------------------------

REJOIN_SECONDS = 60.0  # how long a restarted agent waits for those that it knows to be back

Speaker = int | Member
"""A connection by its number, later ones have higher ones; or a process, whoever speaks for it."""


class Presence:
    """Who is there for whom.

    Membership and leases belong to connections, of which a process may have several: it is a member of a run as long as
    one of them says so, and a lease is closed by the end of the connection that has opened it last, and of no other.

    Args:
        observer: its members are kept here.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._members: dict[Speaker, Member] = {}
        self._holders: dict[str, int] = {}  # the connection that has each open lease
        self._awaited: set[str | Member] = set()
        self._awaited_until = -math.inf

    def join(self, root: Root, run: str, speaker: int | None) -> None:
        """A process is a member of a run."""
        member = Member(root, run)
        self._members.pop(member, None)  # whom an earlier agent has known is back
        self._awaited.discard(member)
        self._members[member if speaker is None else speaker] = member
        self._tell()

    def leave(self, is_meant: Callable[[Speaker, Member], bool]) -> None:
        """These members are none any more."""
        self._members = {speaker: each for speaker, each in self._members.items() if not is_meant(speaker, each)}
        self._tell()

    def _tell(self) -> None:
        self._observer.members = set(self._members.values())

    def hold(self, lease: str, speaker: int | None) -> None:
        """A connection has the lease from now on.

        Raises:
            LeaseRefused: see ``check_holder``.
        """
        self.check_holder(lease, speaker)
        if speaker is not None:
            self._holders[lease] = speaker
        self._awaited.discard(lease)

    def check_holder(self, lease: str, speaker: int | None) -> None:
        """Whether a connection may speak for a lease.

        Raises:
            LeaseRefused: a later one has it. What a client said before it lost patience and connected anew may be read
                after what it says since.
        """
        holder = self._holders.get(lease)
        if speaker is not None and holder is not None and holder > speaker:
            raise LeaseRefused(f"lease {lease} has gone on to a later connection")

    def holds(self, speaker: Speaker, lease: str) -> bool:
        """Whether it is this connection that has the lease."""
        return self._holders.get(lease) == speaker

    def release(self, lease: str) -> None:
        """The lease is closed."""
        self._holders.pop(lease, None)

    def await_all(self, now: float) -> None:
        """A restarted agent knows members and leases: they have a minute to come back."""
        self._members = {member: member for member in self._observer.members}
        self._awaited = {*self._observer.leases, *self._observer.members}
        self._awaited_until = now + REJOIN_SECONDS

    def missing(self, now: float) -> set[str | Member]:
        """Those who have not come back in time; told once."""
        if not self._awaited or now < self._awaited_until:
            return set()
        missing, self._awaited = self._awaited, set()
        return missing
