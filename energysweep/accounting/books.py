"""The books of an agent: the windows of the sweeps, the account of the host, and the power that both show."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from energysweep.accounting.accounts import UNKNOWN_FLOOR, Trial
from energysweep.accounting.attribution import Owner, Shares, StartupParts, attribute, startup_parts
from energysweep.accounting.counters import Counter, MeanPower, begun, is_stale
from energysweep.accounting.floors import FloorMemory, freeze_floors
from energysweep.accounting.observer import Interval, Observer
from energysweep.accounting.windows import SavedWindow, Window
from energysweep.core.buckets import HOST_ACCOUNT, TRIALS
from energysweep.core.errors import LeaseRefused
from energysweep.core.host import Host
from energysweep.meters.base import Component, Device

# The account of the host: what all sweeps together, and everybody else, have used ------------------------------------


class Payer(NamedTuple):
    """Who has to answer for joules of a host: a sweep's window there, and in it the trials of a hardware profile.

    Attributes:
        window: the name of the window, or of the one that it goes on from; empty: nobody.
        hardware: empty where it is no trial, or one without a profile.
    """

    window: str = ""
    hardware: str = ""


NOBODY: Final = (Payer(),)


class Part(NamedTuple):
    """What is one sum of the account of the host. ``bucket`` is one of ``HOST_ACCOUNT``; the others as of ``Payer``."""

    window: str
    hardware: str
    component: Component
    bucket: str
    source: str


class NodeAccount:
    """The account of the host itself, over all sweeps and also between them, since the agent began.

    Attributes:
        joules: by component and what it is booked as: one of ``HOST_ACCOUNT``.
        parts: the same joules, and who has to answer for them; those of windows go when these do.
    """

    def __init__(self) -> None:
        self.joules: dict[tuple[Component, str], float] = {}
        self.parts: dict[Part, float] = {}

    def book(
        self,
        device: Device,
        shares: Shares,
        startup: Mapping[Owner, StartupParts],
        payers: Callable[[Owner], Sequence[Payer]],
    ) -> None:
        """Book what one device saw over one interval.

        Args:
            device: the device.
            shares: where its joules went.
            startup: which part of that was start-up, by lease.
            payers: who answers for what an owner drew, to equal parts.
        """
        # From the first interval on, so that Prometheus sees them begin at 0.
        for bucket in HOST_ACCOUNT:
            self._add(device, bucket, 0.0, NOBODY)
        for bucket, owners in (("active", shares.active), ("idle", shares.idle)):
            for owner, joules in owners.items():
                parts = startup.get(owner.all[0])
                loading = joules * getattr(parts, bucket) if parts else 0.0
                who = payers(owner) or NOBODY
                self._add(device, TRIALS if owner.kind == "lease" else "overhead", joules - loading, who)
                if loading > 0:
                    self._add(device, "startup", loading, who)
        self._add(device, "background", shares.background, NOBODY)
        self._add(device, "unreserved_idle", shares.unreserved_idle, NOBODY)

    def forget(self, window: str) -> None:
        """Let go of what one window answers for: nobody reads it any more."""
        self.parts = {part: joules for part, joules in self.parts.items() if part.window != window}

    def _add(self, device: Device, bucket: str, joules: float, payers: Sequence[Payer]) -> None:
        key = (device.component, bucket)
        self.joules[key] = self.joules.get(key, 0.0) + joules
        for payer in payers:
            part = Part(*payer, device.component, bucket, device.source)
            self.parts[part] = self.parts.get(part, 0.0) + joules / len(payers)


# The books -----------------------------------------------------------------------------------------------------------

_SHORTEST_POWER_SECONDS = 0.5  # shorter intervals are too near to a counter's own steps
SERIES_SECONDS = 300.0  # several scrapes, also at one a minute


@dataclass(slots=True)
class Booked:
    """All that the books of an agent say: what the next agent's books go on from.

    Attributes:
        node_joules: of the account of the host.
        windows: of the runs, as the agent has them.
        quiet_watts: the measured idle floors.
        id: of the books.
        began_at: when they began, in Unix time; 0 where nobody noted that.
        node_parts: of the account of the host, by who answers for them.
        payers: by run, as of ``Books``.
    """

    node_joules: dict[tuple[Component, str], float]
    windows: list[SavedWindow]
    quiet_watts: dict[str, float]
    id: str
    began_at: float = 0.0
    node_parts: dict[Part, float] = field(default_factory=dict)
    payers: dict[str, str] = field(default_factory=dict)


class Books:
    """Books intervals, in every window that counts and in the account of the host.

    Args:
        host: the host.
        counters: of its devices, by name.
        floors: what is remembered of idle floors.
        logical_cpus: of the host.
        series_seconds: how long the series of a trial that has ended stay, and of a sweep.

    Attributes:
        id: unique for all time; an agent that takes up the state of another one goes on with its books.
        began_at: when they began, in Unix time; 0 where nobody noted that.
        windows: by run; closed ones stay for a while.
        node: the account of the host.
        payers: by run, which has a window here: its name in the account of the host. It stays that of the run's first
            window until nobody reads it any more, as what an account shows must not go down.
        node_watts: mean power of each device between its newest readings; nothing of one that has told nothing lately.
        quiet_watts: mean power of devices over two quiet seconds.
    """

    def __init__(
        self,
        host: Host,
        counters: Mapping[str, Counter],
        floors: FloorMemory,
        logical_cpus: int,
        series_seconds: float = SERIES_SECONDS,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.began_at = host.wall_clock()
        self.windows: dict[str, Window] = {}
        self.node = NodeAccount()
        self.payers: dict[str, str] = {}
        self.node_watts: dict[str, float] = {}
        self.quiet_watts: dict[str, float] = {}
        self._powers: dict[str, MeanPower] = {}
        self._host = host
        self._counters = counters
        self._floors = floors
        self._logical_cpus = logical_cpus
        self._series_seconds = series_seconds

    def state(self) -> Booked:
        """What the next agent goes on from."""
        windows = [window.saved() for window in self.windows.values()]
        return Booked(
            node_joules=self.node.joules,
            windows=windows,
            quiet_watts=self.quiet_watts,
            id=self.id,
            began_at=self.began_at,
            node_parts=self.node.parts,
            payers=self.payers,
        )

    def restore(self, saved: Booked) -> None:
        """Go on with the books of an earlier agent, over counters that have been restored already."""
        self.id, self.began_at = saved.id, saved.began_at
        self.node.joules, self.node.parts, self.payers = saved.node_joules, saved.node_parts, saved.payers
        self.quiet_watts = saved.quiet_watts
        now = self._host.clock()
        for kept in saved.windows:
            window = self.windows[kept.run] = Window.restored(kept, self._host, self._counters, self.id)
            window.last_seen = now
            self.payers.setdefault(kept.run, kept.id)

    def window(self, run: str) -> Window:
        """The window of a run, open or closed.

        Raises:
            LeaseRefused: it has none.
        """
        window = self.windows.get(run)
        if window is None:
            raise LeaseRefused(f"run {run!r} has no window on this host")
        return window

    def open_window(self, run: str) -> Window | None:
        """The window of a run that counts now; None if it has none."""
        window = self.windows.get(run)
        return window if window is not None and window.closed is None else None

    def open_windows(self) -> list[Window]:
        """The windows that count now."""
        return [window for window in self.windows.values() if window.closed is None]

    def add_window(self, run: str, idle_power_watts: Mapping[Component, float]) -> Window:
        """A new window that counts from zero, with the floors as they are known now."""
        devices = [counter.device for counter in self._counters.values()]
        floors = freeze_floors(devices, idle_power_watts, self._floors, self.quiet_watts)
        before = self.windows.get(run)
        window = self.windows[run] = Window(run, self._host, self._counters, floors, self.id)
        self.payers.setdefault(run, window.id)
        if before is not None:
            window.trials = {name: trial.in_next_window() for name, trial in before.trials.items()}
        return window

    def has_floor(self, device: Device) -> bool:
        """Whether the device's idle floor is known without two quiet seconds."""
        return device.idle_watts is not None or self._floors.lowest_watts(device) is not None

    def book(self, interval: Interval) -> None:
        """Book what one device saw over one interval."""
        device, joules, usage = interval
        floor = freeze_floors([device], {}, self._floors, self.quiet_watts)[device.name]
        startup = startup_parts(device, usage)
        windows = self.open_windows()
        shares = attribute(device, joules, floor.watts, usage, self._logical_cpus)
        self.node.book(device, shares, startup, self._payers_of)
        for window in windows:
            floor = window.floors.get(device.name, UNKNOWN_FLOOR)  # a restart may bring another device
            shares = attribute(device, joules, floor.watts, usage, self._logical_cpus)
            window.book(device, usage, shares, startup, sweeps=len(windows))
            window.cover(device, usage)

    def _payers_of(self, owner: Owner) -> Sequence[Payer]:
        """Who answers for what an owner drew; nobody, if no window of theirs counts.

        The innermost of leases that lie in each other. The runs of one process share what it draws, and all of them
        what serves them all.
        """
        if owner.kind == "shared":
            return [Payer(self.payers[window.run]) for window in self.open_windows()]
        windows = [(each, window) for each in owner.all if (window := self.open_window(each.run)) is not None]
        if owner.kind == "run":
            return [Payer(self.payers[window.run]) for each, window in windows if each.kind == "run"]
        leases = [(each.name, window) for each, window in windows if each.name in window.leases]
        return [Payer(self.payers[window.run], _hardware(window, lease)) for lease, window in leases[:1]]

    def measure_watts(self) -> None:
        """Mean power between the newest readings, of the devices and of the trials."""
        totals = {name: counter.total_joules for name, counter in self._counters.items()}
        for name, power in begun(totals, self._counters).items():
            self._powers.setdefault(name, power)
        for name, counter in self._counters.items():
            power = self._powers[name]
            seconds = power.take(counter.total_joules, counter.covered_seconds)
            if power.watts is not None:
                self.node_watts[name] = power.watts
                if seconds > _SHORTEST_POWER_SECONDS:
                    self._floors.observe(counter.device, power.watts)
            if is_stale(counter):
                self.node_watts.pop(name, None)
        for window in self.windows.values():
            for trial in window.trials.values():
                if trial.open_leases:
                    trial.measure_watts(self._counters)

    def forget(self, now: float) -> None:
        """Let go of what nobody reads any more: windows closed, and the series of trials ended, some time ago."""
        for run, window in list(self.windows.items()):
            if window.closed is not None and now - window.closed > self._series_seconds:
                del self.windows[run]
                self.node.forget(self.payers.pop(run))
        for window in self.windows.values():
            window.forget_trials(before=now - self._series_seconds)

    def live_trials(self, window: Window, now: float) -> Iterable[tuple[str, Trial]]:
        """The trials whose series are shown: those with a lease, and those that ended a short time ago."""
        return [
            (name, trial)
            for name, trial in window.trials.items()
            if trial.ended is None or now - trial.ended <= self._series_seconds
        ]


def _hardware(window: Window, lease: str) -> str:
    """The hardware profile of a lease's trial."""
    trial = window.trials.get(window.leases[lease].trial)
    return "" if trial is None else trial.hardware


# Two quiet seconds, to see what the devices draw when nobody works ---------------------------------------------------

QUIET_SECONDS = 2.0
_QUIET_LOAD = 0.1  # of all CPUs


class QuietSeconds:
    """What devices whose idle floor is not known better draw while the host is quiet.

    Args:
        observer, books: of the host.
        without: components whose floor the user gave.
    """

    def __init__(self, observer: Observer, books: Books, without: Collection[Component]) -> None:
        self._observer = observer
        self._unknown = [
            counter
            for counter in observer.counters.values()
            if counter.device.component not in without and not books.has_floor(counter.device)
        ]

    @property
    def are_needed(self) -> bool:
        """Whether there is such a device, and no lease yet."""
        return bool(self._unknown) and not self._observer.leases

    def begin(self) -> None:
        """They begin with the last reading."""
        self._powers = {each.device.name: MeanPower(each.total_joules, each.covered_seconds) for each in self._unknown}
        self._busy, self._since = self._observer.busy_seconds, self._observer.advanced

    def watts(self) -> dict[str, float] | None:
        """Mean power of each device until the last reading; None if it was not quiet."""
        seconds = self._observer.advanced - self._since
        load = (self._observer.busy_seconds - self._busy) / self._observer.logical_cpus
        if self._observer.leases or load > _QUIET_LOAD * seconds:
            return None
        for each in self._unknown:
            self._powers[each.device.name].take(each.total_joules, each.covered_seconds)
        # A counter that stands still says nothing of the floor.
        return {name: power.watts for name, power in self._powers.items() if power.watts}
