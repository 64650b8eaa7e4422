"""A model card's ``co2_eq_emissions``, as the Hugging Face Hub reads it from the YAML at a card's beginning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from energysweep import __version__
from energysweep.core.carbon import place
from energysweep.core.errors import InputError, one_line
from energysweep.core.records import readable
from energysweep.core.text import emissions_text, energy_text, escape, number_text
from energysweep.export.run import Exported, Options, write_file
from energysweep.export.subject import Subject, subject
from energysweep.report.not_measured import damage_lines


def export(run: Exported, options: Options) -> Sequence[str]:
    """Write the file; arguments, result and errors as of ``formats.export``."""
    found = subject(run, options, default="trial")
    path = write_file(run, options, "model-card.md", card(run, found, options.training_type))
    grams = emissions_text(found.emissions_grams, estimated=found.estimated)
    return [f"{grams} CO2e, {found.scope}", f"model card: {path}"]


def card(run: Exported, found: Subject, training_type: str | None = None) -> str:
    """A model card of nothing else: its metadata, and what they mean.

    Args:
        run: the run.
        found: what it is of.
        training_type: a word for the training, such as ``fine-tuning``; nobody but its user knows.

    Raises:
        InputError: the run knows no grid, so there are no grams to tell.
    """
    if found.emissions_grams is None:
        raise InputError("this run knows no grid: --carbon names one", file=str(run.folder))
    block: dict[str, Any] = {
        "emissions": found.emissions_grams,
        "source": _source(run, found),
        "training_type": f"{one_line(readable(training_type or '')) or 'training'} ({found.scope})",
        "geographical_location": place(run.summary.carbon).text,
        "hardware_used": found.hardware(run),
    }
    known = {key: value for key, value in block.items() if value is not None}
    # One value is one line: what looks like the end of the block can begin none.
    metadata = yaml.safe_dump({"co2_eq_emissions": known}, sort_keys=False, allow_unicode=True, width=10**9)
    return f"---\n{metadata}---\n\n## Environmental impact\n\n{_body(run, found)}"


def _source(run: Exported, found: Subject) -> str:
    kinds = found.sources() or "unknown meters"
    how = f"an estimate ({kinds}), not a measurement" if found.estimated else f"metered ({kinds})"
    part = ", without what was lost of a damaged ledger" if run.summary.damage else ""
    return f"energysweep {__version__}: {how}{part}; {_grid(run)}"


def _grid(run: Exported) -> str:
    carbon = run.summary.carbon
    if carbon is None:
        return "no grid"
    when = ", ".join(str(part) for part in (carbon.year, carbon.boundary) if part)
    pue = "" if carbon.pue == 1 else f", PUE {carbon.pue:g}"
    return f"{number_text(carbon.grams_per_kwh)} g CO2e per kWh, {carbon.zone}{when and f' ({when})'}{pue}"


def _body(run: Exported, found: Subject) -> str:
    lines = [
        f"Of {found.scope}.",
        f"Energy: {energy_text(found.energy_joules, estimated=found.estimated)}.",
        f"Emissions: {emissions_text(found.emissions_grams, estimated=found.estimated)} CO2e.",
        f"Source: {_source(run, found)}.",
        *damage_lines(run.summary),
    ]
    return "".join(f"- {escape(readable(line))}\n" for line in lines)
