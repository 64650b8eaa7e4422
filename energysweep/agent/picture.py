"""What a scrape shows of an agent: one consistent picture that never changes, taken while nothing is booked."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from energysweep.agent.accounts import Trial
from energysweep.agent.books import Books
from energysweep.agent.counters import Counter
from energysweep.agent.observer import Observer
from energysweep.agent.shown import SHOWN_RESULTS
from energysweep.agent.windows import Window
from energysweep.meters import EVENTS, Component

_SHOWN_STATES = 20  # of trials; Tune has fewer


class Sample(NamedTuple):
    """One number: the family's name, the values of its labels in their order, and the number."""

    family: str
    labels: tuple[str, ...]
    value: float


class TrialPicture(NamedTuple):
    """A trial whose series are shown. A sweep has many: what they have in common is made into text only once."""

    run: str
    trial: str
    config: str
    hardware: str
    joules: Mapping[tuple[Component, str, str], float]
    watts: Mapping[Component, float]
    grams: float | None
    startup_grams: float | None
    reports: int
    results: Mapping[str, float]


class Picture(NamedTuple):
    """All that a scrape shows.

    Attributes:
        taken: the host's clock then.
        node: the node's name.
        samples: of the node, its meters, its agent and the sweeps.
        trials: those whose series are shown.
    """

    taken: float
    node: str
    samples: tuple[Sample, ...]
    trials: tuple[TrialPicture, ...]


@dataclass(slots=True)
class Health:
    """How an agent itself does, besides its CPU time: how long its last tick took, and how many have failed."""

    tick_seconds: float = 0.0
    tick_failures: int = 0


def take_picture(taken: float, node: str, observer: Observer, books: Books, health: Health) -> Picture:
    """The picture of this moment.

    Args:
        taken: the clock.
        node: the node's name.
        observer, books, health: of the agent.
    """
    windows = list(books.windows.values())
    samples = [
        *_node_samples(node, observer.counters.values(), books),
        *_agent_samples(node, health, len(observer.leases)),
        *_grid_samples(windows),
        *(sample for window in windows for sample in _sweep_samples(window)),
    ]
    trials = [
        _trial_picture(window, name, trial)
        for window in windows
        for name, trial in books.live_trials(window, observer.advanced)
    ]
    return Picture(taken, node, tuple(samples), tuple(trials))


def _node_samples(node: str, counters: Iterable[Counter], books: Books) -> Iterator[Sample]:
    metered = 0.0
    meters: dict[str, tuple[int, int]] = {}
    events: dict[tuple[str, str], int] = {}
    for counter in counters:
        device = counter.device
        metered += counter.total_joules
        failures, resets = meters.get(device.source, (0, 0))
        meters[device.source] = (failures + counter.failures, resets + counter.resets)
        for event in EVENTS:
            count = events.get((device.source, event), 0) + counter.events.get(event, 0)
            events[device.source, event] = count
        labels = (node, device.name, device.component)
        yield Sample("energysweep_node_energy_joules_total", (*labels, device.source), counter.total_joules)
        if device.name in books.node_watts:
            yield Sample("energysweep_node_power_watts", labels, books.node_watts[device.name])
    for (component, bucket), joules in books.node.joules.items():
        yield Sample("energysweep_node_bucket_energy_joules_total", (node, component, bucket), joules)
    if metered > 0:
        error = abs(sum(books.node.joules.values()) - metered) / metered
        yield Sample("energysweep_node_conservation_error_ratio", (node,), error)
    for source, (failures, resets) in meters.items():
        yield Sample("energysweep_meter_read_failures_total", (node, source), failures)
        yield Sample("energysweep_meter_counter_resets_total", (node, source), resets)
    for (source, name), count in events.items():
        yield Sample("energysweep_meter_events_total", (node, source, name), count)


def _agent_samples(node: str, health: Health, open_leases: int) -> Iterator[Sample]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield Sample("energysweep_agent_cpu_seconds_total", (node,), usage.ru_utime + usage.ru_stime)
    yield Sample("energysweep_agent_tick_seconds", (node,), health.tick_seconds)
    yield Sample("energysweep_agent_tick_failures_total", (node,), health.tick_failures)
    yield Sample("energysweep_agent_open_leases", (node,), open_leases)


def _grid_samples(windows: Iterable[Window]) -> Iterator[Sample]:
    zones = {
        (window.sweep.zone, window.sweep.carbon_source): window.sweep.grams_per_kwh
        for window in windows
        if window.sweep.grams_per_kwh is not None
    }
    for labels, grams in zones.items():
        yield Sample("energysweep_grid_intensity_grams_per_kwh", labels, grams)


def _sweep_samples(window: Window) -> Iterator[Sample]:
    run, sweep = window.run, window.sweep
    if sweep.started_at is None:
        return  # only the agent beside the driver tells of the sweep as a whole
    yield Sample("energysweep_sweep_info", (run, sweep.name, sweep.owner), 1)
    for state, number in islice(sweep.trials.items(), _SHOWN_STATES):
        yield Sample("energysweep_sweep_trials", (run, state), number)
    for metric, value in islice(sweep.best.items(), SHOWN_RESULTS):
        yield Sample("energysweep_sweep_best", (run, metric), value)
    if sweep.cheapest is not None:
        config, hardware, joules = sweep.cheapest
        yield Sample("energysweep_sweep_cheapest_energy_to_target_joules", (run, config, hardware), joules)
    grams: dict[str, float] = {}
    for component, bucket, source, joules in sweep.charged:
        yield Sample("energysweep_sweep_energy_joules_total", (run, component, bucket, source), joules)
        emitted = sweep.emissions_grams(joules)
        if emitted is not None:
            grams[bucket] = grams.get(bucket, 0.0) + emitted
    for bucket, emissions in grams.items():
        yield Sample("energysweep_sweep_emissions_grams_total", (run, bucket), emissions)
    if sweep.saved_joules is not None:
        yield Sample("energysweep_sweep_saved_energy_joules", (run,), sweep.saved_joules)
    yield Sample("energysweep_sweep_start_timestamp_seconds", (run,), sweep.started_at)
    if sweep.ended_at is not None:
        yield Sample("energysweep_sweep_end_timestamp_seconds", (run,), sweep.ended_at)


def _trial_picture(window: Window, name: str, trial: Trial) -> TrialPicture:
    joules = trial.shown_joules()
    startup = sum(joules[key] for key in joules if key[1] == "startup")
    return TrialPicture(
        window.run,
        name,
        trial.config,
        trial.hardware,
        joules,
        trial.watts,  # replaced, never changed
        window.sweep.emissions_grams(sum(joules[key] for key in joules if key[1] != "startup")),
        window.sweep.emissions_grams(startup),
        trial.reports,
        dict(trial.results),
    )
