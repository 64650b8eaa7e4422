"""The dashboard *Sweep*: one sweep while it runs, or as it was."""

from __future__ import annotations

from energysweep.core.buckets import CHARGED_APART
from energysweep.core.metrics import (
    SWEEP_BEST,
    SWEEP_BUDGET_CHARGED,
    SWEEP_BUDGET_LIMIT,
    SWEEP_CHEAPEST,
    SWEEP_ENERGY,
    SWEEP_SAVED,
    SWEEP_SAVED_LEAST,
    SWEEP_SAVED_MOST,
    SWEEP_TRIALS,
    TRIAL_APART_ENERGY,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_POWER,
)
from energysweep.monitoring.charts import Column, Group, groups, stat, table, timeseries, xychart
from energysweep.monitoring.dashboard import (
    choose_hardware,
    choose_metric,
    choose_nodes_of_sweeps,
    choose_sweep,
    dashboard,
    how_sweeps_are_measured,
    mark_decisions,
)
from energysweep.monitoring.panels import (
    CONFIGURATION,
    COUNT,
    GRAMS,
    HARDWARE,
    JOULES,
    JOULES_BAR,
    METRIC,
    OWNERS,
    PART,
    STATES,
    SWEEP,
    TRIAL,
    WATTS,
    WORD,
    Json,
    Panel,
    at_end,
    over_time,
)
from energysweep.monitoring.queries import (
    INFO,
    SWEEPS,
    TRIALS,
    apart,
    charged_emissions,
    charged_energy,
    chosen,
    described,
    emissions,
    energy,
    estimated_part,
    last,
    latest,
    named,
    now,
    objective,
    per_trial,
    rate,
)

UID = "energysweep-sweep"

_RANGE = "Of the trials within the time range: let it cover the whole sweep."
_WHOLE = (
    "Of the whole sweep, as its driver tells, whatever the time range and whichever hardware and nodes are chosen. Of a"
    " Tuner of one's own no driver tells: its trials within the time range with their start-up, without any overhead."
)
_NO_TRIAL = "no trial yet"
_TRIALS, _SOURCES = "$measured Trials", "What measured it"
"""Tables whose rows other panels take."""
_ESTIMATE = "An estimate is a model of the hardware, not a measurement; What measured it names the sources."

_PARTS = {bucket: OWNERS[bucket] for bucket in CHARGED_APART} | {"Other trials": ("Other trials", "#a0a4a8")}

_OF_TRIALS, _APART = ', bucket="trials"', ', bucket!="trials"'
_POWER_NOW = described(per_trial(now(TRIAL_POWER, TRIALS)), now(TRIAL_INFO, INFO))


def sweep_dashboard() -> Json:
    """Where the power of one sweep goes, what it has cost so far, and what it has found for that."""
    return dashboard(
        UID,
        "energysweep / Sweep",
        "One sweep: where its power goes, what it has cost so far, and what it has found.",
        [
            choose_sweep(),
            choose_hardware(),
            choose_nodes_of_sweeps(),
            choose_metric(),
            how_sweeps_are_measured(),
        ],
        [
            ("So far (${measured:text})", _so_far()),
            ("Where the power goes (${measured:text})", [_power(), _states(), *_power_by_others(), _sources()]),
            (
                "What it buys in $metric: trials within the time range (${measured:text})",
                [_energy_and_objective(), _configurations()],
            ),
            ("Trials within the time range (${measured:text})", [_trials()]),
        ],
        [mark_decisions()],
    )


def _so_far() -> list[Panel]:
    cheapest = f"bottomk(1, {latest(SWEEP_CHEAPEST, SWEEPS)})"
    return [
        stat(
            "$measured Energy",
            f"Active energy and idle share of all trials, their start-up, and the overhead. {_WHOLE} {_ESTIMATE}",
            "joule",
            _NO_TRIAL,
            sum_of=(_SOURCES, "Energy"),
            width=3,
        ),
        stat(
            "$measured CO2e",
            f"These joules times PUE times the intensity of the grid, in grams of CO2e. {_WHOLE} {_ESTIMATE}",
            "massg",
            _NO_TRIAL,
            at_end("A", f"sum({charged_emissions('sweep')})", "emissions"),
            width=3,
        ),
        stat(
            "$measured Power now",
            f"What all open trials draw together, over the last second, start-up included. {_ESTIMATE}",
            "watt",
            "no trial runs",
            sum_of=(_TRIALS, "Power now"),
            width=3,
        ),
        stat(
            "Best so far",
            "The best of the trials' last values of the objective, as the sweep's driver tells. Like reports, it judges"
            " a trial by the last number that it reported: it may get worse.",
            "none",
            "no result yet",
            at_end("A", latest(SWEEP_BEST, SWEEPS), "{{metric}}"),
            width=3,
            text="value_and_name",
        ),
        stat(
            "≈ Saved",
            "What the trials that a scheduler stopped early would have used beyond that; of a race or cap, against the"
            " full grid with all repeats to the target. Always an estimate, with its interval from least to most:"
            " nobody has run them to their end. Where nobody knows how long a full trial is, the least alone.",
            "joule",
            "nothing was stopped early",
            at_end("A", f"sum({latest(SWEEP_SAVED, SWEEPS)})", "about"),
            at_end("B", f"sum({latest(SWEEP_SAVED_LEAST, SWEEPS)})", "least"),
            at_end("C", f"sum({latest(SWEEP_SAVED_MOST, SWEEPS)})", "most"),
            width=3,
            text="value_and_name",
        ),
        table(
            "$measured Cheapest at target so far",
            "Energy that the cheapest configuration took to reach the target, as the sweep's driver tells: the mean"
            " over its trials that reached it. One in which a trial ended without it counts only while there is no"
            f" other; empty for an objective without a target. {_ESTIMATE}",
            "no configuration has reached the target",
            {
                "sweep": Column("Sweep", SWEEP, hidden=True),
                "config": Column("Configuration", CONFIGURATION),
                "hardware": Column("Hardware", HARDWARE),
                "cheapest": Column("Energy", JOULES, named(cheapest, "hardware")),
            },
            width=9,
            height=4,
        ),
        stat(
            "Left of the budget",
            "What is left of each limit that the sweep's file gives it (budget), as a part of it: of its joules, grams,"
            " money or seconds. Below 0: the last reports of its trials were charged beyond it.",
            "percentunit",
            "the sweep has no budget",
            at_end("A", f"1 - {last(SWEEP_BUDGET_CHARGED, SWEEPS)} / {last(SWEEP_BUDGET_LIMIT, SWEEPS)}", "{{kind}}"),
            width=24,
            text="value_and_name",
        ),
    ]


def _power() -> Panel:
    def of_sweep(also: str = "") -> str:
        return f"sum({rate(SWEEP_ENERGY, SWEEPS + also)})"

    of_trials_apart = f"sum by (bucket) ({apart(TRIAL_APART_ENERGY, rate, SWEEPS)})"
    beside = f"sum by (bucket) ({rate(SWEEP_ENERGY, SWEEPS + _APART)}) or {of_trials_apart}"
    shown = f"topk(40, {chosen(per_trial(rate(TRIAL_ENERGY, TRIALS)), INFO)})"
    # A Tuner of one's own has no driver that tells of all its trials.
    every = f"{of_sweep(_OF_TRIALS)} or sum({rate(TRIAL_ENERGY, SWEEPS)})"
    others = f"clamp_min(({every}) - (sum({shown}) or vector(0)), 0)"
    return timeseries(
        "$measured Power by trial",
        "Mean power between scrapes. The line is of the sweep's own counter, so the area under it is the sweep's energy"
        " since the first scrape. Of the chosen hardware and nodes the 40 trials that draw most at a moment are shown"
        " by themselves. All else that trials drew is shown together, also what each drew before its first scrape: of a"
        " trial that is shorter than the scrape interval, all of it. Of a Tuner of one's own no driver tells: no line,"
        " no overhead, and nothing of what a trial or its start-up drew before its first scrape."
        f" {_ESTIMATE}",
        "watt",
        "no trial ran in this time range",
        over_time("sweep", of_sweep(), "The sweep"),
        over_time("apart", beside, "{{bucket}}"),
        over_time("others", others, "Other trials"),
        over_time("A", described(shown, now(TRIAL_INFO, INFO)), "{{config}} {{hardware}} · {{trial}}"),
        width=16,
        height=11,
        stacked=True,
        lines=("sweep",),
        names=_PARTS,
    )


def _power_by_others() -> list[Panel]:
    watts = described(per_trial(rate(TRIAL_ENERGY, TRIALS)), now(TRIAL_INFO, INFO))
    by_node = f"sum by (node) ({chosen(rate(TRIAL_ENERGY, TRIALS), INFO)})"
    words = (
        "Mean power of trials' work between scrapes, without their start-up and what a trial drew before its first"
        f" scrape: one that is shorter than the scrape interval is not seen here. {_ESTIMATE}"
    )
    empty = "no trial ran in this time range"
    by_configuration = over_time("A", f"topk(20, sum by (config, hardware) ({watts}))", "{{config}} {{hardware}}")
    return [
        timeseries(
            *("$measured Power by configuration", f"The 20 that draw most at each moment. {words}", "watt", empty),
            by_configuration,
            width=10,
            height=10,
            stacked=True,
        ),
        timeseries(
            *("$measured Power by node", words, "watt", empty),
            over_time("A", by_node, "{{node}}"),
            width=6,
            height=10,
            stacked=True,
        ),
    ]


def _states() -> Panel:
    states = f"max by (state) ({now(SWEEP_TRIALS, SWEEPS)})"
    return timeseries(
        "Trials by state",
        "How many trials wait, run, are paused, have ended or failed, as the sweep's driver tells.",
        "short",
        "no driver told of this sweep in this time range",
        over_time("A", states, "{{state}}"),
        width=8,
        height=11,
        stacked=True,
        decimals=0,
        names=STATES,
    )


def _energy_and_objective() -> Panel:
    return xychart(
        "$measured Energy against the metric",
        "A point per trial: its energy, and the last value of the metric that it reported. A trial that moved between"
        f" nodes shows the larger of its last values there. {_RANGE} {_ESTIMATE}",
        "no trial has reported this metric",
        _TRIALS,
        Column("Energy", JOULES),
        Column("Metric", METRIC, shown="$metric"),
        width=8,
        height=11,
    )


def _configurations() -> Panel:
    return groups(
        "$measured Configurations",
        f"Mean over the trials of each configuration, also over those that still run. {_RANGE} {_ESTIMATE}",
        _NO_TRIAL,
        _TRIALS,
        [
            Group("Configuration", CONFIGURATION, "Configuration"),
            Group("Hardware", HARDWARE, "Hardware"),
            Group("Mean energy", JOULES_BAR, "Energy", "mean"),
            Group("Mean CO2e", GRAMS, "CO2e", "mean"),
            Group("Mean metric", METRIC, "Metric", "mean", shown="Mean $metric"),
            Group("Trials", COUNT, "Energy", "count"),
        ],
        width=16,
        height=11,
        sort="Mean energy",
    )


def _trials() -> Panel:
    def of(expression: str) -> str:
        return named(named(expression, "config"), "hardware")

    return table(
        _TRIALS,
        f"Every trial within the time range; power is of those that run. {_ESTIMATE}",
        _NO_TRIAL,
        {
            "sweep": Column("Sweep", SWEEP, hidden=True),
            "trial": Column("Trial", TRIAL),
            "config": Column("Configuration", CONFIGURATION),
            "hardware": Column("Hardware", HARDWARE),
            "energy": Column("Energy", JOULES_BAR, of(energy())),
            "estimated": Column("Estimated", PART, of(estimated_part("sweep, trial, config, hardware"))),
            "grams": Column("CO2e", GRAMS, of(emissions())),
            "power": Column("Power now", WATTS, of(_POWER_NOW)),
            "metric": Column("Metric", METRIC, of(objective()), "$metric"),
        },
        height=10,
        sort="Energy",
    )


def _sources() -> Panel:
    by_source = charged_energy("component, source")
    return table(
        _SOURCES,
        "The sweep's energy by component and source. estimate: a model from rated power and load, not a measurement;"
        f" replay: a recorded or invented trace. {_WHOLE}",
        _NO_TRIAL,
        {
            "component": Column("Component", WORD),
            "source": Column("Source", WORD),
            "energy": Column("Energy", JOULES_BAR, by_source),
        },
        width=8,
        height=10,
        sort="Energy",
    )
