"""What a row of a table, or a point of a chart, opens: a trial's parameters, energy, reports and attempts."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from energysweep.core import text
from energysweep.core.naming import exact_text
from energysweep.core.records import AttemptRow, ResultRow
from energysweep.ledger.model import Summary
from energysweep.ledger.store import LedgerData
from energysweep.ledger.trials import OUTCOMES, TrialSummary
from energysweep.report.charts.base import BLUE, ORANGE, VERMILION, above, empty_plot, label

_MOST_POINTS: Final = 200  # of a trial's curve; of more, every second or third is shown, and the last
_MOST_OTHERS: Final = 40
_LONGEST: Final = 2_000  # characters of a parameter


def details(summary: Summary, data: LedgerData) -> dict[str, Any]:
    """The data of the page's dialog, for all trials in the order of ``summary.trials``: texts for a person, and curves.

    Returns:
        What ``report.js`` reads: every value is a text, a finite number or None.
    """
    reports: dict[str, list[ResultRow]] = defaultdict(list)
    for row in data.results:
        reports[row.trial].append(row)
    attempts: dict[str, list[AttemptRow]] = defaultdict(list)
    for attempt in data.attempts:
        attempts[attempt.trial].append(attempt)
    places = {trial.trial: place for place, trial in enumerate(summary.trials)}
    others: dict[str, list[str]] = {}
    for each in summary.configurations:
        members = [trial.trial for trial in each.trials]
        others |= dict.fromkeys(members, members)
    components = sorted({name for trial in summary.trials for name in trial.component_joules})
    metric = summary.objective.metric if summary.objective else "objective"
    return {
        "names": [name for name, _ in _facts(summary.trials[0], components, metric)] if summary.trials else [],
        "plot": _plot(summary, metric),
        "trials": [
            {
                "title": trial.name,
                "label": label(trial),
                "what": " · ".join([trial.trial, trial.status, *trial.nodes]),
                "parameters": [[_bounded(str(name)), _bounded(exact_text(value))] for name, value in _given(trial)],
                "values": [value for _, value in _facts(trial, components, metric)],
                "curve": _curve(summary, trial, reports[trial.trial]),
                "attempts": _attempts(attempts[trial.trial]),
                "error": trial.error,
                "others": [
                    [f"{_seed(summary.trials[places[other]])}, {summary.trials[places[other]].status}", places[other]]
                    for other in others.get(trial.trial, [])[:_MOST_OTHERS]
                    if other != trial.trial
                ],
            }
            for trial in summary.trials
        ],
    }


def _given(trial: TrialSummary) -> list[tuple[str, Any]]:
    seed = [] if trial.seed is None else [("seed", trial.seed)]
    return [*trial.parameters.items(), *seed, *([("hardware", trial.hardware)] if trial.hardware else [])]


def _seed(trial: TrialSummary) -> str:
    return trial.trial if trial.seed is None else f"seed {trial.seed}"


def _bounded(said: str) -> str:
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _facts(trial: TrialSummary, components: Sequence[str], metric: str) -> list[tuple[str, str | None]]:
    """Names and texts, the same names for each trial; None where a text would say nothing."""

    def energy(joules: float | None) -> str:
        return text.energy_text(joules, estimated=trial.estimated)

    at_target = energy(trial.energy_to_target_joules)
    if trial.outcome is not None and trial.outcome != "reached":
        at_target = OUTCOMES[trial.outcome]
    return [
        ("energy", energy(trial.energy_joules)),
        (metric, text.number_text(trial.objective)),
        ("energy to the target", None if trial.outcome is None else at_target),
        ("active", energy(trial.active_energy_joules)),
        ("idle share", energy(trial.idle_energy_joules)),
        *((f"of it {name}", energy(trial.component_joules.get(name))) for name in components),
        ("start-up, apart", energy(trial.startup_joules)),
        ("lost", energy(trial.lost_joules) if trial.lost_joules else None),
        ("pruned", energy(trial.pruned_joules) if trial.pruned_joules else None),
        ("CO2e", text.emissions_text(trial.emissions_grams, estimated=trial.estimated)),
        ("power", text.power_text(trial.power_watts, estimated=trial.estimated)),
        ("per report", energy(trial.joules_per_iteration)),
        ("reports", text.NOT_AVAILABLE if trial.iterations is None else f"{trial.iterations:,}"),
        ("duration", text.duration_text(trial.duration_seconds)),
        ("attempts", str(trial.attempts)),
        ("coverage", text.percent_text(trial.coverage)),
        ("uncertainty", text.uncertainty_text(trial.relative_uncertainty)),
        ("source", trial.source or text.NOT_AVAILABLE),
    ]


def _attempts(rows: Sequence[AttemptRow]) -> list[str]:
    """Told where there is something to tell: more than one, or one that did not end well."""
    ordered = sorted(rows, key=lambda row: row.number)
    if len(ordered) < 2 and all(row.outcome == "completed" for row in ordered):
        return []
    return [f"{row.outcome}: {row.error}" if row.error else row.outcome for row in ordered]


def _curve(summary: Summary, trial: TrialSummary, rows: Sequence[ResultRow]) -> Mapping[str, Any] | None:
    """Objective and energy at its reports; None without any. A stage is judged by an objective of its own."""
    if not rows:
        return None
    objective = None if trial.stage else summary.objective
    ordered = sorted(rows, key=lambda row: row.iteration)
    step = math.ceil(len(ordered) / _MOST_POINTS)
    shown = ordered[(len(ordered) - 1) % step :: step]
    values = [objective.value(row.metrics) if objective else None for row in shown]
    joules = [row.energy_joules for row in shown]
    return {"x": [row.iteration for row in shown], "y": [_short(values), _short(joules)]}


def _short(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values]


def _plot(summary: Summary, metric: str) -> Any:
    """The chart of a trial's reports, without their values."""
    plot = empty_plot(height=360)
    estimated = ", estimated" if summary.estimated else ""
    above(plot, [metric, f"energy (J{estimated})"])
    for axis, color in (("y", BLUE), ("y2", ORANGE)):
        plot.add_scatter(
            x=[], y=[], yaxis=axis, mode="lines+markers", line={"color": color}, marker={"size": 5}, showlegend=False,
            hovertemplate="%{y:.4~g} at report %{x}<extra></extra>",
        )  # fmt: skip
    target = summary.objective.target if summary.objective else None
    if target is not None:
        plot.add_hline(y=target, line={"color": VERMILION, "width": 1, "dash": "dash"}, yref="y")
    plot.update_xaxes(title="Report")
    return json.loads(plot.to_json())
