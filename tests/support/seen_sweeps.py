"""An hour of two sweeps as Prometheus may hold it, made to be awkward to show.

Numbers as names (of trials, nodes and values), long configurations, results from 1e-9 to 1e5, trials without results,
energy that is partly an estimate, books that balance but for the last bit of a float, every state of a trial, a sweep
without an end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from energysweep.core.metrics import FAMILIES

BEGAN = 1_700_000_000
ENDED = BEGAN + 3600
STEP = 15

Curve = Callable[[float], float]
Series = tuple[str, tuple[str, ...], Curve]


class Trial(NamedTuple):
    """One trial: its place in the hour in seconds, its watts, and the last value of its objective."""

    sweep: str
    name: str
    config: str
    hardware: str
    node: str
    begins: int
    ends: int
    watts: float
    result: float | None


SWEEP, OWN = "baseline-images-20261129-133603", "20261128"
NODES = ("gpu-node-07.cluster.example.org", "12")
SOURCES = ("estimate", "rapl")
METRIC, PARAMETER = "val_accuracy", "batch_size"
RATES, BATCHES = ("0.1", "0.01", "0.001", "0.0001"), (16, 64, 256)


def trials() -> list[Trial]:
    """Of a grid of twelve configurations on two kinds of hardware, and of a Tuner of one's own."""
    found = [
        Trial(
            SWEEP,
            f"{number:05d}_{number % 7:05d}",
            f"encoder_learning_rate={rate} {PARAMETER}={batch} schedule=cosine",
            ("h100-300w", "cpu-only")[number % 2],
            NODES[number % 2],
            200 * number,
            200 * number + 1500,
            12.0 + 7 * number,
            None if number == 5 else 0.9731 - 0.011 * number,
        )
        for number, (rate, batch) in enumerate((rate, batch) for rate in RATES for batch in BATCHES)
    ]
    return [*found, Trial(OWN, "00012", "layers=10", "", "12", 0, 3600, 4.0, 1.25e-9)]


def counter(begins: float, ends: float, watts: float) -> Curve:
    """Joules of something that draws so much between two moments; nothing before and after."""

    def curve(at: float) -> float:
        return watts * (min(at, ends) - begins) if begins <= at <= ends + 240 else math.nan

    return curve


def shown(begins: float, ends: float, value: float) -> Curve:
    """A gauge that is there between two moments."""
    return lambda at: value if begins <= at <= ends + 240 else math.nan


def power(begins: float, ends: float, watts: float) -> Curve:
    """Of a trial: 0 once it has ended."""
    return lambda at: math.nan if not begins <= at <= ends + 240 else watts if at < ends else 0.0


def series() -> Iterator[Series]:
    """All of them, each with its value over the seconds of the hour."""
    for sweep, trial, config, hardware, node, begins, ends, watts, result in trials():
        source = SOURCES[NODES.index(node)]
        for component, part in (("cpu", 0.8), ("dram", 0.2)):
            for bucket, share in (("active", 0.75), ("idle", 0.25)):
                key = (sweep, trial, node, component, bucket, source)
                yield "energysweep_trial_energy_joules_total", key, counter(begins, ends, watts * part * share)
            yield "energysweep_trial_power_watts", (sweep, trial, node, component), power(begins, ends, watts * part)
        yield "energysweep_trial_emissions_grams_total", (sweep, trial, node), counter(begins, ends, watts * 1e-4)
        yield "energysweep_trial_info", (sweep, trial, config, hardware, node), shown(begins, ends, 1.0)
        if result is not None:
            yield "energysweep_trial_result", (sweep, trial, node, METRIC), shown(begins, ends, result)
            yield "energysweep_trial_result", (sweep, trial, node, "samples_seen"), shown(begins, ends, 51200.0)
    yield from _of_sweep()
    yield from _of_nodes()
    yield from _of_account()


def _of_sweep() -> Iterator[Series]:
    own = [trial for trial in trials() if trial.sweep == SWEEP]

    def spent(node: str, part: float) -> Curve:
        """Joules of all trials of a node, or a part of them."""
        return lambda at: sum(
            part * each.watts * max(0.0, min(at, each.ends) - each.begins) for each in own if node in ("", each.node)
        )

    for component, part in (("cpu", 0.8), ("dram", 0.2)):
        for node, source in zip(NODES, SOURCES, strict=True):
            yield "energysweep_sweep_energy_joules_total", (SWEEP, component, "trials", source), spent(node, part)
        for bucket, watts in (("overhead", 9), ("startup", 6)):
            key = (SWEEP, component, bucket, SOURCES[0])
            yield "energysweep_sweep_energy_joules_total", key, counter(0, 3600, watts * part)
    yield "energysweep_sweep_emissions_grams_total", (SWEEP, "trials"), spent("", 1e-4)
    yield "energysweep_sweep_emissions_grams_total", (SWEEP, "overhead"), counter(0, 3600, 9e-4)
    yield "energysweep_sweep_info", (SWEEP, "baseline-images", "maria.example", "images, paper-2"), shown(0, 3600, 1.0)
    yield "energysweep_sweep_start_timestamp_seconds", (SWEEP,), shown(0, 3600, float(BEGAN))
    yield "energysweep_sweep_best", (SWEEP, METRIC), shown(300, 3600, 0.9731)
    cheapest = (SWEEP, f"encoder_learning_rate=0.001 {PARAMETER}=16 schedule=cosine", "h100-300w")
    yield "energysweep_sweep_cheapest_energy_to_target_joules", cheapest, shown(300, 3600, 4081.4)
    yield "energysweep_sweep_saved_energy_joules", (SWEEP,), shown(300, 3600, 12345.6)
    yield "energysweep_sweep_saved_energy_least_joules", (SWEEP,), shown(300, 3600, 6543.2)
    yield "energysweep_sweep_saved_energy_most_joules", (SWEEP,), shown(300, 3600, 23456.7)
    for kind, limit, per_second in (("energy_joules", 1e6, 250.0), ("duration_seconds", 7200.0, 1.0)):
        yield "energysweep_sweep_budget_limit", (SWEEP, kind), shown(0, 3600, limit)
        yield "energysweep_sweep_budget_charged", (SWEEP, kind), counter(0, 3600, per_second)
    for number, state in enumerate(("completed", "failed", "interrupted", "pending", "pruned", "running"), start=1):
        # Not all of them from the beginning: which states there are changes.
        yield "energysweep_sweep_trials", (SWEEP, state), shown(500 * (6 - number), 3600, float(number))
    yield "energysweep_grid_intensity_grams_per_kwh", ("DEU", "codecarbon"), shown(0, 3600, 380.9)


def _of_nodes() -> Iterator[Series]:
    for node, source in zip(NODES, SOURCES, strict=True):
        owners = {"trials": 60.1, "startup": 1.2, "overhead": 4.7, "background": 8.9, "unreserved_idle": 20.1}
        for bucket, watts in owners.items():
            key = (node, "cpu", bucket)
            yield "energysweep_node_bucket_energy_joules_total", key, counter(0, 3600, watts)
        # The sum of the owners, but for what floats make of it in another order.
        yield "energysweep_node_energy_joules_total", (node, "package-0", "cpu", source), counter(0, 3600, 95.0)
        yield "energysweep_node_power_watts", (node, "package-0", "cpu"), shown(0, 3600, 95.0)
        yield "energysweep_node_conservation_error_ratio", (node,), shown(0, 3600, 1.2e-15)
        for event in ("wrap", "overrun", "frozen"):
            yield "energysweep_meter_events_total", (node, "nvml_power", event), counter(0, 3600, 1 / 60)
        yield "energysweep_meter_read_failures_total", (node, "nvml_power"), counter(0, 3600, 0.001)
        yield "energysweep_agent_cpu_seconds_total", (node,), counter(0, 3600, 0.0041)
        yield "energysweep_agent_tick_seconds", (node,), shown(0, 3600, 0.00408)
        yield "energysweep_agent_tick_failures_total", (node,), shown(0, 3600, 0.0)
        yield "energysweep_agent_open_leases", (node,), shown(0, 3600, 2.0)


OWNER, TAGS, NAME = "maria.example", "images, paper-2", "baseline-images"
_WHOSE = ("owner", "tags", "name", "sweep", "hardware", "node")
RECORDED = {
    "_".join(labels) + f":energysweep_account_{what}:increase1m": labels
    for what, labels in {
        "energy_joules": (*_WHOSE, "source", "bucket"),
        "emissions_grams": (*_WHOSE, "bucket"),
        "metered_joules": ("node", "source"),
    }.items()
}
"""The labels of what the rules of the account have recorded."""


def each_minute(value: float) -> Curve:
    """What a rule has recorded once a minute."""
    return lambda at: value if at % 60 == 0 else math.nan


def _of_account() -> Iterator[Series]:
    """The 95 W of each node: of a sweep, of a Tuner of one's own, of which nobody tells whose it is, and nobody's."""
    energy, emissions, metered = RECORDED
    for node, source, hardware in zip(NODES, SOURCES, ("h100-300w", "cpu-only"), strict=True):
        parts = {
            (OWNER, TAGS, NAME, SWEEP, hardware, "trials"): 40.0,
            (OWNER, TAGS, NAME, SWEEP, hardware, "startup"): 1.2,
            (OWNER, TAGS, NAME, SWEEP, "", "overhead"): 4.2,
            ("", "", "", OWN, "", "trials"): 20.1,
            ("", "", "", "", "", "overhead"): 0.5,
            ("", "", "", "", "", "background"): 8.9,
            ("", "", "", "", "", "unreserved_idle"): 20.1,
        }
        for (*whose, bucket), watts in parts.items():
            yield energy, (*whose, node, source, bucket), each_minute(60 * watts)
            if whose[0]:
                yield emissions, (*whose, node, bucket), each_minute(60 * watts * 1e-4)
        yield metered, (node, source), each_minute(60 * 95.0)


def openmetrics(all_of_them: Sequence[Series] | None = None) -> str:
    """Text for promtool, a sample each 15 s."""
    found: dict[str, list[str]] = {}
    labels_of = {family.name: (family.labels, family.kind) for family in FAMILIES}
    labels_of |= {name: (labels, "gauge") for name, labels in RECORDED.items()}
    for name, labels, curve in all_of_them or tuple(series()):
        names, _ = labels_of[name]
        text = ",".join(f'{key}="{value}"' for key, value in zip(names, labels, strict=True))
        points = ((BEGAN + at, curve(at)) for at in range(0, ENDED - BEGAN + 1, STEP))
        found.setdefault(name, []).extend(
            f"{name}{{{text}}} {value} {at}" for at, value in points if not math.isnan(value)
        )
    lines = []
    for name, samples in found.items():
        kind = labels_of[name][1]
        lines += [f"# TYPE {name.removesuffix('_total')} {kind}", *samples]
    return "\n".join([*lines, "# EOF", ""])
