"""Which of a trial's own metrics dashboards show: a few, because each is a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energysweep.objective import number

SHOWN_RESULTS = 8  # metrics of a trial, so that its series stay few
LONGEST_METRIC = 200  # characters of a metric's name


class ShownMetrics:
    """The metrics of one trial that are shown: those that were asked for, then others in the order of its reports.

    Args:
        first: these have their places, however late they are reported.
    """

    def __init__(self, first: Sequence[str] = ()) -> None:
        self._names: dict[str, None] = {}
        for name in first:
            self._take(name)

    def of(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Their values in a report, as far as it has them as finite numbers.

        Args:
            metrics: the workload's own.
        """
        numbers = {name: size for name, value in metrics.items() if (size := number(value)) is not None}
        for name in numbers:
            self._take(name)
        return {name: numbers[name] for name in self._names if name in numbers}

    def _take(self, name: str) -> None:
        if len(self._names) < SHOWN_RESULTS and 0 < len(name) <= LONGEST_METRIC:
            self._names[name] = None
