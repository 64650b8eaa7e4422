"""The choices of a sweep in words: what became of whom, by which rule, and by which numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from energysweep.core.naming import value_text
from energysweep.core.records import DecisionRow
from energysweep.core.text import NOT_AVAILABLE, energy_text, number_text

# What each rule says. In braces: ``at`` (`` at 12.3 J``, or nothing if nobody knows), ``joules``, ``limit``, ``nth``
# (the last of the winners, as ``3rd cheapest``) and what else a decision has by name.
_OF_TRIALS: Final[Mapping[tuple[str, str], str]] = {
    ("started", ""): "started",
    ("started", "repeat"): "started, to repeat one of the winners with another seed",
    ("resumed", "turn"): "went on{at}: its turn had come",
    ("resumed", "pause"): "went on{at} after a pause",
    ("resumed", "failure"): "tried again{at} after a failure",
    ("resumed", "run"): "went on{at}, as the run did",
    ("paused", "turn"): "paused{at}: others had spent less",
    ("paused", "capped"): "paused{at} by the cap: {capped}; it goes on only if one of the winners fails",
    ("paused", "halved"): "paused{at}: others were better at the rung of {limit}",
    ("paused", "budget"): "stopped{at}: the budget does not hold its next report beside those of the others",
    ("ended", "halved"): "ended{at}: others were better at the rung of {limit}",
    ("ended", "reached"): "reached the target{at}",
    ("ended", "capped"): "ended{at} by the cap: {capped}",
    ("ended", "slower"): "ended{at} as slower: {winners} others had come further for less than a quarter of its joules,"
    " at the latest by {quarter}",
    ("ended", "unreliable"): "ended{at}: a repeat of a winner that has spent {limit} without the target does not reach"
    " it reliably",
    ("ended", "over"): "ended{at}, where it was paused: the race was over",
    ("ended", "asha"): "ended{at} by asha: others were better at its rung",
    ("paused", "hyperband"): "paused{at} by hyperband: the others of its bracket are not at the rung yet",
    ("ended", "hyperband"): "ended{at} by hyperband: others were better at the rung of its bracket",
    ("paused", "median"): "paused{at} by median: its best is worse than the others' median; it goes on after them",
    ("ended", "median"): "ended{at} by median: its best is worse than the median of the others' means",
    ("paused", "yields"): "paused{at}: others wait for their turn",
    ("paused", "exploited"): "exploited trial {exploited} at report {report}{at}, and changes: {changes}",
    ("ended", "enough"): "ended{at}: it had all of max_resource ({metric} {value} of {limit})",
    ("ended", "stop"): "ended{at} by a rule of stop ({metric} {value}, limit {limit})",
    ("ended", "pruned"): "ended{at} by the scheduler: others were better",
    ("ended", "itself"): "ran to its own end{at}",
    ("failed", "tried again"): "failed{at}; it is tried again",
    ("failed", "last attempt"): "failed{at}, for the last time",
    ("interrupted", "run"): "interrupted{at}, with the run",
}
_OF_SWEEP: Final[Mapping[tuple[str, str], str]] = {
    ("started", "run"): "the run began",
    ("resumed", "run"): "the run was resumed{at}",
    ("interrupted", "run"): "the run was interrupted{at}",
    ("interrupted", "pilot"): "the pilot ended{at}, and the run waits to be resumed",
    ("failed", "run"): "the run ended{at}, with problems",
    ("ended", "run"): "the run ended{at}",
    ("stopped", "budget"): "the run stopped{at} by its budget ({budget})",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One decision, and what it says."""

    row: DecisionRow
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        return {**self.row._asdict(), "sentence": self.sentence}


def told(rows: Iterable[DecisionRow], *, estimated: bool) -> tuple[Told, ...]:
    """Decisions in words.

    Args:
        rows: some.
        estimated: their joules are of an estimate.
    """
    return tuple(Told(row, _sentence(row, estimated=estimated)) for row in rows)


def counted(rows: Iterable[DecisionRow]) -> dict[tuple[str, str], int]:
    """How often what was decided of trials by which rule, by the order in which that came up first."""
    return dict(Counter((row.what, row.why) for row in rows if row.trial))


def are_choices(rows: Iterable[DecisionRow]) -> bool:
    """Whether anybody chose: not every trial that began ran to its own end, or to the target."""
    return any(
        row.what in ("paused", "waiting", "stopped") or (row.what == "ended" and row.why not in _NO_CHOICE)
        for row in rows
    )


_MOST_SHOWN_WHOLE: Final = 10**15
_NO_CHOICE: Final = ("run", "itself", "reached", "stop", "enough")


def _sentence(row: DecisionRow, *, estimated: bool) -> str:
    joules = row.joules if row.trial or row.joules is not None else row.sweep_joules
    known = energy_text(joules, estimated=estimated)
    limit = energy_text(row.limit_joules, estimated=estimated)
    at = f" at {known}" if joules is not None else ""
    template = (_OF_TRIALS if row.trial else _OF_SWEEP).get((row.what, row.why))
    if template is None:
        return _unknown(row, at, limit)
    values = {name: _number(value) for name, value in row.numbers.items()}
    if row.limit_joules is not None:
        values |= {"limit": limit, "quarter": energy_text(row.limit_joules / 4, estimated=estimated)}
    values |= {"budget": _budget(row, values, limit), "at": at, "joules": known, "capped": _capped(row, limit)}
    return template.format_map(_Known(values))


def _capped(row: DecisionRow, limit: str) -> str:
    winners = row.numbers.get("winners")
    nth = _ordinal(winners) if isinstance(winners, int) and winners > 1 else ""
    needed = f"the {nth}cheapest reached the target with {limit}"
    is_beyond = row.joules is None or row.limit_joules is None or row.joules > row.limit_joules
    return needed if is_beyond else f"{needed}, and one more report would take it beyond that"


def _budget(row: DecisionRow, values: Mapping[str, str], limit: str) -> str:
    """``energy_joules 88 of 90, cost 1.20 of 2.50``: each limit with what was charged."""
    kinds = [name.removeprefix("limit_") for name in row.numbers if name.startswith("limit_")]
    each = [f"{kind} {values.get(f'charged_{kind}', 'n/a')} of {values[f'limit_{kind}']}" for kind in kinds]
    return ", ".join(each) or limit


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}-"


def _unknown(row: DecisionRow, at: str, limit: str) -> str:
    """What a rule without a line of its own has decided: by its name, and its numbers by theirs."""
    by = f" by {row.why}" if row.why else ""
    numbers = [f"{name} {_number(value)}" for name, value in row.numbers.items()]
    if row.limit_joules is not None:
        numbers.insert(0, f"limit {limit}")
    return f"{row.what}{at}{by}" + (f" ({', '.join(numbers)})" if numbers else "")


def _number(value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else value_text(value)
    is_whole = isinstance(value, int) or value.is_integer()
    if is_whole and abs(value) < _MOST_SHOWN_WHOLE:
        return f"{int(value):,}"
    return "a huge number" if isinstance(value, int) else number_text(value)


class _Known(dict[str, str]):
    """What is not known of a decision is n/a in its sentence."""

    def __missing__(self, name: str) -> str:
        return "n/a"
