"""What a trial's result holds: the workload's own metrics, and what Tune and energysweep add.

A workload may report anything. What leaves its process is made plain and bounded there, so that no value can stop Tune,
the ledger or a report: they all see the same few kinds of values under the same names.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import log10
from pathlib import PurePath
from typing import Any, Final

from energysweep.core.objective import ELSEWHERE, OUR_NAMES, TUNES_NAMES, number, scalar
from energysweep.core.records import readable

# What Tune counts with: it adds them up without a look.
_TUNES_NUMBERS = frozenset(
    (
        "episodes_this_iter",
        "episodes_total",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "timesteps_this_iter",
        "timesteps_total",
        "training_iteration",
    )
)

MOST_METRICS: Final = 2000  # of one report
DEEPEST: Final = 20  # mappings in mappings
LONGEST_NAME: Final = 300  # characters
LONGEST_TEXT: Final = 1000
_NO_METRICS = TUNES_NAMES | OUR_NAMES | {ELSEWHERE}
_TEXTS = (Decimal, Fraction, dt.date, dt.time, dt.timedelta, PurePath, uuid.UUID)  # str() is how people write them


class _Left:
    """Stands for what no column can hold."""


_LEFT = _Left()


def own_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """The workload's own metrics, as far as a column can hold them: numbers, texts, truth values and None.

    Nested mappings are flattened as Tune does it: ``{"val": {"accuracy": 0.9}}`` is ``val/accuracy``.
    """
    return _plain_metrics({name: value for name, value in result.items() if name not in _NO_METRICS})


def passed_on(result: Mapping[Any, Any], wanted: Collection[str] = ()) -> dict[str, Any]:
    """A workload's result as its process passes it on to Tune: its own metrics, and what Tune wants to know of it.

    Args:
        result: what it reported.
        wanted: metrics of which a person is told what they are if no column can hold them.
    """
    tunes = {name: value for name, value in result.items() if isinstance(name, str) and name in TUNES_NAMES}
    tunes |= {name: bool(tunes[name]) for name in ("done", "should_checkpoint") if name in tunes}
    own = {name: value for name, value in result.items() if not (isinstance(name, str) and name in TUNES_NAMES)}
    every = _plain_metrics(own, wanted) | tunes
    return {name: value for name, value in every.items() if name not in _TUNES_NUMBERS or number(value) is not None}


def _plain_metrics(metrics: Mapping[Any, Any], wanted: Collection[str] = ()) -> dict[str, Any]:
    kept = {}
    for name, value in _flat(metrics).items():
        found = _plain(value)
        if found is not _LEFT:
            kept[name] = found
        elif name in wanted:
            kept[name] = f"({type(value).__name__})"
    return kept


def _flat(metrics: Mapping[Any, Any]) -> dict[str, Any]:
    """Nested mappings as ``a/b``, by the rule of ``ray.tune.utils.flatten_dict``: level by level, and of two with the
    same name the deeper one counts. Names that are no text become one, as Tune does it below the top.
    """
    flat = {_name(name): value for name, value in _first(metrics)}
    for _ in range(DEEPEST):
        nested = [name for name, value in flat.items() if isinstance(value, Mapping)]
        if not nested:
            break
        inner: dict[str, Any] = {}
        for name in nested:
            for below, value in _first(flat[name])[: MOST_METRICS - len(inner)]:
                inner[_name(f"{name}/{_text(below)}")] = value
        flat.update(inner)
        for name in nested:
            del flat[name]
    return dict([pair for pair in flat.items() if not isinstance(pair[1], Mapping)][:MOST_METRICS])


def _first(metrics: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A mapping of the workload's own may do anything when it is read."""
    try:
        return [pair for pair, _ in zip(metrics.items(), range(MOST_METRICS), strict=False)]
    except Exception:  # noqa: BLE001
        return []


def _name(name: Any) -> str:
    return _cut(_text(name), LONGEST_NAME)


def _text(value: Any) -> str:
    try:
        return readable(value if type(value) is str else str(value))
    except Exception:  # noqa: BLE001 - a class of the workload's own
        return f"({type(value).__name__})"


def _plain(value: Any) -> Any:
    value = scalar(value)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _cut(readable(str.__str__(value)), LONGEST_TEXT)
    if isinstance(value, int):
        return _whole(int(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Decimal | Fraction) and (size := number(value)) is not None:
        return size
    return _cut(_text(value), LONGEST_TEXT) if isinstance(value, _TEXTS) else _LEFT


def _whole(value: int) -> int | str:
    """An integer, if a float can be as large; else a text that says how large it is."""
    if number(value) is not None:
        return value
    exponent = log10(abs(value))
    return f"about {'-' if value < 0 else ''}{10 ** (exponent % 1):.3g}e+{int(exponent)}"


def _cut(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
