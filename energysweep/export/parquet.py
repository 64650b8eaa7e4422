"""A run as typed Parquet files: trials, configurations, results, and energy by device, component and bucket.

A column says its unit in its metadata. What is missing is null. A value that a typed column cannot hold beside its
others (a list, a mapping, a text among numbers) makes it a column of JSON texts, which says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
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
from energysweep.meters.kinds import is_model
from energysweep.report.files import Row, configuration_rows, trial_rows

_UNITS: Final = {"joules": "J", "grams": "g CO2e", "watts": "W", "seconds": "s", "coverage": "1"}
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
    # Columns of the same name that a workload's own metrics could have are no quantities of ours.
    bare = replace(
        summary,
        trials=tuple(replace(trial, metrics={}) for trial in summary.trials),
        configurations=tuple(
            replace(each, trials=tuple(replace(trial, metrics={}) for trial in each.trials))
            for each in summary.configurations
        ),
    )
    return {
        "trials": _table([row | {"estimated": _estimated(trial)} for row, trial in trials], _own(trial_rows(bare))),
        "configurations": _table(
            [row | {"estimated": _estimated(each)} for row, each in configurations], _own(configuration_rows(bare))
        ),
        "results": _table(list(_results(run)), {"elapsed_seconds", "energy_joules", "active_energy_joules"}),
        "energy": _table(list(_energy(run)), {"joules"}),
    }


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


def _own(rows: Iterable[Row]) -> set[str]:
    return {name for row in rows for name in row if not name.startswith("param.")}


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


def _table(rows: Sequence[Row], quantities: set[str]) -> pa.Table:
    """A table of the rows, under the union of their columns.

    Args:
        rows: by column.
        quantities: those columns whose names say a unit.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows], _unit(name, quantities)) for name in names}
    schema = pa.schema([field.with_name(readable(name)) for name, (field, _) in columns.items()])
    return pa.Table.from_arrays([array for _, array in columns.values()], schema=schema)


def _unit(name: str, quantities: set[str]) -> str | None:
    """By the name of the quantity: ``energy_joules``, ``energy_joules.cpu``, ``energy_joules.mean``; not of a count."""
    quantity, _, part = name.partition(".")
    return _UNITS.get(quantity.rpartition("_")[2]) if name in quantities and part != "n" else None


def _column(values: Sequence[Any], unit: str | None) -> tuple[pa.Field, pa.Array]:
    kind, as_json = (pa.float64(), False) if unit is not None else _kind(values)
    if as_json:
        values = [None if value is None else json.dumps(jsonable(value)) for value in values]
    elif kind == pa.string():
        values = [None if value is None else readable(value) for value in values]
    about = {"unit": unit} if unit is not None else {"encoding": "json"} if as_json else None
    return pa.field("", kind, metadata=about), pa.array(values, kind)


def _kind(values: Iterable[Any]) -> tuple[pa.DataType, bool]:
    """The narrowest type that holds all of them as they are, and whether they have to be JSON for that."""
    kinds = {type(value) for value in values if value is not None}
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    largest = max(map(abs, numbers), default=0)
    if kinds == {bool}:
        return pa.bool_(), False
    if kinds == {int} and largest < 2**63:
        return pa.int64(), False
    if float in kinds and kinds <= {int, float} and largest <= _MOST_IN_A_FLOAT:
        return pa.float64(), False
    return pa.string(), not kinds <= {str}


def _written(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()
