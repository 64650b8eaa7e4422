"""emissions.csv as CodeCarbon writes it: one row for each trial, in its units (kWh, kg, W, seconds).

The columns, and their order, are those of the CodeCarbon that is installed. As in its own files energies and powers
include the PUE. What a ledger does not know is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from energysweep import __version__
from energysweep.core.carbon import JOULES_PER_KWH, place, tables_version
from energysweep.core.records import TrialRow, readable
from energysweep.export.run import Exported, Options, write_file
from energysweep.ledger.balance import quotient
from energysweep.ledger.trials import TrialSummary
from energysweep.report.files import Row, csv_text


def export(run: Exported, options: Options) -> Sequence[str]:
    """Write the file; arguments, result and errors as of ``formats.export``."""
    path = write_file(run, options, "emissions.csv", emissions_csv(run))
    return [f"emissions.csv: {path}"]


def emissions_csv(run: Exported) -> str:
    """A row for each trial that has begun, those of stages included; ``run_id`` is the trial's."""
    from codecarbon.output_methods.emissions_data import EmissionsData  # noqa: PLC0415  (slow)

    rows = {row.trial: row for row in run.data.trials}
    of_all = _of_all(run)
    return csv_text(
        [
            of_all | _of_trial(trial, rows[trial.trial], of_all["pue"]) | {"tracking_mode": _mode(run, trial)}
            for trial in run.summary.trials
        ],
        [field.name for field in fields(EmissionsData)],
        missing="",
    )


def _of_all(run: Exported) -> Row:
    """What all rows say."""
    carbon, versions = run.summary.carbon, run.data.run.get("versions") or {}
    where = place(carbon)
    return {
        "project_name": readable(run.summary.name),
        "experiment_id": readable(run.summary.sweep),
        "country_name": where.country,
        "country_iso_code": where.alpha_3,
        "region": where.region,
        "on_cloud": "N",  # as CodeCarbon writes it where it knows of no cloud
        "os": "Linux",
        "python_version": versions.get("python"),
        "codecarbon_version": tables_version(carbon),
        "pue": 1.0 if carbon is None else carbon.pue,
    }


def _of_trial(trial: TrialSummary, row: TrialRow, pue: float) -> Row:
    kilograms = None if trial.emissions_grams is None else trial.emissions_grams / 1000
    work_seconds = (trial.duration_seconds or 0.0) - (trial.startup_seconds or 0.0)
    components: dict[str, Any] = {}
    for component, name in (("cpu", "cpu"), ("gpu", "gpu"), ("dram", "ram")):
        joules = trial.component_joules.get(component)
        components[f"{name}_energy"] = _kwh(joules, pue)
        components[f"{name}_power"] = quotient(None if joules is None else joules * pue, work_seconds)
    return {
        "timestamp": _timestamp(row),
        "run_id": readable(trial.trial),
        "duration": trial.duration_seconds,
        "emissions": kilograms,
        "emissions_rate": quotient(kilograms, trial.duration_seconds or 0.0),
        "energy_consumed": _kwh(trial.energy_joules, pue),
        **components,
    }


def _kwh(joules: float | None, pue: float) -> float | None:
    return None if joules is None else joules / JOULES_PER_KWH * pue


def _mode(run: Exported, trial: TrialSummary) -> str:
    """The one column for how it was metered, in free words; how the trial stands has no other, nor has damage."""
    how = "not metered" if trial.source is None else f"{trial.source}{' (est.)' if trial.estimated else ''}"
    standing = "" if trial.status == "completed" else f"; {trial.status}"
    return f"energysweep {__version__}: {how}{standing}{'; damaged ledger' if run.summary.damage else ''}"


def _timestamp(row: TrialRow) -> str | None:
    """When it ended, or began if it has not; in UTC."""
    at = row.started_at if row.ended_at is None else row.ended_at
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
