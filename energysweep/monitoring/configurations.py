"""The dashboard *Configurations*: what configurations, hardware and parameter values cost, in any number of sweeps."""

from __future__ import annotations

from energysweep.monitoring import variables
from energysweep.monitoring.charts import bars
from energysweep.monitoring.dashboard import dashboard
from energysweep.monitoring.fields import (
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
    VALUE,
    Json,
    Unit,
)
from energysweep.monitoring.panels import Panel
from energysweep.monitoring.queries import last, latest, named
from energysweep.monitoring.tables import Column, table
from energysweep.monitoring.trials import (
    INFO,
    SWEEPS,
    charged_emissions,
    charged_energy,
    charged_estimated_part,
    emissions,
    energy,
    estimated_part,
    mean,
    objective,
)

UID = "energysweep-configurations"

_EMPTY = "no trial in this time range"
_MEASURED = "(${measured:text})"
_RANGE = "Of every trial within the time range, whether it runs or has ended."
_ESTIMATE = "An estimate is a model of the hardware, not a measurement; the tables tell which part is one."

# The text of a configuration is name=value name=value, where a value with spaces stands in quotes.
_WITH_PARAMETER = INFO + ", config=~'(.* )?$parameter=.*'"
_VALUE = """"value", "$1", "config", '(?:.* )?$parameter=("[^"]*"|[^ ]*)(?: .*)?'"""


def configurations_dashboard() -> Json:
    """Energy and carbon per configuration, per hardware and per parameter value; sweeps side by side."""
    return dashboard(
        UID,
        "energysweep / Configurations",
        "What each configuration, hardware profile and parameter value cost, in any number of sweeps of any time.",
        [
            variables.sweeps(),
            variables.hardware(),
            variables.nodes_of_sweeps(),
            variables.parameter(),
            variables.metric(),
            variables.measured(),
            variables.measured_sweeps("measured_sweeps"),
        ],
        [
            (f"Configurations: trials within the time range {_MEASURED}", _configurations()),
            (f"Values of $parameter: trials within the time range {_MEASURED}", _values()),
            (f"Hardware: trials within the time range {_MEASURED}", _hardware()),
            ("Sweeps (${measured_sweeps:text})", _sweeps()),
        ],
    )


def _configurations() -> list[Panel]:
    by = "config, hardware"

    def dearest(title: str, unit: Unit, expression: str) -> Panel:
        most = f"topk(15, {mean(by, expression)})"
        name = f'label_join({most}, "name", " ", "config", "hardware")'
        query = f"sort_desc({named(name, 'name')})"
        words = f"Mean per trial, for the 15 dearest configurations. {_RANGE} {_ESTIMATE}"
        return bars(title, words, unit, _EMPTY, query, "name", height=10)

    columns = {"config": Column("Configuration", CONFIGURATION), "hardware": Column("Hardware", HARDWARE)} | _columns(
        by
    )
    return [
        dearest("$measured Energy per configuration", "joule", energy()),
        dearest("$measured CO2e per configuration", "massg", emissions()),
        table(
            "$measured All configurations",
            f"Per trial, and the sum over all trials of a configuration. {_RANGE} {_ESTIMATE}",
            _EMPTY,
            columns,
            height=10,
            sort="Mean energy",
        ),
    ]


def _columns(by: str) -> dict[str, Column]:
    return {
        "energy": Column("Mean energy", JOULES_BAR, mean(by, energy())),
        "least": Column("Least", JOULES, f"min by ({by}) ({energy()})"),
        "most": Column("Most", JOULES, f"max by ({by}) ({energy()})"),
        "grams": Column("Mean CO2e", GRAMS, mean(by, emissions())),
        "metric": Column("Mean metric", METRIC, mean(by, objective()), "Mean $metric"),
        "trials": Column("Trials", COUNT, f"count by ({by}) ({energy()})"),
        "sum": Column("Energy of all", JOULES, f"sum by ({by}) ({energy()})"),
        "estimated": Column("Estimated", PART, estimated_part(by)),
    }


def _values() -> list[Panel]:
    def by_value(aggregate: str, expression: str) -> str:
        return f"{aggregate} by (value) (label_replace({expression}, {_VALUE}))"

    empty = "no configuration has this parameter"
    joules, grams = energy(_WITH_PARAMETER), emissions(_WITH_PARAMETER)
    words = (
        f"Mean over all trials with the same value of the parameter, whatever their others are. {_RANGE} {_ESTIMATE}"
    )
    return [
        bars(
            *("$measured Energy per value of $parameter", words, "joule", empty),
            *(f"sort_desc({by_value('avg', joules)})", "value"),
            width=8,
        ),
        bars(
            *("$measured CO2e per value of $parameter", words, "massg", empty),
            *(f"sort_desc({by_value('avg', grams)})", "value"),
            width=8,
        ),
        table(
            "$measured Values of $parameter",
            words,
            empty,
            {
                "value": Column("Value", VALUE),
                "energy": Column("Mean energy", JOULES, by_value("avg", joules)),
                "metric": Column("Mean metric", METRIC, by_value("avg", objective(_WITH_PARAMETER)), "Mean $metric"),
                "trials": Column("Trials", COUNT, by_value("count", joules)),
            },
            width=8,
            sort="Mean energy",
        ),
    ]


def _hardware() -> list[Panel]:
    words = (
        f"Mean per trial of each hardware profile; a sweep that names none has one without a name. {_RANGE} {_ESTIMATE}"
    )
    return [
        bars(
            *("$measured Energy per hardware", words, "joule", _EMPTY),
            *(f"sort_desc({named(mean('hardware', energy()), 'hardware')})", "hardware"),
            height=7,
        ),
        bars(
            *("$measured CO2e per hardware", words, "massg", _EMPTY),
            *(f"sort_desc({named(mean('hardware', emissions()), 'hardware')})", "hardware"),
            height=7,
        ),
        table(
            "$measured Hardware",
            words,
            _EMPTY,
            {"hardware": Column("Hardware", NAME)} | _columns("hardware"),
            height=5,
            sort="Mean energy",
        ),
    ]


def _sweeps() -> list[Panel]:
    start, end = (f"energysweep_sweep_{edge}_timestamp_seconds" for edge in ("start", "end"))
    # Of a sweep that was interrupted and resumed, the first part began, and the last one ends or still runs.
    began = f"min by (sweep) (min_over_time({start}{{{SWEEPS}}}[$__range]))"
    ended = f"max by (sweep) ({last(end, SWEEPS)}) > max by (sweep) ({last(start, SWEEPS)})"
    saved = f"max by (sweep) ({latest('energysweep_sweep_saved_energy_joules', SWEEPS)})"
    cheapest = latest("energysweep_sweep_cheapest_energy_to_target_joules", SWEEPS)
    info = f"max by (sweep, name, owner) ({last('energysweep_sweep_info', SWEEPS)})"
    return [
        table(
            "$measured_sweeps Sweeps",
            "Sweeps side by side. Energy and CO2e are of whole sweeps, trials and overhead, as their drivers tell;"
            " those of trials, and their number, are of the chosen ones within the time range. Least to target is the"
            " cheapest configuration's energy, the mean over its trials that reached it. Saved, by early stopping, is"
            f" always an estimate. {_ESTIMATE}",
            _EMPTY,
            {
                "sweep": Column("Sweep", SWEEP),
                "whole": Column("Energy", JOULES_BAR, charged_energy("sweep")),
                "whole_grams": Column("CO2e", GRAMS, charged_emissions("sweep")),
                "energy": Column("Trials' energy", JOULES, f"sum by (sweep) ({energy()})"),
                "grams": Column("Trials' CO2e", GRAMS, f"sum by (sweep) ({emissions()})"),
                "estimated": Column("Estimated", PART, charged_estimated_part("sweep")),
                "saved": Column("Saved (≈)", JOULES, saved),
                "trials": Column("Trials", COUNT, f"count by (sweep) ({energy()})"),
                "cheapest": Column("Least to target", JOULES, f"min by (sweep) ({cheapest})"),
            },
            height=7,
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
            height=7,
            sort="Begins",
        ),
    ]
