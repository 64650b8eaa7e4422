"""A finished run as OpenMetrics with times, so that an old sweep can be brought back into Prometheus.

    energysweep report RUN_DIR --openmetrics run.om
    promtool tsdb create-blocks-from openmetrics run.om DATA_DIR

The series are those that the agents served, with the ledger's numbers: a trial's counters begin at 0 when its first
lease was opened and end with exactly what the ledger booked. In between they follow the trial's running total, which
the ledger keeps as one sum; its division among nodes, components and buckets is that of the end. Power is that of the
trials' work, because the ledger does not know when within a lease start-up drew what. The host's own series
(``energysweep_node_*``, ``energysweep_account_*``) belong to no run and are not written.

Source: the OpenMetrics specification; promtool's reference.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from energysweep.accounting.accounts import ShownMetrics
from energysweep.core.buckets import CHARGED_APART, TRIALS, WORK_BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.metrics import (
    FAMILIES,
    GRID_INTENSITY,
    SWEEP_EMISSIONS,
    SWEEP_ENERGY,
    TRIAL_APART_EMISSIONS,
    TRIAL_APART_ENERGY,
    TRIAL_EMISSIONS,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_POWER,
    TRIAL_REPORTS,
    TRIAL_RESULT,
    Family,
)
from energysweep.core.naming import configuration_text
from energysweep.core.records import (
    LeaseRow,
    ResultRow,
    TrialRow,
)
from energysweep.ledger.course import Course, RunClock, Sample, course_between, course_of, every_step, running_totals
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import shown_parameters
from energysweep.ledger.sweep_metrics import about_of, sweep_numbers

# What a finished sweep was charged with, over time: its own counters, of trials, start-up and overhead together ------

OVER_TIME = (SWEEP_ENERGY, SWEEP_EMISSIONS)


class Spent(NamedTuple):
    """A trial, or all of a bucket apart from trials' work: when it drew its energy, and how much in all.

    Attributes:
        joules: by component and source.
    """

    bucket: str
    course: Course
    joules: Mapping[tuple[str, str], float]


def _in_bucket(state: RunState, bucket: str) -> dict[tuple[str, str], float]:
    """Joules of a bucket by component and source, as the sweep is charged with them."""
    return {
        (each.component, each.source): each.energy_joules
        for each in state.charged()
        if each.bucket == bucket and each.energy_joules
    }


def _charged_samples(
    run: str, times: Sequence[float], spent: Iterable[Spent], intensity: Intensity | None
) -> Iterator[Sample]:
    """The sweep's counters of joules, and of grams if the grid is known.

    Args:
        run: the run id.
        times: of the samples, in order; the last one is not before the end of anything.
        spent: all trials, and the buckets apart.
        intensity: of the grid.
    """
    grams: dict[str, list[float]] = {}
    for key, steps in _grown(times, spent).items():
        totals = list(accumulate(steps))
        for at, joules in zip(times, totals, strict=True):
            yield SWEEP_ENERGY, (run, *key), joules, at
        if intensity is not None:
            _, bucket, _ = key
            so_far = grams.get(bucket, [0.0] * len(times))
            grams[bucket] = [a + intensity.emissions_grams(b) for a, b in zip(so_far, totals, strict=True)]
    for bucket, values in grams.items():
        for at, value in zip(times, values, strict=True):
            yield SWEEP_EMISSIONS, (run, bucket), value, at


def _grown(times: Sequence[float], spent: Iterable[Spent]) -> dict[tuple[str, str, str], list[float]]:
    """Joules since the time before, by component, bucket and source. A trial adds only to the steps of its life."""
    grown: dict[tuple[str, str, str], list[float]] = {}
    for bucket, course, joules in spent:
        before = 0.0
        for step in range(bisect_left(times, course.at[0]), bisect_left(times, course.at[-1]) + 1):
            part = course.part(times[step])
            for (component, source), total in joules.items():
                steps = grown.setdefault((component, bucket, source), [0.0] * len(times))
                steps[step] += total * (part - before)
            before = part
    return grown


# A finished run as OpenMetrics with times, so that an old sweep can be brought back into Prometheus ------------------


def openmetrics(data: LedgerData, carbon: Intensity | None = None) -> str:
    """The run's series.

    Args:
        data: a run's ledger.
        carbon: the grid to count emissions for; without it the one that the run noted, and none if it noted none.

    Returns:
        OpenMetrics text, one sample each 15 s and at the beginning and the end of each trial.
    """
    registry = CollectorRegistry(auto_describe=False)
    noted = data.run.get("carbon")
    registry.register(_Collector(data, carbon or (Intensity(**noted) if noted else None)))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


class _Collector(Collector):
    def __init__(self, data: LedgerData, intensity: Intensity | None) -> None:
        self._data = data
        self._intensity = intensity

    def collect(self) -> Iterator[Metric]:
        samples: dict[Family, dict[tuple[str, ...], list[tuple[float, float]]]] = {}
        for family, labels, value, at in _samples(self._data, self._intensity):
            samples.setdefault(family, {}).setdefault(labels, []).append((at, value))
        for family in FAMILIES:
            if family not in samples:
                continue
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for labels, points in samples[family].items():
                named = dict(zip(family.labels, labels, strict=True))
                points.sort(key=lambda point: point[0])
                # Of two values at the same time Prometheus keeps the first; the later one is right.
                for at, value in {round(at, 3): value for at, value in points}.items():
                    metric.add_sample(family.name, named, value, timestamp=at)
            yield metric


def _samples(data: LedgerData, intensity: Intensity | None) -> Iterator[Sample]:
    state = RunState.of(data)
    clock = RunClock(data.run)
    totals = running_totals(data.samples)
    varying = shown_parameters(data)
    ends = [clock.end]
    spent: list[Spent] = []
    for trial in state.all_rows():
        held = state.leases_of(trial.trial)
        if held:
            booked = _joules(state, held)
            points = [(clock.at(elapsed), total) for elapsed, total in totals.get(trial.trial, ())]
            course = course_of(held, points, sum(booked.values()))
            ends.append(course.at[-1])
            spent.append(Spent(TRIALS, course, _without_node(booked)))
            who = (_id(data.run), trial.trial)
            yield from _energy_samples(who, course, booked, intensity)
            for bucket in TRIAL_APART_ENERGY:
                yield from _apart_samples(who, bucket, course, state, held, intensity)
            nodes = tuple(dict.fromkeys(lease.node for lease in held))
            yield from _fact_samples(_id(data.run), trial, varying, course, nodes)
            yield from _result_samples(data.run, trial.trial, state.reports_of(trial.trial), course, nodes[-1], clock)
    begin = _began(data.run, max(ends))
    end = max(*ends, begin + 0.001)  # also of a ledger that has lost when things were
    for bucket in CHARGED_APART:
        of_bucket = _in_bucket(state, bucket)
        points = [(clock.at(elapsed), total) for elapsed, total in totals.get(f"bucket:{bucket}", ())]
        course = course_between(begin, end, points, sum(of_bucket.values()))
        spent.append(Spent(bucket, course, of_bucket))
    yield from _charged_samples(_id(data.run), list(every_step(begin, end)), spent, intensity)
    yield from _sweep_samples(data, state, begin, end, intensity)


_Key = tuple[str, str, str, str]
"""Node, component, bucket, source."""


def _began(run: Mapping[str, Any], end: float) -> float:
    return float(run.get("started_at") or end)


def _joules(state: RunState, leases: Iterable[LeaseRow]) -> dict[_Key, float]:
    """What a trial was booked in all."""
    joules: dict[_Key, float] = {}
    for lease in leases:
        for row in state.energy_of(lease.lease):
            if row.bucket in WORK_BUCKETS:
                key = (lease.node, row.component, row.bucket, row.source)
                joules[key] = joules.get(key, 0.0) + row.joules
    return joules


def _without_node(joules: Mapping[_Key, float]) -> dict[tuple[str, str], float]:
    """By component and source."""
    sums: dict[tuple[str, str], float] = {}
    for (_, component, _, source), each in joules.items():
        sums[component, source] = sums.get((component, source), 0.0) + each
    return sums


def _energy_samples(
    who: tuple[str, str], course: Course, joules: Mapping[_Key, float], intensity: Intensity | None
) -> Iterator[Sample]:
    of_node: dict[str, float] = {}
    of_component: dict[tuple[str, str], float] = {}
    for (node, component, _, _), total in joules.items():
        of_node[node] = of_node.get(node, 0.0) + total
        of_component[node, component] = of_component.get((node, component), 0.0) + total
    before = course.at[0]
    for at in course.times():
        part = course.part(at)
        for key, total in joules.items():
            yield TRIAL_ENERGY, (*who, *key), total * part, at
        if intensity is not None:
            for node, total in of_node.items():
                grams = intensity.emissions_grams(total * part)
                yield TRIAL_EMISSIONS, (*who, node), grams, at
        if at > before:
            speed = (part - course.part(before)) / (at - before)
            for place, total in of_component.items():
                yield TRIAL_POWER, (*who, *place), total * speed, at
        before = at
    for place in of_component:
        # As the agent says it once a trial has ended; otherwise a query would see its last power for five minutes.
        yield TRIAL_POWER, (*who, *place), 0.0, course.at[-1] + 1.0


def _apart_samples(
    who: tuple[str, str],
    bucket: str,
    course: Course,
    state: RunState,
    leases: Sequence[LeaseRow],
    intensity: Intensity | None,
) -> Iterator[Sample]:
    """What is apart of a trial's energy, and its CO2e, as if it was drawn at a steady power.

    Start-up as if all of it was at the beginning of each lease, else over the whole lease.
    """
    steps: dict[tuple[str, str, str], list[Course]] = {}
    for lease in leases:
        end = lease.opened_at + ((lease.startup_seconds or 0.0) if bucket == "startup" else lease.held_seconds)
        for row in state.energy_of(lease.lease):
            if row.bucket == bucket:
                place = (lease.node, row.component, row.source)
                steps.setdefault(place, []).append(course_between(lease.opened_at, end, (), row.joules))
    for at in course.times():
        of_node: dict[str, float] = {}
        for place, courses in steps.items():
            joules = sum(each.joules[-1] * each.part(at) for each in courses)
            of_node[place[0]] = of_node.get(place[0], 0.0) + joules
            yield TRIAL_APART_ENERGY[bucket], (*who, *place), joules, at
        if intensity is not None:
            for node, joules in of_node.items():
                grams = intensity.emissions_grams(joules)
                yield TRIAL_APART_EMISSIONS[bucket], (*who, node), grams, at


def _fact_samples(
    run: str, trial: TrialRow, varying: Sequence[str], course: Course, nodes: Sequence[str]
) -> Iterator[Sample]:
    config = configuration_text(trial.parameters, varying, trial.stage)
    for at in course.times():
        for node in nodes:
            yield TRIAL_INFO, (run, trial.trial, config, trial.hardware, node), 1.0, at


def _result_samples(
    run: Mapping[str, Any], trial: str, results: Sequence[ResultRow], course: Course, node: str, clock: RunClock
) -> Iterator[Sample]:
    shown = ShownMetrics(_shown_first(run))
    yield TRIAL_REPORTS, (_id(run), trial, node), 0.0, course.at[0]
    for number, result in enumerate(results, start=1):
        at = min(max(clock.at(result.elapsed_seconds), course.at[0]), course.at[-1])
        yield TRIAL_REPORTS, (_id(run), trial, node), float(number), at
        for metric, value in shown.of(result.metrics).items():
            yield TRIAL_RESULT, (_id(run), trial, node, metric), value, at


def _shown_first(run: Mapping[str, Any]) -> list[str]:
    """The metrics that dashboards show before others, as while the sweep ran: of its objectives, then its search's."""
    noted = [run.get("objective"), *(stage.get("objective") for stage in run.get("stages", {}).values())]
    search = ((run.get("spec") or {}).get("search") or {}).get("metrics") or {}
    return [*(str(objective["metric"]) for objective in noted if objective), *search]


def _sweep_samples(
    data: LedgerData, state: RunState, started_at: float, end: float, intensity: Intensity | None
) -> Iterator[Sample]:
    """The sweep's own metrics: what is constant all the time, and all else as it was at the end."""
    told = replace(about_of(data, state, intensity, end), started_at=started_at)
    steps = list(every_step(started_at, end))
    for family, labels, value in sweep_numbers(state, told):
        if family not in OVER_TIME:
            for at in steps if family.is_constant else (end,):
                yield family, (_id(data.run), *labels), value, at
    if intensity is not None:
        for at in steps:
            yield GRID_INTENSITY, (intensity.zone, intensity.told), intensity.grams_per_kwh, at


def _id(run: Mapping[str, Any]) -> str:
    return str(run.get("id", ""))
