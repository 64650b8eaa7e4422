"""A chart of what a scheduler decided: who ran, who paused, who was ended by which rule, and what that had cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import plotly.graph_objects as go

from energysweep.core.records import DecisionRow
from energysweep.ledger.decisions import are_choices, told
from energysweep.ledger.model import Summary
from energysweep.ledger.trials import TrialSummary
from energysweep.report.charts.base import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE_GREY,
    PURPLE,
    VERMILION,
    EnergyUnit,
    Figure,
    empty_plot,
    escaped,
    lines,
    opens,
    with_legend,
)

MOST_ROWS: Final = 40

_BEGINS: Final = ("started", "resumed")


class _Mark(NamedTuple):
    """How an event is shown: no two have one symbol, so that nobody needs to tell colours apart."""

    name: str
    symbol: str
    color: str


_REACHED: Final = _Mark("reached the target", "star", GREEN)
_PAUSED: Final = _Mark("paused", "line-ns-open", GREY)
_FAILED: Final = _Mark("failed or interrupted", "cross-thin-open", INK)
_BY_ITSELF: Final = _Mark("ran to its own end", "circle", INK)
_ENDS: Final[Mapping[str, _Mark]] = {
    "reached": _REACHED,
    "capped": _Mark("ended by the cap", "x", VERMILION),
    "slower": _Mark("ended as slower", "triangle-left", ORANGE),
    "unreliable": _Mark("ended as unreliable", "triangle-down", PURPLE),
    "over": _Mark("no longer needed", "square-open", GREY),
    "itself": _BY_ITSELF,
    "stop": _BY_ITSELF,
    "enough": _BY_ITSELF,
}
_BY_OTHER_RULES: Final = _Mark("ended by another rule", "diamond", BLUE)


class _Event(NamedTuple):
    joules: float  # that the sweep had spent by then
    row: DecisionRow


def decisions(summary: Summary, rows: Sequence[DecisionRow]) -> Figure | None:
    """One line for each configuration over the joules that the sweep had spent; None where nobody chose anything."""
    trials = {trial.trial: trial for trial in summary.trials if not trial.stage}
    known = [_Event(row.sweep_joules, row) for row in rows if row.trial in trials and row.sweep_joules is not None]
    if not are_choices(rows) or not known:
        return None
    titles = {trial.trial: each.title for each in summary.configurations for trial in each.trials}
    of_trials: dict[str, list[_Event]] = defaultdict(list)
    for event in sorted(known, key=lambda event: event.row.number):
        of_trials[event.row.trial].append(event)
    configurations: dict[str, list[str]] = defaultdict(list)
    for trial in of_trials:
        configurations[titles[trial]].append(trial)
    ranked = sorted(
        configurations, key=lambda title: _rank([trials[each] for each in configurations[title]], of_trials)
    )
    shown = ranked[:MOST_ROWS]
    unit = EnergyUnit.for_values([event.joules for event in known], estimated=summary.estimated)
    labels = [lines(title) for title in shown]
    tallest = max(label.count("<br>") + 1 for label in labels)
    plot = with_legend(empty_plot(height=110 + (8 + 14 * tallest) * len(shown)), rows=3)
    places = {
        trial: place + (0.5 + number) / len(configurations[title]) * 0.6 - 0.3
        for place, title in enumerate(shown)
        for number, trial in enumerate(configurations[title])
    }
    _add_lines(plot, places, of_trials, unit)
    _add_marks(plot, places, of_trials, summary, unit)
    plot.update_xaxes(title=unit.title("Energy that the sweep had spent by then"), rangemode="tozero")
    plot.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.4, -0.6], showgrid=False)
    left_out = len(ranked) - len(shown)
    more = (
        f" {left_out:,} more configurations are left out; energysweep explain tells of each trial." if left_out else ""
    )
    return Figure(
        "decisions",
        "Who ran, paused and was ended",
        "Thick: at work; thin: paused. From left to right: what all of the sweep had cost by then, with start-up and"
        " overhead, as of the last poll of its meters."
        f" Configurations that reached the target come first, then those that went on for longest.{more}",
        plot,
        wide=True,
    )


def _rank(trials: Sequence[TrialSummary], of_trials: Mapping[str, Sequence[_Event]]) -> tuple[float, float]:
    """Those that reached the target first, the cheapest of them at the top; then those that went on for longest."""
    reached = [each.energy_to_target_joules for each in trials if each.energy_to_target_joules is not None]
    last = max(of_trials[each.trial][-1].joules for each in trials)
    return (0.0, sum(reached) / len(reached)) if reached else (1.0, -last)


def _add_lines(
    plot: go.Figure, places: Mapping[str, float], of_trials: Mapping[str, Sequence[_Event]], unit: EnergyUnit
) -> None:
    at_work: tuple[list[float | None], list[float | None]] = ([], [])
    waiting: tuple[list[float | None], list[float | None]] = ([], [])
    for trial, place in places.items():
        events = of_trials[trial]
        for event, following in pairwise(events):
            found = at_work if event.row.what in _BEGINS else waiting if event.row.what == "paused" else None
            if found is not None:
                found[0].extend([unit.scaled(event.joules), unit.scaled(following.joules), None])
                found[1].extend([place, place, None])
    for name, (x, y), line in (
        ("paused", waiting, {"color": PALE_GREY, "width": 1}),
        ("at work", at_work, {"color": BLUE, "width": 4}),
    ):
        if x:
            plot.add_scatter(
                name=name, x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=name == "at work"
            )


def _add_marks(
    plot: go.Figure,
    places: Mapping[str, float],
    of_trials: Mapping[str, Sequence[_Event]],
    summary: Summary,
    unit: EnergyUnit,
) -> None:
    trials = {trial.trial: trial for trial in summary.trials}
    marked: dict[_Mark, list[tuple[str, _Event]]] = defaultdict(list)
    for trial in places:
        for event in of_trials[trial]:
            mark = _mark(event.row)
            if mark is not None:
                marked[mark].append((trial, event))
    for mark, found in marked.items():
        sentences = told([event.row for _, event in found], estimated=unit.estimated)
        plot.add_scatter(
            name=mark.name,
            mode="markers",
            x=[unit.scaled(event.joules) for _, event in found],
            y=[places[trial] for trial, _ in found],
            marker={"symbol": mark.symbol, "color": mark.color, "size": 9, "line": {"width": 1.5, "color": mark.color}},
            text=[
                f"{lines(trials[trial].name)}<br>{escaped(each.sentence)}"
                for (trial, _), each in zip(found, sentences, strict=True)
            ],
            customdata=opens(summary, [trials[trial] for trial, _ in found]),
            hovertemplate="%{text}<extra></extra>",
        )


def _mark(row: DecisionRow) -> _Mark | None:
    if row.what == "paused":
        return _PAUSED
    if row.what in ("failed", "interrupted"):
        return _FAILED
    return _ENDS.get(row.why, _BY_OTHER_RULES) if row.what in ("ended", "stopped") else None
