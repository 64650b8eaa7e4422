"""The Prometheus metrics of an agent: one table that makes the exporter's families and docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from energysweep.core.buckets import BUCKETS, CHARGED_APART, HOST_ACCOUNT, LEASE_APART, WORK_BUCKETS, Bucket


class Family(NamedTuple):
    """One metric. As text it is its name, as in PromQL.

    Attributes:
        name: the full one.
        labels: their names, in order.
        is_constant: of a sweep: it stays the same from its beginning to its end.
        may_be_negative: of a sweep: its value need not be a number from 0 on.
    """

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str
    is_constant: bool = False
    may_be_negative: bool = False

    def __str__(self) -> str:
        return self.name


_FAMILIES: list[Family] = []


def _family(name: str, kind: Literal["counter", "gauge"], labels: tuple[str, ...], about: str) -> Family:
    """One more, in the order of docs/metrics.md."""
    _FAMILIES.append(Family(name, kind, labels, about))
    return _FAMILIES[-1]


def _of_sweep(
    what: str,
    kind: Literal["counter", "gauge"],
    labels: tuple[str, ...],
    about: str,
    *,
    is_constant: bool = False,
    may_be_negative: bool = False,
) -> Family:
    """One that a driver tells of its sweep as a whole. Its value comes from ``ledger.sweep_metrics``."""
    family = Family(f"energysweep_sweep_{what}", kind, ("sweep", *labels), about, is_constant, may_be_negative)
    _FAMILIES.append(family)
    return family


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _apart(bucket: Bucket, unit: str, labels: tuple[str, ...], about: str) -> Family:
    """A series of its own, so that nobody adds it to a trial's energy who sums up that."""
    return _family(f"energysweep_trial_{bucket.name}_{unit}_total", "counter", ("sweep", "trial", *labels), about)


TRIAL_ENERGY = _family(
    "energysweep_trial_energy_joules_total",
    "counter",
    ("sweep", "trial", "node", "component", "bucket", "source"),
    "Energy of a trial's work on a node over all its leases: what configurations are compared by."
    f" bucket: {_one_of(WORK_BUCKETS)}.",
)
TRIAL_APART_ENERGY: Final[Mapping[str, Family]] = {
    bucket.name: _apart(
        bucket,
        "energy_joules",
        ("node", "component", "source"),
        f"{bucket.title.capitalize()} of a trial on a node: {bucket.about}. Apart from its energy.",
    )
    for bucket in LEASE_APART
}
"""By bucket of a lease that is no part of a trial's energy."""
TRIAL_POWER = _family(
    "energysweep_trial_power_watts",
    "gauge",
    ("sweep", "trial", "node", "component"),
    "Mean power of a trial over the last second, start-up included.",
)
TRIAL_EMISSIONS = _family(
    "energysweep_trial_emissions_grams_total",
    "counter",
    ("sweep", "trial", "node"),
    "CO2e of a trial's energy: joules x PUE x intensity of the grid.",
)
TRIAL_APART_EMISSIONS: Final[Mapping[str, Family]] = {
    bucket.name: _apart(
        bucket,
        "emissions_grams",
        ("node",),
        f"CO2e of a trial's {bucket.title}; apart from that of its energy.",
    )
    for bucket in LEASE_APART
}
TRIAL_INFO = _family(
    "energysweep_trial_info",
    "gauge",
    ("sweep", "trial", "config", "hardware", "node"),
    "Always 1: what a trial tries, as short readable text: the parameters that vary, or in one's own Tuner the"
    " plain values and short texts of its config.",
)
TRIAL_RESULT = _family(
    "energysweep_trial_result",
    "gauge",
    ("sweep", "trial", "node", "metric"),
    "The last value of a metric that the trial reported: the objective, then those that the search optimises, then"
    " others in the order of its reports, 8 in all.",
)
TRIAL_REPORTS = _family(
    "energysweep_trial_reports_total",
    "counter",
    ("sweep", "trial", "node"),
    "How often a trial has reported a result on a node.",
)
SWEEP_INFO = _of_sweep(
    "info",
    "gauge",
    ("name", "owner", "tags"),
    "Always 1: the name and owner of a sweep, and its tags in the order of the alphabet: `nlp, urgent`.",
    is_constant=True,
)
SWEEP_TRIALS = _of_sweep("trials", "gauge", ("state",), "Number of trials of a sweep by state.")
SWEEP_DECISIONS = _of_sweep(
    "decisions_total",
    "counter",
    ("what", "why"),
    "How often something was decided of trials. what: started, resumed, paused, ended, failed,"
    " interrupted, ...; why: the rule, such as capped, slower, reached, turn.",
)
SWEEP_BEST = _of_sweep(
    "best", "gauge", ("metric",), "The best of the trials' last values of a metric.", may_be_negative=True
)
SWEEP_CHEAPEST = _of_sweep(
    "cheapest_energy_to_target_joules",
    "gauge",
    ("config", "hardware"),
    "Energy to the target of the configuration that is the cheapest so far: the mean of its trials that reached it."
    " Configurations in which a trial ended without it count only while there are no others.",
)
SWEEP_ENERGY = _of_sweep(
    "energy_joules_total",
    "counter",
    ("component", "bucket", "source"),
    "What a sweep is charged with so far, over all its trials, nodes and parts, as in its report. bucket: trials"
    f" (their work), {_one_of(CHARGED_APART)}.",
)
SWEEP_EMISSIONS = _of_sweep(
    "emissions_grams_total",
    "counter",
    ("bucket",),
    "CO2e of what a sweep is charged with so far: joules x PUE x intensity of the grid.",
)
SWEEP_SAVED = _of_sweep(
    "saved_energy_joules",
    "gauge",
    (),
    "An estimate of what stopping trials early has saved: what they would have used to their end (of a race or cap:"
    " what the full grid with all repeats would have used to the target), less what they used. None where nobody knows"
    " how long a full trial is: then there is only the lower end.",
)
SWEEP_SAVED_LEAST = _of_sweep(
    "saved_energy_least_joules", "gauge", (), "The lower end of the interval of that estimate."
)
SWEEP_SAVED_MOST = _of_sweep("saved_energy_most_joules", "gauge", (), "The upper end of the interval of that estimate.")
SWEEP_BUDGET_LIMIT = _of_sweep(
    "budget_limit",
    "gauge",
    ("kind",),
    "A limit of a sweep's budget, over all its parts. kind: energy_joules, emissions_grams, cost or duration_seconds,"
    " in that unit.",
)
SWEEP_BUDGET_CHARGED = _of_sweep(
    "budget_charged", "gauge", ("kind",), "What is charged against that limit so far, in the same unit."
)
SWEEP_START = _of_sweep("start_timestamp_seconds", "gauge", (), "When the sweep began (Unix time).", is_constant=True)
SWEEP_END = _of_sweep("end_timestamp_seconds", "gauge", (), "When the sweep ended (Unix time).")
NODE_ENERGY = _family(
    "energysweep_node_energy_joules_total",
    "counter",
    ("node", "device", "component", "source"),
    "What a device's own counter saw since the agent began.",
)
NODE_BUCKETS = _family(
    "energysweep_node_bucket_energy_joules_total",
    "counter",
    ("node", "component", "bucket"),
    f"Where a node's energy went. bucket: {_one_of(HOST_ACCOUNT)}.",
)
NODE_POWER = _family(
    "energysweep_node_power_watts",
    "gauge",
    ("node", "device", "component"),
    "Mean power of a device over the last second.",
)
NODE_CONSERVATION_ERROR = _family(
    "energysweep_node_conservation_error_ratio",
    "gauge",
    ("node",),
    "Difference of all buckets and the meters' own counters, as a part of the latter. Should be 0.",
)
ACCOUNT_ENERGY = _family(
    "energysweep_account_energy_joules_total",
    "counter",
    ("node", "books", "window", "sweep", "hardware", "component", "source", "bucket"),
    "Where a node's energy went, and who answers for it: a sweep, and of trials their hardware profile; none for what"
    f" no sweep is charged with. bucket: {_one_of(HOST_ACCOUNT)}. All of a node's sum up to"
    " `energysweep_account_metered_joules_total`.",
)
ACCOUNT_EMISSIONS = _family(
    "energysweep_account_emissions_grams_total",
    "counter",
    ("node", "books", "window", "sweep", "hardware", "bucket"),
    "CO2e of what a sweep answers for on a node: joules x PUE x intensity of the grid.",
)
ACCOUNT_METERED = _family(
    "energysweep_account_metered_joules_total",
    "counter",
    ("node", "books", "component", "source"),
    "What a node's own counters saw since its books began.",
)
ACCOUNT_START = _family(
    "energysweep_account_start_timestamp_seconds",
    "gauge",
    ("node", "books"),
    "When the books of a node began (Unix time).",
)
GRID_INTENSITY = _family(
    "energysweep_grid_intensity_grams_per_kwh",
    "gauge",
    ("zone", "source"),
    "Carbon intensity that emissions are computed with (without PUE).",
)
METER_READ_FAILURES = _family(
    "energysweep_meter_read_failures_total",
    "counter",
    ("node", "meter"),
    "Readings that failed. The next good one covers their interval.",
)
METER_COUNTER_RESETS = _family(
    "energysweep_meter_counter_resets_total",
    "counter",
    ("node", "meter"),
    "Intervals of unknown energy: reset counters, impossible jumps, counters that stood still or may have wrapped."
    " `promtool check metrics` takes the word counter for a type and complains; the name is part of the contract.",
)
METER_EVENTS = _family(
    "energysweep_meter_events_total",
    "counter",
    ("node", "meter", "event"),
    "What counters did beside going on. event: wrap (put right), reset, jump, overrun or frozen.",
)
AGENT_CPU = _family("energysweep_agent_cpu_seconds_total", "counter", ("node",), "CPU time of the agent's process.")
AGENT_TICK = _family("energysweep_agent_tick_seconds", "gauge", ("node",), "How long the last tick took.")
AGENT_TICK_FAILURES = _family("energysweep_agent_tick_failures_total", "counter", ("node",), "Ticks that failed.")
AGENT_OPEN_LEASES = _family("energysweep_agent_open_leases", "gauge", ("node",), "Leases that are open now.")
AGENT_LEFT_OUT = _family(
    "energysweep_agent_left_out_samples",
    "gauge",
    ("node",),
    "Samples that this scrape lacks, because they cannot be written or would stand there twice. Not 0: a fault.",
)

FAMILIES = tuple(_FAMILIES)
SWEEP_FAMILIES: Final = {family.name: family for family in FAMILIES if family.name.startswith("energysweep_sweep_")}
"""What a driver tells of its sweep as a whole: the same table for its message, its agent and both exporters."""


_HEAD = """\
# Metrics

Every agent serves these at `/metrics`, as text and as OpenMetrics, compressed if the scraper takes gzip. Made from
`energysweep/core/metrics.py` by `make docs`.

`sweep` is the run id, `component` is `cpu`, `dram` or `gpu`. Units are base units. How Prometheus finds the agents:
[discovery.md](discovery.md).

| metric | type | labels | meaning |
|---|---|---|---|
"""

_BUCKETS = """
## Buckets

What a joule is booked as. Where trials are told as a whole, in what a sweep is charged with and in a node's account,
`active` and `idle` are `trials`.

| bucket | what is in it | of | a trial's energy | charged to its sweep | in a node's account |
|---|---|---|---|---|---|
"""

_LIFE = """
## Who shows what

- `energysweep_trial_*`, `energysweep_node_*`, `energysweep_meter_*` and `energysweep_agent_*` are of one node each. A
  trial that has moved has a series on each node: `sum by (sweep, trial)`.
- Prometheus adds labels of its own, and an agent that comes back at another address leaves the same series twice, under
  two `instance`s: `max by` a metric's own labels comes before every sum.
- `energysweep_sweep_*` is shown by the agent beside the driver alone, and `energysweep_grid_intensity_grams_per_kwh`
  by every agent of a sweep: `max by (zone, source)`.
- Two users' agents on one host both meter the whole node, under one `node` and two `instance`s, and each divides it up
  in books of its own. Take all `energysweep_node_*` of one of them, never their sum; `max by` would mix their books.
  The expressions below take the one that saw most; *Nodes* and the recording rules ([monitoring.md](monitoring.md))
  also follow an agent that goes on at another address.
- `energysweep_account_*` are the series of the recording rules for the account ([account.md](account.md)). `books` are
  those of one agent, or of several that went on from each other: one set of them counts for a node. `window` is one
  sweep's on that node. Their counters never go down: books that begin anew have another name.
- `source` says where joules are from. `estimate` is an estimate, and so is `energysweep_sweep_saved_energy_joules`.
- The only unbounded labels are `sweep` and `trial`: one set of series for each trial that is shown. A trial has at
  most 8 `energysweep_trial_result`, none of what Tune adds to a result (`training_iteration`, `time_total_s`, ...) or
  energysweep (`energy_joules`, ...). Texts are cut at 300 characters.

## How long a series lives

A trial's series begin at 0 when its lease opens (within a second), for every component and bucket that it can use.
They go on over all its leases on that node, and stay for 5 minutes after it has ended (`ENERGYSWEEP_SERIES_SECONDS`,
or `energysweep agent --series-seconds`), its power at 0 W. A sweep's own series stay as long after its end. Then
Prometheus calls them stale: an instant query finds nothing any more, a query over a range does.

| question | expression |
|---|---|
"""

# What an operator asks; ended trials are there as long as Prometheus keeps its data.
_TRIAL_JOULES = (
    "max by (sweep, trial, node, component, bucket, source) (max_over_time(energysweep_trial_energy_joules_total[1d]))"
)
_NODE_JOULES = "increase(energysweep_node_energy_joules_total[1h])"
_ONE_AGENT = f"topk by (node) (1, sum without (device, component, source) ({_NODE_JOULES}))"
EXPRESSIONS = (
    (
        "power now, by trial",
        "sum by (sweep, trial) (max by (sweep, trial, node, component) (energysweep_trial_power_watts))",
    ),
    (
        "joules of a sweep so far, trials, start-up and overhead",
        "sum by (sweep) (max by (sweep, component, bucket, source)"
        " (max_over_time(energysweep_sweep_energy_joules_total[1d])))",
    ),
    ("joules of each trial, ended or not", f"sum by (sweep, trial) ({_TRIAL_JOULES})"),
    (
        "joules per configuration",
        "sum by (config) (max by (sweep, trial, node, config) (max_over_time(energysweep_trial_info[1d]))"
        f" * on (sweep, trial, node) group_left () sum by (sweep, trial, node) ({_TRIAL_JOULES}))",
    ),
    ("joules drawn within the last hour, by node", f"max by (node) ({_ONE_AGENT})"),
    (
        "who drew them",
        "sum by (node, bucket) (increase(energysweep_node_bucket_energy_joules_total[1h])"
        f" and ignoring (component, bucket) {_ONE_AGENT})",
    ),
)

_GUIDE = """
Take `max_over_time` for the totals of trials, over a range that reaches back to when they ended: it is right however
few scrapes there were. `increase` and `rate` only know what grew between two scrapes: of a trial that was shorter
than the scrape interval they see nothing. They are right for nodes, which are always there, and for
`energysweep_sweep_*_total`, which miss no trial however short it was and whenever it ended.

At a scrape interval of 60 s or less the last value of every trial is scraped. An agent that was started by a sweep
stays for 5 minutes after its last use (`ENERGYSWEEP_LINGER`), so that a Prometheus that looks for targets once a
minute still finds it.

## Restarts

No counter of energy goes down when an agent is told to end (SIGTERM), killed or replaced in the middle of a sweep: the
next one goes on from its state, and a scrape never shows what is not in that state. (One of a release with another
protocol or state format begins anew; the changelog says which.) Energy of the time between is added when the next
agent begins. Series of ended trials go on for what is left of their 5 minutes. The address stays
the same as well.

- `energysweep_agent_cpu_seconds_total` and `energysweep_agent_tick_failures_total` are of the agent's process and
  begin at 0 with it.
- The host's own counters (`energysweep_node_*`) begin at 0 after a reboot, and when an agent has ended because nobody
  needed it any more. `increase` and `rate` allow for that.
- A run that was interrupted and is resumed goes on with its series where its agents still show them. Otherwise each
  of a trial's parts counts from 0: `max_over_time` has the larger part, the ledger has all of it. The sweep's own
  counters (`energysweep_sweep_*_total`) come from the ledger and go on.
"""


def markdown() -> str:
    """docs/metrics.md, made from the table."""
    rows = [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |\n"
        for family in FAMILIES
    ]
    buckets = [
        f"| `{each.name}` | {each.about} | {each.of} | {_yes(each.is_work)} | {_yes(each.is_charged)}"
        f" | {_yes(each.is_in_host_account)} |\n"
        for each in BUCKETS
    ]
    questions = [f"| {question} | `{expression}` |\n" for question, expression in EXPRESSIONS]
    return "".join([_HEAD, *rows, _BUCKETS, *buckets, _LIFE, *questions, _GUIDE])


def _yes(is_so: bool) -> str:
    return "yes" if is_so else ""
