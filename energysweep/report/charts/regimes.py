"""Charts of pretraining, multitask training and hardware, each where the sweep has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from energysweep.analysis import BreakEven, Estimate, multitask, pretraining, side_by_side
from energysweep.analysis.trials import grouped
from energysweep.core.naming import configuration_text, exact_text, settings_text
from energysweep.core.text import TIMES, number_text
from energysweep.ledger.model import Summary
from energysweep.report.answers.regimes import reuses_text, use_text
from energysweep.report.charts.base import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    EnergyUnit,
    Figure,
    empty_plot,
    ends_of,
    escaped,
    lines,
    log_range,
    log_ticks,
    with_legend,
)

_MOST_CONTEXTS: Final = 4  # charts of break-evens
_FEWEST_REUSES: Final = 10  # along the axis
_MOST_REUSES: Final = 200
_TASK_COLORS: Final = (BLUE, SKY, GREEN, ORANGE, PURPLE, VERMILION)


def break_evens(summary: Summary) -> list[Figure]:
    """Energy over the number of reuses, from scratch and with a pretraining; a chart for each other setting."""
    found = [each for each in pretraining(summary.trials) if each.saving_joules is not None and each.pretrain_joules]
    contexts = list(grouped(found, lambda each: (exact_text(dict(each.settings)), each.hardware)).values())
    return [_break_even(members, index, summary) for index, members in enumerate(contexts[:_MOST_CONTEXTS])]


def _break_even(members: Sequence[BreakEven], index: int, summary: Summary) -> Figure:
    known = [each.reuses for each in members if each.reuses is not None]
    end = math.ceil(min(max([1.6 * each for each in known] + [_FEWEST_REUSES]), _MOST_REUSES))
    scratch = members[0].scratch_joules or 0.0
    curves = [("from scratch", 0.0, scratch, GREY)]
    curves += [
        (use_text(each), each.pretrain_joules or 0.0, each.finetuned_joules or 0.0, BLUE if each.frozen else ORANGE)
        for each in members
    ]
    unit = EnergyUnit.for_values([start + end * slope for _, start, slope, _ in curves], estimated=summary.estimated)
    plot = with_legend(empty_plot(height=330))
    for name, start, slope, color in curves:
        plot.add_scatter(
            name=name,
            mode="lines",
            x=[0, end],
            y=[unit.scaled(start), unit.scaled(start + end * slope)],
            line={"color": color, "width": 2},
        )
    for each in members:
        if each.reuses is not None and each.reuses <= end:
            plot.add_scatter(
                mode="markers",
                x=[each.reuses],
                y=[unit.scaled(scratch * each.reuses)],
                marker={"color": BLUE if each.frozen else ORANGE, "size": 11, "line": {"color": INK, "width": 1}},
                hovertemplate=f"{use_text(each)}: {number_text(each.reuses)} reuses<extra></extra>",
                showlegend=False,
            )
    plot.update_xaxes(title="Trainings that use it", range=[0, end])
    plot.update_yaxes(title=unit.title("All energy"), rangemode="tozero")
    told = "; ".join(f"{use_text(each)}: {reuses_text(each)}" for each in members)
    where = _context(members[0].settings, members[0].hardware, summary)
    return Figure(
        f"break-even-{index}",
        f"When pretraining has paid for itself{where}",
        f"Where a line crosses the grey one. Break-even with its 95 % interval, in reuses: {told}.",
        plot,
    )


def shared_models(summary: Summary) -> Figure | None:
    """One model for several tasks beside the stack of the separate ones."""
    found = [each for each in multitask(summary.trials) if each.shared_joules and each.separate_joules]
    if not found:
        return None
    # The sum of geometric means is a little below the geometric mean of the sums, which the text compares.
    unit = EnergyUnit.for_values([each.separate_joules or 0.0 for each in found], estimated=summary.estimated)
    tasks = list(dict.fromkeys(task for each in found for task in each.tasks))
    rows = [
        (lines(f"{settings_text(each.settings, summary.varying)} {kind}".strip()), each, kind)
        for each in found
        for kind in ("separate models", "one model")
    ]
    plot = with_legend(empty_plot(height=110 + 44 * len(rows)))
    for index, task in enumerate(tasks):
        plot.add_bar(
            name=escaped(task),
            orientation="h",
            y=[label for label, _, _ in rows],
            x=[unit.scaled(each.by_task.get(task)) if kind == "separate models" else None for _, each, kind in rows],
            marker={"color": _TASK_COLORS[index % len(_TASK_COLORS)]},
        )
    plot.add_bar(
        name="all in one",
        orientation="h",
        y=[label for label, _, _ in rows],
        x=[unit.scaled(each.shared_joules) if kind == "one model" else None for _, each, kind in rows],
        marker={"color": GREY},
    )
    plot.update_layout(barmode="stack")
    plot.update_xaxes(title=unit.title("Energy to target"))
    plot.update_yaxes(autorange="reversed", showgrid=False)
    return Figure(
        "multitask",
        "One model for all tasks, or one for each",
        "Each task at its target; geometric means over the repeats.",
        plot,
    )


def hardware(summary: Summary) -> Figure | None:
    """The energy ratio of the first two profiles for each configuration, and over all of them."""
    found = side_by_side(summary.trials)
    if not found:
        return None
    pair = found[0]
    rows: list[tuple[str, Estimate]] = [
        (configuration_text(parameters, summary.varying), ratio.energy) for parameters, ratio in pair.configurations
    ]
    rows.append(("all together", pair.ratio.energy))
    plot = empty_plot(height=100 + 34 * len(rows))
    plot.add_scatter(
        mode="markers",
        x=[ratio.value for _, ratio in rows],
        y=list(range(len(rows))),
        error_x={
            "type": "data",
            "array": [ends_of(ratio)[1] - ratio.value for _, ratio in rows],
            "arrayminus": [ratio.value - ends_of(ratio)[0] for _, ratio in rows],
            "color": GREY,
            "thickness": 1,
            "width": 3,
        },
        marker={"color": [BLUE] * (len(rows) - 1) + [VERMILION], "size": 10},
        text=[f"{TIMES}{number_text(ratio.value)}" for _, ratio in rows],
        hovertemplate="%{text}<extra></extra>",
    )
    plot.add_vline(x=1, line={"color": GREY, "width": 1, "dash": "dash"})
    ends = log_range([1.0, *(end for _, each in rows for end in (*ends_of(each), each.value))])
    about = ", estimated" if summary.estimated else ""
    plot.update_xaxes(
        title=f"Energy on {escaped(pair.first)} over energy on {escaped(pair.second)}{about}",
        type="log",
        range=[math.log10(end) for end in ends],
        tickvals=log_ticks(ends),
    )
    plot.update_yaxes(tickvals=list(range(len(rows))), ticktext=[lines(name) for name, _ in rows], autorange="reversed")
    more = f" The first of {len(found)} pairs of profiles." if len(found) > 1 else ""
    return Figure(
        "hardware",
        f"{pair.first} against {pair.second}",
        f"Left of the dashed line {pair.first} needs less for the same target. Repeats are paired by seed; lines are"
        f" 95 % intervals. A trial pays for the idle power that it reserves.{more}",
        plot,
    )


def _context(settings: Mapping[str, Any], hardware_name: str, summary: Summary) -> str:
    own = settings_text(settings, summary.varying)
    several = len({each.hardware for each in summary.configurations}) > 1
    return (f", {own}" if own else "") + (f" on {hardware_name}" if several else "")
