"""The agent of one host: reads the meters, watches the processes, books every joule. No sockets, no threads of its own.

``server`` lets programs talk to it and calls ``tick`` once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from energysweep.agent.accounts import Energy, Lease, NodeAccount, Trial, Window
from energysweep.agent.attribution import SHARED, Owner, Usage, attribute
from energysweep.agent.counters import Counter
from energysweep.agent.floors import FloorMemory, freeze_floors
from energysweep.agent.processes import TICKS_PER_SECOND, CpuClocks, Root
from energysweep.errors import LeaseRefused
from energysweep.host import Host, busy_ticks, processors
from energysweep.meters import Component, Opened

READ_AT_MOST_EVERY_SECONDS = 0.1  # below the counters' own resolution a reading says nothing
SCAN_AT_MOST_EVERY_SECONDS = 0.002  # a trial that opens where another just closed needs no second scan
SERIES_SECONDS = 300.0  # how long an ended trial's series stay: several scrapes, also at one a minute
ABANDONED_SECONDS = 60.0  # how long a sweep without any process keeps its window: its driver may come back
_QUIET_SECONDS = 2.0
_QUIET_LOAD = 0.1  # of all CPUs


class Agent:
    """Books the energy of one host. Thread-safe.

    Args:
        host: the host.
        meters: its open meters.
        kinds: the kinds of meters that were asked for.
        floors: what is remembered of idle floors.
        own: the agent's own process, which serves all sweeps; None if it is part of a sweep's tree (embedded).
    """

    def __init__(
        self,
        host: Host,
        meters: Opened,
        kinds: Sequence[str] = ("auto",),
        floors: FloorMemory | None = None,
        own: Root | None = None,
    ) -> None:
        self.host = host
        self.kinds = kinds
        self.notes = meters.summary()
        self.windows: dict[str, Window] = {}
        self.node = NodeAccount()
        self.counters: dict[str, Counter] = {device.name: Counter(device) for device in meters.devices}
        self.node_watts: dict[str, float] = {}
        self.tick_seconds = 0.0
        self.tick_failures = 0
        self.lock = threading.RLock()
        self._meters = meters
        self._floors = floors or FloorMemory(None)
        self._clocks = CpuClocks(host.proc_root)
        self._logical_cpus = processors(host.proc_root).logical_cpus
        self._own = own
        self._members: dict[Root, Owner] = {}
        self._open: dict[str, Lease] = {}
        self._advanced = self._read_at = host.clock()
        self._busy = self._busy_seconds()
        self._quiet_watts: dict[str, float] = {}
        self._before_tick: dict[str, float] = {}
        self._ticked = self._advanced
        self._observe()

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
            self._observe()
            devices = [counter.device for counter in self.counters.values()]
            floors = freeze_floors(devices, idle_power_watts or {}, self._floors, self._quiet_watts)
            window = Window(run, self.host, self.counters, floors)
            self.windows[run] = window
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

    def join(self, run: str, root: Root) -> None:
        """A process of a run's own (its driver, or a worker): what it does without a lease is the run's overhead."""
        with self.lock:
            self._advance(self.host.clock())
            self._members[root] = Owner("run", run)

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
            lease_id: unique; chosen by the client, so that a repeated request opens one lease.
            trial: the trial's id.
            root: the root of the process tree.
            cpus: reserved logical CPUs.
            gpus: fractions of GPUs, by name, UUID or index.
            config, hardware: short readable texts for the dashboards.

        Returns:
            What earlier leases of this trial on this host have cost.

        Raises:
            LeaseRefused: no window, or no such GPU.
        """
        with self.lock:
            window = self.windows.get(run)
            if window is None or window.closed is not None:
                raise LeaseRefused(f"run {run!r} has no open window on this host")
            account = window.trial(trial)
            if lease_id in window.leases:
                return account.energy()
            held = {self._gpu_name(name): fraction for name, fraction in gpus.items()}
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
    def open_leases(self) -> int:
        """How many leases are open now."""
        return len(self._open)

    # Time passes -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: read, book, and let go of what has ended."""
        with self.lock:
            began = self.host.clock()
            self._observe()
            self._close_abandoned()
            for lease in [lease for lease in self._open.values() if not self._clocks.alive(lease.root)]:
                self.close_lease(lease.run, lease.id)  # its connection may live on in a forked child
            self._measure_watts()
            self.tick_seconds = self.host.clock() - began
            for window in self.windows.values():
                self._end_series(window)

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
            return answer

    # Inside --------------------------------------------------------------------------------------------------------

    def _gpu_name(self, name: str) -> str:
        for counter in self.counters.values():
            device = counter.device
            if device.component == "gpu" and name in (device.name, str(device.index)):
                return device.name
        known = [counter.device.name for counter in self.counters.values() if counter.device.component == "gpu"]
        if not known:
            return name  # no meter for GPUs here: the lease holds it, nothing is measured
        raise LeaseRefused(f"this host has no GPU {name!r}; it has {', '.join(known)}")

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
        busy = self._busy_seconds()
        seconds, self._advanced = now - self._advanced, now
        busy_cpu_seconds, self._busy = max(0.0, busy - self._busy), busy
        for lease in self._open.values():
            lease.held_seconds += seconds
            lease.cpu_seconds += cpu_seconds.get(lease.owner, 0.0)
        for counter in self.counters.values():
            usage = counter.usage
            usage.seconds += seconds
            usage.busy_cpu_seconds += busy_cpu_seconds
            _accumulate(usage.cpu_seconds, cpu_seconds.items())
            for lease in self._open.values():
                self._hold(usage, counter.device.name, lease, seconds)

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
        for window in windows:
            shares = attribute(device, joules, window.floors[device.name].watts, usage, self._logical_cpus)
            window.book(device, shares, sweeps=len(windows))
            for owner, seconds in usage.held_seconds.items():
                lease = window.leases.get(owner.name)
                if lease is not None:
                    lease.covered_seconds[device.name] = lease.covered_seconds.get(device.name, 0.0) + seconds
                    lease.revision = window.revision

    def _ask_who_shares_gpus(self) -> None:
        """Note the processes' SM utilisation since the last reading, for GPUs that several leases hold."""
        shared = {name: counter.usage for name, counter in self.counters.items() if len(counter.usage.gpu_seconds) > 1}
        if not shared:
            return
        for meter in self._meters.gpu_processes:
            for name, by_pid in meter.process_utilisation().items():
                if name in shared and by_pid is not None:
                    utilisation = shared[name].gpu_utilisation = {}
                    for pid, percent in by_pid.items():
                        owner = self._clocks.owner(pid, self._roots())
                        utilisation[owner] = utilisation.get(owner, 0.0) + percent

    def _busy_seconds(self) -> float:
        return busy_ticks(self.host.proc_root) / TICKS_PER_SECOND

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
