"""The comparison of ledger and Prometheus for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.monitoring.observed import Observed
from energysweep.reporting.text import NOT_AVAILABLE, difference_text, energy_text, percent_text


def observed_table(observed: Observed) -> RenderableType:
    """Per trial what each side has and how they differ, and the sum in a sentence."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "configuration"):
        table.add_column(name, overflow="fold")
    for name in ("ledger", "Prometheus", "difference"):
        table.add_column(name, justify="right")
    for each in observed.trials:
        table.add_row(
            Text(each.trial),
            Text(each.config),
            energy_text(each.ledger_joules, estimated=observed.estimated, brief=True),
            energy_text(each.prometheus_joules, estimated=observed.estimated, brief=True),
            _difference(each.difference_joules, each.ledger_joules, estimated=observed.estimated, brief=True),
        )
    return Group(table, Text(), Text(sentence(observed)))


def sentence(observed: Observed) -> str:
    """The difference in all."""
    estimated = observed.estimated
    ledger = energy_text(observed.ledger_joules, estimated=estimated)
    if observed.trials and observed.missing == len(observed.trials):
        return f"Prometheus holds nothing of this run; the ledger has {ledger}."
    held = energy_text(observed.prometheus_joules, estimated=estimated)
    difference = observed.prometheus_joules - observed.ledger_joules
    missing = f" {observed.missing} of {len(observed.trials)} trials are missing there." if observed.missing else ""
    return (
        f"Prometheus holds {held} of the trials, the ledger {ledger}:"
        f" a difference of {_difference(difference, observed.ledger_joules, estimated=estimated)}.{missing}"
    )


def _difference(joules: float | None, of: float | None, *, estimated: bool, brief: bool = False) -> str:
    if joules is None:
        return NOT_AVAILABLE
    part = f" ({percent_text(joules / of)})" if of else ""
    return difference_text(joules, estimated=estimated, brief=brief) + part
