"""What a scrape of an agent shows: one consistent picture, in the families of ``energysweep.metrics``."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from energysweep.agent.accounts import Trial
from energysweep.agent.agent import Agent
from energysweep.agent.windows import Window
from energysweep.meters import EVENTS
from energysweep.metrics import FAMILIES

Sample = tuple[str, tuple[str, ...], float]


class AgentCollector(Collector):
    """Makes one consistent picture of an agent per scrape."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """All families, also those without a sample."""
        with self._agent.lock:
            samples = list(_samples(self._agent))
        by_name: dict[str, list[Sample]] = {family.name: [] for family in FAMILIES}
        for sample in samples:
            by_name[sample[0]].append(sample)
        for family in FAMILIES:
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for _, labels, value in by_name[family.name]:
                metric.add_metric(labels, value)
            yield metric


def _samples(agent: Agent) -> Iterator[Sample]:
    yield from _node_samples(agent)
    zones: dict[tuple[str, str], float] = {}
    for window in agent.windows.values():
        yield from _sweep_samples(window)
        sweep = window.sweep
        if sweep.grams_per_kwh is not None:
            zones[sweep.zone, sweep.carbon_source] = sweep.grams_per_kwh
        for name, trial in agent.live_trials(window):
            yield from _trial_samples(agent.host.node, window, name, trial)
    for labels, grams in zones.items():
        yield "energysweep_grid_intensity_grams_per_kwh", labels, grams


def _node_samples(agent: Agent) -> Iterator[Sample]:
    node = agent.host.node
    metered = 0.0
    meters: dict[str, tuple[int, int]] = {}
    events: dict[tuple[str, str], int] = {}
    for counter in agent.counters.values():
        device = counter.device
        metered += counter.total_joules
        failures, resets = meters.get(device.source, (0, 0))
        meters[device.source] = (failures + counter.failures, resets + counter.resets)
        for event in EVENTS:
            count = events.get((device.source, event), 0) + counter.events.get(event, 0)
            events[device.source, event] = count
        labels = (node, device.name, device.component)
        yield "energysweep_node_energy_joules_total", (*labels, device.source), counter.total_joules
        if device.name in agent.node_watts:
            yield "energysweep_node_power_watts", labels, agent.node_watts[device.name]
    for (component, bucket), joules in agent.node.joules.items():
        yield "energysweep_node_bucket_energy_joules_total", (node, component, bucket), joules
    if metered > 0:
        error = abs(sum(agent.node.joules.values()) - metered) / metered
        yield "energysweep_node_conservation_error_ratio", (node,), error
    for source, (failures, resets) in meters.items():
        yield "energysweep_meter_read_failures_total", (node, source), failures
        yield "energysweep_meter_counter_resets_total", (node, source), resets
    for (source, name), count in events.items():
        yield "energysweep_meter_events_total", (node, source, name), count
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield "energysweep_agent_cpu_seconds_total", (node,), usage.ru_utime + usage.ru_stime
    yield "energysweep_agent_tick_seconds", (node,), agent.tick_seconds
    yield "energysweep_agent_tick_failures_total", (node,), agent.tick_failures
    yield "energysweep_agent_open_leases", (node,), agent.open_leases


def _sweep_samples(window: Window) -> Iterator[Sample]:
    run, sweep = window.run, window.sweep
    if sweep.started_at is None:
        return  # only the agent beside the driver tells of the sweep as a whole
    yield "energysweep_sweep_info", (run, sweep.name, sweep.owner), 1
    for state, number in sweep.trials.items():
        yield "energysweep_sweep_trials", (run, state), number
    for metric, value in sweep.best.items():
        yield "energysweep_sweep_best", (run, metric), value
    if sweep.cheapest is not None:
        config, hardware, joules = sweep.cheapest
        yield "energysweep_sweep_cheapest_energy_to_target_joules", (run, config, hardware), joules
    if sweep.saved_joules is not None:
        yield "energysweep_sweep_saved_energy_joules", (run,), sweep.saved_joules
    yield "energysweep_sweep_start_timestamp_seconds", (run,), sweep.started_at
    if sweep.ended_at is not None:
        yield "energysweep_sweep_end_timestamp_seconds", (run,), sweep.ended_at


def _trial_samples(node: str, window: Window, name: str, trial: Trial) -> Iterator[Sample]:
    run = window.run
    for (component, bucket, source), joules in trial.joules.items():
        yield "energysweep_trial_energy_joules_total", (run, name, node, component, bucket, source), joules
    for component, watts in trial.watts.items():
        yield "energysweep_trial_power_watts", (run, name, node, component), watts
    grams = window.sweep.emissions_grams(trial.energy().joules)
    if grams is not None:
        yield "energysweep_trial_emissions_grams_total", (run, name, node), grams
    yield "energysweep_trial_info", (run, name, trial.config, trial.hardware, node), 1
    yield "energysweep_trial_reports_total", (run, name, node), trial.reports
    for metric, value in trial.results.items():
        yield "energysweep_trial_result", (run, name, node, metric), value
