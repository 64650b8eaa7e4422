"""What several runs are called side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from energysweep.reporting.model import Summary


def told_apart(summaries: Sequence[Summary]) -> list[Summary]:
    """The same runs, in order, under names of which each is one run's: where a name repeats, the run id.

    Two machines may have given the same id, as ``make study`` does: such runs are numbered.
    """
    names = Counter(summary.name for summary in summaries)
    runs = Counter(summary.sweep for summary in summaries)
    seen: Counter[str] = Counter()
    found = []
    for summary in summaries:
        seen[summary.sweep] += 1
        run = f"{summary.sweep} ({seen[summary.sweep]})" if runs[summary.sweep] > 1 else summary.sweep
        found.append(replace(summary, sweep=run, name=run if names[summary.name] > 1 else summary.name))
    return found
