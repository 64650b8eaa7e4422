"""Quantities as people read them: in a sentence, a table cell or on a chart.

Full precision stays in the CSV and JSON files; here numbers are rounded, joules too many to read also get kWh, and what
was estimated says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from energysweep.core.carbon import JOULES_PER_KWH

MANY_JOULES: Final = 1e6
NOT_AVAILABLE: Final = "n/a"
TIMES: Final = "\N{MULTIPLICATION SIGN}"


def count_text(number: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


_MANY_DIGITS: Final = 1e15  # from here on they are no easier to read written out


def number_text(value: float | None) -> str:
    """About three significant digits, thousands separated: ``1,240``, ``31.0``, ``0.0123``."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    if not math.isfinite(value) or size == 0 or size >= _MANY_DIGITS:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def energy_text(joules: float | None, *, estimated: bool = False, brief: bool = False) -> str:
    """``1,240 J``; from a million joules on ``1,240,000 J (0.344 kWh)``; an estimate is ``≈ 1,240 J (est.)``.

    ``brief`` leaves the word out where a column's head, an axis or the sentence around it has it.
    """
    if joules is None:
        return NOT_AVAILABLE
    text = f"{number_text(joules)} J"
    if joules >= MANY_JOULES:
        text += f" ({kilowatt_hours_text(joules / JOULES_PER_KWH)})"
    return _marked(text, estimated, brief)


def kilowatt_hours_text(kilowatt_hours: float, *, estimated: bool = False, brief: bool = False) -> str:
    """``0.344 kWh``; an estimate is ``≈ 0.344 kWh (est.)``."""
    return _marked(f"{number_text(kilowatt_hours)} kWh", estimated, brief)


def difference_text(joules: float, *, estimated: bool = False, brief: bool = False) -> str:
    """A difference of energies, with its sign: ``+1.20 J``, ``-310 J``; one of estimates is marked as these are."""
    return _marked(f"{'+' if joules > 0 else ''}{number_text(joules)} J", estimated, brief)


def emissions_text(grams: float | None, *, estimated: bool = False, brief: bool = False) -> str:
    """Grams of CO2e, in mg below 0.1 g and in kg from 1,000 g on."""
    if grams is None:
        return NOT_AVAILABLE
    if grams >= 1000:
        return _marked(f"{number_text(grams / 1000)} kg", estimated, brief)
    if 0 < grams < 0.1:
        return _marked(f"{number_text(grams * 1000)} mg", estimated, brief)
    return _marked(f"{number_text(grams)} g", estimated, brief)


def power_text(watts: float | None, *, estimated: bool = False, brief: bool = False) -> str:
    """``95.2 W``."""
    return NOT_AVAILABLE if watts is None else _marked(f"{number_text(watts)} W", estimated, brief)


def clock_text(seconds: float) -> str:
    """Minutes and seconds: ``2:05``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class Interval(Protocol):
    """A value with the ends of its interval; None where there is none."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


class Forecast(Protocol):
    """What a quantity will be, with the interval that holds it."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def forecast_text(forecast: Forecast, text: Callable[[float], str]) -> str:
    """A forecast with its interval, each as ``text`` writes the quantity: ``≈ 1,240 J (980 J to 1,500 J)``."""
    return f"≈ {text(forecast.value)} ({text(forecast.low)} to {text(forecast.high)})"


def ratio_text(ratio: Interval, *, estimated: bool = False) -> str:
    """A ratio with its interval: ``x5.92 (3.22 to 10.9)``; one of estimated energies has ``≈`` before it."""
    text = f"{TIMES}{number_text(ratio.value)}"
    if ratio.low is not None and ratio.high is not None:
        text += f" ({number_text(ratio.low)} to {number_text(ratio.high)})"
    return _marked(text, estimated, brief=True)


def or_more_text(bound: Interval, *, estimated: bool = False) -> str:
    """``x5.48 or more``: a lower bound of a ratio, without its interval."""
    return f"{_marked(TIMES + number_text(bound.value), estimated, brief=True)} or more"


def percent_text(ratio: float | None) -> str:
    """A ratio as per cent: ``99.8 %``; what is not zero is never shown as zero."""
    if ratio is None:
        return NOT_AVAILABLE
    if 0 < ratio < 0.0005:
        return "< 0.1 %"
    return f"{100 * ratio:.1f} %"


def uncertainty_text(relative: float | None) -> str:
    """``± 10 %``; from 100 % on, as a factor either way."""
    if relative is None:
        return "unknown"
    if relative == 0:
        return "exact"
    return f"± {100 * relative:.3g} %" if relative < 1 else f"{TIMES}/÷ {1 + relative:.3g} or more"


def duration_text(seconds: float | None) -> str:
    """``8.4 s``, ``2 min 5 s``, ``3 h 12 min``."""
    if seconds is None:
        return NOT_AVAILABLE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def _marked(text: str, estimated: bool, brief: bool) -> str:
    if not estimated:
        return text
    return f"≈ {text}" if brief else f"≈ {text} (est.)"


# Tables in Markdown --------------------------------------------------------------------------------------------------

_SPECIAL: Final = re.compile(r"([\\`*_~&\[\]<>|#!])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    lines = [f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def escape(text: str) -> str:
    """``text`` as Markdown shows it letter by letter, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
