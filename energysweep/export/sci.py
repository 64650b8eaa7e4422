"""The Software Carbon Intensity of a sweep, as ISO/IEC 21031 defines it: ((E x I) + M) per R.

E is the energy in kWh, with the PUE; I the grid's grams of CO2e per kWh; M the hardware's embodied emissions, its part
for the time and the share that the software had of it; R the unit that the software does its work in. Meters tell
nothing of M. Without it the standard knows no score: what is told then is the operational part, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from energysweep import __version__
from energysweep.core.carbon import JOULES_PER_KWH, Intensity
from energysweep.core.errors import InputError
from energysweep.core.jsontext import json_text
from energysweep.core.text import NOT_AVAILABLE, emissions_text, energy_text, kilowatt_hours_text, number_text
from energysweep.export.run import Exported, Options, write_file
from energysweep.ledger.balance import emissions_grams, joules_of
from energysweep.ledger.model import Summary

_SCHEMA_VERSION: Final = 1
_BOUNDARY: Final = (
    "What the sweep is charged with: the work and the start-up of all its trials, failed and pruned ones and stages"
    " included, with their part of the idle hardware, and the sweep's overhead. CPUs, memory and GPUs, as far as the"
    " meters listed here see them; no disks, networks or power supplies."
)


def export(run: Exported, options: Options) -> Sequence[str]:
    """Write the file; arguments, result and errors as of ``formats.export``."""
    found = score(run, options.embodied_grams)
    path = write_file(run, options, "sci.json", json_text(found) + "\n")
    return [*_text(run.summary, found), f"SCI: {path}"]


def score(run: Exported, embodied_grams: float | None = None) -> Mapping[str, Any]:
    """The scores, each with what it is made of.

    Args:
        run: the run.
        embodied_grams: M of the whole sweep.

    Raises:
        InputError: nothing was measured, or the run knows no grid.
    """
    summary = run.summary
    joules, operational, carbon = summary.totals.charged_joules, summary.totals.emissions_grams, summary.carbon
    if joules is None:
        raise InputError("nothing was measured in this run", file=str(run.folder))
    if carbon is None or operational is None:
        raise InputError("this run knows no grid: --carbon names one", file=str(run.folder))
    all_grams = operational + (embodied_grams or 0.0)
    return {
        "schema_version": _SCHEMA_VERSION,
        "standard": "ISO/IEC 21031 Software Carbon Intensity: ((E * I) + M) per R",
        "tool": f"energysweep {__version__}",
        "run": summary.sweep,
        "name": summary.name,
        "status": summary.status,
        "boundary": _BOUNDARY,
        "method": _method(summary),
        "estimated": summary.estimated,
        "E": {"kwh": _kwh(joules, carbon), "joules": joules, "pue": carbon.pue},
        "I": {
            "grams_per_kwh": carbon.grams_per_kwh,
            "zone": carbon.zone,
            "year": carbon.year,
            "source": carbon.source,
            "boundary": carbon.boundary,
            "note": carbon.note,
        },
        "O": {"grams": operational},
        "M": {"grams": embodied_grams, "from": None if embodied_grams is None else "given by the user"},
        "includes_m": embodied_grams is not None,
        "sci": [
            {"R": unit, "units": number, "grams": all_grams / number if number else None}
            for unit, number in _units(summary).items()
        ],
        "configurations": list(_configurations(summary, carbon)),
        "trials": list(_trials(summary, carbon)),
        "damage": list(summary.damage),
    }


def _method(summary: Summary) -> str:
    kinds = ", ".join(summary.sources) or "no meter"
    how = "energy is an estimate by a model" if summary.estimated else "energy is metered"
    return f"{how} ({kinds}); the grid's intensity is an average, with no market-based measures"


def _units(summary: Summary) -> dict[str, int | None]:
    """By R, how many of it the sweep has done; of trainings those that ended as planned, and none of a stage."""
    own = [trial for trial in summary.trials if not trial.stage]
    return {
        "trial": sum(1 for trial in own if trial.ended_as_planned),
        "configuration": sum(1 for each in summary.configurations if each.ended),
        "training run to target": sum(1 for trial in own if trial.outcome == "reached") if summary.has_target else None,
    }


def _configurations(summary: Summary, carbon: Intensity) -> Iterable[Mapping[str, Any]]:
    """Of one training of each: what a report says of it, and so the operational part alone."""
    for each in summary.configurations:
        to_target = each.energy_to_target_joules
        yield {
            "config": each.config,
            "hardware": each.hardware,
            "trial": _operational(joules_of(each.energy_joules), joules_of(each.emissions_grams), carbon),
            "training run to target": _to_target(joules_of(to_target), carbon),
            "reached_target": each.reached_target,
            "trials": len(each.trials),
            "estimated": each.estimated,
        }


def _trials(summary: Summary, carbon: Intensity) -> Iterable[Mapping[str, Any]]:
    for trial in summary.trials:
        yield {
            "trial": trial.trial,
            "config": trial.config,
            "seed": trial.seed,
            "status": trial.status,
            **_operational(trial.energy_joules, trial.emissions_grams, carbon),
            "training run to target": _to_target(trial.energy_to_target_joules, carbon),
            "estimated": trial.estimated,
        }


def _to_target(joules: float | None, carbon: Intensity) -> Mapping[str, Any]:
    return _operational(joules, emissions_grams(joules, carbon), carbon)


def _operational(joules: float | None, grams: float | None, carbon: Intensity) -> Mapping[str, Any]:
    """E and O of one unit."""
    return {"kwh": None if joules is None else _kwh(joules, carbon), "grams": grams}


def _kwh(joules: float, carbon: Intensity) -> float:
    return joules / JOULES_PER_KWH * carbon.pue


def _text(summary: Summary, found: Mapping[str, Any]) -> list[str]:
    """For people."""
    estimated = summary.estimated
    without = "" if found["includes_m"] else ", without M"
    embodied = found["M"]["grams"]
    energy = energy_text(found["E"]["joules"], estimated=estimated)
    lines = [
        f"SCI of {summary.sweep}, ISO/IEC 21031: ((E x I) + M) per R{without}",
        f"E  {energy}, {kilowatt_hours_text(found['E']['kwh'], estimated=estimated)} with PUE {found['E']['pue']:g}",
        f"I  {number_text(found['I']['grams_per_kwh'])} g CO2e per kWh ({found['I']['zone']})",
        f"M  {NOT_AVAILABLE}: --embodied-grams gives it"
        if embodied is None
        else f"M  {emissions_text(embodied)}, given",
    ]
    for each in found["sci"]:
        unit = f"per {each['R']} ({NOT_AVAILABLE if each['units'] is None else each['units']})"
        lines.append(f"{unit}: {emissions_text(each['grams'], estimated=estimated)} CO2e{without}")
    return lines
