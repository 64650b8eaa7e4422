"""Commands that read finished runs: report, compare, explain."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import (
    add_carbon,
    add_command,
    add_run_folder,
    check_output,
    grid_and_hours,
    grid_of,
    path,
    run_folder,
)
from energysweep.core.errors import InputError, NotWritten
from energysweep.core.runfolder import LEDGER, MADE, REPORT
from energysweep.core.terminal import note, say, show

if TYPE_CHECKING:
    from energysweep.ledger.model import Summary


def add(commands: Any) -> None:
    """Add them to the command line."""
    report = add_command(commands, "report", _report, "writes a run's report again")
    add_run_folder(report)
    add_carbon(report, ", and by the hour, too: hourly=FILE.csv, hourly=uk or hourly=electricitymaps,zone=DE")
    report.add_argument(
        "--openmetrics", metavar="FILE", type=path, help="The run's series are written to FILE, for promtool."
    )
    report.add_argument(
        "--prometheus", metavar="URL", help="The ledger is compared with what the Prometheus at URL holds."
    )
    report.add_argument(
        "--grafana",
        metavar="URL",
        help="The page links to the Grafana at URL; by default to the one that the run noted.",
    )
    add_json(report)

    compare = add_command(
        commands, "compare", _compare, "says what several runs answer together, and sets them side by side"
    )
    compare.add_argument("folders", metavar="RUN_DIR", type=path, nargs="+", help="These are the folders of the runs.")
    add_carbon(compare)
    compare.add_argument("--html", metavar="FILE", type=path, help="The combined report is written to FILE as a page.")

    compare.add_argument(
        "--markdown", metavar="FILE", type=path, help="The combined report is written to FILE as Markdown."
    )
    add_json(compare)

    explain = add_command(
        commands,
        "explain",
        _explain,
        "says what became of a trial and why, with its receipt, from its leases down to the meter readings",
    )
    add_run_folder(explain)
    add_carbon(explain)
    explain.add_argument(
        "trial",
        metavar="TRIAL",
        nargs="?",
        help="TRIAL is its id, a unique beginning of it, or its configuration as reports and dashboards have it."
        " Without it, the decisions of the whole run are counted.",
    )
    add_json(explain)


def _check(arguments: argparse.Namespace) -> None:
    """What is wrong with an option of report is told before anything is written."""
    check_output(arguments.openmetrics, "--openmetrics")
    if arguments.prometheus is not None:
        from energysweep.monitoring.observed import check

        check(arguments.prometheus)
    if arguments.grafana is not None:
        from energysweep.core.inputs import web_address

        web_address(arguments.grafana, "--grafana")


def _report(arguments: argparse.Namespace) -> int:
    from energysweep.ledger.store import read_ledger
    from energysweep.report import terminal_table, write_report, write_whole

    grid, hours = grid_and_hours(arguments)
    _check(arguments)
    data = read_ledger(run_folder(arguments.folder) / LEDGER)
    try:
        summary = write_report(arguments.folder, data, grid, arguments.grafana, hours)
    except NotWritten as error:
        _note_hours(error.summary)
        if not arguments.json:
            show(terminal_table(error.summary))
        raise
    _note_hours(summary)
    if not arguments.json:
        show(terminal_table(summary))
        say(f"report: {arguments.folder / REPORT}")
    said: dict[str, Any] = {
        "files": {name: str(arguments.folder / name) for name in MADE},
        "openmetrics": None,
        "prometheus": None,
        "summary": summary.to_dict(),
    }
    if arguments.openmetrics is not None:
        from energysweep.monitoring.openmetrics import openmetrics

        write_whole(arguments.openmetrics, openmetrics(data, grid))
        said["openmetrics"] = str(arguments.openmetrics)
        if not arguments.json:
            say(f"series: {arguments.openmetrics}")
    if arguments.prometheus is not None:
        from energysweep.monitoring.observed import observe, observed_table

        observed = observe(summary, arguments.prometheus)
        said["prometheus"] = [asdict(trial) for trial in observed.trials]
        if not arguments.json:
            show(observed_table(observed))
    if arguments.json:
        say_answer("report", said)
    return 0


def _note_hours(summary: Summary) -> None:
    """Why hours of the grid count by the yearly mean, where a source of them could not be asked."""
    if summary.hourly is not None:
        for each in summary.hourly.notes:
            note(f"energysweep: {summary.hourly.source}: {each}")


def _compare(arguments: argparse.Namespace) -> int:
    from energysweep.ledger.copies import without_copies
    from energysweep.ledger.store import read_ledger
    from energysweep.report import (
        combined_dict,
        combined_html,
        combined_markdown,
        combined_table,
        summarise,
        write_whole,
    )

    grid = grid_of(arguments)
    check_output(arguments.html, "--html")
    check_output(arguments.markdown, "--markdown")
    given = [folder.resolve() for folder in arguments.folders]
    for place, folder in enumerate(arguments.folders):
        if given[place] in given[:place]:
            raise InputError(f"{folder} is given twice: its energy would count twice", key="RUN_DIR")
    found = without_copies([(str(each), read_ledger(run_folder(each) / LEDGER)) for each in arguments.folders])
    summaries = [summarise(data, grid) for data in found.kept]
    # The files first: a reader of the output that has seen enough (`| head`) ends this program.
    if arguments.html:
        write_whole(arguments.html, combined_html(summaries, found.notes))
    if arguments.markdown:
        write_whole(arguments.markdown, combined_markdown(summaries, found.notes))
    if arguments.json:
        files = {"html": arguments.html, "markdown": arguments.markdown}
        written = {kind: None if file is None else str(file) for kind, file in files.items()}
        say_answer("compare", combined_dict(summaries, found.notes) | written)
        return 0
    show(combined_table(summaries, found.notes))
    if arguments.html:
        say(f"report: {arguments.html}")
    if arguments.markdown:
        say(f"tables: {arguments.markdown}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from energysweep.ledger.store import read_ledger
    from energysweep.report import choices_text, explain, explain_run, receipt_text

    grid = grid_of(arguments)
    data = read_ledger(run_folder(arguments.folder) / LEDGER)
    if arguments.trial is None:
        choices = explain_run(data)
        if arguments.json:
            say_answer("explain", choices.to_dict())
        else:
            show(choices_text(choices))
        return 0
    receipt = explain(data, arguments.trial, grid)
    if arguments.json:
        say_answer("explain", receipt.to_dict())
    else:
        show(receipt_text(receipt))
    return 0
