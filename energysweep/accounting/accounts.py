"""What an agent knows of a lease, of a trial, and of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from energysweep.accounting.attribution import Owner
from energysweep.accounting.counters import Counter, MeanPower, begun, is_stale
from energysweep.accounting.processes import Root
from energysweep.core.carbon import JOULES_PER_KWH
from energysweep.core.objective import number
from energysweep.meters.base import Component


class Floor(NamedTuple):
    """A device's idle floor, and where it is known from; ``watts`` is None if it is not."""

    watts: float | None
    known_from: str


UNKNOWN_FLOOR = Floor(None, "unknown")


class Energy(NamedTuple):
    """Energy of a trial in joules: what its work drew, its share of the idle floor, and, apart, its start-up.

    At a report with the mean power of its work since the one before.
    """

    active_joules: float
    idle_joules: float
    startup_joules: float = 0.0
    power_watts: float | None = None

    @property
    def joules(self) -> float:
        """Of its work, active and idle together: what trials are compared by."""
        return self.active_joules + self.idle_joules


@dataclass(slots=True)
class Lease:
    """A process tree that works for a trial, with what it has reserved.

    Attributes:
        root: the process that the kernel named.
        reserved_cpus: logical CPUs.
        gpus: fraction by device name.
        opened, closed: on the host's monotonic clock; ``closed`` is None while it is open.
        in_startup: it has not begun to work, or loads something that is loaded once.
        startup_seconds: of ``held_seconds``, how long it was in start-up.
        works_elsewhere: its process has others work that hold no lease.
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
    in_startup: bool = False
    startup_seconds: float = 0.0
    works_elsewhere: bool = False
    covered_seconds: dict[str, float] = field(default_factory=dict)
    revision: int = 0

    @property
    def owner(self) -> Owner:
        """Its name in attribution."""
        return Owner("lease", self.id, self.run)


class Worked(NamedTuple):
    """What the work of a trial drew of one device, without its start-up, and for how long it worked meanwhile."""

    joules: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class Trial:
    """What an agent knows of one trial: all its leases on this host together, and what dashboards show of it.

    Attributes:
        joules: by component, bucket (of a lease) and source.
        watts: by component: mean power between the newest readings; nothing of a device that has told nothing lately.
        drawn_joules: by device, over all leases on this host; power is worked out from it.
        worked: by device: of these, what its work drew.
        powers: by device: for ``watts``.
        work_powers: by device: for the power of its work since the report before.
        results: its last reported numbers, by metric.
        reports: how often it has reported.
        open_leases: how many it has now.
        ended: when the last lease was closed, on the monotonic clock.
        is_over: its driver has said that no other lease will follow.
        earlier_joules: of earlier windows of its run, as ``joules``; only its series go on from there.
    """

    config: str = ""
    hardware: str = ""
    joules: dict[tuple[Component, str, str], float] = field(default_factory=dict)
    watts: dict[Component, float] = field(default_factory=dict)
    drawn_joules: dict[str, float] = field(default_factory=dict)
    worked: dict[str, Worked] = field(default_factory=dict)
    powers: dict[str, MeanPower] = field(default_factory=dict)
    work_powers: dict[str, MeanPower] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)
    reports: int = 0
    open_leases: int = 0
    ended: float | None = None
    is_over: bool = False
    earlier_joules: dict[tuple[Component, str, str], float] = field(default_factory=dict)

    def energy(self) -> Energy:
        """Over all leases on this host."""
        return Energy(*(self.booked(bucket) for bucket in ("active", "idle", "startup")))

    def booked(self, bucket: str) -> float:
        """Joules in one bucket."""
        return sum(joules for (_, of, _), joules in self.joules.items() if of == bucket)

    def begin_power(self, counters: Mapping[str, Counter]) -> None:
        """Something works for it from here on: its power is that of the time that follows."""
        self.powers = begun(self.drawn_joules, counters)
        self.work_powers = {name: MeanPower(*worked) for name, worked in self.worked.items()}

    def note_work(self, device: str, joules: float, seconds: float) -> None:
        """It has worked in an interval of a device.

        Args:
            device: its name.
            joules: what its work drew.
            seconds: for how long it worked.
        """
        before = self.worked.get(device, Worked())
        self.worked[device] = Worked(before.joules + joules, before.seconds + seconds)

    def measure_watts(self, counters: Mapping[str, Counter]) -> None:
        """Mean power between the devices' newest readings."""
        for name, power in self.powers.items():
            if name in counters:
                power.take(self.drawn_joules.get(name, 0.0), counters[name].covered_seconds)
        self.watts = {}
        for name, watts in self._known(self.powers, counters).items():
            component = counters[name].device.component
            self.watts[component] = self.watts.get(component, 0.0) + watts

    def power_since_report(self, counters: Mapping[str, Counter]) -> float | None:
        """Mean power of its work from the readings of the report before to those of this one; None if not known."""
        for name, worked in self.worked.items():
            self.work_powers.setdefault(name, MeanPower()).take(*worked)
        known = self._known(self.work_powers, counters)
        return sum(known.values()) if known else None

    def _known(self, powers: Mapping[str, MeanPower], counters: Mapping[str, Counter]) -> dict[str, float]:
        """The power of the devices that it uses; nothing of one that has told nothing lately."""
        uses = {component for component, _, _ in self.joules}
        return {
            name: power.watts
            for name, power in powers.items()
            if power.watts is not None
            and name in counters
            and counters[name].device.component in uses
            and not is_stale(counters[name])
        }

    def rest(self) -> None:
        """Nothing works for it any more: 0 W."""
        self.watts = dict.fromkeys({component for component, _, _ in self.joules}, 0.0)

    def shown_joules(self) -> dict[tuple[Component, str, str], float]:
        """What its series show, as ``joules``: over all windows of its run, because a series must not go down."""
        if not self.earlier_joules:
            return dict(self.joules)
        keys = {**self.earlier_joules, **self.joules}
        return {key: self.earlier_joules.get(key, 0.0) + self.joules.get(key, 0.0) for key in keys}

    def in_next_window(self) -> Trial:
        """The account with which another window of its run goes on: it counts from zero, its series do not."""
        return Trial(
            config=self.config,
            hardware=self.hardware,
            watts=dict.fromkeys(self.watts, 0.0),
            results=self.results,
            reports=self.reports,
            ended=self.ended,
            is_over=self.is_over,
            earlier_joules=self.shown_joules(),
        )

    def note_results(self, results: Mapping[str, float]) -> None:
        """It has reported; of its metrics a few are shown."""
        self.reports += 1
        for metric, value in results.items():
            if metric in self.results or (len(self.results) < SHOWN_RESULTS and len(metric) <= LONGEST_METRIC):
                self.results[metric] = value


class SweepSample(NamedTuple):
    """A number that a driver tells of its sweep as a whole.

    Attributes:
        metric: the name of its family, of ``core.metrics.SWEEP_FAMILIES``.
        labels: the values of the family's labels, in their order, without the first, which is the sweep.
    """

    metric: str
    labels: tuple[str, ...]
    value: float


@dataclass(slots=True)
class Sweep:
    """What a driver says of its sweep; only for the dashboards.

    Attributes:
        grams_per_kwh: intensity of the grid, None if nobody said; ``pue`` multiplies it.
        agents: of the whole sweep: the names of their nodes by address (host:port), for service discovery.
        samples: how it stands, to the agent beside its driver alone; no other one tells of the sweep as a whole.
    """

    grams_per_kwh: float | None = None
    zone: str = ""
    carbon_source: str = ""
    pue: float = 1.0
    agents: dict[str, str] = field(default_factory=dict)
    samples: list[SweepSample] = field(default_factory=list)

    def emissions_grams(self, joules: float) -> float | None:
        """Grams of CO2e, None if the grid is not known."""
        return None if self.grams_per_kwh is None else joules / JOULES_PER_KWH * self.pue * self.grams_per_kwh


# Which metrics of a trial dashboards show: a few, because each is a series -------------------------------------------

SHOWN_RESULTS = 8  # metrics of a trial, so that its series stay few
LONGEST_METRIC = 200  # characters of a metric's name


class ShownMetrics:
    """The metrics of one trial that are shown: those that were asked for, then others in the order of its reports.

    Args:
        first: these have their places, however late they are reported.
    """

    def __init__(self, first: Sequence[str] = ()) -> None:
        self._names: dict[str, None] = {}
        for name in first:
            self._take(name)

    def of(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Their values in a report, as far as it has them as finite numbers.

        Args:
            metrics: the workload's own.
        """
        numbers = {name: size for name, value in metrics.items() if (size := number(value)) is not None}
        for name in numbers:
            self._take(name)
        return {name: numbers[name] for name in self._names if name in numbers}

    def _take(self, name: str) -> None:
        if len(self._names) < SHOWN_RESULTS and 0 < len(name) <= LONGEST_METRIC:
            self._names[name] = None
