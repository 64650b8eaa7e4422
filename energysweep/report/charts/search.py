"""Charts of the search: its trials in their order, and all configurations at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from energysweep.analysis.trials import value_order
from energysweep.core.naming import value_text
from energysweep.core.records import TrialRow
from energysweep.core.text import number_text
from energysweep.ledger.balance import mean_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import compared_mean
from energysweep.report.charts.base import (
    BLUE,
    GREEN,
    GREY,
    LABELLED,
    MOST_CLASSES,
    PALE_GREY,
    SKY,
    WHITE,
    EnergyUnit,
    Figure,
    above,
    axis_type,
    empty_plot,
    in_order,
    line,
    lines,
    opened,
    opens,
    with_legend,
)

# History: the trials in the order in which they began --------------------------------------------------------------


def history(summary: Summary, rows: Sequence[TrialRow]) -> Figure | None:
    """Objective, energy and all that was spent, by the order in which trials began; None of fewer than two trials."""
    began = {row.trial: row.started_at for row in rows if row.started_at is not None}
    ordered = sorted(
        (trial for trial in summary.trials if not trial.stage and trial.trial in began),
        key=lambda trial: began[trial.trial],
    )
    if len(ordered) < 2 or all(trial.energy_joules is None for trial in ordered):
        return None
    unit = EnergyUnit.for_values(
        accumulate(trial.energy_joules or 0.0 for trial in ordered), estimated=summary.estimated
    )
    goal = "energy to the target" if summary.has_target else "energy of a trial"
    objective = summary.objective
    titles = [*([objective.metric] if objective else []), unit.title(goal), unit.title("all trials so far")]
    plot = empty_plot(height=110 + 150 * len(titles))
    above(plot, titles)
    axes = iter(f"y{row + 1 if row else ''}" for row in range(len(titles)))
    numbers = list(range(1, len(ordered) + 1))

    def add(axis: str, values: Sequence[float | None], best: Any) -> None:
        plot.add_scatter(
            x=numbers, y=list(values), yaxis=axis, mode="markers", marker={"color": SKY, "size": 6},
            showlegend=False, **opened(summary, ordered),
        )  # fmt: skip
        plot.add_scatter(
            x=numbers, y=_best_so_far(values, best), yaxis=axis, mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": BLUE, "width": 2, "shape": "hv"},
        )  # fmt: skip

    if objective is not None:
        add(next(axes), [each.objective for each in ordered], max if objective.mode == "max" else min)
    joules = [each.energy_to_target_joules if summary.has_target else each.energy_joules for each in ordered]
    axis = next(axes)
    add(axis, unit.all_scaled(joules), min)
    known = [each for each in joules if each is not None]
    plot.update_layout({axis.replace("y", "yaxis"): {"type": axis_type(known)}})
    spent = list(accumulate(each.energy_joules or 0.0 for each in ordered))
    plot.add_scatter(
        x=numbers, y=unit.all_scaled(spent), yaxis=next(axes), mode="lines", showlegend=False,
        line={"color": GREEN, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.4~g} " + unit.name + " after %{x} trials<extra></extra>",
    )  # fmt: skip
    plot.update_xaxes(title="Trials, in the order in which they began")
    return Figure(
        "history",
        "How the search went",
        "A point is a trial, the line the best until then. Below: what the trials so far have taken together.",
        plot,
        wide=True,
    )


def _best_so_far(values: Sequence[float | None], best: Any) -> list[float | None]:
    found: list[float | None] = []
    for value in values:
        last = found[-1] if found else None
        found.append(last if value is None else value if last is None else best(last, value))
    return found


# Parallel coordinates: a line for each configuration ---------------------------------------------------------------
#
# Not plotly's ``parcoords``: it needs WebGL, which a machine without a GPU and a sheet of paper have not, and runs code
# that it makes from text, which the page's policy forbids. These are lines of its ``scatter``, over axes of one height.

MOST_AXES: Final = 10  # of parameters
_MOST_TICKS: Final = 8
_LARGEST: Final = 1e300  # beyond it there is no room around a value
_NOT_KNOWN: Final = -0.12  # where a line passes an axis on which it has no value

# A tick: readable over the lines that pass behind it.
_BESIDE: Final[Mapping[str, Any]] = {
    "showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 10}, "bgcolor": WHITE, "opacity": 0.9,
}  # fmt: skip


class _Axis(NamedTuple):
    """One quantity: where each configuration stands on it, from 0 to 1, and the ticks beside it."""

    title: str
    heights: list[float | None]
    ticks: list[tuple[float, str]]


def parallel(summary: Summary) -> Figure | None:
    """All configurations over their parameters, their objective and their energy; None of fewer than two."""
    configurations = summary.configurations
    names = summary.varying[:MOST_AXES]
    energies = [compared_mean(each, summary.objective) for each in configurations]
    known = [each for each in energies if each is not None]
    if len(configurations) < 2 or not names or len(known) < 2:
        return None
    unit = EnergyUnit.for_values(known, estimated=summary.estimated)
    axes = [_axis_of(name, configurations) for name in names]
    if summary.objective is not None:
        axes.append(_numeric(summary.objective.metric, [mean_of(each.objective) for each in configurations]))
    goal = "energy to target" if summary.has_target else "energy of a trial"
    axes.append(_numeric(unit.title(goal), unit.all_scaled(energies)))
    plot = with_legend(empty_plot(height=430), rows=2)
    first = opens(summary, [each.trials[0] for each in configurations])
    for name, members, color in _classes(energies, unit):
        x: list[float | None] = []
        y: list[float | None] = []
        data: list[int | None] = []
        for member in members:
            heights = [axis.heights[member] for axis in axes]
            x += [*range(len(axes)), None]
            y += [*(_NOT_KNOWN if height is None else height for height in heights), None]
            data += [*[first[member]] * len(axes), None]
        plot.add_scatter(
            name=name, x=x, y=y, customdata=data, meta=LABELLED, mode="lines+markers", opacity=0.75,
            line={"color": color, "width": 1.2}, marker={"color": color, "size": 4},
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for place, axis in enumerate(axes):
        plot.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"color": GREY, "width": 1})
        for height, tick in axis.ticks:
            plot.add_annotation(x=place, y=height, text=tick, **_BESIDE)
        if any(height is None for height in axis.heights):
            plot.add_annotation(x=place, y=_NOT_KNOWN, text="n/a", **_BESIDE)
    plot.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=[lines(axis.title) for axis in axes], side="top", showgrid=False,
        range=[-0.15, len(axes) - 1 + 0.45], showline=False,
    )  # fmt: skip
    plot.update_yaxes(visible=False, range=[-0.2, 1.06])
    more = f" The first {MOST_AXES} of {len(summary.varying)} parameters." if len(summary.varying) > MOST_AXES else ""
    return Figure(
        "parallel",
        "All configurations at once",
        "A line is a configuration, through its parameters, its objective and its energy. A click in the legend hides"
        f" the configurations of an energy, two leave them alone.{more}",
        plot,
        wide=True,
        least_width=92 * len(axes),
    )


def _axis_of(name: str, configurations: Sequence[ConfigurationSummary]) -> _Axis:
    has = [name in each.parameters for each in configurations]
    given = [each.parameters.get(name) for each in configurations]
    numbers = [as_number(value) if there else None for value, there in zip(given, has, strict=True)]
    if sum(each is not None for each in numbers) == sum(has) and len({*numbers} - {None}) > _MOST_TICKS:
        return _numeric(name, numbers)
    values = [value for value, there in zip(given, has, strict=True) if there]
    texts = list(dict.fromkeys(value_text(value) for value in sorted(values, key=value_order)))
    at = {text: place / max(len(texts) - 1, 1) for place, text in enumerate(texts)}
    heights = [at[value_text(value)] if there else None for value, there in zip(given, has, strict=True)]
    step = max(1, math.ceil(len(texts) / _MOST_TICKS))
    return _Axis(name, heights, [(at[text], _tick(text)) for text in texts[::step]])


def _numeric(title: str, values: Sequence[float | None]) -> _Axis:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return _Axis(title, [None] * len(values), [])
    lowest, highest = min(known), max(known)
    is_log = axis_type(known) == "log"

    def height(value: float) -> float:
        low, high, own = (math.log(each) if is_log else each for each in (lowest, highest, value))
        return 0.5 if high <= low else (own - low) / (high - low)

    # five ticks, of which the first and the last are the ends
    ends = [lowest * (highest / lowest) ** (n / 4) if is_log else lowest + (highest - lowest) * n / 4 for n in range(5)]
    ticks = [(height(each), number_text(each)) for each in (ends if highest > lowest else [lowest])]
    return _Axis(
        title, [None if value is None or not math.isfinite(value) else height(value) for value in values], ticks
    )


def as_number(value: Any) -> float | None:
    """The place of a parameter's value on an axis of numbers; None if it has none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return float(value) if is_number else None


def _tick(text: str) -> str:
    return line(text if len(text) <= 12 else f"{text[:11]}…")


def _classes(energies: Sequence[float | None], unit: EnergyUnit) -> list[tuple[str, list[int], str]]:
    """The configurations by classes of equal size from little energy to much, those without one first, so below."""
    known = sorted((joules, place) for place, joules in enumerate(energies) if joules is not None)
    count = min(4, MOST_CLASSES, len(known))
    size = math.ceil(len(known) / count)
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    found = [
        (f"{unit.text(part[0][0])} to {unit.text(part[-1][0])}", [place for _, place in part], color)
        for part, color in reversed(in_order(parts))
    ]
    without = [place for place, joules in enumerate(energies) if joules is None]
    return [*([("no energy to compare", without, PALE_GREY)] if without else []), *found]
