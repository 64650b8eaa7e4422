"""The Prometheus metrics of an agent: one table that makes the exporter's families and docs/metrics.md."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Family(NamedTuple):
    """One metric: its full name, kind, labels and help text."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str


FAMILIES = (
    Family(
        "energysweep_trial_energy_joules_total",
        "counter",
        ("sweep", "trial", "node", "component", "bucket", "source"),
        "Energy of a trial on a node over all its leases. bucket: active (its work) or idle (its share of the floor).",
    ),
    Family(
        "energysweep_trial_power_watts",
        "gauge",
        ("sweep", "trial", "node", "component"),
        "Mean power of a trial over the last second.",
    ),
    Family(
        "energysweep_trial_emissions_grams_total",
        "counter",
        ("sweep", "trial", "node"),
        "CO2e of a trial's energy: joules x PUE x intensity of the grid.",
    ),
    Family(
        "energysweep_trial_info",
        "gauge",
        ("sweep", "trial", "config", "hardware", "node"),
        "Always 1: what a trial tries, as short readable text.",
    ),
    Family(
        "energysweep_trial_result",
        "gauge",
        ("sweep", "trial", "node", "metric"),
        "The last value of a metric that the trial reported.",
    ),
    Family(
        "energysweep_trial_reports_total",
        "counter",
        ("sweep", "trial", "node"),
        "How often a trial has reported a result on a node.",
    ),
    Family("energysweep_sweep_info", "gauge", ("sweep", "name", "owner"), "Always 1: the name and owner of a sweep."),
    Family("energysweep_sweep_trials", "gauge", ("sweep", "state"), "Number of trials of a sweep by state."),
    Family("energysweep_sweep_best", "gauge", ("sweep", "metric"), "The best value of a metric so far."),
    Family(
        "energysweep_sweep_cheapest_energy_to_target_joules",
        "gauge",
        ("sweep", "config", "hardware"),
        "Energy of the trial that reached the target for the least so far.",
    ),
    Family(
        "energysweep_sweep_saved_energy_joules",
        "gauge",
        ("sweep",),
        "An estimate of what early stopping has saved: what the pruned trials would have used to their end, less what"
        " they used.",
    ),
    Family("energysweep_sweep_start_timestamp_seconds", "gauge", ("sweep",), "When the sweep began (Unix time)."),
    Family("energysweep_sweep_end_timestamp_seconds", "gauge", ("sweep",), "When the sweep ended (Unix time)."),
    Family(
        "energysweep_node_energy_joules_total",
        "counter",
        ("node", "device", "component", "source"),
        "What a device's own counter saw since the agent began.",
    ),
    Family(
        "energysweep_node_bucket_energy_joules_total",
        "counter",
        ("node", "component", "bucket"),
        "Where a node's energy went. bucket: trials, overhead, background or unreserved_idle.",
    ),
    Family(
        "energysweep_node_power_watts",
        "gauge",
        ("node", "device", "component"),
        "Mean power of a device over the last second.",
    ),
    Family(
        "energysweep_node_conservation_error_ratio",
        "gauge",
        ("node",),
        "Difference of all buckets and the meters' own counters, as a part of the latter. Should be 0.",
    ),
    Family(
        "energysweep_grid_intensity_grams_per_kwh",
        "gauge",
        ("zone", "source"),
        "Carbon intensity that emissions are computed with (without PUE).",
    ),
    Family(
        "energysweep_meter_read_failures_total",
        "counter",
        ("node", "meter"),
        "Readings that failed. The next good one covers their interval.",
    ),
    Family(
        "energysweep_meter_counter_resets_total",
        "counter",
        ("node", "meter"),
        "Intervals of unknown energy: reset counters, impossible jumps, counters that stood still or may have wrapped.",
    ),
    Family(
        "energysweep_meter_events_total",
        "counter",
        ("node", "meter", "event"),
        "What counters did beside going on. event: wrap (put right), reset, jump, overrun or frozen.",
    ),
    Family("energysweep_agent_cpu_seconds_total", "counter", ("node",), "CPU time of the agent's process."),
    Family("energysweep_agent_tick_seconds", "gauge", ("node",), "How long the last tick took."),
    Family("energysweep_agent_tick_failures_total", "counter", ("node",), "Ticks that failed."),
    Family("energysweep_agent_open_leases", "gauge", ("node",), "Leases that are open now."),
)


def markdown() -> str:
    """docs/metrics.md, made from the table."""
    lines = [
        "# Metrics",
        "",
        "Every agent serves these at `/metrics` (text and OpenMetrics).",
        "Made from `energysweep/metrics.py` by `make docs`.",
        "",
        "`sweep` is the run id, `component` is `cpu`, `dram` or `gpu`. Base units. A trial's series begin at 0 when its"
        " lease opens and stay for 5 minutes after it ends.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |"
        for family in FAMILIES
    ]
    return "\n".join(lines) + "\n"
