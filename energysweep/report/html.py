"""report.html: one file that opens offline, fetches nothing and runs no script but its own two.

Its content security policy names those two by their hash, so that nothing a user's parameter, metric or error holds
could run even if it were not escaped; and everything is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jinja2
import plotly.offline

from energysweep.core import text
from energysweep.core.carbon import Intensity
from energysweep.core.inputs import sweep_link
from energysweep.core.naming import setting_text
from energysweep.ledger.balance import joules_of, mean_of
from energysweep.ledger.budget import BUDGET_NAMES
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import note, some_open
from energysweep.ledger.store import LedgerData
from energysweep.ledger.trials import OUTCOMES
from energysweep.report.answers import MEANS_NOTE, answers, hourly_text, scored, sentence
from energysweep.report.answers.choice import choice
from energysweep.report.charts import figures
from energysweep.report.charts.base import DARK, Figure
from energysweep.report.details import details
from energysweep.report.not_measured import ENOUGH_COVERAGE, not_measured, untold_note


def report_html(summary: Summary, data: LedgerData, grafana_url: str | None = None) -> str:
    """The report of one run.

    Args:
        summary: what ``summarise`` made of the ledger.
        data: the same ledger, for the picture of power over time and the facts about the run.
        grafana_url: a Grafana server to link to, in place of the one that the run noted.

    Raises:
        InputError: that is no web address.
    """
    grafana_url = grafana_url or data.run.get("grafana")
    return render(
        "report.html.j2",
        figures(summary, data.samples, data.decisions, data.trials),
        summary=summary,
        totals=summary.totals,
        started=_utc(summary.started_at),
        grafana=sweep_link(grafana_url, summary.sweep, *summary.span()) if grafana_url else None,
        limits=limits(summary),
        choice=choice(summary),
        details=details(summary, data),
        places={trial.trial: place for place, trial in enumerate(summary.trials)},
        sentence=sentence(summary),
        forecast=scored(summary),
        hourly=hourly_text(summary),
        answers=answers(summary),
        means_note=MEANS_NOTE,
        gaps=not_measured(summary),
        some_open=some_open(summary.configurations),
        outcomes=OUTCOMES,
        tie_note=note(summary.configurations, summary.objective, summary.changed_by),
        facts=_facts(data),
        budget=_budget(summary),
        budget_note=budget_note(summary),
        meter_sentences=_sentences(data.run.get("meters")),
    )


def render(template: str, drawn: Sequence[Figure], **values: Any) -> str:
    """A page from a template of this package, with its figures as data and plotly.js inlined once."""
    plots = {figure.key: json.loads(figure.plot.to_json()) for figure in drawn}
    return (
        _templates()
        .get_template(template)
        .render(figures=drawn, plots=plots, dark=DARK, plotly_js=_plotly_js() if drawn else "", **values)
    )


def limits(summary: Summary) -> list[str]:
    """What a reader has to know before quoting a number, the most important first."""
    found = []
    if summary.estimated:
        found.append(
            "Some or all of the energy is an estimate: the processor's and the memory's rated power times their load,"
            " not a reading of a counter. Compare configurations by it; do not quote it as a measurement."
        )
    if any(meter.idle_floor_watts is None for meter in summary.meters):
        found.append(
            "The idle power of some device is unknown, so all of its power counts as active: idle shares are too low"
            " and active energy is too high."
        )
    if (untold := untold_note(summary)) is not None:
        found.append(untold)
    short = [meter for meter in summary.meters if meter.coverage is not None and meter.coverage < ENOUGH_COVERAGE]
    if short:
        worst = min(meter.coverage for meter in short if meter.coverage is not None)
        found.append(f"Some device had good readings for only {text.percent_text(worst)} of the time.")
    if any(meter.resets for meter in summary.meters):
        found.append("A counter was reset or jumped; the energy around that moment is unknown and not counted.")
    found.append(
        "Processor and memory energy is divided by CPU time: the packages of a host are pooled, and a hyperthread"
        " counts as much as a core."
    )
    if summary.carbon is not None:
        found.extend(_limits_of_grid(summary.carbon))
    found.append("Disks, network, fans and power supplies are not metered; making the hardware is not counted.")
    return found


def _limits_of_grid(carbon: Intensity) -> Iterator[str]:
    if carbon.boundary == "direct":
        yield (
            "The grid's figure is of what leaves the chimneys (direct), without fuel supply and building of plants: it"
            " is below a figure over their life, which most countries have here. Do not compare the two."
        )
    if carbon.note is not None:
        yield f"The grid's figure: {carbon.note}."


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("energysweep.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "csp_hash": _csp_hash,
        "duration": text.duration_text,
        "emissions": text.emissions_text,
        "energy": text.energy_text,
        "held": _held,
        "joules": joules_of,
        "mean": mean_of,
        "number": text.number_text,
        "uncertainty": text.uncertainty_text,
        "percent": text.percent_text,
        "power": text.power_text,
        "setting": setting_text,
    }
    return environment


def _held(said: str) -> str:
    """A sentence in which no line ends between a sign and its number, or a number and its unit."""
    return re.sub(r"(?<=\N{ALMOST EQUAL TO}) | (?=[JWg%]\b|%|kWh\b|[km]g\b)", "\N{NO-BREAK SPACE}", said)


@cache
def _plotly_js() -> str:
    script: str = plotly.offline.get_plotlyjs()
    return script


@cache
def _csp_hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def _utc(seconds: float | None) -> str:
    if seconds is None:
        return text.NOT_AVAILABLE
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _budget(summary: Summary) -> list[tuple[str, str, str]]:
    """Each limit: what it is of, what is charged against it, and what is left."""
    budget, found = summary.budget, []
    for kind, each in summary.budget_charges.items():
        charged, limit = (
            budget.text(kind, each.charged, estimated=summary.estimated) if budget else "",
            budget.text(kind, each.limit) if budget else "",
        )
        left = (
            ""
            if each.left is None or budget is None
            else budget.text(kind, abs(each.left), estimated=summary.estimated)
        )
        note = f"of {limit}" + (f", {left} {'over' if (each.left or 0.0) < 0 else 'left'}" if left else "")
        found.append((BUDGET_NAMES[kind], charged, note))
    return found


def budget_note(summary: Summary) -> str | None:
    """What a budget that ended the run has left open, and what more would buy; None if none did."""
    end = summary.budget_end
    if end is None:
        return None
    said = f"Its budget has ended this run: {text.count_text(end['open'], 'trial')} that it would still have run"
    said += f" {'is' if end['open'] == 1 else 'are'} open"
    if end["ended_early"]:
        said += f", {end['ended_early']} of them ended at a report before their end"
    said += ". They have not missed the target: what they would have reached is not known."
    if end["more_joules"] is not None:
        of = (
            f"by what {text.count_text(end['from_trials'], 'trial')} took"
            if end["from_trials"]
            else "by the reports so far"
        )
        said += (
            f" To run them all is forecast to take at most about {text.energy_text(end['more_joules'], brief=True)}"
            f" more ({text.energy_text(end['trial_joules'], brief=True)} for each that has not begun, {of}):"
            " an estimate."
        )
    if end["over_joules"] > 0:
        over = text.energy_text(end["over_joules"], estimated=summary.estimated)
        said += f" {over} were charged beyond it, by the last reports."
    return said


def _facts(data: LedgerData) -> list[tuple[str, str]]:
    """What the driver noted about the run, as names and texts."""
    versions = data.run.get("versions") or {}
    spec = data.run.get("spec")
    facts = [(str(name), str(version)) for name, version in versions.items()]
    facts += [("sweep", json.dumps(spec, indent=2, default=str))] if spec else []
    source = (data.run.get("space") or {}).get("source")
    return [*facts, ("space", str(source))] if source else facts


def _sentences(noted: Any) -> list[str]:
    """The notes on what was taken per node, whether the driver kept a list, a mapping by node, or one text."""
    if isinstance(noted, dict):
        return [f"{node}: {sentence}" for node, sentence in noted.items()]
    return [str(sentence) for sentence in (noted if isinstance(noted, list | tuple) else [noted]) if sentence]
