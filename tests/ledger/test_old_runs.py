"""Runs of the version before the parts were moved into one house: their reports say the same numbers today."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.runfolder import CONFIGURATIONS, LEDGER, SUMMARY, TRIALS
from energysweep.ledger.store import read_ledger
from energysweep.ledger.summary import summarise
from energysweep.report.files import configurations_csv, summary_json, trials_csv

RUNS = Path(__file__).parent / "old_runs"
# What says something else today, and why: places as regular expressions.
OTHERWISE = {
    r"configurations\.\d+\.(power_watts|joules_per_iteration)": "geometric means, as all means of energies",
    r"(configurations\.\d+\.)?tied_with_cheapest": "a tie is corrected for having looked at all configurations",
    r"headline\.sentence": "says of how many the cheapest is the lowest, the ratio's interval, and the ties of today",
    r"analyses\.effects\.\w+\.main\.\d+\.range\.(low|high)": "corrected for the number of levels; trials that share a"
    " seed and differ only in hardware are one run, of which a single pair has no interval; at least one report wide",
    r"analyses\.effects\.epochs\.main\.\d+\.worst": "of levels that are alike the last one, so that there are two",
    r"analyses\.pretraining\.\d+\.(ratio\.\w+\.)?(low|high)": "more digits of Student's t; at least one report wide",
    r"analyses\.effects\.\w+\.largest_departure\..*": "of two equal ones rounding chose, which differs by processor",
}
# Texts that stand for these in the old reports: since then a configuration's text parses back into its values.
TEXTS = {
    "kind=with space=1": 'kind="with space=1"',
    "pretrained=unfrozen:digits-0-to-4": "pretrained={freeze_encoder:false,from:digits-0-to-4}",
    "pretrained=frozen:digits-0-to-4": "pretrained={freeze_encoder:true,from:digits-0-to-4}",
}


def is_same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(old, str):
        for before, after in TEXTS.items():
            old = old.replace(before, after)
    return bool(old == new)


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value with its place, such as ``configurations.0.energy_joules.mean``."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, f"{place}.{number}".lstrip("."))
    else:
        yield place, value


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What stood in the old report and says something else now; new values are no difference."""
    return {
        place: (value, new.get(place, "not there"))
        for place, value in old.items()
        if not is_same(value, new.get(place, "not there")) and not any(re.fullmatch(each, place) for each in OTHERWISE)
    }


@pytest.mark.parametrize("name", ["mixed", "hardware", "pretraining"])
def test_the_summary_of_an_old_run_is_the_same(name: str) -> None:
    old = json.loads((RUNS / name / SUMMARY).read_text(encoding="utf-8"))
    new = json.loads(summary_json(summarise(read_ledger(RUNS / name / LEDGER))))
    assert len(old["configurations"]) > 1
    assert differences(dict(leaves(old)), dict(leaves(new))) == {}


@pytest.mark.parametrize("table", [TRIALS, CONFIGURATIONS])
@pytest.mark.parametrize("name", ["mixed", "hardware", "pretraining"])
def test_the_tables_of_an_old_run_are_the_same(name: str, table: str) -> None:
    make = {TRIALS: trials_csv, CONFIGURATIONS: configurations_csv}[table]
    old = list(csv.DictReader(io.StringIO((RUNS / name / table).read_text(encoding="utf-8"))))
    new = list(csv.DictReader(io.StringIO(make(summarise(read_ledger(RUNS / name / LEDGER))))))
    assert len(old) == len(new) > 1
    for before, after in zip(old, new, strict=True):
        assert differences(dict(before), dict(after)) == {}
