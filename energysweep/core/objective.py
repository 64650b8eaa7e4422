"""What a sweep wants of its trials, and which of the values that a workload reports can say how far it is.

The one rule for all who judge a trial: the driver while it runs, the search, the report, the dashboards.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, Final, Generic, Literal, TypeVar

from energysweep.core.records import OPEN, TrialStatus

# What Tune adds to every result; the rest is the workload's.
TUNES_NAMES: Final = frozenset(
    (
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "experiment_tag",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "training_iteration",
        "trial_id",
    )
)
OUR_NAMES: Final = frozenset(
    ("energy_joules", "active_energy_joules", "startup_joules", "power_watts", "emissions_grams")
)
ELSEWHERE: Final = "unmetered_ray_work"
"""In a result: true once the trial has had Ray tasks or actors work in other processes, which nobody meters."""


Outcome = Literal["reached", "missed", "open", "failed"]
_Report = TypeVar("_Report")


def number(value: Any) -> float | None:
    """A reported value as a finite float; None if it is none, which is neither good nor bad and has reached nothing.

    Numbers are those of Python, ``Decimal`` and ``Fraction``, and the scalars of NumPy and torch. A text (also
    ``"0.9"``), a truth value, None, NaN, an infinity and an integer beyond all floats are none.
    """
    size = _size(value)
    return size if size is not None and math.isfinite(size) else None


def mean_value(values: Sequence[float]) -> float:
    """The mean of finite values, at least one, also of those whose sum no float holds."""
    try:
        return statistics.fmean(values)
    except OverflowError:
        largest = max(map(abs, values))
        return math.fsum(value / largest for value in values) / len(values) * largest


def reached_limit(value: Any, limit: float) -> bool:
    """Tune's rule of ``stop``: the value is at its limit or above. A loss that grew to infinity is; NaN is not."""
    size = _size(value)
    return size is not None and size >= limit


def scalar(value: Any) -> Any:
    """Scalars of NumPy and torch, and arrays and tensors of one element, as Python's own; all else as it is."""
    if type(value) in (float, int, str, bool) or not hasattr(value, "item"):
        return value
    try:
        return value.item() if math.prod(getattr(value, "shape", ())) == 1 else value
    except Exception:  # noqa: BLE001 - a class of the workload's own, which may do anything
        return value


def _size(value: Any) -> float | None:
    value = scalar(value)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - beyond all floats, a signalling NaN, or a number of the workload's own
        return None


@dataclass(frozen=True, slots=True)
class Objective:
    """What the sweep wants: ``metric`` as high (``max``) or as low (``min``) as possible.

    Attributes:
        target: the value to reach, None if the sweep names none.
        patience: for how many reports in a row it has to be held.
    """

    metric: str
    mode: Literal["min", "max"] = "max"
    target: float | None = None
    patience: int = 1

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """What a report says of it; None without a number."""
        return number(metrics.get(self.metric))

    def better(self, value: float, other: float) -> bool:
        """Whether ``value`` is strictly better than ``other``."""
        return value > other if self.mode == "max" else value < other

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of those that are known; None if none is."""
        choose = max if self.mode == "max" else min
        return choose((value for value in values if value is not None), default=None)

    def reached_by(self, value: Any) -> bool:
        """Whether a reported value is at the target or beyond; False without a target, and for what is no number."""
        known = number(value)
        return known is not None and self.target is not None and not self.better(self.target, known)


def outcome(status: TrialStatus, *, reached: bool) -> Outcome:
    """What a trial says of its configuration and the target: the one rule of tables, charts, analyses and displays.

    Only one that ran to its end, or was stopped for being worse than others, has missed the target, also if it never
    reported the objective. What is open says nothing yet, and a crash says nothing of a configuration, unless the
    target was reached before.

    Args:
        status: the trial's.
        reached: whether it has reached the target and held it.
    """
    if reached:
        return "reached"
    if status in OPEN:
        return "open"
    return "failed" if status == "failed" else "missed"


@dataclass(slots=True)
class FirstHeld(Generic[_Report]):
    """Looks for the first of ``patience`` reports in a row that are all at the target.

    This is where a trial's energy to the target is taken: at the first of them, because the others only confirm it.

    Attributes:
        patience: how many.
        found: they have been seen.
        report: the first of them, once they have been seen.
    """

    patience: int = 1
    found: bool = False
    report: _Report | None = None
    _in_a_row: int = field(default=0, repr=False)
    _first: _Report | None = field(default=None, repr=False)

    @property
    def candidate(self) -> _Report | None:
        """The first of the reports in a row that are at the target by now; None if the last one is not."""
        return self._first if self._in_a_row else None

    def see(self, at_target: bool, report: _Report) -> bool:
        """Take the next report. Returns whether they have been found, now or before."""
        if self.found:
            return True
        if not at_target:
            self._in_a_row = 0
            return False
        if self._in_a_row == 0:
            self._first = report
        self._in_a_row += 1
        if self._in_a_row >= self.patience:
            self.found, self.report = True, self._first
        return self.found


def first_held(reached: Iterable[bool], patience: int = 1) -> int | None:
    """The place (from 0) of the first of ``patience`` reports in a row that are all at the target; None without any."""
    held: FirstHeld[int] = FirstHeld(patience)
    for place, at_target in enumerate(reached):
        if held.see(at_target, place):
            break
    return held.report
