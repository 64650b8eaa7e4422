"""The report: pure functions of the ledger, and the files of a run folder made of them."""

from __future__ import annotations

from pathlib import Path

from energysweep.core.carbon import Intensity
from energysweep.core.errors import EnergysweepError, NotWritten
from energysweep.core.runfolder import CONFIGURATIONS, REPORT, SUMMARY, TRIALS
from energysweep.hourly.grid import NamedSource
from energysweep.ledger.model import Summary
from energysweep.ledger.receipt import Receipt, explain, explain_run
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summarise
from energysweep.report.compare import (
    Comparison,
    combined_dict,
    combined_html,
    combined_markdown,
    combined_table,
    compare,
    comparison_table,
)
from energysweep.report.files import configurations_csv, summary_json, trials_csv, write_whole
from energysweep.report.html import report_html
from energysweep.report.terminal import choices_text, receipt_text, terminal_table

__all__ = [
    "Comparison",
    "Receipt",
    "Summary",
    "choices_text",
    "combined_dict",
    "combined_html",
    "combined_markdown",
    "combined_table",
    "compare",
    "comparison_table",
    "explain",
    "explain_run",
    "receipt_text",
    "summarise",
    "terminal_table",
    "write_report",
    "write_whole",
]


def write_report(
    folder: Path,
    data: LedgerData,
    carbon: Intensity | None = None,
    grafana_url: str | None = None,
    hours: NamedSource | None = None,
) -> Summary:
    """Write trials.csv, configurations.csv, summary.json and report.html into a run folder.

    Args:
        folder: the run folder; it exists.
        data: the run's ledger.
        carbon: another grid to count emissions for.
        grafana_url: a Grafana server that report.html links to; None: the one that the run noted, if it did.
        hours: who knows those of the grid, to count the run's emissions by the hour besides.

    Raises:
        InputError: that is no web address.
        NotWritten: some files could not be written; the others are, and the error has the summary.
    """
    summary = summarise(data, carbon, hours)
    page = report_html(summary, data, grafana_url)  # first: it may refuse the address
    texts = {
        TRIALS: trials_csv(summary),
        CONFIGURATIONS: configurations_csv(summary),
        SUMMARY: summary_json(summary),
        REPORT: page,
    }
    problems: dict[str, str] = {}
    for name, text in texts.items():
        try:
            write_whole(folder / name, text)
        except EnergysweepError as error:
            problems[name] = str(error)
    if problems:
        others = f", nor can {', '.join(list(problems)[1:])}" if len(problems) > 1 else ""
        raise NotWritten(next(iter(problems.values())) + others, summary, list(problems))
    return summary
