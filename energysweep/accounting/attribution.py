"""Who used the energy of one device over one interval, also if several claim it: pure functions of what was measured.

Every joule goes to exactly one place: to an owner as ``active`` or ``idle``, or to nobody as ``background`` (active) or
``unreserved_idle``. The rules, and why they are what they are:

* The idle part is the frozen floor over the interval, at most all of it. A lease pays for the part of the floor that it
  keeps reserved, whether it works or not; what nobody reserved is ``unreserved_idle``.
* The rest of a CPU's or DRAM's energy follows CPU time. Hyperthreads count like cores, and the packages of a host are
  pooled: the kernel does not tell which package a second was spent on. Stated limits.
* A GPU held by one lease is that lease's, while the driver sees nobody else's process there. Shared, it follows SM
  utilisation per process; where the driver does not tell that, the fractions that were reserved, normalised to those
  who are there. A claim alone is worth nothing beside processes: if only others' are there, it is theirs.
* A GPU in MIG mode is always shared. Its floor is paid for by the part of the board that a lease holds. The rest
  follows the parts whose instances have processes, whoever's they are: no driver tells the utilisation there.
* What a lease gets is then divided between its start-up and its work: what followed CPU time by CPU time, all else by
  time. Leases are compared by their work alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from energysweep.meters.base import Device


class Owner(NamedTuple):
    """Whose processes they are.

    Attributes:
        kind: ``lease``; ``run`` for a sweep's own processes without a lease (driver, workers between trials);
            ``shared`` for what serves every sweep of the host (the agent).
        name: the lease's id, or empty.
        run: the run's id, the lease's run, or empty.
        also: others whose they are as well, see ``joined``; leases first, at most one of each run.
    """

    kind: Literal["lease", "run", "shared"]
    name: str = ""
    run: str = ""
    also: tuple[Owner, ...] = ()

    @property
    def all(self) -> tuple[Owner, ...]:
        """Each of those whose they are."""
        return (self._replace(also=()), *self.also) if self.also else (self,)

    def of(self, run: str) -> Owner | None:
        """Which of these is of a run; None if none is."""
        return next((each for each in self.all if each.run == run), None)


def member(run: str) -> Owner:
    """A run's own processes without a lease."""
    return Owner("run", run=run)


SHARED = Owner("shared")


@dataclass(slots=True)
class Usage:
    """What was used and held on a host between two good readings of a device. Grows until it is attributed.

    Attributes:
        seconds: length of the interval.
        busy_cpu_seconds: CPU time of the whole host.
        cpu_seconds: CPU time by owner.
        reserved_cpu_seconds: logical CPUs reserved x seconds, by lease.
        gpu_seconds: fraction of this device held x seconds, by lease (empty for other devices).
        gpu_held_seconds: how long anybody held this device.
        held_seconds: how long each lease was open.
        startup_seconds, startup_cpu_seconds: of ``held_seconds`` and ``cpu_seconds``, what was start-up, by lease.
        gpu_utilisation: SM utilisation by owner (None as a key: processes of nobody), summed over the readings; None if
            the driver did not tell it at all.
        gpu_present: in how many readings the driver saw processes of each owner (None as a key: of nobody) on this
            device, each process counted; None if it did not tell. Not of partitioned ones.
    """

    seconds: float = 0.0
    busy_cpu_seconds: float = 0.0
    cpu_seconds: dict[Owner, float] = field(default_factory=dict)
    reserved_cpu_seconds: dict[Owner, float] = field(default_factory=dict)
    gpu_seconds: dict[Owner, float] = field(default_factory=dict)
    gpu_held_seconds: float = 0.0
    held_seconds: dict[Owner, float] = field(default_factory=dict)
    startup_seconds: dict[Owner, float] = field(default_factory=dict)
    startup_cpu_seconds: dict[Owner, float] = field(default_factory=dict)
    gpu_utilisation: dict[Owner | None, float] | None = None
    gpu_present: dict[Owner | None, float] | None = None

    def add_utilisation(self, percent_by_owner: Mapping[Owner | None, float] | None) -> None:
        """One more answer of the driver; None says nothing."""
        self.gpu_utilisation = _added(self.gpu_utilisation, percent_by_owner)

    def add_presence(self, processes_by_owner: Mapping[Owner | None, float] | None) -> None:
        """One more answer of the driver, who has processes there; None says nothing."""
        self.gpu_present = _added(self.gpu_present, processes_by_owner)

    @property
    def is_gpu_shared(self) -> bool:
        """Leases that are not one in the other held this device, or the driver has seen processes of others there."""
        if not self.gpu_seconds:
            return False
        always = set.intersection(*(set(owner.all) for owner in self.gpu_seconds))
        return not always or any(owner is None or not always & {*owner.all} for owner in self.gpu_present or {})


def _added(
    sums: dict[Owner | None, float] | None, more: Mapping[Owner | None, float] | None
) -> dict[Owner | None, float] | None:
    if more is None:
        return sums
    sums = {} if sums is None else sums
    for owner, amount in more.items():
        sums[owner] = sums.get(owner, 0.0) + amount
    return sums


def by_owner(
    amount_by_pid: Mapping[int, float] | None,
    is_visible: Callable[[int], bool],
    owner: Callable[[int], Owner | None],
) -> dict[Owner | None, float] | None:
    """Whose processes used a GPU, or are there; None if that cannot be told.

    A driver names processes as the host does. An agent in a pid namespace of its own does not see some of them (or all
    are 0): then a stranger could not be told from a lease's own process, and the part that is seen would be all.

    Args:
        amount_by_pid: what the driver says, None if nothing.
        is_visible: whether the agent sees this process.
        owner: whose process it is, None if nobody's.
    """
    if amount_by_pid is None or not all(is_visible(pid) for pid in amount_by_pid):
        return None
    amounts: dict[Owner | None, float] = {}
    for pid, amount in amount_by_pid.items():
        amounts[owner(pid)] = amounts.get(owner(pid), 0.0) + amount
    return amounts


class Shares(NamedTuple):
    """Where the joules of one device and one interval went; all fields together are what its counter saw."""

    active: dict[Owner, float]
    idle: dict[Owner, float]
    background: float
    unreserved_idle: float

    @property
    def joules(self) -> float:
        """All of them."""
        return sum(self.active.values()) + sum(self.idle.values()) + self.background + self.unreserved_idle


def attribute(device: Device, joules: float, floor_watts: float | None, usage: Usage, logical_cpus: int) -> Shares:
    """Split what a device's counter saw among those who were there.

    Args:
        device: the device.
        joules: what its counter moved by.
        floor_watts: its idle floor; None if it is not known, then all energy counts as active.
        usage: what was used and held meanwhile.
        logical_cpus: of the host.
    """
    idle_joules = min((floor_watts or 0.0) * usage.seconds, joules)
    active_joules = joules - idle_joules
    if device.component == "gpu":
        idle = _split_gpu_floor(device, idle_joules, usage)
        active = _split_gpu(device, active_joules, usage)
    else:
        reserved = usage.reserved_cpu_seconds
        idle = _split(idle_joules, reserved, whole=max(logical_cpus * usage.seconds, sum(reserved.values())))
        spent = usage.cpu_seconds
        active = _split(active_joules, spent, whole=max(usage.busy_cpu_seconds, sum(spent.values())))
    return Shares(
        active,
        idle,
        background=max(0.0, active_joules - sum(active.values())),
        unreserved_idle=max(0.0, idle_joules - sum(idle.values())),
    )


class StartupParts(NamedTuple):
    """Which part of a lease's active energy and of its idle share was start-up."""

    active: float
    idle: float


def startup_parts(device: Device, usage: Usage) -> dict[Owner, StartupParts]:
    """By lease that was in start-up: what followed CPU time is divided by CPU time, all else by time."""
    parts = {}
    for lease, seconds in usage.startup_seconds.items():
        of_time = of_work = _part(seconds, usage.held_seconds[lease])
        if device.component != "gpu":
            used = sum(spent for owner, spent in usage.cpu_seconds.items() if lease in owner.all)
            of_work = _part(usage.startup_cpu_seconds[lease], used)
        parts[lease] = StartupParts(of_work, of_time)
    return parts


def _part(amount: float, whole: float) -> float:
    return min(1.0, amount / whole) if whole > 0 else 0.0


def _held_part(usage: Usage) -> float:
    """The part of the interval in which a lease held this GPU."""
    return min(1.0, usage.gpu_held_seconds / usage.seconds) if usage.seconds > 0 else 1.0


def _split_gpu_floor(device: Device, joules: float, usage: Usage) -> dict[Owner, float]:
    held = sum(usage.gpu_seconds.values())
    if device.is_partitioned:
        return _split(joules, usage.gpu_seconds, whole=max(usage.seconds, held))
    return _split(joules * _held_part(usage), usage.gpu_seconds, whole=held)


def _split_gpu(device: Device, joules: float, usage: Usage) -> dict[Owner, float]:
    holders, utilisation, present = usage.gpu_seconds, usage.gpu_utilisation or {}, usage.gpu_present or {}
    is_shared = usage.is_gpu_shared or (device.is_partitioned and len(holders) > 0)
    if is_shared and sum(utilisation.values()) > 0:
        # Also to owners who hold no part of it: the driver has seen their processes.
        return _split_by_processes(joules, utilisation)
    if holders and present:
        seen = {each for owner in present if owner is not None for each in owner.all}
        holders = {owner: seconds for owner, seconds in holders.items() if not seen.isdisjoint(owner.all)}
        if not holders:
            return _split_by_processes(joules, present)
    return _split(joules, holders, whole=sum(holders.values()))


def _split_by_processes(joules: float, weights: Mapping[Owner | None, float]) -> dict[Owner, float]:
    """What weighs for nobody is background."""
    owners = {owner: weight for owner, weight in weights.items() if owner is not None}
    return _split(joules, owners, sum(weights.values()))


def _split(joules: float, weights: Mapping[Owner, float], whole: float) -> dict[Owner, float]:
    if whole <= 0:
        return {}
    return {owner: joules * weight / whole for owner, weight in weights.items() if weight > 0}


# Whose a process tree is where several claim it: a block inside a trial, nested blocks, blocks in several threads ----
#
# One rule: whoever opens a lease sees what its tree draws while the lease is open, all of it. A lease that another run
# opens inside the tree, deeper down or later on the same process, takes nothing away: what is drawn there belongs to
# both. Each run books it once in its own window, the host once in its account. Of two leases of one run the inner one
# counts, because a window books a joule once. A run's processes without a lease (its driver, its workers between
# trials) are what no deeper process of another run's is; where the same process speaks for several runs, they share it.

_MOST_NESTED = 64  # leases around a process that count; those further out lose what is deeper


def joined(owners: Iterable[Owner]) -> Owner:
    """One owner that stands for several, the innermost first."""
    leases: dict[str, Owner] = {}
    others: list[Owner] = []
    for owner in owners:
        if owner.kind == "lease":
            leases.setdefault(owner.run, owner)
        elif owner not in others:
            others.append(owner)
    counted = list(leases.values())[:_MOST_NESTED]
    first, *also = [*counted, *(each for each in others if each.run not in leases)]
    return first._replace(also=tuple(also))


def inside(inner: Owner, outer: Owner | None) -> Owner:
    """Whose the processes of a claimed tree are.

    Args:
        inner: who claims this tree.
        outer: whose its processes would be otherwise; None: nobody's.
    """
    if outer is None or inner.kind == "shared":
        return inner
    leases = [each for each in outer.all if each.kind == "lease"]
    return joined([*inner.all, *leases]) if leases else inner


def enclosing(owners: Iterable[Owner]) -> dict[Owner, Owner]:
    """By lease the next one around it.

    Args:
        owners: whose the root of each lease's tree is.
    """
    around: dict[Owner, Owner] = {}
    for owner in owners:
        leases = [each for each in owner.all if each.kind == "lease"]
        for inner, outer in itertools.pairwise(leases):
            around.setdefault(inner, outer)
    return around


def layered(amounts: Mapping[Owner, float], around: Mapping[Owner, Owner]) -> dict[Owner, float]:
    """What leases hold, where one may be inside another: a CPU or GPU that both hold is held once, by both.

    Args:
        amounts: what each lease holds.
        around: by lease the next one around it, see ``enclosing``.

    Returns:
        By owner; an owner of several leases holds what all of these do.
    """
    if not around:
        return dict(amounts)
    held: dict[Owner, float] = {}
    below: dict[Owner, dict[Owner, float]] = {}
    for lease in _innermost_first(amounts, around):
        parts = below.pop(lease, {})
        common = {owner: part for owner, part in parts.items() if all(each.run != lease.run for each in owner.all)}
        amount, of_common = amounts.get(lease, 0.0), sum(common.values())
        share = min(1.0, amount / of_common) if of_common > 0 else 0.0
        above = held if lease not in around else below.setdefault(around[lease], {})
        _add(above, lease, max(0.0, amount - of_common))
        for owner, part in parts.items():
            shared = part * share if owner in common else 0.0
            _add(above, joined([*owner.all, lease]), shared)
            _add(above, owner, part - shared)
    return held


def _add(sums: dict[Owner, float], owner: Owner, amount: float) -> None:
    if amount > 0:
        sums[owner] = sums.get(owner, 0.0) + amount


def _innermost_first(leases: Iterable[Owner], around: Mapping[Owner, Owner]) -> Iterator[Owner]:
    depths: dict[Owner, int] = {}
    for lease in [*leases, *around.values()]:
        path = []
        at: Owner | None = lease
        while at is not None and at not in depths:
            path.append(at)
            at = around.get(at)
        depth = depths[at] if at is not None else 0
        for each in reversed(path):
            depth += 1
            depths[each] = depth
    return iter(sorted(depths, key=lambda each: -depths[each]))
