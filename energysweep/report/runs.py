"""Many runs at once, for terminals and other programs: a list of them, and what they have cost together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.core.buckets import BY_NAME, CHARGED, TRIALS
from energysweep.core.errors import one_line
from energysweep.core.jsontext import jsonable
from energysweep.core.text import NOT_AVAILABLE, count_text, emissions_text, energy_text, number_text, percent_text
from energysweep.ledger.account import Account, Charges
from energysweep.ledger.copies import Named
from energysweep.ledger.summary import summarise
from energysweep.report.files import Row, csv_text

SCHEMA_VERSION: Final = 1
_SHOWN_CHARACTERS: Final = 1000  # of a cell

# The list ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """One run in a line.

    Attributes:
        started_at: Unix time; None if nobody noted it.
        owner, tags: as in its summary.
        trials: how many it has begun.
        planned: how many it makes.
        energy_joules: what it is charged with: its trials, their start-up, and overhead; None if nothing was measured.
        emissions_grams: of these.
        headline: the run in a sentence.
        path: its folder.
        estimated: whether some of its energy is.
    """

    run_id: str
    name: str
    owner: str | None
    tags: Sequence[str]
    status: str
    started_at: float | None
    trials: int
    planned: int
    energy_joules: float | None
    emissions_grams: float | None
    headline: str
    path: str
    estimated: bool


def listed(given: Iterable[Named]) -> list[Listed]:
    """The runs, the newest first."""
    return sorted(map(_listed, given), key=lambda run: (-(run.started_at or -math.inf), run.path))


def runs_dict(runs: Sequence[Listed], problems: Sequence[str]) -> dict[str, Any]:
    """For JSON, schema version 1."""
    said: dict[str, Any] = jsonable(
        {"schema_version": SCHEMA_VERSION, "runs": [asdict(run) for run in runs], "problems": list(problems)}
    )
    return said


def runs_table(runs: Sequence[Listed]) -> RenderableType:
    """For a terminal."""
    table = _table(["run", "status"], ["trials", "energy", "CO2e"], "in a sentence")
    for run in runs:
        trials = str(run.trials) if run.trials >= run.planned else f"{run.trials} of {run.planned}"
        energy = energy_text(run.energy_joules, estimated=run.estimated, brief=True)
        grams = emissions_text(run.emissions_grams, estimated=run.estimated, brief=True)
        _add(table, [run.run_id or run.path, run.status, trials, energy, grams, run.headline])
    return table


def _listed(named: Named) -> Listed:
    path, data = named
    summary = summarise(data)
    return Listed(
        run_id=summary.sweep,
        name=summary.name,
        owner=summary.owner,
        tags=summary.tags,
        status=summary.status,
        started_at=summary.started_at,
        trials=len(summary.trials),
        planned=summary.extent.planned,
        energy_joules=summary.totals.charged_joules,
        emissions_grams=summary.totals.emissions_grams,
        headline=summary.headline.sentence,
        path=path,
        estimated=summary.estimated,
    )


# The account ---------------------------------------------------------------------------------------------------------

_APART: Final[Mapping[str, tuple[str, str]]] = {
    "other_sweeps": ("other sweeps", "what sweeps drew that are not among these runs, on the same hosts"),
    "booked_twice": ("charged twice", "what several of these runs are charged with, and was drawn once"),
}
"""What stands apart under another meaning than its bucket has: title, and about what."""


def account_table(account: Account, problems: Sequence[str]) -> RenderableType:
    """For a terminal: the groups, what stands apart, and the meters' side."""
    titles = [_title(name) for name in CHARGED]
    table = _table([account.by], ["runs", "trials", *titles, "energy", "CO2e", "cost"])
    for key, charges in account.groups.items():
        _add(table, [NOT_AVAILABLE if key is None else key, *_cells(charges)])
    _add(table, [""])
    _add(table, ["charged", *_cells(account.charged)])
    estimated = account.apart_estimated
    blanks = [""] * (2 + len(titles))
    for name, joules in account.apart.items():
        if name != "booked_twice" or joules:
            _add(table, [_title(name), *blanks, _energy(joules, estimated), "", ""])
    seen = None if account.once is None else account.once.metered_joules
    _add(table, ["the meters saw", *blanks, energy_text(seen, estimated=estimated, brief=True), "", ""])
    lines = [f"{_title(name)}: {_about(name)}." for name, joules in account.apart.items() if joules]
    lines += _balance(account)
    lines += [f"Note: {note}" for note in account.notes]
    if problems:
        lines.append(f"Note: {count_text(len(problems), 'problem')}, told above: not all of every run is in here.")
    # Text, not str: rich would read a user's [brackets] as its own markup.
    return Group(table, Text(), *(Text(line, style="dim") for line in lines))


def _balance(account: Account) -> Iterator[str]:
    """Its two sides, and what stands between it and the runs one by one."""
    seen = account.once
    mark = "≈ " if seen is not None and seen.estimated_joules > 0 else ""
    error = percent_text(account.conservation_error_ratio)
    yield f"Balance: the parts, by what was booked, differ from what the meters saw by {mark}{error}."
    if seen is not None and seen.shared_joules + seen.estimated_joules > 0:
        each = energy_text(seen.runs_joules, estimated=account.charged.estimated, brief=True)
        taken = [(seen.shared_joules, account.charged.estimated), (seen.estimated_joules, True)]
        texts = [energy_text(joules, estimated=estimated, brief=True) for joules, estimated in taken if joules > 0]
        yield f"The runs one by one saw {each}: {' and '.join(texts)} of it more than one of them, counted once."


def account_dict(account: Account, problems: Sequence[str]) -> dict[str, Any]:
    """For JSON, schema version 1."""
    return account.to_dict() | {"problems": list(problems)}


def account_csv(account: Account) -> str:
    """One row a group, then what stands apart: the column ``energy_joules`` adds up to what the meters saw.

    The last row says how much several runs have seen: it is counted once, and in no sum.
    """
    currencies = [f"cost.{currency}" for currency in account.charged.cost]
    rows = [_row(account, "charged", key, charges, currencies) for key, charges in account.groups.items()]
    for name, joules in account.apart.items():
        rows.append({"part": name, "energy_joules": joules, "estimated": account.apart_estimated})
    if account.once is not None:
        counted = {
            "shared_joules": account.once.shared_joules,
            "overlap_estimated_joules": account.once.estimated_joules,
        }
        rows.append({"part": "seen_by_several", **counted})
    return csv_text(rows)


def _row(account: Account, part: str, key: str | None, charges: Charges, currencies: Sequence[str]) -> Row:
    said = charges.to_dict()
    cost = said.pop("cost")
    return {
        "part": part,
        account.by: key,
        "energy_joules": charges.energy_joules,
        **said,
        **{name: cost.get(name.removeprefix("cost.")) for name in currencies},
    }


def _cells(charges: Charges) -> list[str]:
    energies = [*(charges.joules[name] for name in CHARGED), charges.energy_joules]
    grams = emissions_text(charges.emissions_grams, estimated=charges.estimated, brief=True)
    mark = "≈ " if charges.estimated else ""
    cost = [f"{mark}{number_text(amount)} {currency}" for currency, amount in charges.cost.items()]
    return [
        str(charges.runs),
        str(charges.trials),
        *(_energy(joules, charges.estimated) for joules in energies),
        grams,
        " + ".join(cost) or NOT_AVAILABLE,
    ]


def _energy(joules: float | None, estimated: bool) -> str:
    return energy_text(joules, estimated=estimated, brief=True)


def _title(name: str) -> str:
    return "trials' work" if name == TRIALS else _APART[name][0] if name in _APART else BY_NAME[name].title


def _about(name: str) -> str:
    return _APART[name][1] if name in _APART else BY_NAME[name].about


def _table(left: Sequence[str], right: Sequence[str], last: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in left:
        table.add_column(Text(column), overflow="fold")
    for column in right:
        table.add_column(Text(column), justify="right", no_wrap=True)
    if last is not None:
        table.add_column(Text(last), overflow="fold")
    return table


def _add(table: Table, cells: Iterable[str]) -> None:
    # A name with a line's end in it would look like a row of its own.
    table.add_row(*(Text(one_line(cell, _SHOWN_CHARACTERS)) for cell in cells))
