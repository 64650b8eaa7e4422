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
    parser = commands.add_parser("dashboards", help="brings the dashboards into Grafana.")
    parser.description = f"{parser.prog} brings the dashboards into Grafana."
    dashboards = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    export = add_command(
        dashboards, "export", _export, "writes the dashboards as files, for Grafana's import or provisioning"
    )
    export.add_argument("folder", metavar="DIR", type=path, help="The files are written into DIR.")

    publish = add_command(
        dashboards,
        "publish",
        _publish,
        "puts the dashboards on a Grafana server, and keeps what somebody has changed there",
    )
    publish.add_argument(
        "--url", metavar="URL", required=True, help="Grafana answers at URL, such as https://grafana.example.org."
    )
    publish.add_argument(
        "--token",
        metavar="TOKEN",
        help="TOKEN is a service account's; GRAFANA_TOKEN can hold it instead, unseen by ps.",
    )
    publish.add_argument(
        "--folder",
        metavar="UID",
        default="energysweep",
        help="The dashboards lie in the folder with this uid; energysweep by default.",
    )
    publish.add_argument("--prometheus", metavar="URL", help="Grafana is given the Prometheus at URL if it has none.")
    publish.add_argument(
        "--replace",
        action="store_true",
        help="Our dashboards are overwritten also where they were changed, or are of a newer energysweep.",
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
