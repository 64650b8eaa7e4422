"""Commands for those who watch: dashboards."""

from __future__ import annotations

import argparse
import os
from typing import Any

from energysweep.cli.common import Parser, add_command, path
from energysweep.core.errors import SweepError
from energysweep.core.terminal import say


def add(commands: Any) -> None:
    """Add them to the command line."""
    parser = commands.add_parser("dashboards", help="Grafana's dashboards", description="Grafana's dashboards.")
    dashboards = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    export = add_command(dashboards, "export", _export, "write them as files for Grafana's import or provisioning")
    export.add_argument("folder", metavar="DIR", type=path)

    publish = add_command(dashboards, "publish", _publish, "put them on a Grafana server; somebody's changes are kept")
    publish.add_argument(
        "--url", metavar="URL", required=True, help="of the server, such as https://grafana.example.org"
    )
    publish.add_argument("--token", metavar="TOKEN", help="of a service account; better in GRAFANA_TOKEN, unseen by ps")
    publish.add_argument(
        "--folder", metavar="UID", default="energysweep", help="uid of the folder; default: energysweep"
    )
    publish.add_argument("--prometheus", metavar="URL", help="where Grafana reaches Prometheus, if it has none yet")
    publish.add_argument(
        "--replace",
        action="store_true",
        help="also overwrite ours that were changed, or are of a newer energysweep",
    )


def _publish(arguments: argparse.Namespace) -> int:
    from energysweep.core.inputs import web_address
    from energysweep.monitoring import dashboards
    from energysweep.monitoring.grafana import Grafana, publish

    grafana = Grafana(arguments.url, arguments.token or os.environ.get("GRAFANA_TOKEN", ""))
    if arguments.prometheus is not None:
        web_address(arguments.prometheus, "--prometheus")
    done = publish(
        grafana,
        dashboards(),
        folder_uid=arguments.folder,
        prometheus_url=arguments.prometheus,
        replace=arguments.replace,
    )
    missing = []
    for each in done:
        say(f"{each.done}: {each.what}{f' ({each.why})' if each.why else ''}")
        if each.done == "not published":
            missing.append(each.what)
    if missing:
        raise SweepError(f"not published: {', '.join(missing)}; the lines above say why")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from energysweep.monitoring import export

    for file in export(arguments.folder):
        say(file)
    return 0
