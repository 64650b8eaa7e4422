"""The dashboard *Configurations*: what configurations, hardware and parameter values cost, in any number of sweeps."""

from __future__ import annotations

from dataclasses import replace

from energysweep.core.metrics import (
    SWEEP_CHEAPEST,
    SWEEP_END,
    SWEEP_INFO,
    SWEEP_SAVED,
    SWEEP_START,
)
from energysweep.core.naming import value_pattern
from energysweep.monitoring.charts import Column, Group, bars, groups, table
from energysweep.monitoring.dashboard import (
    choose_hardware,
    choose_metric,
    choose_nodes_of_sweeps,
    choose_parameter,
    choose_sweeps,
    dashboard,
    how_measured,
    how_sweeps_are_measured,
)
from energysweep.monitoring.panels import (
    CONFIGURATION,
    COUNT,
    GRAMS,
    HARDWARE,
    JOULES,
    JOULES_BAR,
    METRIC,
    MOMENT,
    NAME,
    PART,
    SWEEP,
    TRIAL,
    VALUE,
    Json,
    Panel,
    Unit,
)
from energysweep.monitoring.queries import (
    SWEEPS,
    charged_emissions,
    charged_energy,
    charged_estimated_part,
    emissions,
    energy,
    estimated_energy,
    last,
    latest,
    named,
    objective,
)

UID = "energysweep-configurations"

_EMPTY = "no trial in this time range"
_MEASURED = "(${measured:text})"
_RANGE = "Of every trial within the time range, whether it runs or has ended."
_ESTIMATE = "An estimate is a model of the hardware, not a measurement; the tables tell which part is one."

_NARROW_VALUE = replace(VALUE, width=100, least=0)
_TRIALS = "$measured Trials"
"""The table whose rows other panels take."""

# Between backticks PromQL escapes nothing, so that Grafana's one escape of a regular expression is right.
_VALUE = f'"value", "$1", "config", `{value_pattern("${parameter:regex}")}`'


def configurations_dashboard() -> Json:
    """Energy and carbon per configuration, per hardware and per parameter value; sweeps side by side."""
    return dashboard(
        UID,
        "energysweep / Configurations",
        "What each configuration, hardware profile and parameter value cost, in any number of sweeps of any time.",
        [
            choose_sweeps(),
            choose_hardware(),
            choose_nodes_of_sweeps(),
            choose_parameter(),
            choose_metric(),
            how_measured(),
            how_sweeps_are_measured("measured_sweeps"),
        ],
        [
            (f"Configurations: trials within the time range {_MEASURED}", _configurations()),
            (f"Values of $parameter: trials within the time range {_MEASURED}", _values()),
            (f"Hardware: trials within the time range {_MEASURED}", _hardware()),
            ("Sweeps (${measured_sweeps:text})", _sweeps()),
            (f"Trials within the time range {_MEASURED}", [_sweeps_of_trials(), _trials()]),
        ],
    )


_CONFIGURATION, _HARDWARE = (
    Group("Configuration", CONFIGURATION, "Configuration"),
    Group("Hardware", HARDWARE, "Hardware"),
)
_BY_VALUE, _BY_SWEEP = Group("Value", VALUE, "Value"), Group("Sweep", SWEEP, "Sweep")
_MEAN_ENERGY = Group("Mean energy", JOULES_BAR, "Energy", "mean")
_MEAN_GRAMS = Group("Mean CO2e", GRAMS, "CO2e", "mean")
_MEAN_METRIC = Group("Mean metric", METRIC, "Metric", "mean", shown="Mean $metric")
_COUNT = Group("Trials", COUNT, "Energy", "count")
_SUM = Group("Energy of all", JOULES, "Energy", "sum")
_ESTIMATED = Group("Estimated", PART, "Estimated", "sum", over="Energy")
_COLUMNS = [
    _MEAN_ENERGY,
    Group("Least", JOULES, "Energy", "min"),
    Group("Most", JOULES, "Energy", "max"),
    _MEAN_GRAMS,
    _MEAN_METRIC,
    _COUNT,
    _SUM,
    _ESTIMATED,
]


def _bars(what: str, by: tuple[Group, ...], words: str, empty: str, width: int, height: int) -> list[Panel]:
    quantities: tuple[tuple[str, Unit, Group], ...] = (
        ("Energy", "joule", _MEAN_ENERGY),
        ("CO2e", "massg", _MEAN_GRAMS),
    )
    return [
        bars(f"$measured {name} per {what}", words, unit, empty, means=(_TRIALS, (*by, of)), width=width, height=height)
        for name, unit, of in quantities
    ]


def _configurations() -> list[Panel]:
    by = (_CONFIGURATION, _HARDWARE)
    words = f"Mean per trial, for the 15 dearest configurations. {_RANGE} {_ESTIMATE}"
    return [
        *_bars("configuration", by, words, _EMPTY, 12, 10),
        groups(
            "$measured All configurations",
            f"Per trial, and the sum over all trials of a configuration. {_RANGE} {_ESTIMATE}",
            _EMPTY,
            _TRIALS,
            [*by, *_COLUMNS],
            height=10,
            sort="Mean energy",
        ),
    ]


def _values() -> list[Panel]:
    empty = "no configuration has this parameter"
    words = (
        f"Mean over all trials with the same value of the parameter, whatever their others are. {_RANGE} {_ESTIMATE}"
    )
    return [
        *_bars("value", (_BY_VALUE,), words, empty, 7, 9),
        groups(
            "$measured Values",
            words,
            empty,
            _TRIALS,
            [_BY_VALUE, replace(_MEAN_ENERGY, field=JOULES), _MEAN_METRIC, _COUNT],
            width=10,
            sort="Mean energy",
        ),
    ]


def _hardware() -> list[Panel]:
    words = f"Mean per trial of each hardware profile; (none) of a sweep that names none. {_RANGE} {_ESTIMATE}"
    return [
        *_bars("hardware", (_HARDWARE,), words, _EMPTY, 12, 7),
        groups(
            "$measured Hardware",
            words,
            _EMPTY,
            _TRIALS,
            [replace(_HARDWARE, field=NAME), *_COLUMNS],
            height=6,
            sort="Mean energy",
        ),
    ]


def _sweeps_of_trials() -> Panel:
    return groups(
        "$measured Their sweeps",
        f"What these trials of each sweep used together, without overhead. {_RANGE} {_ESTIMATE}",
        _EMPTY,
        _TRIALS,
        [_BY_SWEEP, replace(_SUM, field=JOULES_BAR), Group("CO2e of all", GRAMS, "CO2e", "sum"), _COUNT, _ESTIMATED],
        height=6,
        sort="Energy of all",
    )


def _trials() -> Panel:
    """The rows that all others but those of whole sweeps are made of."""

    def of(expression: str) -> str:
        return f"label_replace({named(named(expression, 'config'), 'hardware')}, {_VALUE})"

    return table(
        _TRIALS,
        f"Every trial within the time range, whether it runs or has ended. {_ESTIMATE}",
        _EMPTY,
        {
            "sweep": Column("Sweep", SWEEP),
            "trial": Column("Trial", TRIAL),
            "config": Column("Configuration", CONFIGURATION),
            "hardware": Column("Hardware", HARDWARE),
            "value": Column("Value", _NARROW_VALUE, shown="$parameter"),
            "energy": Column("Energy", JOULES_BAR, of(energy())),
            "estimated": Column("Estimated", JOULES, of(f"{estimated_energy()} or 0 * {energy()}")),
            "grams": Column("CO2e", GRAMS, of(emissions())),
            "metric": Column("Metric", METRIC, of(objective()), "$metric"),
        },
        height=12,
        sort="Energy",
    )


def _sweeps() -> list[Panel]:
    # Of a sweep that was interrupted and resumed, the first part began, and the last one ends or still runs.
    began = f"min by (sweep) (min_over_time({SWEEP_START}{{{SWEEPS}}}[$__range]))"
    ended = f"max by (sweep) ({last(SWEEP_END, SWEEPS)}) > max by (sweep) ({last(SWEEP_START, SWEEPS)})"
    saved = f"max by (sweep) ({latest(SWEEP_SAVED, SWEEPS)})"
    cheapest = latest(SWEEP_CHEAPEST, SWEEPS)
    info = f"max by (sweep, name, owner) ({last(SWEEP_INFO, SWEEPS)})"
    return [
        table(
            "$measured_sweeps Sweeps",
            "Sweeps side by side. Energy and CO2e are of whole sweeps, trials, start-up and overhead, as their"
            " drivers tell; of a Tuner of one's own no driver tells: all its trials within the time range with their"
            " start-up, without any overhead. Least to target is the cheapest configuration's energy, the mean over its"
            " trials that reached it. Saved, by early stopping, is always an estimate."
            f" {_ESTIMATE}",
            _EMPTY,
            {
                "sweep": Column("Sweep", SWEEP),
                "whole": Column("Energy", JOULES_BAR, charged_energy("sweep")),
                "whole_grams": Column("CO2e", GRAMS, charged_emissions("sweep")),
                "estimated": Column("Estimated", PART, charged_estimated_part("sweep")),
                "saved": Column("Saved (≈)", JOULES, saved),
                "cheapest": Column("Least to target", JOULES, f"min by (sweep) ({cheapest})"),
            },
            height=6,
            sort="Energy",
        ),
        table(
            "When they ran, and whose they are",
            "As their drivers tell; of a Tuner of one's own no driver tells. Without an end, a sweep still runs, or its"
            " driver was killed.",
            "no driver told of a sweep in this time range",
            {
                "sweep": Column("Sweep", SWEEP),
                "begins": Column("Begins", MOMENT, f"1000 * {began}"),
                "ends": Column("Ends", MOMENT, f"1000 * ({ended})"),
                "name": Column("Name", NAME),
                "owner": Column("Owner", NAME),
                "info": Column("Told", COUNT, info, hidden=True),
            },
            height=6,
            sort="Begins",
        ),
    ]
