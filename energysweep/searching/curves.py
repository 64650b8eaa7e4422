"""Learning curves with what each report had cost: of a table, or of a finished run."""

from __future__ import annotations

import csv
import gzip
import io
import math
import statistics
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from energysweep.core.errors import InputError
from energysweep.core.inputs import decoded, read_bytes
from energysweep.core.naming import configuration_text, exact_text
from energysweep.core.objective import Objective, first_held, mean_value, number
from energysweep.core.records import MAX_JOULES, OPEN
from energysweep.ledger.run_state import RunState

MAX_TABLE_BYTES: Final = 200_000_000  # unpacked
_COLUMNS: Final = ("configuration", "seed", "energy_joules")


class Report(NamedTuple):
    """One report of a learning curve: joules since the trial began, and the value of the objective."""

    joules: float
    value: float | None


@dataclass(frozen=True)
class Curves:
    """Learning curves with what each report had cost.

    Attributes:
        of: the name of the table or run.
        by_trial: the reports by configuration and number of the seed.
        stopped: how many trials had been stopped before their end: what they would have cost beyond is not known.
        left_out: how many configurations lack a seed that others have: they could not be confirmed, and do not run.
        estimated: the joules are partly of an estimate; None of a table, which does not tell.
        startup_joules: of one start of a trial.
        resume_joules: of going on from a pause, as part of the trial's own energy; None if nobody has measured it.
        places: of a run, each configuration's place in the space: its parameters, and under the empty name the hardware
            profile.
    """

    of: str
    by_trial: Mapping[tuple[str, int], Sequence[Report]]
    stopped: int = 0
    left_out: int = 0
    estimated: bool | None = None
    startup_joules: float = 0.0
    resume_joules: float | None = 0.0
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def configurations(self) -> list[str]:
        """In the order of the table or run."""
        return list(dict.fromkeys(configuration for configuration, _ in self.by_trial))

    @property
    def seeds(self) -> int:
        """How many each configuration has at the most."""
        return 1 + max(seed for _, seed in self.by_trial)

    def joules_to(self, objective: Objective, configuration: str) -> float:
        """The mean over its seeds of what it took to hold the target; infinite if one never did."""
        own = (self.by_trial[configuration, seed] for seed in range(self.seeds))
        return statistics.fmean(joules_to(objective, reports) for reports in own)

    def value_of(self, objective: Objective, configuration: str) -> float | None:
        """The mean over its seeds of the best value that each reports; None if one reports none."""
        own = (self.by_trial[configuration, seed] for seed in range(self.seeds))
        values = [objective.best(report.value for report in reports) for reports in own]
        return None if None in values else mean_value([value for value in values if value is not None])


def joules_to(objective: Objective, reports: Sequence[Report]) -> float:
    """What it took a trial to hold the target; infinite if it never did."""
    place = first_held((objective.reached_by(report.value) for report in reports), objective.patience)
    return math.inf if place is None else reports[place].joules


# Where curves come from ----------------------------------------------------------------------------------------------


def read_table(path: Path, metric: str) -> Curves:
    """The curves of a CSV file, which may be packed by gzip.

    Its columns are ``configuration``, ``seed``, ``energy_joules`` (since the trial began) and the metric; others are
    left alone. A row is a report; a trial's reports are in their order.

    Raises:
        InputError: it cannot be read, a column is missing, or a value is no number.
    """
    text = _unpacked(path)
    rows = csv.DictReader(io.StringIO(text, newline=""))
    names = _names(rows, path)
    missing = [name for name in (*_COLUMNS, metric) if name not in names]
    if missing:
        raise InputError(f"has no column {missing[0]} (there is {', '.join(names) or 'none'})", file=str(path), line=1)
    seeds: dict[str, dict[str, int]] = defaultdict(dict)
    found: dict[tuple[str, int], list[Report]] = defaultdict(list)
    for row in _rows(rows, path):
        for column in ("configuration", "seed"):
            if row[column] is None:
                raise InputError("is missing", file=str(path), line=rows.line_num, key=column)
        own = seeds[row["configuration"]]
        reports = found[row["configuration"], own.setdefault(row["seed"], len(own))]
        joules = _number(row["energy_joules"])
        if joules is None or not (reports[-1].joules if reports else 0.0) <= joules <= MAX_JOULES:
            raise InputError(
                f"must be joules since the trial began: a number up to {MAX_JOULES:g} that never falls",
                file=str(path),
                line=rows.line_num,
                key="energy_joules",
            )
        reports.append(Report(joules, _number(row[metric])))
    if not found:
        raise InputError("has no rows", file=str(path))
    kept, left_out = _with_all_seeds(found)
    return Curves(path.name, kept, left_out=left_out)


def curves_of(name: str, state: RunState, facts: Mapping[str, Any]) -> Curves:
    """The curves of a run's own configurations. Reports whose energy nobody knows are left out.

    Args:
        name: of the run.
        state: of the run.
        facts: what its driver noted.

    Raises:
        InputError: no trial has reported with its energy.
    """
    objective = state.objectives.get("")
    varying = facts.get("varying") or ()
    seeds: dict[str, int] = defaultdict(int)
    found: dict[tuple[str, int], list[Report]] = {}
    places: dict[str, Mapping[str, Any]] = {}
    stopped = 0
    for trial in sorted(state.of_stage(""), key=lambda row: row.seed or 0):
        configuration = configuration_text(trial.parameters, varying)
        if trial.hardware:
            configuration += f" on {trial.hardware}"
        reports = [
            Report(report.energy_joules, None if objective is None else objective.value(report.metrics))
            for report in state.reports_of(trial.trial)
            if report.energy_joules is not None
        ]
        if reports and trial.status not in OPEN:
            found[configuration, seeds[configuration]] = reports
            places[configuration] = {**trial.parameters, "": trial.hardware}
            seeds[configuration] += 1
            stopped += trial.status == "pruned"
    if not found:
        raise InputError("no trial has ended that reported with its energy", file=name)
    kept, left_out = _with_all_seeds(found)
    resuming = joules_of_resuming(state, facts)
    return Curves(name, kept, stopped, left_out, state.estimated, joules_of_a_start([state]), resuming, places)


def joules_of_a_start(states: Iterable[RunState]) -> float:
    """What it took in the mean to start a trial, anew or from a pause, before it began to work."""
    found = [
        (sum(sums["startup"] for sums in state.booked(row.trial).values()), len(state.leases_of(row.trial)))
        for state in states
        for row in state.all_rows()
    ]
    starts = sum(number for _, number in found)
    return math.fsum(joules for joules, _ in found) / starts if starts else 0.0


def joules_of_resuming(state: RunState, facts: Mapping[str, Any]) -> float | None:
    """What a report that came after a pause cost more than others of its configuration, in the median of these.

    Args:
        state: of a run.
        facts: what its driver noted.

    Returns:
        None if no trial of it went on from a pause, or if the run itself was interrupted: other clocks then.
    """
    if len(facts.get("parts") or ()) > 1:
        return None
    began_at = facts.get("started_at") or 0.0
    costs: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for row in state.of_stage(""):
        resumed = [lease.opened_at - began_at for lease in state.leases_of(row.trial)[1:]]
        joules = seconds = 0.0
        for report in state.reports_of(row.trial):
            if report.energy_joules is None:
                continue
            is_after = any(seconds < at <= report.elapsed_seconds for at in resumed)
            costs[exact_text((row.parameters, row.hardware))][is_after].append(max(0.0, report.energy_joules - joules))
            joules, seconds = max(joules, report.energy_joules), report.elapsed_seconds
    extras = [statistics.fmean(after) - statistics.fmean(plain) for plain, after in costs.values() if plain and after]
    return max(0.0, statistics.median(extras)) if extras else None


def _with_all_seeds(
    found: Mapping[tuple[str, int], Sequence[Report]],
) -> tuple[dict[tuple[str, int], Sequence[Report]], int]:
    """Those of configurations that have as many seeds as the one with most; and how many have not."""
    numbers = Counter(configuration for configuration, _ in found)
    most = max(numbers.values())
    kept = {key: reports for key, reports in found.items() if numbers[key[0]] == most}
    return kept, sum(number < most for number in numbers.values())


def _names(rows: csv.DictReader[str], path: Path) -> Sequence[str]:
    try:
        return rows.fieldnames or ()
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", file=str(path), line=1) from None


def _rows(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", file=str(path), line=rows.line_num) from None


def _unpacked(path: Path) -> str:
    data = read_bytes(path, MAX_TABLE_BYTES, "a table of learning curves")
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(MAX_TABLE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be unpacked: {error}", file=str(path)) from None
        if len(data) > MAX_TABLE_BYTES:
            raise InputError(f"is larger than {MAX_TABLE_BYTES} bytes when it is unpacked", file=str(path))
    return decoded(data, str(path))


def _number(text: str | None) -> float | None:
    try:
        return number(float(text or ""))
    except ValueError:
        return None
