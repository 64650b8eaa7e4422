"""The dashboard *Account*: what sweeps are charged with, by owner and else, and what nobody is charged with.

All numbers are of the rules in deploy/prometheus/rules/account.yml: where the joules of each minute or hour went. So
they stay right when agents and sweeps have long gone, and where a data source shows the series of one owner alone, all
that is shown is that owner's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from energysweep.core.buckets import ACCOUNT_APART, CHARGED
from energysweep.core.carbon import JOULES_PER_KWH
from energysweep.monitoring.charts import Column, stat, table, timeseries
from energysweep.monitoring.dashboard import choose_of_account, choose_resolution, dashboard, how_measured
from energysweep.monitoring.panels import (
    COUNT,
    GRAMS,
    JOULES,
    JOULES_BAR,
    KWH,
    NAME,
    NODE,
    OWNERS,
    PART,
    SWEEP,
    Json,
    Panel,
    at_end,
    over_time,
)
from energysweep.monitoring.queries import ESTIMATED, named, share

UID = "energysweep-account"

_LABELS: Final = "owner_tags_name_sweep_hardware_node"
_RECORDED: Final = f"{_LABELS}_source_bucket:energysweep_account_energy_joules:increase"
ENERGY: Final = f"{_RECORDED}${{resolution}}"
EMISSIONS: Final = f"{_LABELS}_bucket:energysweep_account_emissions_grams:increase${{resolution}}"
METERED: Final = "node_source:energysweep_account_metered_joules:increase${resolution}"

NODES = 'node=~"$node"'
CHOSEN = f'owner=~"$owner", tags=~"$tags", sweep=~"$sweep", hardware=~"$hardware", {NODES}'
_TO_SWEEPS, _TO_NOBODY = 'sweep!=""', 'sweep=""'
_OTHER = "other"

_PARTS = {**OWNERS, _OTHER: ("Other", "#CC79A7")}

_EMPTY = "nothing was recorded in this time range"
_ESTIMATE = "An estimate is a model of the hardware, not a measurement; the column Estimated tells which part is one."
_CHARGED = (
    "What sweeps are charged with: the work of their trials (with its part of the idle floor), their start-up and"
    " overhead, as the hosts' own accounts book it."
)
_APART = "; ".join(f"{each.title}: {each.about}" for each in ACCOUNT_APART if each.name not in CHARGED)
_OTHERS = (
    f"What no sweep is charged with. {_APART}; other: agents while no sweep is there, and what still worked when its"
    " sweep had ended."
)
_GRAMS = "CO2e is of those sweeps whose grid is known."
_DAYS = "Each bar is a day of UTC, the last one as far as it has come."
_SWEEP_LINK = (
    "Look at this sweep",
    "/d/energysweep-sweep?${datasource:queryparam}&var-sweep=${__value.raw}&${__url_time_range}",
)


def account_dashboard() -> Json:
    """Energy and grams by owner, tags, name, sweep, hardware and node; what nobody is charged with; the balance."""
    return dashboard(
        UID,
        "energysweep / Account",
        "What sweeps are charged with, by owner, tags, sweep, hardware and node, what nobody is charged with, and that"
        " together they are what the meters saw.",
        [
            choose_resolution(
                {"minutes": "1m", "hours": "1h"},
                "Of which recorded series: those of minutes are there at once, those of hours may be kept for years.",
            ),
            *(
                choose_of_account(name, label, f"{ENERGY}{{{_TO_SWEEPS}}}", f"{label} of sweeps in the time range.")
                for name, label in (("owner", "Owner"), ("tags", "Tags"), ("sweep", "Sweep"), ("hardware", "Hardware"))
            ),
            choose_of_account("node", "Node", ENERGY, "Nodes that had an agent within the time range."),
            how_measured(ENERGY, NODES),
        ],
        [
            ("In this time range (${measured:text})", _so_far()),
            ("By owner (${measured:text})", [_by_owner(), _days_of_owners()]),
            ("By tags and name (${measured:text})", [_by("tags", "Tags"), _by("name", "Name")]),
            ("Sweeps (${measured:text})", [_sweeps()]),
            ("By hardware and node (${measured:text})", [_by("hardware", "Hardware"), _by_node()]),
            ("Do the parts add up to the meters? (${measured:text})", [_balance(), _days_of_parts()]),
        ],
        since="now-30d",
        refresh="5m",
    )


def _sum(series: str, where: str, by: str = "") -> str:
    """Of all that was recorded within the time range."""
    return f"sum by ({by}) (sum_over_time({series}{{{where}}}[$__range]))"


def _charged(series: str = ENERGY, by: str = "", also: str = "") -> str:
    """What the chosen sweeps are charged with."""
    return _sum(series, f"{CHOSEN}, {_TO_SWEEPS}{also}", by)


def _per_day(series: str, where: str, by: str) -> str:
    """Of each bar; its time is the beginning of what it is of."""
    return f"sum by ({by}) (sum_over_time({series}{{{where}}}[$__interval] offset -$__interval))"


def _so_far() -> list[Panel]:
    parts = f"({_sum(ENERGY, NODES)})"
    metered = f"({_sum(METERED, NODES)})"
    words = f"{_CHARGED} Of the chosen owners, tags, sweeps, hardware and nodes. {_ESTIMATE}"
    return [
        stat("$measured Charged", words, "joule", _EMPTY, at_end("A", _charged(), "joules")),
        stat(
            *("$measured Charged, in kWh", words, "kwatth", _EMPTY),
            at_end("A", f"{_charged()} / {JOULES_PER_KWH}", "kWh"),
        ),
        stat(
            *("$measured CO2e", f"Of that, in grams of CO2e. {_GRAMS} {_ESTIMATE}", "massg", "no grid is known"),
            at_end("A", _charged(EMISSIONS), "grams"),
        ),
        stat(
            *("$measured Nobody's", f"{_OTHERS} Of the chosen nodes. {_ESTIMATE}", "joule", _EMPTY),
            at_end("A", _sum(ENERGY, f"{NODES}, {_TO_NOBODY}"), "joules"),
        ),
        stat(
            *("$measured Meters", f"What the counters of the chosen nodes saw. {_ESTIMATE}", "joule", _EMPTY),
            at_end("A", metered, "joules"),
        ),
        stat(
            "$measured Parts less meters",
            "All that is charged to sweeps and nobody's, of the chosen nodes, less what their meters saw, as a part of"
            f" the latter. Should be 0; below a billionth it is the rounding of sums, and shown as 0. {_ESTIMATE}",
            "percentunit",
            _EMPTY,
            at_end("A", f"round(({parts} - {metered}) / {metered}, 1e-9)", "difference"),
        ),
    ]


def _columns(by: str) -> dict[str, Column]:
    """Columns of numbers of what is charged, by labels."""

    def of(expression: str) -> str:
        for label in by.split(", "):
            expression = named(expression, label)
        return expression

    estimated = share(_charged(by=by, also=f", {ESTIMATED}"), _charged(by=by))
    return {
        "energy": Column("Energy", replace(JOULES_BAR, width=130), of(_charged(by=by))),
        "kwh": Column("In kWh", KWH, of(f"{_charged(by=by)} / {JOULES_PER_KWH}")),
        "grams": Column("CO2e", GRAMS, of(_charged(EMISSIONS, by))),
        "estimated": Column("Estimated", PART, of(estimated)),
    }


_NONE = "(none): no driver tells, as of a Tuner of one's own, or nobody said."


def _table(label: str, title: str, words: str, columns: dict[str, Column], width: int = 12) -> Panel:
    return table(
        f"$measured By {title.lower()}",
        f"{_CHARGED} {words} {_GRAMS} {_ESTIMATE}",
        _EMPTY,
        {label: Column(title, NODE if label == "node" else NAME)} | columns,
        width=width,
        height=8,
        sort="Energy",
    )


def _by(label: str, title: str) -> Panel:
    words = {
        "tags": f"Sweeps with the same tags are one group, so that each joule is in one. {_NONE}",
        "name": f"The name in the sweep's file. {_NONE}",
        "hardware": "Hardware profiles of trials; (none): a sweep's overhead, and trials without a profile.",
    }
    return _table(label, title, words[label], _columns(label) | _count_of_sweeps(label))


def _count_of_sweeps(by: str) -> dict[str, Column]:
    sweeps = f"count by ({by}) ({_charged(by=f'{by}, sweep')})"
    return {"sweeps": Column("Sweeps", COUNT, named(sweeps, by))}


def _by_owner() -> Panel:
    parts = {
        bucket: Column(OWNERS[bucket][0], JOULES, named(_charged(by="owner", also=f', bucket="{bucket}"'), "owner"))
        for bucket in CHARGED
    }
    words = f"As a sweep's file or its user says it (owner, ENERGYSWEEP_OWNER); nobody checks it. {_NONE}"
    return _table("owner", "Owner", words, _columns("owner") | parts | _count_of_sweeps("owner"), 24)


def _by_node() -> Panel:
    columns = {name: column for name, column in _columns("node").items() if name != "kwh"}
    return _table("node", "Node", "Where it was drawn.", columns)


def _sweeps() -> Panel:
    by = "sweep, name, owner, tags"
    return table(
        "$measured Sweeps",
        f"{_CHARGED} What a sweep drew within the time range; all of it is on its dashboard, to which its name links."
        f" A sweep that states its own idle_power_watts divides by these in its report, and by the host's here."
        f" {_GRAMS} {_ESTIMATE}",
        _EMPTY,
        {
            "sweep": Column("Sweep", SWEEP, link=_SWEEP_LINK),
            "name": Column("Name", NAME),
            "owner": Column("Owner", NAME),
            "tags": Column("Tags", NAME),
            **_columns(by),
        },
        height=10,
        sort="Energy",
    )


def _days_of_owners() -> Panel:
    expression = named(_per_day(ENERGY, f"{CHOSEN}, {_TO_SWEEPS}", "owner"), "owner")
    return timeseries(
        "$measured Days of owners",
        f"{_CHARGED} {_DAYS} {_ESTIMATE}",
        "joule",
        _EMPTY,
        over_time("A", expression, "{{owner}}") | {"interval": "1d"},
        width=24,
        height=8,
        stacked=True,
        drawn="bars",
    )


def _where(bucket: str) -> str:
    """The condition of a part of all joules: what sweeps are charged with of a bucket, or what is nobody's."""
    if bucket == _OTHER:
        return f'{NODES}, {_TO_NOBODY}, bucket=~"{"|".join(CHARGED)}"'
    return f'{NODES}, {_TO_SWEEPS if bucket in CHARGED else _TO_NOBODY}, bucket="{bucket}"'


def _balance() -> Panel:
    def total(series: str, where: str = NODES) -> str:
        return _sum(series, where, "node")

    columns = {name: Column(title, JOULES, total(ENERGY, _where(name))) for name, (title, _) in _PARTS.items()}
    return table(
        "$measured Parts and meters",
        f"All that sweeps were charged with and what is nobody's, against the meters. {_OTHERS} A difference below a"
        " millijoule is the rounding of sums, and shown as 0. Of a node that agents share, it is what the one that has"
        " counted longest says: another's sweeps are in its background. Where a data source shows one owner's series"
        f" alone, there are no meters, and no difference. {_ESTIMATE}",
        _EMPTY,
        {"node": Column("Node", NODE)}
        | columns
        | {
            "booked": Column("All parts", JOULES, total(ENERGY)),
            "metered": Column("Meters", JOULES, total(METERED)),
            "difference": Column("Difference", JOULES, f"round({total(ENERGY)} - {total(METERED)}, 0.001)"),
        },
        height=7,
        sort="Meters",
    )


def _days_of_parts() -> Panel:
    other = f'label_replace({_per_day(ENERGY, _where(_OTHER), "")}, "bucket", "{_OTHER}", "", "")'
    own = " or ".join(_per_day(ENERGY, _where(bucket), "bucket") for bucket in OWNERS)
    targets = (
        over_time("meters", _per_day(METERED, NODES, ""), "Meters"),
        over_time("A", f"{own} or {other}", "{{bucket}}"),
    )
    return timeseries(
        "$measured Days of parts, and the meters",
        f"The line is what the meters saw; it should lie on the top of the bars. {_DAYS} {_OTHERS} {_ESTIMATE}",
        "joule",
        _EMPTY,
        *(target | {"interval": "1d"} for target in targets),
        width=24,
        stacked=True,
        drawn="bars",
        lines=("meters",),
        names=_PARTS,
    )
