"""A snapshot of an agent as the text that Prometheus reads, in the families of ``energysweep.core.metrics``.

prometheus_client writes such text, too. But a node with 2,000 live trials has 20,000 samples, for which it takes ten
times as long (``python -m benchmarks.run scrape``): so its objects are not built, and what a trial's samples have in
common is made into text once.
"""

from __future__ import annotations

import functools
import math
import re
import resource
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from energysweep.accounting.accounts import Trial
from energysweep.accounting.books import Books
from energysweep.accounting.counters import Counter
from energysweep.accounting.observer import Observer
from energysweep.accounting.windows import Window
from energysweep.core.metrics import (
    ACCOUNT_EMISSIONS,
    ACCOUNT_ENERGY,
    ACCOUNT_METERED,
    ACCOUNT_START,
    AGENT_CPU,
    AGENT_LEFT_OUT,
    AGENT_OPEN_LEASES,
    AGENT_TICK,
    AGENT_TICK_FAILURES,
    FAMILIES,
    GRID_INTENSITY,
    METER_COUNTER_RESETS,
    METER_EVENTS,
    METER_READ_FAILURES,
    NODE_BUCKETS,
    NODE_CONSERVATION_ERROR,
    NODE_ENERGY,
    NODE_POWER,
    SWEEP_FAMILIES,
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
from energysweep.meters import EVENTS, Component

# What a scrape shows of an agent: one consistent snapshot that never changes, taken while nothing is booked -----------


class Sample(NamedTuple):
    """One number: its family, the values of the family's labels in their order, and the number."""

    family: Family
    labels: tuple[str, ...]
    value: float


class TrialSnapshot(NamedTuple):
    """A trial whose series are shown. A sweep has many: what they have in common is made into text only once."""

    run: str
    trial: str
    config: str
    hardware: str
    joules: Mapping[tuple[Component, str, str], float]
    watts: Mapping[Component, float]
    grams: float | None
    apart_grams: Mapping[str, float]
    reports: int
    results: Mapping[str, float]


class Snapshot(NamedTuple):
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
    trials: tuple[TrialSnapshot, ...]


@dataclass(slots=True)
class Health:
    """How an agent itself does, besides its CPU time: how long its last tick took, and how many have failed."""

    tick_seconds: float = 0.0
    tick_failures: int = 0


def take_snapshot(taken: float, node: str, observer: Observer, books: Books, health: Health) -> Snapshot:
    """The snapshot of this moment.

    Args:
        taken: the clock.
        node: the node's name.
        observer, books, health: of the agent.
    """
    windows = list(books.windows.values())
    samples = [
        *_node_samples(node, observer.counters.values(), books),
        *_account_samples(node, observer.counters.values(), books),
        *_agent_samples(node, health, len(observer.leases)),
        *_grid_samples(windows),
        *(sample for window in windows for sample in _sweep_samples(window)),
    ]
    trials = [
        _trial_snapshot(window, name, trial)
        for window in windows
        for name, trial in books.live_trials(window, observer.advanced)
    ]
    return Snapshot(taken, node, tuple(samples), tuple(trials))


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
        yield Sample(NODE_ENERGY, (*labels, device.source), counter.total_joules)
        if device.name in books.node_watts:
            yield Sample(NODE_POWER, labels, books.node_watts[device.name])
    for (component, bucket), joules in books.node.joules.items():
        yield Sample(NODE_BUCKETS, (node, component, bucket), joules)
    if metered > 0:
        error = abs(sum(books.node.joules.values()) - metered) / metered
        yield Sample(NODE_CONSERVATION_ERROR, (node,), error)
    for source, (failures, resets) in meters.items():
        yield Sample(METER_READ_FAILURES, (node, source), failures)
        yield Sample(METER_COUNTER_RESETS, (node, source), resets)
    for (source, name), count in events.items():
        yield Sample(METER_EVENTS, (node, source, name), count)


def _account_samples(node: str, counters: Iterable[Counter], books: Books) -> Iterator[Sample]:
    """The account of the host by who answers for it, with what the counters saw of one kind of device."""
    metered: dict[tuple[str, str], float] = {}
    for counter in counters:
        kind: tuple[str, str] = (counter.device.component, counter.device.source)
        metered[kind] = metered.get(kind, 0.0) + counter.total_joules
    for kind, joules in metered.items():
        yield Sample(ACCOUNT_METERED, (node, books.id, *kind), joules)
    yield Sample(ACCOUNT_START, (node, books.id), books.began_at)
    windows = {name: books.windows[run] for run, name in books.payers.items()}
    of_payers: dict[tuple[str, str, str], float] = {}
    for part, joules in books.node.parts.items():
        run = windows[part.window].run if part.window else ""
        payer = (node, books.id, part.window, run, part.hardware)
        yield Sample(ACCOUNT_ENERGY, (*payer, part.component, part.source, part.bucket), joules)
        of_payer = (part.window, part.hardware, part.bucket)
        of_payers[of_payer] = of_payers.get(of_payer, 0.0) + joules
    for (name, hardware, bucket), joules in of_payers.items():
        grams = windows[name].sweep.emissions_grams(joules) if name else None
        if grams is not None:
            yield Sample(ACCOUNT_EMISSIONS, (node, books.id, name, windows[name].run, hardware, bucket), grams)


def _agent_samples(node: str, health: Health, open_leases: int) -> Iterator[Sample]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield Sample(AGENT_CPU, (node,), usage.ru_utime + usage.ru_stime)
    yield Sample(AGENT_TICK, (node,), health.tick_seconds)
    yield Sample(AGENT_TICK_FAILURES, (node,), health.tick_failures)
    yield Sample(AGENT_OPEN_LEASES, (node,), open_leases)


def _grid_samples(windows: Iterable[Window]) -> Iterator[Sample]:
    zones = {
        (window.sweep.zone, window.sweep.carbon_source): window.sweep.grams_per_kwh
        for window in windows
        if window.sweep.grams_per_kwh is not None
    }
    for labels, grams in zones.items():
        yield Sample(GRID_INTENSITY, labels, grams)


def _sweep_samples(window: Window) -> Iterator[Sample]:
    for metric, labels, value in window.sweep.samples:
        yield Sample(SWEEP_FAMILIES[metric], (window.run, *labels), value)


def _trial_snapshot(window: Window, name: str, trial: Trial) -> TrialSnapshot:
    joules = trial.shown_joules()
    apart = dict.fromkeys(TRIAL_APART_EMISSIONS, 0.0)
    work = 0.0
    for (_, bucket, _), each in joules.items():
        if bucket in apart:
            apart[bucket] += each
        else:
            work += each
    grams = {bucket: window.sweep.emissions_grams(each) for bucket, each in apart.items()}
    return TrialSnapshot(
        window.run,
        name,
        trial.config,
        trial.hardware,
        joules,
        trial.watts,  # replaced, never changed
        window.sweep.emissions_grams(work),
        {bucket: each for bucket, each in grams.items() if each is not None},
        trial.reports,
        dict(trial.results),
    )


# What a client asks for in ``Accept`` and ``Accept-Encoding``, RFC 9110 sections 12.4.2, 12.5.1 and 12.5.3 -----------
#
# prometheus_client reads these headers, too, but raises for a version that is no version, and knows no q.
# What is not understood says nothing; nobody is refused: who accepts nothing that there is gets the default.

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_VERSIONS = {"application/openmetrics-text": "1.0.0", "text/plain": "0.0.4"}


class _Wish(NamedTuple):
    what: str
    parameters: dict[str, str]
    quality: float


def content_type(accept: str) -> str:
    """The format of a scrape: OpenMetrics for who names it and likes nothing better, else Prometheus' text."""
    wishes = list(_wishes(accept))
    openmetrics = _quality_of_type("application/openmetrics-text", wishes)
    text = _quality_of_type("text/plain", wishes)
    is_named = any(wish.what == "application/openmetrics-text" for wish in wishes)
    return OPENMETRICS if is_named and openmetrics > 0 and openmetrics >= text else TEXT


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an answer may be compressed, and had better be."""
    qualities: dict[str, float] = {}
    for wish in _wishes(accept_encoding):
        name = "gzip" if wish.what == "x-gzip" else wish.what
        qualities[name] = max(wish.quality, qualities.get(name, 0.0))
    quality = qualities.get("gzip", qualities.get("*", 0.0))
    return quality > 0 and quality >= qualities.get("identity", 0.0)


def _quality_of_type(offered: str, wishes: list[_Wish]) -> float:
    """By the wish that names it most exactly."""
    found = [(exactness, wish.quality) for wish in wishes if (exactness := _exactness(offered, wish)) is not None]
    return max(found)[1] if found else 0.0


def _exactness(offered: str, wish: _Wish) -> int | None:
    version = wish.parameters.get("version")
    if version is not None and version != _VERSIONS[offered]:
        return None
    names = ("*/*", f"{offered.partition('/')[0]}/*", offered)
    if wish.what not in names:
        return None
    return names.index(wish.what) + (version is not None)


def _wishes(header: str) -> Iterator[_Wish]:
    for element in header.split(","):
        what, *rest = (part.strip() for part in element.split(";"))
        parameters = {
            name.strip().lower(): value.strip().strip('"') for name, is_one, value in map(_parted, rest) if is_one
        }
        quality = parameters.pop("q", "1")
        if what and _QUALITY.fullmatch(quality):
            yield _Wish(what.lower(), parameters, float(quality))


def _parted(parameter: str) -> tuple[str, str, str]:
    return parameter.partition("=")


# A snapshot of an agent as the text that Prometheus reads, in the families of ``energysweep.core.metrics`` ------------

LONGEST_LABEL = 300  # characters; the rest of a longer text is cut off


class Exposition(NamedTuple):
    """What a scraper gets."""

    content_type: str
    text: str


def exposition(snapshot: Snapshot, accept: str) -> Exposition:
    """The snapshot in the format that a scraper wants, OpenMetrics or Prometheus' own.

    Args:
        snapshot: of an agent.
        accept: the header ``Accept``; may be empty.
    """
    kind = content_type(accept)
    return Exposition(kind, _text(snapshot, is_openmetrics=kind == OPENMETRICS))


def _text(snapshot: Snapshot, *, is_openmetrics: bool) -> str:
    lines: dict[str, list[str]] = {family.name: [] for family in FAMILIES}
    series: set[str] = set()
    left_out = 0
    for family, labels, value in _samples(snapshot):
        named = f"{family}{{{labels}}}"
        number = _number(value)
        if number is None or named in series:  # one such sample must not cost a scraper all the others
            left_out += 1
            continue
        series.add(named)
        lines[family].append(f"{named} {number}\n")
    node = _labels(("node",), (snapshot.node,))
    lines[AGENT_LEFT_OUT.name].append(f"{AGENT_LEFT_OUT}{{{node}}} {left_out}.0\n")
    parts = [part for family in FAMILIES for part in (_head(family, is_openmetrics), *lines[family.name])]
    return "".join([*parts, "# EOF\n"] if is_openmetrics else parts)


def _samples(snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """The family's name, the labels and the number of each."""
    for sample in snapshot.samples:
        yield sample.family.name, _labels(sample.family.labels, sample.labels), sample.value
    for trial in snapshot.trials:
        yield from _trial_samples(snapshot.node, trial)


def _head(family: Family, is_openmetrics: bool) -> str:
    # In OpenMetrics a counter's family lacks the suffix that its samples have.
    name = family.name.removesuffix("_total") if is_openmetrics and family.kind == "counter" else family.name
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n"


def _trial_samples(node: str, trial: TrialSnapshot) -> Iterator[tuple[str, str, float]]:
    of_trial = _labels(("sweep", "trial", "node"), (trial.run, trial.trial, node))
    for key, joules in trial.joules.items():
        component, bucket, source = key
        if (apart := TRIAL_APART_ENERGY.get(bucket)) is not None:
            labels = _cached_labels(("component", "source"), (component, source))
            yield apart.name, f"{of_trial},{labels}", joules
        else:
            labels = _cached_labels(("component", "bucket", "source"), key)
            yield TRIAL_ENERGY.name, f"{of_trial},{labels}", joules
    for component, watts in trial.watts.items():
        yield TRIAL_POWER.name, f'{of_trial},component="{component}"', watts
    if trial.grams is not None:
        yield TRIAL_EMISSIONS.name, of_trial, trial.grams
    for bucket, grams in trial.apart_grams.items():
        yield TRIAL_APART_EMISSIONS[bucket].name, of_trial, grams
    labels = _labels(("config", "hardware"), (trial.config, trial.hardware))
    yield TRIAL_INFO.name, f"{of_trial},{labels}", 1.0
    yield TRIAL_REPORTS.name, of_trial, trial.reports
    for metric, value in trial.results.items():
        yield TRIAL_RESULT.name, f"{of_trial},{_cached_labels(('metric',), (metric,))}", value


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


_cached_labels = functools.lru_cache(maxsize=1000)(_labels)  # the same few over all trials


def _escaped(value: str) -> str:
    # A lone surrogate, of a name that was no UTF-8, cannot be sent.
    value = value[:LONGEST_LABEL].encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str | None:
    """As Go reads it; None of an integer beyond all floats."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
