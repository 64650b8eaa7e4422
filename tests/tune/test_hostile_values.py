"""Whole sweeps whose trials report whatever a program can say: at most that trial suffers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.driver.run import Run

WORKLOAD = '''
import collections, datetime, decimal, math, os
import numpy as np
from ray import tune

SURROGATE = os.fsdecode(b"bad\\xff.bin")


class Evil:
    """Every use of it fails, also in the driver."""
    shape = (1,)

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __bool__ = __float__ = __ge__ = __len__ = __getstate__ = item = __str__


class EvilError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Bomb(Exception):
    def __reduce__(self):
        return (os.fsdecode, (b"no exception",))


def nest(depth):
    result = {}
    for _ in range(depth):
        result = {"deeper": result, "level": 1}
    return result


def recursive():
    result = {"one": 1}
    result["again"] = result
    return result


def reports():
    return {
        "good": {"accuracy": 0.6},
        "text": {"accuracy": "high"},
        "none": {"accuracy": None},
        "nan": {"accuracy": math.nan},
        "infinite": {"accuracy": math.inf},
        "bool": {"accuracy": True},
        "list": {"accuracy": [0.9, 0.8]},
        "array": {"accuracy": np.zeros(3)},
        "huge": {"accuracy": 10**400},
        "object": {"accuracy": Evil()},
        "absent": {"loss": 1.0},
        "scalar": {"accuracy": np.float32(0.625)},
        "huge-beside": {"accuracy": 0.6, "states": 10**400, "more": 16**5000, "less": -(10**400)},
        "complex-beside": {"accuracy": 0.6, "z": 1j, "d": decimal.Decimal("0.5"), "bad": decimal.Decimal("sNaN")},
        "surrogates": {"accuracy": 0.6, "file": SURROGATE, SURROGATE: 1.0},
        "control": {"accuracy": 0.6, "note": "nul \\0 esc \\x1b]0;x\\x07", "a\\nb\\0{}": 2.0},
        "names": {"accuracy": 0.6, 7: 1.0, (1, 2): 2.0, None: 3.0, 8: {"inner": 1}, Evil: 1.0, "x" * 100_000: 4.0},
        "nested": {"accuracy": 0.6, "val": {"loss": 0.25, "deep": {"f1": 0.5}}, "val/loss": 9.0},
        "deep": {"accuracy": 0.6, "nest": nest(100_000)},
        "recursive": {"accuracy": 0.6, "self": recursive()},
        "wide": {"accuracy": 0.6, **{f"m{number}": number for number in range(20_000)}},
        "long": {"accuracy": 0.6, "text": "x" * 10_000_000, "list": list(range(100_000)), "bytes": b"x" * 1_000_000},
        "odd": {"accuracy": 0.6, "when": datetime.datetime(2026, 1, 2), "set": {1}, "evil": Evil(), "type": Evil},
        "tunes-own": {"accuracy": 0.6, "training_iteration": "first", "time_total_s": None, "timestamp": "now",
                      "timesteps_this_iter": "x", "pid": SURROGATE, "config": {"a": Evil()}, "experiment_tag": 3},
    }


def train(config):
    kind = config["kind"]
    if kind == "error-surrogate":
        raise ValueError("cannot open " + SURROGATE)
    if kind == "error-nul":
        raise ValueError("nul \\0 esc \\x1b]0;x\\x07")
    if kind == "error-evil":
        raise EvilError
    if kind == "error-bomb":
        raise Bomb
    for _ in range(3):
        tune.report(reports()[kind])
'''
KINDS = (
    "good", "text", "none", "nan", "infinite", "bool", "list", "array", "huge", "object", "absent", "scalar",
    "huge-beside", "complex-beside", "surrogates", "control", "names", "nested", "deep", "recursive", "wide", "long",
    "odd", "tunes-own", "error-surrogate", "error-nul", "error-evil", "error-bomb",
)  # fmt: skip
SUFFER = {  # all others go on to their end and have an objective
    "text": '"high"', "none": "null", "nan": "NaN", "infinite": "Infinity", "bool": "true", "list": '"(list)"',
    "array": '"(ndarray)"', "huge": '"about 1e+400"', "object": '"(Evil)"', "absent": "it reported loss",
    "error-surrogate": "cannot open bad\\udcff.bin", "error-nul": "nul \\x00 esc", "error-evil": "no text",
    "error-bomb": "failed",
}  # fmt: skip


def by_kind(done: Run) -> dict[str, list[str]]:
    """What is said of the trials of each kind."""
    kinds = {trial.trial: trial.parameters["kind"] for trial in done.summary.trials}
    said: dict[str, list[str]] = {kind: [] for kind in kinds.values()}
    for problem in done.problems:
        assert "\n" not in problem
        [kind] = {kind for trial, kind in kinds.items() if trial in problem}
        said[kind].append(problem)
    return said


def check_files(done: Run) -> None:
    """Every file of a report is there and can be read, and the report can be written again."""
    html = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "good" in html
    with (done.folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(done.summary.trials)
    assert all("\0" not in cell for row in rows for cell in row.values())
    assert json.loads((done.folder / "summary.json").read_text(encoding="utf-8"))["objective"]["metric"] == "accuracy"
    assert main(["report", str(done.folder)]) == 0
    assert (done.folder / "ledger.sqlite").stat().st_size < 20_000_000


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(
    "others",
    [
        ["scheduler={type: asha, max_resource: 3}", "stop={accuracy: 0.99, missing: 5, file: 1, note: 1}"],
        pytest.param(
            ["objective.stop_at_target=true", "objective.patience=2", "objective.mode=min", "objective.target=0.7"],
            marks=pytest.mark.variant,
        ),
    ],
    ids=["asha and stop rules", "stop at the target"],
)
def test_whatever_a_trial_reports_the_others_end_as_they_would_without_it(
    sweep_folder: Path, run_sweep: Callable[..., Run], others: list[str]
) -> None:
    (sweep_folder / "work.py").write_text(WORKLOAD)
    done = run_sweep(
        f"parameters.kind.grid={json.dumps(KINDS)}", "objective={metric: accuracy, mode: max, target: 0.5}", *others
    )
    said = by_kind(done)
    assert {kind for kind, problems in said.items() if problems} == set(SUFFER)
    for kind, what in SUFFER.items():
        assert what in said[kind][0]
    trials = {trial.parameters["kind"]: trial for trial in done.summary.trials}
    for kind in set(KINDS) - set(SUFFER):
        assert trials[kind].status in ("completed", "pruned"), trials[kind].error
        assert trials[kind].objective == (0.625 if kind == "scalar" else 0.6)
        assert trials[kind].reached_target is True
        if trials[kind].status == "completed":
            assert trials[kind].iterations == (2 if "objective.stop_at_target=true" in others else 3)
    for kind in ("text", "none", "nan", "bool", "list", "huge"):
        assert (trials[kind].objective, trials[kind].reached_target, trials[kind].iterations) == (None, False, 3)
    nested = trials["nested"].metrics
    assert (nested["val/loss"], nested["val/deep/f1"]) == (0.25, 0.5)
    assert trials["huge-beside"].metrics["less"] == "about -1e+400"
    assert trials["surrogates"].metrics == {"accuracy": 0.6, "file": r"bad\udcff.bin", r"bad\udcff.bin": 1.0}
    check_files(done)
