"""A report in the data model of BoAmps (Boavizta), version 1.1: energy of an AI task, in kWh, as JSON.

It is a draft: who publishes it, on which data, and in which kind of place are for a person to say.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from energysweep import __version__
from energysweep.core.carbon import JOULES_PER_KWH, place
from energysweep.core.jsontext import json_text
from energysweep.core.records import readable
from energysweep.export.run import Exported, Options, write_file
from energysweep.export.subject import Subject, subject
from energysweep.report.not_measured import damage_lines

FORMAT_VERSION: Final = "1.1.0"
_MODEL: Final = "https://github.com/Boavizta/BoAmps/tree/main/model"
_COMPONENTS: Final = {"cpu": "cpu", "dram": "ram", "gpu": "gpu"}  # by their names there
_QUALITY: Final = ((0.10, "high"), (0.25, "medium"), (0.50, "low"))  # as the model defines them: percentage error
_LATEST: Final = 2.5e11  # a date has four digits for the year
_SEARCHES: Final = {"grid": "gridSearch", "random": "randomSearch"}


def export(run: Exported, options: Options) -> Sequence[str]:
    """Write the file; arguments, result and errors as of ``formats.export``."""
    found = subject(run, options, default="sweep")
    text = json_text(report(run, found)) + "\n"
    path = write_file(run, options, "boamps.json", text)
    return [f"BoAmps report of {found.scope}: {path}"]


def report(run: Exported, found: Subject) -> Mapping[str, Any]:
    """The report; what is not known is left out.

    Args:
        run: the run.
        found: what it is of.
    """
    whole: Mapping[str, Any] = {
        "header": _header(run, found),
        "task": _task(run, found),
        "measures": [_measure(run, found)],
        "system": {"os": "linux"},
        "software": _software(run),
        "infrastructure": {
            "infraType": "other",
            "components": [
                {"componentType": there, "nbComponent": found.devices(here)}
                for here, there in _COMPONENTS.items()
                if found.devices(here)
            ],
        },
        "environment": _environment(run),
        "quality": _quality(found),
    }
    known: Mapping[str, Any] = _known(whole)
    return known


def _header(run: Exported, found: Subject) -> Mapping[str, Any] | None:
    """The same for the same run and subject. It needs a date: of the run's end."""
    if run.summary.started_at is None:
        return None
    return {
        "formatVersion": FORMAT_VERSION,
        "formatVersionSpecificationUri": _MODEL,
        "reportId": str(uuid.uuid5(uuid.NAMESPACE_URL, readable(f"{_MODEL}#{run.summary.sweep} {found.scope}"))),
        "reportDatetime": _at(run.summary.span()[1]),
        "reportStatus": "draft",
    }


def _task(run: Exported, found: Subject) -> Mapping[str, Any]:
    summary = run.summary
    search: Any = ((run.data.run.get("spec") or {}).get("search") or {}).get("algorithm")
    return {
        "taskStage": "training",
        "taskFamily": summary.name or "training",
        "algorithms": [
            _known(
                {
                    "classPath": summary.workload.replace(":", ".") or None,
                    "epochsNumber": found.trials[0].iterations if len(found.trials) == 1 else None,
                    "optimizer": _SEARCHES.get(search, search) if found.is_sweep else None,
                }
            )
        ],
        "dataset": [{"dataUsage": "input", "dataType": "other"}],
        "measuredAccuracy": _accuracy(run, found),
        "taskDescription": _description(run, found),
    }


def _accuracy(run: Exported, found: Subject) -> float | None:
    """The objective, where it is an accuracy by its name and its value."""
    objective = run.summary.objective
    if objective is None or "accuracy" not in objective.metric.casefold() or found.objective is None:
        return None
    return found.objective if 0 <= found.objective <= 1 else None


def _description(run: Exported, found: Subject) -> str:
    estimate = ["The energy is an estimate by a model, not a measurement."] if found.estimated else []
    whole = f"Of run {run.summary.sweep}: {found.scope}."
    return " ".join([whole, *estimate, *damage_lines(run.summary)])


def _measure(run: Exported, found: Subject) -> Mapping[str, Any]:
    joules = found.energy_joules
    return {
        "measurementMethod": f"energysweep{' (estimate)' if found.estimated else ''}",
        "version": __version__,
        "cpuTrackingMode": found.sources("cpu"),
        "gpuTrackingMode": found.sources("gpu"),
        "powerConsumption": None if joules is None else joules / JOULES_PER_KWH,
        "measurementDuration": found.duration_seconds,
        "measurementDateTime": _at(found.started_at(run)),
    }


def _software(run: Exported) -> Mapping[str, Any] | None:
    """Of a workload, which is Python's; a command is a program in any language."""
    if (run.data.run.get("spec") or {}).get("command"):
        return None
    return {"language": "python", "version": (run.data.run.get("versions") or {}).get("python")}


def _environment(run: Exported) -> Mapping[str, Any] | None:
    where = place(run.summary.carbon)
    if run.summary.carbon is None or where.country is None:
        return None
    return {
        "country": where.country,
        "location": where.region,
        "powerSourceCarbonIntensity": run.summary.carbon.grams_per_kwh,
    }


def _quality(found: Subject) -> str | None:
    relative = found.relative_uncertainty
    return None if relative is None else next((name for most, name in _QUALITY if relative <= most), None)


def _at(seconds: float | None) -> str | None:
    if seconds is None or seconds > _LATEST:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _known(value: Any) -> Any:
    """The same without keys whose value is not known."""
    if isinstance(value, Mapping):
        return {key: _known(each) for key, each in value.items() if each is not None}
    return [_known(each) for each in value] if isinstance(value, list) else value
