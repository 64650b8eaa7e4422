"""The dashboard *Nodes*: where each host's energy goes, and how its agent and meters are."""

from __future__ import annotations

from energysweep.core.buckets import ACCOUNT_APART
from energysweep.core.metrics import (
    AGENT_CPU,
    AGENT_OPEN_LEASES,
    AGENT_TICK,
    AGENT_TICK_FAILURES,
    GRID_INTENSITY,
    METER_EVENTS,
    METER_READ_FAILURES,
    NODE_BUCKETS,
    NODE_CONSERVATION_ERROR,
    NODE_ENERGY,
    TRIAL_ENERGY,
    TRIAL_INFO,
)
from energysweep.monitoring.charts import Column, bars, stat, table, timeseries
from energysweep.monitoring.dashboard import choose_hardware, choose_nodes, choose_sweeps, dashboard, how_measured
from energysweep.monitoring.panels import (
    COUNT,
    HARDWARE,
    JOULES,
    JOULES_BAR,
    NODE,
    OWNERS,
    SWEEP,
    WORD,
    Json,
    Panel,
    at_end,
    over_time,
    steps,
)
from energysweep.monitoring.queries import (
    INFO,
    TRIALS,
    described,
    highest,
    increase,
    last,
    named,
    node_energy,
    node_power,
    now,
    rate,
)

UID = "energysweep-nodes"

NODES = 'node=~"$node"'

_EMPTY = "no agent in this time range"
_ESTIMATE = "An estimate is a model of the hardware, not a measurement; its source is called estimate."
_RESTARTS = (
    "An agent's counters begin again when its host does; what a counter shows when it is first scraped is left out."
)

_SHARED = "Where several agents share a node, this is what the one that has counted longest says."
_ADDRESSES = "Each address at which Prometheus finds an agent counts; one that is scraped at two counts twice."
_APART = "; ".join(f"{each.title}: {each.about}" for each in ACCOUNT_APART)
_DIVIDED = f"{_SHARED} Where it was there for a part of the time, agents are divided by time, which is an estimate."


def nodes_dashboard() -> Json:
    """Power by device, energy by owner, the balance of the books, and the agents' own health and cost."""
    return dashboard(
        UID,
        "energysweep / Nodes",
        "Each host: its power by device, whose energy it is, whether the books balance, and how its agent is.",
        [
            choose_nodes(),
            choose_sweeps(),
            choose_hardware(),
            how_measured(NODE_ENERGY, NODES),
        ],
        [
            ("Power (${measured:text})", [_power_by_device(), _power_by_owner()]),
            ("Whose energy (${measured:text})", [_owners(), _owner_bars(), _trials_by_sweep()]),
            ("Do the books balance?", [_conservation(), _failures(), _events()]),
            ("Agents", _agents()),
        ],
    )


def _power_by_device() -> Panel:
    return timeseries(
        "$measured Power by device",
        f"Mean power between scrapes, by device, with what measured it. {_SHARED} {_ESTIMATE}",
        "watt",
        _EMPTY,
        over_time("A", node_power(NODE_ENERGY, NODES), "{{node}} {{device}} ({{source}})"),
        stacked=True,
    )


def _power_by_owner() -> Panel:
    buckets = f"sum by (bucket) ({node_power(NODE_BUCKETS, NODES)})"
    return timeseries(
        "$measured Power by owner, and the meters",
        f"Trials: the work of those of all sweeps; {_APART}. The line is what the meters saw; it should lie on the top"
        f" of the areas. {_SHARED} {_ESTIMATE}",
        "watt",
        _EMPTY,
        over_time("meters", f"sum({node_power(NODE_ENERGY, NODES)})", "Meters"),
        over_time("A", buckets, "{{bucket}}"),
        stacked=True,
        lines=("meters",),
        names=OWNERS,
    )


def _owners() -> Panel:
    def of(bucket: str) -> str:
        this = f'bucket="{bucket}"'
        return f"sum by (node) ({node_energy(NODE_BUCKETS, NODES, this)})"

    booked, metered = (
        f"sum by (node) ({node_energy(NODE_BUCKETS, NODES)})",
        f"sum by (node) ({node_energy(NODE_ENERGY, NODES)})",
    )
    columns = {bucket: Column(name, JOULES, of(bucket)) for bucket, (name, _) in OWNERS.items()}
    return table(
        "$measured Energy by owner against the meters",
        "What was booked to each owner within the time range, and what the meters saw. A difference below a millijoule"
        " is the rounding of sums, and shown as 0."
        f" {_RESTARTS} {_DIVIDED} {_ESTIMATE}",
        _EMPTY,
        {"node": Column("Node", NODE)}
        | columns
        | {
            "booked": Column("All owners", JOULES, booked),
            "metered": Column("Meters", JOULES, metered),
            "difference": Column("Difference", JOULES, f"round({booked} - {metered}, 0.001)"),
        },
        height=5,
        sort="Meters",
    )


def _owner_bars() -> Panel:
    return bars(
        "$measured Energy by owner",
        f"Over all chosen nodes, within the time range. {_RESTARTS} {_DIVIDED} {_ESTIMATE}",
        "joule",
        _EMPTY,
        query=(f"sort_desc(sum by (bucket) ({node_energy(NODE_BUCKETS, NODES)}))", "bucket"),
        names=OWNERS,
    )


def _trials_by_sweep() -> Panel:
    energy = f"sum by (sweep, trial, node) ({highest(TRIAL_ENERGY, TRIALS)})"
    by_sweep = named(f"sum by (sweep, node, hardware) ({described(energy, last(TRIAL_INFO, INFO))})", "hardware")
    return table(
        "$measured Energy of trials by sweep",
        "The owner called trials, by sweep and hardware profile: all that trials within the time range have used, also"
        f" before it. {_ESTIMATE}",
        "no trial in this time range",
        {
            "node": Column("Node", NODE),
            "sweep": Column("Sweep", SWEEP),
            "hardware": Column("Hardware", HARDWARE),
            "energy": Column("Energy", JOULES_BAR, by_sweep),
        },
        width=12,
        sort="Energy",
    )


def _conservation() -> Panel:
    return timeseries(
        "Conservation error",
        "Difference between all that was booked and what the meters saw, as a part of the latter. Should be 0; from"
        " 1 % on there is an alert.",
        "percentunit",
        _EMPTY,
        over_time("A", now(NODE_CONSERVATION_ERROR, NODES), "{{node}}"),
        width=7,
        limit=0.01,
    )


def _failures() -> Panel:
    failures = rate(METER_READ_FAILURES, NODES)
    return timeseries(
        "Failed readings of meters",
        "Readings per second that failed. The next good one covers their time; without one, energy is missing.",
        "short",
        _EMPTY,
        over_time("A", failures, "{{node}} {{meter}}"),
        width=8,
    )


def _events() -> Panel:
    return table(
        "What the counters did",
        "Within the time range, as told by the agent that saw most. wrap: put right. reset, jump, overrun, frozen:"
        " intervals whose energy is unknown and booked to nobody.",
        _EMPTY,
        {
            "node": Column("Node", NODE),
            "meter": Column("Meter", WORD),
            "event": Column("Event", WORD),
            "count": Column("Times", COUNT, increase(METER_EVENTS, NODES)),
        },
        width=9,
        sort="Times",
    )


def _agents() -> list[Panel]:
    # Several agents of a node are told apart by their addresses only. One that has gone to another address is not there
    # twice at any moment: Prometheus ends the series of a target that is gone or does not answer.
    leases = f"max by (node, instance) ({AGENT_OPEN_LEASES}{{{NODES}}})"
    cpu = f"max by (node, instance) (rate({AGENT_CPU}{{{NODES}}}[$__rate_interval]))"
    tick = f"max by (node, instance) ({AGENT_TICK}{{{NODES}}})"
    return [
        stat(
            "Agents that answer",
            f"On the chosen nodes, at the last scrape. {_ADDRESSES}",
            "none",
            "none",
            at_end("A", f"count({leases})", "agents"),
            width=4,
        ),
        stat(
            "Open leases",
            f"Trials and tracked blocks that are at work now, of all agents. {_ADDRESSES}",
            "none",
            "none",
            at_end("A", f"sum({leases})", "leases"),
            width=4,
        ),
        stat(
            "Failed ticks",
            "Seconds within the time range in which an agent could not do its work; of several on a node, the one with"
            " most. The next tick makes up for it.",
            "none",
            _EMPTY,
            at_end("A", f"sum({increase(AGENT_TICK_FAILURES, NODES)})", "failures"),
            width=4,
            thresholds=steps("green", (1, "red")),
        ),
        stat(
            "Intensity of the grid",
            "What emissions are computed with: a yearly mean, without PUE.",
            "suffix:g/kWh",
            "no sweep in this time range",
            at_end("A", last(GRID_INTENSITY, ""), "{{zone}}"),
            width=12,
            text="value_and_name",
        ),
        timeseries(
            "CPU time of the agents",
            f"As a part of one logical CPU. {_ADDRESSES}",
            "percentunit",
            _EMPTY,
            over_time("A", cpu, "{{node}} {{instance}}"),
            height=7,
        ),
        timeseries(
            "How long a tick takes",
            f"One tick a second reads the meters and books the energy. {_ADDRESSES}",
            "s",
            _EMPTY,
            over_time("A", tick, "{{node}} {{instance}}"),
            height=7,
        ),
    ]
