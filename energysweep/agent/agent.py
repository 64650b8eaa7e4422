"""The agent of one host: reads the meters, watches the processes, books every joule. No sockets, no threads of its own.

``server`` lets programs talk to it and calls ``tick`` once a second.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from energysweep.agent.accounts import UNKNOWN_FLOOR, Energy, Lease, Trial
from energysweep.agent.attribution import SHARED, Owner, Usage, attribute, utilisation_by_owner
from energysweep.agent.counters import Counter
from energysweep.agent.floors import FloorMemory, freeze_floors
from energysweep.agent.processes import CpuClocks, Proc, ProcessTable, Root
from energysweep.agent.state import Address, Saved, StateFile
from energysweep.agent.windows import NodeAccount, Window
from energysweep.errors import LeaseRefused
from energysweep.host import Host
from energysweep.meters import Component, Device, Opened

READ_AT_MOST_EVERY_SECONDS = 0.1  # below the counters' own resolution a reading says nothing
SCAN_AT_MOST_EVERY_SECONDS = 0.002  # a trial that opens where another just closed needs no second scan
SERIES_SECONDS = 300.0  # how long an ended trial's series stay: several scrapes, also at one a minute
ABANDONED_SECONDS = 60.0  # how long a sweep without any process keeps its window: its driver may come back
REJOIN_SECONDS = 60.0  # how long a restarted agent waits for those that it knows to be back
SAVE_AT_MOST_EVERY_SECONDS = 0.1
_SAVE_IDLE_EVERY_SECONDS = 60.0
_SAVE_PART = 0.05  # of the time goes into saving, at most
_QUIET_SECONDS = 2.0
_QUIET_LOAD = 0.1  # of all CPUs

log = logging.getLogger(__name__)


class Agent:
    """Books the energy of one host. Thread-safe.

    Args:
        host: the host.
        meters: its open meters.
        kinds: the kinds of meters that were asked for.
        floors: what is remembered of idle floors.
        own: the agent's own process, which serves all sweeps; None if it is part of a sweep's tree (embedded).
        table: the host's processes; those of its procfs if None.
        state: where it keeps what the next agent goes on with; None keeps nothing.

    Attributes:
        address: where its server is found; None if it has none.
    """

    def __init__(
        self,
        host: Host,
        meters: Opened,
        kinds: Sequence[str] = ("auto",),
        floors: FloorMemory | None = None,
        own: Root | None = None,
        table: ProcessTable | None = None,
        state: StateFile | None = None,
    ) -> None:
        self.host = host
        self.kinds = kinds
        self.windows: dict[str, Window] = {}
        self.node = NodeAccount()
        self.counters: dict[str, Counter] = {device.name: Counter(device) for device in meters.devices}
        self.node_watts: dict[str, float] = {}
        self.tick_seconds = 0.0
        self.tick_failures = 0
        self.lock = threading.RLock()
        self._meters = meters
        self._floors = floors or FloorMemory(None)
        self._table = table or Proc(host.proc_root)
        self._clocks = CpuClocks(self._table)
        self._logical_cpus = self._table.logical_cpus
        self._own = own
        self._state = state
        self.address: Address | None = None
        self._members: dict[Root, Owner] = {}
        self._open: dict[str, Lease] = {}
        self._advanced = self._read_at = host.clock()
        self._busy = self._table.busy_seconds()
        self._quiet_watts: dict[str, float] = {}
        self._before_tick: dict[str, float] = {}
        self._ticked = self._advanced
        self._first_window_at: float | None = None
        self._awaited: set[str | Root] = set()
        self._awaited_until = -math.inf
        self._absent: set[str] = set()
        self._has_ended = False
        self._changed = False
        self._saved_at, self._save_seconds = -math.inf, 0.0
        self._observe()

    # A restart -------------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the state that an earlier agent of this boot has left, and book the gap as one interval.

        Leases and members whose processes live stay for a minute, until they have come back.
        """
        with self.lock:
            saved = self._state.load(self.host.boot_id) if self._state is not None else None
            if saved is None:
                return
            if any(_differs(self.counters.get(counter.device.name), counter.device) for counter in saved.counters):
                log.warning("the state of an earlier agent is of other meters: ignored")
                return
            self._restore_counters(saved)
            self._restore_books(saved)
            self._observe()
            self._changed = True

    def _restore_counters(self, saved: Saved) -> None:
        self._first_window_at = saved.first_window_at
        if saved.first_window_at is not None:
            self._meters.start(saved.first_window_at)
        for counter in self.counters.values():
            self.counters[counter.device.name] = Counter(counter.device)  # of a new device: it counts from here
        for counter in saved.counters:
            name = counter.device.name
            if name in self.counters:
                counter.device = self.counters[name].device
            else:
                self._absent.add(name)
            self.counters[name] = counter
        self.node.joules = saved.node_joules
        self._quiet_watts, self._before_tick, self._ticked = saved.quiet_watts, saved.before_tick, saved.ticked

    def _restore_books(self, saved: Saved) -> None:
        now = self.host.clock()
        self.address = saved.address
        self._advanced, self._read_at, self._busy = saved.advanced, saved.read_at, saved.busy_seconds
        self._clocks.before = {process.pid: process for process in saved.processes}
        self._members = saved.members
        for kept in saved.windows:
            window = self.windows[kept.run] = Window.restored(kept, self.host, self.counters)
            window.last_seen = now
            self._open.update((lease.id, lease) for lease in window.leases.values() if lease.closed is None)
        self._awaited = {*self._open, *self._members}
        self._awaited_until = now + REJOIN_SECONDS

    def save(self) -> None:
        """Write down what the next agent has to know, if anything changed: at most ten times a second."""
        with self.lock:
            pause = max(SAVE_AT_MOST_EVERY_SECONDS, self._save_seconds / _SAVE_PART)
            if self._changed and self.host.clock() - self._saved_at >= pause:
                self._save()

    def end(self, *, keep_state: bool) -> None:
        """The last reading. From now on nothing is told to drivers.

        Args:
            keep_state: another agent may go on from here.
        """
        with self.lock:
            if self._state is None:
                return
            self._observe()
            if keep_state:
                self._save()
            else:
                self._state.remove()
            self._state = None
            self._has_ended = True

    def _save(self) -> None:
        if self._state is None:
            return
        self._saved_at = self.host.clock()
        self._changed = False
        self._state.save(
            Saved(
                boot_id=self.host.boot_id,
                first_window_at=self._first_window_at,
                advanced=self._advanced,
                read_at=self._read_at,
                ticked=self._ticked,
                busy_seconds=self._busy,
                counters=list(self.counters.values()),
                node_joules=self.node.joules,
                windows=[window.saved() for window in self.windows.values()],
                members=self._members,
                before_tick=self._before_tick,
                quiet_watts=self._quiet_watts,
                processes=list((self._clocks.before or {}).values()),
                address=self.address,
            )
        )
        self._save_seconds = self.host.clock() - self._saved_at

    # Windows and members -------------------------------------------------------------------------------------------

    def open_window(self, run: str, idle_power_watts: Mapping[Component, float] | None = None) -> Window:
        """The window of a run: a new one that counts from zero, or the one that is open.

        Args:
            run: the run id.
            idle_power_watts: idle floors that the user gave.
        """
        with self.lock:
            window = self.windows.get(run)
            if window is not None and window.closed is None:
                return window
            self._meters.start(self.host.clock())  # a replayed trace begins with the first window
            if self._first_window_at is None:
                self._first_window_at = self.host.clock()
            self._observe()
            devices = [counter.device for counter in self.counters.values()]
            floors = freeze_floors(devices, idle_power_watts or {}, self._floors, self._quiet_watts)
            window = Window(run, self.host, self.counters, floors)
            self.windows[run] = window
            self._note_change()
            return window

    def close_window(self, run: str) -> None:
        """Close a run's leases and its window, after a last reading. The window can still be read."""
        with self.lock:
            window = self.windows.get(run)
            if window is None or window.closed is not None:
                return
            for lease in [lease for lease in self._open.values() if lease.run == run]:
                self.close_lease(lease.run, lease.id)
            self._observe()
            window.close()
            self._members = {root: owner for root, owner in self._members.items() if owner != Owner("run", run)}
            self._note_change()

    def join(self, run: str, root: Root) -> None:
        """A process of a run's own (its driver, or a worker): what it does without a lease is the run's overhead."""
        with self.lock:
            self._advance(self.host.clock())
            self._members[root] = Owner("run", run)
            self._awaited.discard(root)

    def leave(self, root: Root) -> None:
        """A process of a run has gone."""
        with self.lock:
            self._advance(self.host.clock())
            self._members.pop(root, None)

    # Leases ----------------------------------------------------------------------------------------------------------

    def open_lease(
        self,
        run: str,
        lease_id: str,
        trial: str,
        root: Root,
        cpus: float,
        gpus: Mapping[str, float],
        config: str = "",
        hardware: str = "",
    ) -> Energy:
        """From now on the process tree works for the trial.

        Args:
            run: a run with an open window.
            lease_id: unique; chosen by the client, so that a repeated request opens one lease, and that a client whose
                agent was restarted finds its lease again.
            trial: the trial's id.
            root: the root of the process tree.
            cpus: reserved logical CPUs.
            gpus: fractions of GPUs, by name, UUID or index.
            config, hardware: short readable texts for the dashboards.

        Returns:
            What earlier leases of this trial on this host have cost.

        Raises:
            LeaseRefused: no window, no such GPU, or the lease is another process's or trial's, or closed.
        """
        with self.lock:
            window = self.windows.get(run)
            if window is None or window.closed is not None:
                raise LeaseRefused(f"run {run!r} has no open window on this host")
            account = window.trial(trial)
            if lease_id in window.leases:
                self._check_same(window.leases[lease_id], trial, root)
                self._awaited.discard(lease_id)
                return account.energy()
            held = self._held_gpus(gpus)
            now = self.host.clock()
            if now - self._read_at >= READ_AT_MOST_EVERY_SECONDS:
                self._observe()
            elif now - self._advanced >= SCAN_AT_MOST_EVERY_SECONDS:
                self._advance(now)
            lease = Lease(
                lease_id, run, trial, root, cpus, held, opened=self.host.clock(), opened_at=self.host.wall_clock()
            )
            lease.revision = window.revision
            window.leases[lease_id] = lease
            self._open[lease_id] = lease
            account.config, account.hardware = config or account.config, hardware or account.hardware
            account.open_leases += 1
            account.ended = None
            for counter in self.counters.values():
                device = counter.device
                if device.component != "gpu" or device.name in held:
                    for bucket in ("active", "idle"):  # a series begins at 0, or its first joules are lost to rate()
                        account.joules.setdefault((device.component, bucket, device.source), 0.0)
            self._note_change()
            return account.energy()

    def report(self, lease_id: str, results: Mapping[str, float] | None = None) -> Energy:
        """What the lease's trial has cost until now, over all its leases on this host.

        Raises:
            LeaseRefused: there is no such open lease.
        """
        with self.lock:
            lease = self._open.get(lease_id)
            if lease is None:
                raise LeaseRefused(f"lease {lease_id} is not open")
            if self.host.clock() - self._read_at >= READ_AT_MOST_EVERY_SECONDS:
                self._observe()
            account = self.windows[lease.run].trial(lease.trial)
            account.results.update(results or {})
            self._note_change()
            return account.energy()

    def close_lease(self, run: str, lease_id: str) -> Energy:
        """Take a last reading and close the lease; closing it again only tells what the trial has cost.

        Raises:
            LeaseRefused: the run never had such a lease, or its driver has settled it.
        """
        with self.lock:
            window = self.windows.get(run)
            if window is None or lease_id not in window.leases:
                raise LeaseRefused(f"run {run!r} has no lease {lease_id}")
            lease = window.leases[lease_id]
            account = window.trial(lease.trial)
            if lease.closed is not None:
                return account.energy()
            self._observe()
            window.revision += 1
            lease.closed, lease.closed_at = self.host.clock(), self.host.wall_clock()
            lease.revision = window.revision
            del self._open[lease_id]
            account.open_leases -= 1
            if account.open_leases == 0:
                account.ended = lease.closed
                account.measure_watts(1.0)  # a later lease begins from here; nothing works now, so it is 0 W
            self._note_change()
            return account.energy()

    def close_trial(self, run: str, trial: str) -> None:
        """Close all leases of a trial: its driver knows that it has ended before its worker does."""
        with self.lock:
            for lease in [lease for lease in self._open.values() if (lease.run, lease.trial) == (run, trial)]:
                self.close_lease(lease.run, lease.id)

    def seconds_since_reading(self) -> float:
        """How old the newest reading is."""
        return self.host.clock() - self._read_at

    @property
    def notes(self) -> str:
        """What the meters are, and what is wrong with them now."""
        return self._meters.summary()

    @property
    def open_leases(self) -> int:
        """How many leases are open now."""
        return len(self._open)

    @property
    def open_windows(self) -> int:
        """How many sweeps count on this host now."""
        return sum(1 for window in self.windows.values() if window.closed is None)

    # Time passes -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: read, book, and let go of what has ended."""
        with self.lock:
            began = self.host.clock()
            self._observe()
            self._close_abandoned()
            for lease in [lease for lease in self._open.values() if not self._clocks.alive(lease.root)]:
                self.close_lease(lease.run, lease.id)  # its connection may live on in a forked child
            self._dismiss_awaited()
            self._measure_watts()
            for window in self.windows.values():
                self._end_series(window)
            if self.open_windows or self._changed or began - self._saved_at >= _SAVE_IDLE_EVERY_SECONDS:
                self._save()
            self.tick_seconds = self.host.clock() - began

    def measure_quiet(self, sleep: Callable[[float], object], without: Collection[Component] = ()) -> None:
        """Measure the idle floors over two seconds, if they are not known better and the host is quiet.

        Args:
            sleep: ``time.sleep``, or the test's.
            without: components whose floor the user gave.
        """
        unknown = [
            counter
            for counter in self.counters.values()
            if counter.device.component not in without
            and counter.device.idle_watts is None
            and self._floors.lowest_watts(counter.device) is None
        ]
        if not unknown or self._open:
            return
        self.tick()
        before = {counter.device.name: counter.total_joules for counter in unknown}
        busy, since = self._busy, self._advanced
        sleep(_QUIET_SECONDS)
        with self.lock:
            self._observe()
            seconds = self._advanced - since
            if self._open or self._busy - busy > _QUIET_LOAD * self._logical_cpus * seconds:
                return
            # A counter that stands still says nothing of the floor.
            self._quiet_watts = {
                name: joules / seconds
                for name, joules in ((c.device.name, c.total_joules - before[c.device.name]) for c in unknown)
                if joules > 0
            }

    def totals(self, run: str, since: int) -> dict[str, Any]:
        """What a driver has to merge into its ledger; asking with ``since`` acknowledges everything up to there.

        Args:
            run: the run.
            since: the revision of the last answer that is safe in the ledger, 0 for everything.

        Returns:
            JSON: ``revision``, how old the newest reading is, and the rows of records.py as lists: ``energy``,
            ``meters``, ``leases``.

        Raises:
            LeaseRefused: the run has no window here.
        """
        with self.lock:
            window = self.windows.get(run)
            if window is None:
                raise LeaseRefused(f"run {run!r} has no window on this host")
            if self._has_ended:  # what is not in the saved state would be booked again, differently
                raise LeaseRefused("the agent has ended")
            window.acknowledge(since, settled=self._settled(window))
            answer = {
                "host": self.host.boot_id,
                "node": self.host.node,
                "notes": self.notes,
                "window": window.id,
                "revision": window.revision,
                "seconds_since_reading": self.seconds_since_reading(),
                "energy": window.energy_rows(since),
                "meters": window.meter_rows(),
                "leases": window.lease_rows(since),
            }
            window.revision += 1  # what is booked from here on is newer than this answer
            if self._changed:  # an agent that is started again may not know less than it has told
                self._save()
            return answer

    # Inside --------------------------------------------------------------------------------------------------------

    def _note_change(self) -> None:
        self._changed = True
        self.save()

    @staticmethod
    def _check_same(lease: Lease, trial: str, root: Root) -> None:
        if (lease.trial, lease.root) != (trial, root):
            raise LeaseRefused(f"lease {lease.id} is of another trial or process")

    def _dismiss_awaited(self) -> None:
        """Let go of those whom a restarted agent has waited for, and who have not come back."""
        if not self._awaited or self.host.clock() < self._awaited_until:
            return
        for lease in [lease for lease in self._open.values() if lease.id in self._awaited]:
            self.close_lease(lease.run, lease.id)
        self._members = {root: owner for root, owner in self._members.items() if root not in self._awaited}
        self._awaited = set()

    def _held_gpus(self, gpus: Mapping[str, float]) -> dict[str, float]:
        """Fractions of GPUs by device: a MIG instance is a part of its board."""
        if not any(device.component == "gpu" for device in self._meters.devices):
            return dict(gpus)  # no meter for GPUs here: the lease holds them, nothing is measured
        held: dict[str, float] = {}
        for name, fraction in gpus.items():
            gpu = self._meters.gpu(name)
            if gpu is None:
                known = [device.name for device in self._meters.devices if device.component == "gpu"]
                raise LeaseRefused(f"this host has no GPU {name!r}; it has {', '.join(known)}")
            held[gpu.device] = held.get(gpu.device, 0.0) + fraction * gpu.part
        return held

    def _settled(self, window: Window) -> set[str]:
        """Leases to which nothing more will be booked: closed, and in no interval that a failed reading left open."""
        pending = {owner.name for counter in self.counters.values() for owner in counter.usage.held_seconds}
        return {lease.id for lease in window.leases.values() if lease.closed is not None and lease.id not in pending}

    def _roots(self) -> dict[Root, Owner]:
        roots: dict[Root, Owner] = {self._own: SHARED} if self._own else {}
        roots.update(self._members)
        # The process of a worker is a member of its run and, while it works for a trial, the lease's.
        roots.update((lease.root, lease.owner) for lease in self._open.values())
        return roots

    def _observe(self) -> None:
        """Read all meters, bring everything else up to the same moment, and book what the counters saw."""
        now = self.host.clock()
        # The meters first, together with the clock: a scan of many processes takes time, and power x time must fit.
        readings = [reading for meter in self._meters.meters for reading in meter.read()]
        self._advance(now)
        self._read_at = now
        self._ask_who_shares_gpus()
        for reading in readings:
            counter = self.counters[reading.device.name]
            interval = counter.take(reading)
            if interval is not None:
                self._book(counter, *interval)

    def _advance(self, now: float) -> None:
        """Bring everything up to now that is not a meter: CPU clocks, and what the leases hold."""
        cpu_seconds = self._clocks.advance(self._roots())
        busy = self._table.busy_seconds()
        seconds, self._advanced = now - self._advanced, now
        busy_cpu_seconds, self._busy = max(0.0, busy - self._busy), busy
        for lease in self._open.values():
            lease.held_seconds += seconds
            lease.cpu_seconds += cpu_seconds.get(lease.owner, 0.0)
        for counter in self.counters.values():
            if counter.device.name in self._absent:
                continue
            usage = counter.usage
            usage.seconds += seconds
            usage.busy_cpu_seconds += busy_cpu_seconds
            _accumulate(usage.cpu_seconds, cpu_seconds.items())
            for lease in self._open.values():
                self._hold(usage, counter.device.name, lease, seconds)
            if any(counter.device.name in lease.gpus for lease in self._open.values()):
                usage.gpu_held_seconds += seconds

    @staticmethod
    def _hold(usage: Usage, device: str, lease: Lease, seconds: float) -> None:
        owner = lease.owner
        _accumulate(usage.held_seconds, [(owner, seconds)])
        _accumulate(usage.reserved_cpu_seconds, [(owner, seconds * lease.reserved_cpus)])
        if device in lease.gpus:
            _accumulate(usage.gpu_seconds, [(owner, seconds * lease.gpus[device])])

    def _book(self, counter: Counter, joules: float, usage: Usage) -> None:
        device = counter.device
        floor = freeze_floors([device], {}, self._floors, self._quiet_watts)[device.name]
        self.node.book(device, attribute(device, joules, floor.watts, usage, self._logical_cpus))
        windows = [window for window in self.windows.values() if window.closed is None]
        self._changed |= bool(windows)
        for window in windows:
            floor = window.floors.get(device.name, UNKNOWN_FLOOR)  # a restart may bring another device
            shares = attribute(device, joules, floor.watts, usage, self._logical_cpus)
            window.book(device, shares, sweeps=len(windows))
            for owner, seconds in usage.held_seconds.items():
                lease = window.leases.get(owner.name)
                if lease is not None:
                    lease.covered_seconds[device.name] = lease.covered_seconds.get(device.name, 0.0) + seconds
                    lease.revision = window.revision

    def _ask_who_shares_gpus(self) -> None:
        """Note the processes' use since the last reading, of GPUs that several leases hold or that are partitioned."""
        shared = {
            name: counter.usage
            for name, counter in self.counters.items()
            if len(counter.usage.gpu_seconds) > (0 if counter.device.is_partitioned else 1)
        }
        if not shared:
            return
        roots = self._roots()
        for meter in self._meters.gpu_details:
            for name, by_pid in meter.process_utilisation().items():
                if name in shared:
                    owners = utilisation_by_owner(by_pid, self._clocks.sees, lambda pid: self._clocks.owner(pid, roots))
                    shared[name].add_utilisation(owners)

    def _measure_watts(self) -> None:
        """Mean power since the last tick, of the devices and of the trials."""
        now = self._advanced
        seconds, self._ticked = now - self._ticked, now
        if seconds <= 0:
            return
        before, self._before_tick = self._before_tick, {}
        for name, counter in self.counters.items():
            self._before_tick[name] = counter.total_joules
            if name in before:
                self.node_watts[name] = watts = (counter.total_joules - before[name]) / seconds
                if seconds > 0.5:
                    self._floors.observe(counter.device, watts)
        for window in self.windows.values():
            for trial in window.trials.values():
                if trial.open_leases:
                    trial.measure_watts(seconds)

    def _end_series(self, window: Window) -> None:
        now = self._advanced
        for trial in window.trials.values():
            if trial.ended is not None and now - trial.ended > SERIES_SECONDS:
                trial.results, trial.watts = {}, {}

    def _close_abandoned(self) -> None:
        """Close the windows of sweeps whose processes have all gone; forget closed ones that nobody reads any more."""
        now = self._advanced
        for run, window in list(self.windows.items()):
            if window.closed is not None:
                if now - window.closed > SERIES_SECONDS:
                    del self.windows[run]
            elif Owner("run", run) in self._members.values():
                window.last_seen = now
            elif now - window.last_seen > ABANDONED_SECONDS:
                self.close_window(run)

    def live_trials(self, window: Window) -> Iterable[tuple[str, Trial]]:
        """The trials whose series are shown: those with a lease, and those that ended a short time ago."""
        now = self._advanced
        return [
            (name, trial)
            for name, trial in window.trials.items()
            if trial.ended is None or now - trial.ended <= SERIES_SECONDS
        ]


def _accumulate(sums: dict[Owner, float], more: Iterable[tuple[Owner, float]]) -> None:
    for owner, amount in more:
        sums[owner] = sums.get(owner, 0.0) + amount


def _differs(counter: Counter | None, saved: Device) -> bool:
    """Whether a device of this agent has a saved one's name, and is another."""
    return counter is not None and (counter.device.component, counter.device.source) != (saved.component, saved.source)
