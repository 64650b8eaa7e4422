"""Commands for those who watch: dashboards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from energysweep.cli.common import Parser, add_command


def add(commands: Any) -> None:
    """Add them to the command line."""
    parser = commands.add_parser("dashboards", help="Grafana's dashboards", description="Grafana's dashboards.")
    dashboards = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    export = add_command(dashboards, "export", _export, "write them as files for Grafana's import or provisioning")
    export.add_argument("folder", metavar="DIR", type=Path)


def _export(arguments: argparse.Namespace) -> int:
    from energysweep.monitoring import export

    for file in export(arguments.folder):
        print(file)
    return 0
