"""trials.csv, configurations.csv and summary.json: full precision, for other programs.

What is missing is ``n/a``. A text that a spreadsheet would run as a formula gets a leading apostrophe, which
spreadsheets show as text; numbers, also those that came as text, stay as they are.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from energysweep.core.errors import EnergysweepError
from energysweep.core.jsontext import json_text
from energysweep.core.objective import number
from energysweep.core.text import NOT_AVAILABLE
from energysweep.ledger.balance import Spread, joules_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.base import COMPONENTS

# Writing a run folder's files, each whole or not at all --------------------------------------------------------------


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``; a reader sees the old file or the new one, never a half.

    Raises:
        EnergysweepError: the folder cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise EnergysweepError(f"{path}: cannot be written ({error.strerror or error})") from error


# trials.csv, configurations.csv and summary.json: full precision, for other programs ---------------------------------

Row = dict[str, Any]
_TAKEN: Final = ("stage", "estimated")  # columns of other runs' trials.csv, and of trials.parquet
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def trials_csv(summary: Summary) -> str:
    """One row per trial; with a column ``stage`` if the sweep has stages."""
    return csv_text(trial_rows(summary))


def configurations_csv(summary: Summary) -> str:
    """One row per configuration: mean, std and n over its repeats."""
    return csv_text(configuration_rows(summary))


def trial_rows(summary: Summary) -> list[Row]:
    """What trials.csv says, by column."""
    return [_trial_row(trial, bool(summary.stages)) for trial in summary.trials]


def configuration_rows(summary: Summary) -> list[Row]:
    """What configurations.csv says, by column."""
    return [_configuration_row(configuration) for configuration in summary.configurations]


def summary_json(summary: Summary) -> str:
    """summary.json, schema version 1."""
    return json_text(summary.to_dict()) + "\n"


def _trial_row(trial: TrialSummary, with_stage: bool) -> Row:
    row: Row = {
        "trial": trial.trial,
        **({"stage": trial.stage} if with_stage else {}),
        "hardware": trial.hardware,
        "status": trial.status,
        "attempts": trial.attempts,
        "nodes": " ".join(trial.nodes),
        **_parameter_cells(trial.parameters),
        **({} if trial.seed is None else {"param.seed": trial.seed}),
        **_quantities(trial),
        "source": trial.source,
        "unmetered_ray_work": trial.works_elsewhere,
        "untold_startup": trial.untold_startup,
    }
    last = {
        "energy_to_target_joules": trial.energy_to_target_joules,
        "iterations": trial.iterations,
        "iterations_to_target": trial.iterations_to_target,
    }
    return row | _metric_cells(trial.metrics, {*row, *last, *_TAKEN}) | last


def _configuration_row(configuration: ConfigurationSummary) -> Row:
    row: Row = {
        "config": configuration.config,
        "hardware": configuration.hardware,
        "trials": len(configuration.trials),
        "reached_target": configuration.reached_target,
        "missed_target": configuration.missed_target,
        "open": configuration.open,
        "failed": configuration.failed,
        "pareto": configuration.pareto,
        "tied_with_cheapest": configuration.tied_with_cheapest,
        "lost_joules.total": configuration.lost_joules,
        "pruned_joules.total": configuration.pruned_joules,
        **_parameter_cells(configuration.parameters),
    }
    taken = {*row, *_quantities(configuration.trials[0]), "energy_to_target_joules"}
    ended = [_quantities(trial) | _metric_cells(trial.metrics, taken) for trial in configuration.ended]
    names = dict.fromkeys(name for cells in ended for name in cells)
    for name in names or _quantities(configuration.trials[0]):
        row |= _spread_cells(name, Spread.over(number(cells.get(name)) for cells in ended))
    to_target = configuration.energy_to_target_joules
    row |= _spread_cells("energy_to_target_joules", to_target)
    row["energy_to_target_joules.geometric_mean"] = joules_of(to_target)
    row["energy_joules.geometric_mean"] = joules_of(configuration.energy_joules)
    return row | {"source": configuration.source}


def _quantities(trial: TrialSummary) -> Row:
    return {
        "energy_joules": trial.energy_joules,
        "active_energy_joules": trial.active_energy_joules,
        "idle_energy_joules": trial.idle_energy_joules,
        **{f"energy_joules.{component}": trial.component_joules.get(component) for component in COMPONENTS},
        "startup_joules": trial.startup_joules,
        "startup_seconds": trial.startup_seconds,
        "lost_joules": trial.lost_joules,
        "pruned_joules": trial.pruned_joules,
        "emissions_grams": trial.emissions_grams,
        "power_watts": trial.power_watts,
        "duration_seconds": trial.duration_seconds,
        "coverage": trial.coverage,
    }


def _parameter_cells(parameters: Mapping[str, Any]) -> Row:
    return {f"param.{name}": value for name, value in parameters.items()}


def _metric_cells(metrics: Mapping[str, Any], taken: Collection[str]) -> Row:
    """The metrics that fit into a cell; one that is called like a column of ours gets ``metric.`` in front."""
    return {
        f"metric.{name}" if name in taken else name: value
        for name, value in metrics.items()
        if value is None or isinstance(value, bool | int | float | str)
    }


def _spread_cells(name: str, spread: Spread | None) -> Row:
    return {
        f"{name}.mean": spread.mean if spread else None,
        f"{name}.std": spread.std if spread else None,
        f"{name}.n": spread.n if spread else 0,
    }


def csv_text(rows: Sequence[Row], columns: Sequence[str] = (), missing: str = NOT_AVAILABLE) -> str:
    """Rows as CSV.

    Args:
        rows: each a value by column.
        columns: in their order; by default all that a row has, in the order in which they first appear.
        missing: what stands for what is missing.
    """
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name, missing) for name in columns])
    writer.writerows([_cell(row.get(name), missing) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) and not _is_number(value) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return json.dumps(value, default=str)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
