"""What hardware costs if a trial pays for all of its host's idle power, beside what it was counted with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from energysweep.analysis import BothBoundaries, Ratio, both_boundaries
from energysweep.reporting.answers_settings import settings_text
from energysweep.reporting.markdown import escape, table
from energysweep.reporting.model import Summary
from energysweep.reporting.text import ratio_text


def whole_host(run: Summary) -> tuple[BothBoundaries, ...]:
    """Every two hardware profiles of a run with both boundaries.

    Empty where that cannot be told: more than one host or window, an idle power that is not known, trials that must
    have run at the same time, or a trial without its parts.
    """
    floors = [meter.idle_floor_watts for meter in run.meters]
    known = [watts for watts in floors if watts is not None]
    if not known or len(known) < len(floors) or len({meter.component for meter in run.meters}) < len(floors):
        return ()
    return both_boundaries(run.trials, math.fsum(known), run.duration_seconds)


def whole_host_list(summaries: Sequence[Summary]) -> str:
    """Whether the other boundary turns the answer, and a table of every setting; empty if no run can tell."""
    head = ("run", "first over second", "setting", "as counted (95 %)", "with all idle power of the host (95 %)")
    rows, said = [], []
    for run in summaries:
        for both in whole_host(run):
            one, other = both.counted, both.whole
            names = f"{one.first} over {one.second}"
            ratios = [(f"all {len(one.configurations)}", one.ratio, other.ratio)]
            for (parameters, mine), (_, theirs) in zip(one.configurations, other.configurations, strict=True):
                own = {name: value for name, value in parameters.items() if name in run.varying}
                ratios.append((settings_text(own) or "default", mine, theirs))
            rows += [[run.name, names, name, _text(mine, run), _text(theirs, run)] for name, mine, theirs in ratios]
            said.append(f"- **{both.turn}** ({escape(run.name)}): {escape(_sentence(both, run))}")
    return "\n\n".join(part for part in ("\n".join(said), table(head, rows)) if part)


def _sentence(both: BothBoundaries, run: Summary) -> str:
    return (
        f"paying for the idle power that it reserves, {both.counted.first} takes {_text(both.counted.ratio, run)} of"
        f" what {both.counted.second} takes; paying for all of the host's, {_text(both.whole.ratio, run)}."
    )


def _text(ratio: Ratio, run: Summary) -> str:
    return ratio_text(ratio.energy, estimated=run.estimated)
