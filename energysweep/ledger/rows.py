"""What comes out of a ledger's file, checked once, so that whoever reads it can rely on the types of ``records``.

SQLite keeps whatever is written into a column, and a disk may change what it holds: a row with a value that cannot be
is left out and told of, and so is a row of something that the ledger does not know. It hides nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, TypeAdapter, ValidationError

from energysweep.core.buckets import BY_NAME, HOST_BUCKETS
from energysweep.core.errors import one_line
from energysweep.core.records import (
    MAX_BUDGET,
    MAX_PRICE,
    AttemptRow,
    Count,
    Cpus,
    DecisionRow,
    EnergyRow,
    GramsPerKwh,
    Joules,
    LeaseRow,
    MeterRow,
    Patience,
    Pue,
    ResultRow,
    SampleRow,
    Seconds,
    Target,
    TrialRow,
    UnixTime,
    readable,
)

_Row = TypeVar("_Row", EnergyRow, MeterRow, LeaseRow, TrialRow, AttemptRow, ResultRow, SampleRow, DecisionRow)


@dataclass
class Damage:
    """What is left out of a ledger, by table.

    Attributes:
        found: for each table the number of rows that are left out, and what is wrong with the first.
    """

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, table: str, problem: str) -> None:
        """One more row of a table is left out."""
        number, first = self.found.get(table, (0, problem))
        self.found[table] = (number + 1, first)

    def texts(self) -> tuple[str, ...]:
        """For people, one line for each table."""
        return tuple(
            f"{table}: {number} row{'s' if number > 1 else ''} left out ({one_line(first)})"
            for table, (number, first) in self.found.items()
        )


@dataclass(frozen=True)
class Table(Generic[_Row]):
    """A table of the ledger.

    Attributes:
        name: its name.
        row: what a row of it is.
        key: how many of the first columns name a row in a message.
        order: of its rows; empty for the order of its key.
        json: the column that is a JSON object.
    """

    name: str
    row: Callable[..., _Row]
    key: int = 1
    order: str = ""
    json: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names, in the order of a row."""
        fields: tuple[str, ...] = getattr(self.row, "_fields")  # noqa: B009 - of a NamedTuple's class
        return fields

    def checked(self, rows: Iterable[Sequence[Any]], damage: Damage) -> list[_Row]:
        """The rows that can be; the others are noted."""
        adapter = _adapter(self.row)
        found: list[_Row] = []
        for row in rows:
            try:
                found.append(adapter.validate_python(self._with_json(row), strict=True))
            except (ValueError, RecursionError) as error:
                damage.note(
                    self.name, f"{' '.join(_short(each) for each in row[: self.key])}: {_why(error, self.columns)}"
                )
        return found

    def _with_json(self, values: Sequence[Any]) -> Sequence[Any]:
        if not self.json:
            return values
        return tuple(
            _parsed(value) if name == self.json else value for name, value in zip(self.columns, values, strict=False)
        )


ENERGY: Final = Table("energy", EnergyRow, key=7)
METERS: Final = Table("meters", MeterRow, key=4)
LEASES: Final = Table("leases", LeaseRow, order="ORDER BY opened_at, lease")
TRIALS: Final = Table("trials", TrialRow, json="parameters")
ATTEMPTS: Final = Table("attempts", AttemptRow, key=2)
RESULTS: Final = Table("results", ResultRow, key=2, json="metrics")
SAMPLES: Final = Table("samples", SampleRow, key=2)
DECISIONS: Final = Table("decisions", DecisionRow, json="numbers")


def with_known_leases(rows: Sequence[EnergyRow], leases: Sequence[LeaseRow], damage: Damage) -> list[EnergyRow]:
    """The energy of leases that the ledger knows, and of the node's own buckets."""
    known = {lease.lease for lease in leases}
    found = []
    for row in rows:
        if row.bucket not in BY_NAME:
            damage.note("energy", f"{_short(row.bucket)} is no bucket")
        elif bool(row.lease) == (row.bucket in HOST_BUCKETS):
            damage.note("energy", f"{row.bucket} of {'a' if row.lease else 'no'} lease")
        elif row.lease and row.lease not in known:
            damage.note("energy", f"{row.bucket} of lease {_short(row.lease)}, which the ledger does not know")
        else:
            found.append(row)
    return found


def of_known_trials(table: str, rows: Sequence[_Row], trials: Sequence[TrialRow], damage: Damage) -> list[_Row]:
    """The rows of trials that the ledger knows."""
    known = {trial.trial for trial in trials}
    found = []
    for row in rows:
        if getattr(row, "trial") in known:  # noqa: B009 - of rows that have one
            found.append(row)
        else:
            damage.note(table, f"of trial {_short(row[0])}, which the ledger does not know")
    return found


def checked_leases(rows: Sequence[LeaseRow], damage: Damage) -> list[LeaseRow]:
    """The leases whose GPUs are an object of names and fractions."""
    found = []
    for row in rows:
        try:
            _GPUS.validate_python(_parsed(row.gpus), strict=True)
            found.append(row)
        except (ValueError, RecursionError) as error:
            damage.note("leases", f"{_short(row.lease)}: gpus: {_why(error)}")
    return found


# Facts about the run ------------------------------------------------------------------------------------------------


class _Objective(BaseModel, extra="forbid"):
    metric: str
    mode: Literal["min", "max"] = "max"
    target: Target | None = None
    patience: Patience = 1


class _Stage(BaseModel):
    objective: _Objective


class _Carbon(BaseModel, extra="forbid"):
    grams_per_kwh: GramsPerKwh
    zone: str
    year: int | None
    source: str
    pue: Pue = 1.0
    boundary: Literal["lifecycle", "direct"] | None = None
    note: str | None = None
    market_grams_per_kwh: GramsPerKwh | None = None


class _Search(BaseModel):
    metrics: dict[str, Any] | None = None


_Limit = Annotated[float, Gt(0), Le(MAX_BUDGET)]
_Forecasted = Annotated[float, Ge(0), Le(1e300)]


class _Price(BaseModel):
    per_kwh: Annotated[float, Gt(0), Le(MAX_PRICE)]
    currency: str = "EUR"


class _Scheduler(BaseModel):
    type: str = "fifo"


class _Forecast(BaseModel, extra="forbid"):
    joules: _Forecasted
    low: _Forecasted
    high: _Forecasted


class _BudgetEnd(BaseModel, extra="forbid"):
    """What ``searching.budgeting.ending`` has noted."""

    ended_early: Count
    open: Count
    more_joules: Joules | None
    trial_joules: Joules | None
    from_trials: Count
    over_joules: Joules


class _Spec(BaseModel):
    """What a report takes of the sweep; the rest is only shown."""

    budget: dict[Literal["energy_joules", "emissions_grams", "cost", "duration_seconds"], _Limit | None] | None = None
    price: _Price | None = None
    workload: str | None = None
    command: list[str] | None = None
    search: _Search | None = None
    scheduler: _Scheduler | None = None
    repeats: Annotated[int, Ge(1), Le(1_000_000)] = 1
    tags: list[str] | None = None


class _Part(BaseModel):
    started_at: UnixTime
    duration_seconds: Seconds | None = None
    ended: bool = False


class _Pilot(BaseModel):
    trials: Count
    reports: Count


class _Order(BaseModel):
    places: list[Count]
    known: Count
    untried: Count
    of: list[str]


_FACTS: Final[Mapping[str, Any]] = {
    "id": str,
    "name": str,
    "spec": _Spec | None,
    "started_at": UnixTime | None,
    "duration_seconds": Seconds | None,
    "status": Literal["running", "done", "failed", "interrupted", "stopped by budget"],
    "budget": _BudgetEnd | None,
    "forecast": _Forecast | None,
    "order": _Order | None,
    "pilot": _Pilot | None,
    "planned_trials": Count,
    "full_reports": Count | None,
    "objective": _Objective | None,
    "stages": dict[str, _Stage],
    "varying": list[str],
    "carbon": _Carbon | None,
    "meters": dict[str, str] | list[str] | str | None,
    "versions": dict[str, str] | None,
    "parts": list[_Part],
    "owner": str,
    "grafana": str | None,
}


def checked_facts(rows: Iterable[tuple[Any, Any]], damage: Damage) -> dict[str, Any]:
    """The facts that can be; the others are noted."""
    facts = {}
    for key, text in rows:
        try:
            value = _value(text)
            if key in _FACTS:
                _fact(key).validate_json(json.dumps(value), strict=True)
            facts[_KEY.validate_python(key, strict=True)] = value
        except (ValueError, RecursionError) as error:
            damage.note("run", f"{_short(key)}: {_why(error)}")
    return facts


@cache
def _fact(key: str) -> TypeAdapter[Any]:
    return TypeAdapter(_FACTS[key])


@cache
def _adapter(row: Any) -> TypeAdapter[Any]:
    return TypeAdapter(row)


_KEY: Final = TypeAdapter(str)
_GPUS: Final = TypeAdapter(dict[str, Cpus])


def _parsed(text: Any) -> dict[str, Any]:
    found = _value(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - as below
    return found


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError("no text")  # noqa: TRY004 - one kind of error for all that a value may be
    return _readable(json.loads(text))


def _readable(value: Any) -> Any:
    """The same without what no file and no terminal takes: JSON can spell half a surrogate pair."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list):
        return [_readable(each) for each in value]
    return {readable(name): _readable(each) for name, each in value.items()} if isinstance(value, dict) else value


def _why(error: Exception, columns: Sequence[str] = ()) -> str:
    if isinstance(error, ValidationError):
        (first, *_) = error.errors(include_url=False, include_context=False)
        place = ".".join(columns[each] if isinstance(each, int) and columns else str(each) for each in first["loc"])
        return f"{place}: {_short(first['input'])}: {first['msg']}" if place else first["msg"]
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _short(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a huge integer"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
