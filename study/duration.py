"""How long the study took, and how much of its energy is a constant times that: both from the extracts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from energysweep.core.text import duration_text, percent_text, power_text, table
from energysweep.report import Summary
from study.parts import MEMORY, memory_part


def took_list(summaries: Sequence[Summary]) -> str:
    """The study's duration and the constant in its energy, in words; then the runs' durations."""
    said = [f"**{duration_text(took_seconds(summaries))}** from the first run's beginning to the last one's end."]
    if constant := _constant_text(summaries):
        said.append(constant)
    rows = [[run.name, f"{len(run.trials)}", duration_text(run.duration_seconds)] for run in summaries]
    durations = [run.duration_seconds for run in summaries if run.duration_seconds is not None]
    if len(durations) == len(summaries):
        rows.append(["all", f"{sum(len(run.trials) for run in summaries)}", duration_text(math.fsum(durations))])
    return "\n\n".join(["\n".join(f"- {each}" for each in said), table(("run", "trials", "duration"), rows)])


def took_seconds(summaries: Sequence[Summary]) -> float:
    """From the beginning of the first run to the end of the last one, with what lies between."""
    spans = [run.span() for run in summaries]
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def _constant_text(summaries: Sequence[Summary]) -> str:
    """Said openly where the memory's energy is an estimate: a constant power, busy or not."""
    constant = {
        run.name: {
            meter.idle_floor_watts
            for meter in run.meters
            if meter.component == MEMORY and meter.estimated and meter.idle_floor_watts is not None
        }
        for run in summaries
    }
    parts = [part for run in summaries if constant[run.name] and (part := memory_part(run.trials)) is not None]
    if not parts:
        return ""
    watts = " or ".join(power_text(each, estimated=True) for each in sorted(set().union(*constant.values())))
    least, most = percent_text(min(parts)), percent_text(max(parts))
    return (
        f"**The memory's power is taken as constant, busy or idle: {watts}.** By this estimate it makes ≈ {least} to"
        f" ≈ {most} of the trials' energy, by run. So most of the joules compared here are a trial's time, times the"
        " share of the machine that it had reserved, times a constant: what saves time saves nearly as much energy."
    )
