"""All dashboards, and their files."""

from __future__ import annotations

import json
from pathlib import Path

from energysweep.errors import InputError
from energysweep.monitoring.configurations import configurations_dashboard
from energysweep.monitoring.fields import Json
from energysweep.monitoring.nodes import nodes_dashboard
from energysweep.monitoring.sweep import sweep_dashboard


def dashboards() -> tuple[Json, ...]:
    """The dashboards *Sweep*, *Configurations* and *Nodes* in Grafana's classic JSON, for Grafana 11.1 to 13."""
    return (sweep_dashboard(), configurations_dashboard(), nodes_dashboard())


def text(dashboard: Json) -> str:
    """A dashboard as its file has it."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def export(folder: Path) -> list[Path]:
    """Write each dashboard into a file of the folder, which is made if it is missing.

    Returns:
        The files, named by uid.

    Raises:
        InputError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for dashboard in dashboards():
            file = folder / f"{dashboard['uid']}.json"
            file.write_text(text(dashboard), encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise InputError(f"dashboards cannot be written there: {error.strerror}", file=str(folder)) from error
    return written
