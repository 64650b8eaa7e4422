"""A run of the quickstart whose sentence stands in the README, recorded without what tells of its machine.

    energysweep run sweeps/quickstart.yaml --run-id quickstart
    python -m tests.support.quickstart results/quickstart

records another one: the rows that the sentence is made of, and the sentence in the README.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from energysweep.core.records import AttemptRow, EnergyRow, LeaseRow, MeterRow, ResultRow, TrialRow
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import LedgerData, read_ledger
from energysweep.ledger.summary import summarise
from energysweep.report import answers

RECORDED = Path(__file__).parents[1] / "report" / "quickstart.json"
README = Path(__file__).parents[2] / "README.md"
_FACTS = ("name", "status", "planned_trials", "started_at", "duration_seconds", "objective", "varying", "carbon")
_QUOTE = re.compile(r"^> Reaching .*?(?=\n\n)", re.DOTALL | re.MULTILINE)


def recorded() -> LedgerData:
    """The ledger of that run, as far as it is kept."""
    read = json.loads(RECORDED.read_text(encoding="utf-8"))
    return LedgerData(
        run=read["run"],
        energy=[EnergyRow(*row) for row in read["energy"]],
        meters=[MeterRow(*row) for row in read["meters"]],
        leases=[LeaseRow(*row) for row in read["leases"]],
        trials=[TrialRow(*row) for row in read["trials"]],
        attempts=[AttemptRow(*row) for row in read["attempts"]],
        results=[ResultRow(*row) for row in read["results"]],
    )


def sentence(data: LedgerData) -> str:
    """What the program says of a run at its end."""
    return answers.sentence(summarise(data))


def quoted() -> str:
    """The sentence in the README."""
    [quote] = _QUOTE.findall(README.read_text(encoding="utf-8"))
    return " ".join(line.removeprefix("> ") for line in quote.splitlines())


def record(folder: Path) -> None:
    """Take a run folder's rows, and its sentence."""
    data = read_ledger(folder / LEDGER)
    metric = data.run["objective"]["metric"]
    kept = LedgerData(
        run={name: data.run[name] for name in _FACTS if name in data.run},
        energy=[row._replace(host="boot", window="window") for row in data.energy],
        meters=[row._replace(host="boot", window="window", node="laptop") for row in data.meters],
        leases=[row._replace(host="boot", window="window", node="laptop") for row in data.leases],
        trials=data.trials,
        attempts=data.attempts,
        results=[row._replace(metrics={metric: row.metrics[metric]}) for row in data.results],
    )
    said = sentence(data)
    if sentence(kept) != said:
        raise SystemExit(f"what is kept of {folder} says something else: {sentence(kept)}")
    RECORDED.write_text(_as_json(kept), encoding="utf-8")
    # A number stays on the line of its sign.
    quote = textwrap.fill(said.replace("≈ ", "≈"), 114, break_long_words=False, break_on_hyphens=False)
    text = README.read_text(encoding="utf-8")
    README.write_text(_QUOTE.sub(lambda _: textwrap.indent(quote, "> ").replace("≈", "≈ "), text), encoding="utf-8")


def _as_json(data: LedgerData) -> str:
    """A line for each row."""
    tables: dict[str, Iterable[NamedTuple]] = {
        "energy": data.energy,
        "meters": data.meters,
        "leases": data.leases,
        "trials": data.trials,
        "attempts": data.attempts,
        "results": data.results,
    }
    parts = [f'"run": {json.dumps(data.run)}']
    parts += [f'"{name}": [\n{_lines(rows)}\n]' for name, rows in tables.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(rows: Iterable[NamedTuple]) -> str:
    return ",\n".join(json.dumps([_short(value) for value in row]) for row in rows)


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    record(Path(sys.argv[1]))
