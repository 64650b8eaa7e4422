"""The dashboard *Configurations*: what configurations, hardware and parameter values cost, in any number of sweeps."""

from __future__ import annotations

from energysweep.monitoring import variables
from energysweep.monitoring.charts import barchart
from energysweep.monitoring.dashboard import dashboard
from energysweep.monitoring.panels import Json, Panel, Unit
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
            ("Configurations: trials within the time range", _configurations()),
            ("Values of $parameter: trials within the time range", _values()),
            ("Hardware: trials within the time range", _hardware()),
            ("Sweeps", [_sweeps()]),
        ],
    )


def _configurations() -> list[Panel]:
    by = "config, hardware"

    def bars(title: str, unit: Unit, expression: str) -> Panel:
        dearest = f"topk(15, {mean(by, expression)})"
        name = f'label_join({dearest}, "name", " ", "config", "hardware")'
        query = f"sort_desc({named(name, 'name')})"
        words = f"Mean per trial, for the 15 dearest configurations. {_RANGE} {_ESTIMATE}"
        return barchart(title, words, unit, _EMPTY, query, "name", height=10)

    columns = {"config": Column("Configuration"), "hardware": Column("Hardware")} | _columns(by)
    return [
        bars("Energy per configuration ($measured)", "joule", energy()),
        bars("CO2e per configuration ($measured)", "massg", emissions()),
        table(
            "All configurations ($measured)",
            f"Per trial, and the sum over all trials of a configuration. {_RANGE} {_ESTIMATE}",
            _EMPTY,
            columns,
            height=10,
            sort="Mean energy",
        ),
    ]


def _columns(by: str) -> dict[str, Column]:
    return {
        "energy": Column("Mean energy", mean(by, energy()), "joule", gauge=True),
        "least": Column("Least", f"min by ({by}) ({energy()})", "joule"),
        "most": Column("Most", f"max by ({by}) ({energy()})", "joule"),
        "grams": Column("Mean CO2e", mean(by, emissions()), "massg"),
        "metric": Column("Mean metric", mean(by, objective()), decimals=4),
        "trials": Column("Trials", f"count by ({by}) ({energy()})"),
        "sum": Column("Energy of all", f"sum by ({by}) ({energy()})", "joule"),
        "estimated": Column("Estimated part", estimated_part(by), "percentunit", decimals=0),
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
        barchart(
            *("Energy per value of $parameter ($measured)", words, "joule", empty),
            *(f"sort_desc({by_value('avg', joules)})", "value"),
            width=8,
        ),
        barchart(
            *("CO2e per value of $parameter ($measured)", words, "massg", empty),
            *(f"sort_desc({by_value('avg', grams)})", "value"),
            width=8,
        ),
        table(
            "Values of $parameter ($measured)",
            words,
            empty,
            {
                "value": Column("Value"),
                "energy": Column("Mean energy", by_value("avg", joules), "joule"),
                "metric": Column("Mean metric", by_value("avg", objective(_WITH_PARAMETER)), decimals=4),
                "trials": Column("Trials", by_value("count", joules)),
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
        barchart(
            *("Energy per hardware ($measured)", words, "joule", _EMPTY),
            *(f"sort_desc({named(mean('hardware', energy()), 'hardware')})", "hardware"),
            height=7,
        ),
        barchart(
            *("CO2e per hardware ($measured)", words, "massg", _EMPTY),
            *(f"sort_desc({named(mean('hardware', emissions()), 'hardware')})", "hardware"),
            height=7,
        ),
        table(
            "Hardware ($measured)",
            words,
            _EMPTY,
            {"hardware": Column("Hardware")} | _columns("hardware"),
            height=5,
            sort="Mean energy",
        ),
    ]


def _sweeps() -> Panel:
    def of_sweep(metric: str) -> str:
        return f"max by (sweep) ({last(metric, SWEEPS)})"

    cheapest = latest("energysweep_sweep_cheapest_energy_to_target_joules", SWEEPS)
    info = f"max by (sweep, name, owner) ({last('energysweep_sweep_info', SWEEPS)})"
    return table(
        "Sweeps ($measured_sweeps)",
        "Sweeps side by side. Energy and CO2e are of whole sweeps, trials and overhead, as their drivers tell; those of"
        " trials, and their number, are of the chosen ones within the time range. Least energy to target is the"
        " cheapest configuration's, the mean over its trials that reached it. Saved by early stopping is always an"
        " estimate."
        f" {_ESTIMATE}",
        _EMPTY,
        {
            "sweep": Column("Sweep"),
            "whole": Column("Energy", charged_energy("sweep"), "joule", gauge=True),
            "whole_grams": Column("CO2e", charged_emissions("sweep"), "massg"),
            "energy": Column("Trials' energy", f"sum by (sweep) ({energy()})", "joule"),
            "grams": Column("Trials' CO2e", f"sum by (sweep) ({emissions()})", "massg"),
            "estimated": Column("Estimated part", charged_estimated_part("sweep"), "percentunit", decimals=0),
            "saved": Column("Saved (estimate)", of_sweep("energysweep_sweep_saved_energy_joules"), "joule"),
            "trials": Column("Trials", f"count by (sweep) ({energy()})"),
            "cheapest": Column("Least energy to target", f"min by (sweep) ({cheapest})", "joule"),
            "begins": Column(
                "Begins", f"1000 * {of_sweep('energysweep_sweep_start_timestamp_seconds')}", "dateTimeAsIso"
            ),
            "ends": Column("Ends", f"1000 * {of_sweep('energysweep_sweep_end_timestamp_seconds')}", "dateTimeAsIso"),
            "name": Column("Name"),
            "owner": Column("Owner"),
            "info": Column("Told", info, hidden=True),
        },
        height=7,
        sort="Energy",
    )
