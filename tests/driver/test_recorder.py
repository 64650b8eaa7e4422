"""What the recorder makes of what Tune tells, with a real ledger and no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle

from energysweep.core.errors import LedgerError
from energysweep.core.objective import Objective
from energysweep.driver.recorder import Recorder, without_objective
from energysweep.ledger.run_state import RunState, TrialState
from energysweep.ledger.store import Ledger
from energysweep.searching.schedulers import Decided
from energysweep.sweepfile import Point
from energysweep.tune.points import KEY, wrap


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def recorder_of(ledger: Ledger, patience: int = 1) -> Recorder:
    """One that goes on with what is in the ledger."""
    state = RunState.of(ledger.read(), {"": Objective("accuracy", "max", 0.5, patience)})
    recorder = Recorder(ledger, state, 0.0, lambda _: False, lambda *_: None, lambda: None)
    recorder.take_over()
    return recorder


def trial_in(recorder: Recorder) -> TrialState:
    return recorder.state.trial("t")


def trial_of(name: str = "t", error_file: str | None = None) -> Any:
    config = {KEY: wrap(Point({"rate": 0.1}, "", None), False, "", {})}
    return SimpleNamespace(trial_id=name, config=config, pickled_error_file=error_file)


def report(recorder: Recorder, value: Any, joules: float = 1.0, name: str = "accuracy") -> None:
    trial = trial_of()
    if trial.trial_id not in recorder.state.trials or recorder.state.trials["t"].status != "running":
        recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, {name: value, "energy_joules": joules})


@pytest.mark.parametrize(
    ("value", "shown"),
    [("high", '"high"'), (None, "null"), (True, "true"), (math.nan, "NaN"), (10**400, '"about 1e+400"')],
)
def test_a_value_that_is_no_number_reaches_no_target_and_is_told_of(ledger: Ledger, value: Any, shown: str) -> None:
    recorder = recorder_of(ledger)
    report(recorder, value)
    told = trial_in(recorder)
    assert (told.objective, told.results.at_target.found, recorder.state.best()) == (None, False, None)
    assert without_objective(told, "accuracy") == f"never reported a number as 'accuracy' (the last one was {shown})"


def test_the_last_number_is_the_trial_s_value_as_in_the_report(ledger: Ledger) -> None:
    recorder = recorder_of(ledger)
    for value in (0.25, 0.75, "n/a", math.nan):
        report(recorder, value)
    told = trial_in(recorder)
    assert (told.objective, recorder.state.best(), without_objective(told, "accuracy")) == (0.75, 0.75, None)


def test_a_trial_that_never_named_its_objective_is_told_what_it_named(ledger: Ledger) -> None:
    recorder = recorder_of(ledger)
    for number in range(12):
        report(recorder, 1.0, name=f"m{number}")
    shown = ", ".join(f"m{number}" for number in range(10))
    why = without_objective(trial_in(recorder), "accuracy")
    assert why == f"never reported 'accuracy' (it reported {shown} and 2 more)"


def test_energy_to_the_target_is_that_of_the_first_report_that_held_it_also_after_a_restart(ledger: Ledger) -> None:
    recorder = recorder_of(ledger, patience=2)
    for joules, value in enumerate((0.6, None, 0.6), start=1):
        report(recorder, value, float(joules))
    assert not trial_in(recorder).results.at_target.found
    resumed = recorder_of(ledger, patience=2)
    assert not trial_in(resumed).results.at_target.found
    report(resumed, 0.6, 4.0)
    assert trial_in(resumed).joules_at_target == 3.0


def test_nested_results_are_metrics_of_the_ledger(ledger: Ledger) -> None:
    recorder = recorder_of(ledger)
    report(recorder, {"accuracy": 0.5, "loss": {"ce": 1}}, name="val")
    assert [row.metrics for row in ledger.read().results] == [{"val/accuracy": 0.5, "val/loss/ce": 1}]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "written"),
    [
        (ValueError("cannot open bad\udcff.bin"), r"ValueError: cannot open bad\udcff.bin"),
        (ValueError("a\0b"), r"ValueError: a\x00b"),
        (Mute(), "Mute: (an error without a text)"),
        ("no exception at all", "str: no exception at all"),
    ],
    ids=["a lone surrogate", "NUL", "no text", "no exception"],
)
def test_whatever_a_trial_fails_with_is_written_down(ledger: Ledger, tmp_path: Path, error: Any, written: str) -> None:
    (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
    recorder = recorder_of(ledger)
    trial = trial_of(error_file=str(tmp_path / "error.pkl"))
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_error(0, [], trial)
    [row] = ledger.read().trials
    assert (row.status, row.error) == ("failed", written)


def test_what_goes_wrong_with_one_trial_s_event_ends_no_sweep_and_is_noted(ledger: Ledger) -> None:
    def fail() -> None:
        raise RuntimeError("nobody listens")

    recorder = Recorder(ledger, RunState({"": Objective("accuracy")}), 0.0, lambda _: False, lambda *_: None, fail)
    report(recorder, 0.5)
    assert recorder.unrecorded == {"t": "RuntimeError: nobody listens"}
    assert [row.metrics for row in ledger.read().results] == [{"accuracy": 0.5}]


def test_a_ledger_that_cannot_be_written_ends_the_sweep(ledger: Ledger) -> None:
    recorder = recorder_of(ledger)
    ledger.close()
    with pytest.raises(LedgerError):
        report(recorder, 0.5)


def test_a_decision_is_noted_with_its_numbers_and_its_place_also_after_a_restart(ledger: Ledger) -> None:
    recorder = recorder_of(ledger)
    report(recorder, 0.25)
    noted = len(ledger.read().decisions)
    recorder.decide("paused", "turn", "t", joules=12.5, limit_joules=math.inf, reports=3, nothing=None)
    resumed = recorder_of(ledger)
    resumed.decide("stopped", "budget", joules=90.0, limit_joules=88.0)
    paused, interrupted, stopped = ledger.read().decisions[noted:]
    assert (interrupted.number, interrupted.trial, interrupted.what) == (noted + 2, "t", "interrupted")
    assert paused[:1] + paused[2:] == (noted + 1, "t", "paused", "turn", 12.5, None, None, {"reports": 3})
    assert stopped[:1] + stopped[2:] == (noted + 3, "", "stopped", "budget", 90.0, 88.0, None, {})
    assert resumed.state.decisions() == ledger.read().decisions


def deciding(ledger: Ledger, decided: list[Decided], **pruned: bool) -> Recorder:
    """A recorder that is told by a scheduler, which has decided these."""

    def taken() -> list[Decided]:
        found = [*decided]
        decided.clear()
        return found

    state = RunState({"": Objective("accuracy", "max", 0.5)})
    noted = lambda trial: pruned.get(trial, False)  # noqa: E731 - a name for what it is
    recorder = Recorder(ledger, state, 0.0, noted, lambda *_: None, lambda: None, newly_decided=taken)
    recorder.take_over()
    return recorder


def noted_of(ledger: Ledger) -> list[tuple[str, str, float | None]]:
    return [(row.what, row.why, row.joules) for row in ledger.read().decisions]


def test_each_start_pause_and_end_of_a_trial_is_noted_with_its_reason(ledger: Ledger) -> None:
    decided: list[Decided] = []
    recorder, trial = deciding(ledger, decided), trial_of()
    recorder.on_trial_start(0, [], trial)
    decided.append(Decided("t", "paused", "turn", 1.5))
    recorder.on_trial_result(0, [], trial, {"accuracy": 0.25, "energy_joules": 1.5})
    assert (trial_in(recorder).status, trial_in(recorder).row.status) == ("paused", "running")
    assert recorder.state.counts() == {"paused": 1}
    decided.append(Decided("t", "resumed", "turn", 1.5))  # told when it is called, noted when it goes on
    assert recorder.state.counts() == {"paused": 1}
    recorder.on_trial_start(0, [], trial)
    assert recorder.state.counts() == {"running": 1}
    decided.append(Decided("t", "ended", "capped", 3.0, 2.0, {"winners": 2}))
    recorder.on_trial_result(0, [], trial, {"accuracy": 0.25, "energy_joules": 3.0})
    recorder.on_trial_complete(0, [], trial)
    assert noted_of(ledger) == [
        ("started", "", None),
        ("paused", "turn", 1.5),
        ("resumed", "turn", 1.5),
        ("ended", "capped", 3.0),
    ]
    assert ledger.read().decisions[-1].numbers == {"winners": 2}
    assert RunState.of(ledger.read()).decisions() == recorder.state.decisions()


def test_ends_and_starts_that_no_scheduler_tells_of_are_noted_by_what_became_of_the_trial(ledger: Ledger) -> None:
    recorder = deciding(ledger, [], u=True)
    trial = trial_of(error_file="none")
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, {"accuracy": 0.25, "energy_joules": 2.0})
    recorder.on_trial_recover(0, [], trial)
    recorder.on_trial_start(0, [], trial)
    recorder.interrupt()
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_complete(0, [], trial)
    recorder.on_trial_start(0, [], trial_of("u"))
    recorder.on_trial_complete(0, [], trial_of("u"))
    recorder.on_trial_start(0, [], trial_of("v", "none"))
    recorder.on_trial_error(0, [], trial_of("v", "none"))
    assert [(what, why) for what, why, _ in noted_of(ledger)] == [
        ("started", ""),
        ("failed", "tried again"),
        ("resumed", "failure"),
        ("interrupted", "run"),
        ("resumed", "run"),
        ("ended", "itself"),
        ("started", ""),
        ("ended", "pruned"),
        ("started", ""),
        ("failed", "last attempt"),
    ]
    assert {joules for _, _, joules in noted_of(ledger)[1:6]} == {2.0}
