"""A run as typed Parquet files: trials, configurations, results, and energy by device, component and bucket.

A column says its unit in its metadata. What is missing is null. A column of ours has the same type in every run, also
where all of it is missing. A parameter's and a metric's is that of its values: one that a typed column cannot hold
beside its others (a list, a mapping, a text among numbers) makes it a column of JSON texts, which says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from energysweep import __version__
from energysweep.core.jsontext import jsonable
from energysweep.core.records import readable
from energysweep.export.run import Exported, Options, write_folder
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.base import COMPONENTS
from energysweep.meters.kinds import is_model
from energysweep.report.files import Row, configuration_rows, trial_rows

_UNITS: Final = {"joules": "J", "grams": "g CO2e", "watts": "W", "seconds": "s", "coverage": "1"}
_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_QUANTITIES: Final = (
    *("energy_joules", "active_energy_joules", "idle_energy_joules"),
    *(f"energy_joules.{component}" for component in COMPONENTS),
    *("startup_joules", "startup_seconds", "lost_joules", "pruned_joules", "emissions_grams", "power_watts"),
    *("duration_seconds", "coverage"),
)
_SPREADS: Final = (*_QUANTITIES, "energy_to_target_joules")
_OURS: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "trials": {
        **dict.fromkeys(("trial", "stage", "hardware", "status", "nodes", "source"), _TEXT),
        **dict.fromkeys(("attempts", "iterations", "iterations_to_target"), _COUNT),
        **dict.fromkeys(_SPREADS, _NUMBER),
        **dict.fromkeys(("unmetered_ray_work", "untold_startup", "estimated"), _FLAG),
    },
    "configurations": {
        **dict.fromkeys(("config", "hardware", "source"), _TEXT),
        **dict.fromkeys(("trials", "reached_target", "missed_target", "open", "failed"), _COUNT),
        **dict.fromkeys(("pareto", "tied_with_cheapest", "estimated"), _FLAG),
        **dict.fromkeys(("lost_joules.total", "pruned_joules.total"), _NUMBER),
        **dict.fromkeys((f"{name}.{part}" for name in _SPREADS for part in ("mean", "std")), _NUMBER),
        **dict.fromkeys((f"{name}.n" for name in _SPREADS), _COUNT),
        **dict.fromkeys(("energy_to_target_joules.geometric_mean", "energy_joules.geometric_mean"), _NUMBER),
    },
    "results": {
        "trial": _TEXT,
        "iteration": _COUNT,
        **dict.fromkeys(("elapsed_seconds", "energy_joules", "active_energy_joules", "power_watts"), _NUMBER),
        "estimated": _FLAG,
    },
    "energy": {
        **dict.fromkeys(("trial", "node", "host", "window", "lease", "device", "component", "bucket", "source"), _TEXT),
        "attempt": _COUNT,
        "joules": _NUMBER,
        "estimated": _FLAG,
    },
}
_MOST_IN_A_FLOAT: Final = 2**53  # whole numbers up to here are the same as floats
_SCHEMA_VERSION: Final = 1


def export(run: Exported, options: Options) -> Sequence[str]:
    """Write the files; arguments, result and errors as of ``formats.export``."""
    about = {b"energysweep": json.dumps(jsonable(_about(run))).encode()}
    files = {f"{name}.parquet": _written(table.replace_schema_metadata(about)) for name, table in tables(run).items()}
    return [f"parquet: {path}" for path in write_folder(run, options, "parquet", files)]


def tables(run: Exported) -> dict[str, pa.Table]:
    """The tables by name; their rows are those of trials.csv, of configurations.csv, and of the ledger."""
    summary = run.summary
    trials = zip(trial_rows(summary), summary.trials, strict=True)
    configurations = zip(configuration_rows(summary), summary.configurations, strict=True)
    rows = {
        "trials": [row | {"estimated": _estimated(trial)} for row, trial in trials],
        "configurations": [row | {"estimated": _estimated(each)} for row, each in configurations],
        "results": list(_results(run)),
        "energy": list(_energy(run)),
    }
    return {name: _table(name, each) for name, each in rows.items()}


def _estimated(metered: TrialSummary | ConfigurationSummary) -> bool | None:
    return None if metered.source is None else metered.estimated


def _results(run: Exported) -> Iterable[Row]:
    estimated = {trial.trial: _estimated(trial) for trial in run.summary.trials}
    for row in run.data.results:
        values = row._asdict() | {"estimated": estimated.get(row.trial)}
        metrics = values.pop("metrics")
        yield values | {f"metric.{name}": value for name, value in metrics.items()}


def _energy(run: Exported) -> Iterable[Row]:
    """What each device was booked for, by lease; without one where it is of the host."""
    leases = {lease.lease: lease for lease in run.data.leases}
    nodes = {(row.host, row.window): row.node for row in run.data.meters}
    for row in run.data.energy:
        lease = leases.get(row.lease)
        yield {
            "trial": lease and lease.trial,
            "attempt": lease and lease.attempt,
            "node": lease.node if lease else nodes.get((row.host, row.window)),
            **row._asdict(),
            "lease": row.lease or None,
            "estimated": is_model(row.source),
        }


def _about(run: Exported) -> Mapping[str, Any]:
    """What each file says of the run."""
    summary: Summary = run.summary
    return {
        "schema_version": _SCHEMA_VERSION,
        "version": __version__,
        "run": summary.sweep,
        "name": summary.name,
        "status": summary.status,
        "sources": summary.sources,
        "estimated": summary.estimated,
        "carbon": None if summary.carbon is None else asdict(summary.carbon),
        "damage": summary.damage,
    }


# Types ---------------------------------------------------------------------------------------------------------------


def _table(table: str, rows: Sequence[Row]) -> pa.Table:
    """A table of the rows, under the union of their columns; without rows under all that are ours."""
    names = dict.fromkeys(name for row in rows for name in row) or _OURS[table]
    columns = {name: _column(table, name, [row.get(name) for row in rows]) for name in names}
    schema = pa.schema([field.with_name(readable(name)) for name, (field, _) in columns.items()])
    return pa.Table.from_arrays([array for _, array in columns.values()], schema=schema)


def _column(table: str, name: str, values: Sequence[Any]) -> tuple[pa.Field, pa.Array]:
    unit, as_json = None, False
    if name in _OURS[table]:
        kind = _OURS[table][name]
        unit = _unit(name) if kind == _NUMBER else None
    elif table == "configurations" and not name.startswith("param."):  # a metric's mean, std and n
        kind = _COUNT if name.endswith(".n") else _NUMBER
    else:
        kind, as_json = _kind(values)
    if as_json:
        values = [None if value is None else json.dumps(jsonable(value)) for value in values]
    elif kind == _TEXT:
        values = [None if value is None else readable(value) for value in values]
    about = {"unit": unit} if unit is not None else {"encoding": "json"} if as_json else None
    return pa.field("", kind, metadata=about), pa.array(values, kind)


def _unit(name: str) -> str | None:
    """By the name of the quantity: ``energy_joules``, ``energy_joules.cpu``, ``energy_joules.mean``."""
    return _UNITS.get(name.partition(".")[0].rpartition("_")[2])


def _kind(values: Iterable[Any]) -> tuple[pa.DataType, bool]:
    """The narrowest type that holds all of them as they are, and whether they have to be JSON for that.

    Where all are missing it is the type of nothing, which goes together with any other run's.
    """
    kinds = {type(value) for value in values if value is not None}
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    largest = max(map(abs, numbers), default=0)
    if not kinds:
        return pa.null(), False
    if kinds == {bool}:
        return _FLAG, False
    if kinds == {int} and largest < 2**63:
        return _COUNT, False
    if float in kinds and kinds <= {int, float} and largest <= _MOST_IN_A_FLOAT:
        return _NUMBER, False
    return _TEXT, not kinds <= {str}


def _written(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()
