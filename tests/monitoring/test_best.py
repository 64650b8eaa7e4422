"""The best result of a sweep: the driver while it runs, and its ledger afterwards."""

from __future__ import annotations

import math
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from hypothesis import example as such_as
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.objective import Objective
from energysweep.driver.recorder import Recorder
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.sweepfile import Point
from energysweep.tune.points import KEY, wrap
from tests.support.example import example

Reports = list[tuple[int, float | None]]
"""A trial's number, and what it reports; None: another metric."""

_REPORTS = st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(-9, 9) | st.just(math.nan)), max_size=12)


def tell(recorder: Recorder, reports: Reports) -> None:
    """What Tune tells while trials run; none of them ends."""
    started: set[int] = set()
    for number, value in reports:
        config = {KEY: wrap(Point({"rate": number}, "", None), False, "", {})}
        trial: Any = SimpleNamespace(trial_id=f"t{number}", config=config, pickled_error_file=None)
        if number not in started:
            started.add(number)
            recorder.on_trial_start(0, [], trial)
        result = {"seen": 1} if value is None else {"loss": value}
        recorder.on_trial_result(0, [], trial, result | {"energy_joules": 1.0})


@given(first=_REPORTS, second=_REPORTS, mode=st.sampled_from(["min", "max"]))
@such_as(first=[(0, 0.5), (0, math.nan), (1, 0.7)], second=[(1, None), (1, 0.9)], mode="min")
def test_of_a_sweep_that_was_interrupted_and_resumed_the_driver_and_the_ledger_tell_the_same_best(
    first: Reports, second: Reports, mode: Literal["min", "max"]
) -> None:
    objective = Objective("loss", mode)
    with tempfile.TemporaryDirectory() as name, Ledger.create(Path(name) / "ledger.sqlite") as ledger:
        for reports in (first, second):
            state = RunState.of(ledger.read(), {"": objective})
            recorder = Recorder(ledger, state, 0.0, lambda _: False, lambda *_: None, lambda: None)
            recorder.take_over()
            tell(recorder, reports)
            recorder.interrupt()
            kept = ledger.read()
            run = example().run | {"objective": {"metric": "loss", "mode": mode, "target": None, "patience": 1}}
            data = replace(kept, run=run, energy=[], leases=[], samples=[], meters=[])
            found = re.findall(r"^energysweep_sweep_best{.*} (\S+) ", openmetrics(data), re.MULTILINE)
            assert [float(value) for value in found] == ([] if state.best() is None else [state.best()])
