"""What all charts of the report share: look, colours, units, safe text.

Plotly reads a little HTML in every text it shows, so whatever the user named goes through ``escaped`` or ``lines``.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import plotly.graph_objects as go

from energysweep.analysis.intervals import Estimate
from energysweep.core import naming
from energysweep.core.carbon import JOULES_PER_KWH
from energysweep.core.text import MANY_JOULES, energy_text, number_text
from energysweep.ledger.model import Summary
from energysweep.ledger.trials import TrialSummary

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
INK, GREY, PALE_GREY, GRID = "#1f2933", "#66727f", "#c3cbd4", "#e4e8ed"
WHITE: Final = "#ffffff"  # the card's own colour, around points and behind text
# What each of the colours above and below becomes on a dark card, so that it stands out as much. One that is not named
# here stays, as do heatmaps and the text in their cells.
DARK: Final[Mapping[str, str]] = {
    WHITE: "#161b22",
    INK: "#e3e9ef",
    GREY: "#9aa8b5",
    PALE_GREY: "#55616d",
    GRID: "#2a333d",
    BLUE: "#3f9fd8",
    VERMILION: "#f07c3e",
    GREEN: "#1fb98c",
    "#365c8d": "#6d9be0",
    "#46327e": "#9a86e0",
    "#440154": "#c58bd8",
    "#277f8e": "#35a0b2",
    "#1fa187": "#27bd9f",
}
_VIRIDIS: Final = ("#fde725", "#a0da39", "#4ac16d", "#1fa187", "#277f8e", "#365c8d", "#46327e", "#440154")
MOST_CLASSES: Final = len(_VIRIDIS)
_WIDE_RANGE: Final = 20.0  # from this ratio of highest to lowest on, an axis is logarithmic
MOST_LINES: Final = 4  # of a tick label
_LONGEST_LINE: Final = 26  # characters of a tick label: more would take half a phone's width
# A longer line is broken behind a sign, if there is one.
_LINE: Final = re.compile(rf".{{1,{_LONGEST_LINE}}}$|.{{1,{_LONGEST_LINE}}}(?<=[,:=/_ -])|.{{1,{_LONGEST_LINE}}}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart of the report.

    Attributes:
        key: its HTML id.
        title: what it shows.
        caption: one sentence that says what to see in it.
        plot: the chart itself.
        wide: it takes a whole row of the page.
        least_width: pixels that it needs; a smaller window scrolls it.
    """

    key: str
    title: str
    caption: str
    plot: go.Figure
    wide: bool = False
    least_width: int = 0


@dataclass(frozen=True, slots=True)
class EnergyUnit:
    """The unit of an axis: joules, or kWh where joules are too many to read."""

    name: str
    joules: float
    estimated: bool

    @classmethod
    def for_values(cls, energy_joules: Iterable[float], *, estimated: bool) -> EnergyUnit:
        """The unit in which the largest of the values is readable."""
        if max(energy_joules, default=0.0) >= MANY_JOULES:
            return cls("kWh", JOULES_PER_KWH, estimated)
        return cls("J", 1.0, estimated)

    def scaled(self, energy_joules: float | None) -> float | None:
        """An energy in this unit; None stays None."""
        return None if energy_joules is None else energy_joules / self.joules

    def all_scaled(self, energies_joules: Iterable[float | None]) -> list[float | None]:
        """Energies in this unit."""
        return [self.scaled(energy) for energy in energies_joules]

    def title(self, quantity: str) -> str:
        """An axis title: ``Energy of a trial (J, estimated)``."""
        return f"{quantity} ({self.name}{', estimated' if self.estimated else ''})"

    def text(self, energy_joules: float) -> str:
        """A short label: ``≈ 310 J``."""
        return f"{'≈ ' if self.estimated else ''}{number_text(energy_joules / self.joules)} {self.name}"


def empty_plot(height: int) -> go.Figure:
    """A figure with the report's look, ``height`` CSS pixels high and as wide as the page lets it be."""
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "linecolor": PALE_GREY, "title": {"standoff": 8}}
    plot = go.Figure()
    plot.update_layout(
        template="none",
        height=height,
        autosize=True,
        dragmode=False,  # a finger that scrolls the page must not zoom a chart
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK},
        margin={"l": 12, "r": 16, "t": 12, "b": 12, "autoexpand": True},
        paper_bgcolor=WHITE,
        plot_bgcolor=WHITE,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        hoverlabel={"align": "left", "bgcolor": WHITE, "font": {"color": INK}},
        xaxis=axis,
        yaxis=axis,
    )
    return plot


def above(plot: go.Figure, titles: Sequence[str]) -> None:
    """Several charts over one x axis, from the top down, each with its title above: y axes ``y``, ``y2``, ..."""
    height = 1 / len(titles)
    for row, title in enumerate(titles):
        top = 1 - row * height
        name = f"yaxis{row + 1 if row else ''}"
        plot.update_layout(
            {name: {**plot.layout.yaxis.to_plotly_json(), "domain": [top - 0.76 * height, top - 0.12 * height]}}
        )
        plot.add_annotation(
            x=0, xref="paper", xanchor="left", y=top, yref="paper", yanchor="top", text=line(title), showarrow=False
        )
    plot.update_layout(xaxis={"anchor": f"y{len(titles)}" if len(titles) > 1 else "y"})


def with_legend(plot: go.Figure, rows: int = 1) -> go.Figure:
    """Leave room for ``rows`` rows of legend below the axis."""
    plot.update_layout(margin={"b": 48 + 20 * rows}, height=plot.layout.height + 20 * rows, showlegend=True)
    return plot


def error_bar(half_widths: Sequence[float | None], color: str) -> dict[str, Any]:
    """Error bars of one standard deviation; a single repeat has none."""
    return {
        "type": "data",
        "array": list(half_widths),
        "visible": any(half_widths),  # plotly draws a zero as a tick
        "color": color,
        "thickness": 1,
        "width": 3,
    }


def axis_type(values: Sequence[float]) -> str:
    """Logarithmic for values that span a wide range, else linear."""
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    return "log" if lowest > 0 and highest / lowest >= _WIDE_RANGE else "linear"


def ends_of(each: Estimate) -> tuple[float, float]:
    """The ends of its interval on a chart: the value itself where there is none, or where it goes on without end."""
    low = each.low if each.low is not None and each.low > 0 else each.value
    high = each.high if each.high is not None and math.isfinite(each.high) else each.value
    return low, high


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis around positive values, with a little room."""
    return min(values) / 1.4, max(values) * 1.4


def log_ticks(ends: tuple[float, float]) -> list[float]:
    """Round values (1, 2, 5, 10, ...) between the ends of a logarithmic axis."""
    decades = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
    return [
        step * 10.0**decade for decade in decades for step in (1, 2, 5) if ends[0] <= step * 10.0**decade <= ends[1]
    ]


def in_order(groups: Sequence[_T]) -> list[tuple[_T, str]]:
    """Each group with its colour on a scale from light to dark."""
    last = max(len(groups) - 1, 1)
    return [(group, _VIRIDIS[round(index * (len(_VIRIDIS) - 1) / last)]) for index, group in enumerate(groups)]


def escaped(text: str) -> str:
    """``text`` as plotly shows it letter by letter."""
    return html.escape(text, quote=False)


def line(title: str) -> str:
    """A text on one line, short enough for a phone; what does not fit ends in a hash of all of it."""
    return escaped(title if len(title) <= 2 * _LONGEST_LINE else title[:_LONGEST_LINE] + naming.mark(title))


def lines(title: str) -> str:
    """A configuration's title on at most four lines, each short enough for a phone: one parameter per line, if it fits.

    What does not fit ends in a hash of the whole title, so that no two titles look alike.
    """
    found = [line.strip() for row in naming.rows(title) for line in _LINE.findall(row)]
    if len(found) > MOST_LINES:
        found = [*found[: MOST_LINES - 1], naming.mark(title)]
    return "<br>".join(escaped(line) for line in found)


def opens(summary: Summary, trials: Sequence[TrialSummary]) -> list[int]:
    """What a click on a point of each opens: their places among the page's trials, as ``customdata`` of a trace."""
    places = {trial.trial: place for place, trial in enumerate(summary.trials)}
    return [places[trial.trial] for trial in trials]


LABELLED: Final = "labelled"  # ``meta`` of a trace: the page fills in the label of the trial that each point opens
_LABEL: Final = "%{text}<extra></extra>"


def opened(summary: Summary, trials: Sequence[TrialSummary]) -> dict[str, Any]:
    """What the points of a trace of trials need to be named and to be opened; no chart repeats their names."""
    return {"customdata": opens(summary, trials), "meta": LABELLED, "hovertemplate": _LABEL}


def label(trial: TrialSummary) -> str:
    """What is shown of a trial where it is pointed at."""
    energy = energy_text(trial.energy_joules, estimated=trial.estimated)
    return f"<b>{lines(trial.name)}</b><br>{trial.status}, objective {number_text(trial.objective)}<br>energy {energy}"
