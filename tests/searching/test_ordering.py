"""In which order the configurations of a cap begin, by what is known of earlier runs."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle
from ray.tune.experiment import Trial

from energysweep.analysis.forecast import Known
from energysweep.cli import main
from energysweep.core.runfolder import SWEEP_FILE
from energysweep.searching.curves import Curves, Report
from energysweep.searching.evidence import Evidence, Power, of_those
from energysweep.searching.forecasting import Way, planned
from energysweep.searching.ordering import Order, order_by, places_of
from energysweep.searching.race import cap
from energysweep.searching.rehearsal import _StandIn, rehearse
from energysweep.searching.schedulers import scheduler
from energysweep.sweepfile import SweepSpec, load_spec, points
from energysweep.tune.points import KEY, wrap
from tests.support.earlier_runs import SWEEP, Told, evidence, write_run, write_sweep

RATES = SWEEP.replace("[0.1, 0.2, 0.4]", "[1, 2, 3, 4, 5, 6]")
CAP = RATES + "scheduler: {type: cap, winners: 1}\n"

OBJECTIVE = {"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1}


def told(rate: float, reports: int, of: int = 6, joules: float = 10.0, seed: int | None = None) -> Told:
    """A trial that reaches the target with its so-manieth report; with 0, it never does."""
    values = [0.5 + 0.01 * at if not reports or at < reports else 0.95 for at in range(1, of + 1)]
    return Told({"rate": rate}, joules, values, seed)


def rates(spec: SweepSpec, order: Order | None) -> list[object]:
    assert order is not None
    configurations = [point for point in points(spec) if point.seed in (None, 0)]
    return [configurations[place].parameters["rate"] for place in order.places]


def test_who_needed_least_begins_and_who_never_reaches_the_target_comes_last(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES))
    trials = [told(1, 5), told(2, 0), told(3, 2), told(4, 2, joules=40.0), told(5, 4), told(6, 3)]
    order = order_by(spec, evidence(spec, write_run(tmp_path / "run", trials)), ["run"])
    # To the target: 50 J, never, 20 J, 80 J, 40 J, 30 J.
    assert rates(spec, order) == [3, 6, 5, 1, 4, 2]
    assert order is not None
    assert order.sentence == "order: by 6 configurations of run"


def test_one_that_was_never_tried_goes_by_the_middle_of_its_three_nearest_after_what_is_known(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES))
    trials = [told(1, 1), told(3, 2), told(4, 4), told(6, 0)]
    order = order_by(spec, evidence(spec, write_run(tmp_path / "run", trials)), ["run"])
    # 2 is near to 1, 3 and 4 (10, 20 and 40 J); 5 to 4, 6 and 3 (40 J, never, and 20 J).
    assert rates(spec, order) == [1, 3, 2, 4, 5, 6]
    assert order is not None
    assert (
        order.sentence
        == "order: by 4 configurations of run; 2 of the sweep were never tried, and go by their neighbours"
    )


def test_an_earlier_run_of_other_parameters_orders_by_those_that_are_near(tmp_path: Path) -> None:
    text = RATES.replace("parameters: {", "parameters: {width: {grid: [1, 2]}, ")
    spec = load_spec(write_sweep(tmp_path, text))
    order = order_by(spec, evidence(spec, write_run(tmp_path / "run", [told(1, 5), told(6, 1), told(5, 1)])), ["run"])
    assert order is not None
    assert order.sentence == (
        "order: by 3 configurations of run; 12 of the sweep were never tried, and go by their neighbours"
    )
    assert sorted(order.places) == list(range(12))


def test_where_nobody_reaches_the_target_those_that_were_never_tried_begin(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES))
    order = order_by(spec, evidence(spec, write_run(tmp_path / "run", [told(3, 0), told(4, 0)])), ["run"])
    assert set(rates(spec, order)[:4]) == {1, 2, 5, 6}


def test_of_several_trials_all_count_also_those_that_did_not_reach_the_target(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES + "repeats: 2\n"))
    trials = [told(1, 2, seed=0), told(1, 0, seed=1), told(2, 6, seed=0), told(2, 6, seed=1)]
    order = order_by(spec, evidence(spec, write_run(tmp_path / "run", trials)), ["run"])
    # 20 + 60 J for the one that reached it, against 60 J for each.
    found = rates(spec, order)
    assert found.index(2) < found.index(1)


def test_a_trial_that_was_ended_early_is_drawn_on_and_no_cheap_one(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES))
    hopeless = Told({"rate": 2}, 10.0, [0.1, 0.1, 0.1], status="pruned")
    promising = Told({"rate": 3}, 10.0, [0.5, 0.7, 0.85], status="pruned")
    trials = [told(1, 5, of=20), hopeless, promising, told(6, 0, of=20)]
    found = rates(spec, order_by(spec, evidence(spec, write_run(tmp_path / "run", trials)), ["run"]))
    assert found.index(1) < found.index(2)
    assert found.index(3) < found.index(2)


def test_a_trial_that_ended_at_the_lower_target_of_an_earlier_run_may_reach_a_higher_one(tmp_path: Path) -> None:
    """It was the best one there; it has not run out of reports."""
    spec = load_spec(write_sweep(tmp_path, RATES))
    own = {"metric": "accuracy", "mode": "max", "target": 0.8, "patience": 1}
    trials = [Told({"rate": 1}, 10.0, [0.6, 0.75, 0.85]), told(2, 0, of=20), told(3, 0, of=20)]
    found = evidence(spec, write_run(tmp_path / "run", trials, objective=own))
    assert [known.length for own in found.configurations[:2] for known in own.values()] == [20, 20]
    assert rates(spec, order_by(spec, found))[0] == 1


def test_on_several_hardware_profiles_each_is_known_by_its_own_trials(tmp_path: Path) -> None:
    text = RATES.replace("[1, 2, 3, 4, 5, 6]", "[1, 2]") + "hardware: {big: {resources: {cpu: 2}}, small: {}}\n"
    spec = load_spec(write_sweep(tmp_path, text))
    trials = [replace(told(1, 3), hardware="small"), replace(told(2, 2), hardware="big")]
    run = write_run(tmp_path / "run", trials)
    order = order_by(spec, evidence(spec, run), ["run"])
    assert order is not None
    every = [(point.parameters["rate"], point.hardware) for point in points(spec)]
    # 20 J and 30 J; the lower middle of these is 20 J for the two that were never tried.
    assert [every[place] for place in order.places] == [(2, "big"), (1, "big"), (2, "small"), (1, "small")]
    assert order.known == 2


def test_what_says_nothing_of_the_order_makes_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Told({"rate": 1}, 10.0, [None, None])])
    for text in (RATES, RATES.replace(", target: 0.9", "")):
        spec = load_spec(write_sweep(tmp_path, text))
        assert order_by(spec, evidence(spec, run)) is None
    searched = RATES.replace("{grid: [1, 2, 3, 4, 5, 6]}", "{uniform: [1, 6]}")
    spec = load_spec(write_sweep(tmp_path, searched + "search: {algorithm: optuna, num_samples: 3}\n"))
    assert order_by(spec, evidence(spec, write_run(tmp_path / "other", [told(1, 2)]))) is None


CONFIGURATIONS = st.lists(
    st.one_of(
        st.just({}),
        st.dictionaries(
            st.integers(0, 2),
            st.builds(
                lambda took, values, more: Known(
                    [sum(took[: at + 1]) for at in range(len(took))],
                    [*values, *[0.5] * len(took)][: len(took)],
                    len(took) + more,
                ),
                st.lists(st.floats(0, 1e9), min_size=1, max_size=4),
                st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=4),
                st.integers(0, 3),
            ),
            max_size=2,
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(CONFIGURATIONS, st.integers(0, 3))
def test_every_configuration_has_one_place_and_the_same_evidence_gives_the_same_order(
    configurations: list[dict[int, Known]], others: int
) -> None:
    count = max(1, len(configurations) - others)
    spec = _spec(count)
    places = [{"rate": number, "": ""} for number in range(len(configurations))]
    found = Evidence(
        configurations[:count], configurations[count:], True, Power(), estimated=False, again=True, places=places
    )
    order = order_by(spec, found)
    if order is not None:
        assert sorted(order.places) == list(range(count))
        assert order_by(spec, found) == order
        assert Order.of_facts({"order": json.loads(json.dumps(order.noted()))}) is not None
    by_cap = places_of(spec, found, "cap")
    assert by_cap is not None
    assert sorted(by_cap) == list(range(count))
    assert places_of(spec, found, "race") is None


def _spec(count: int) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "ordered",
            "workload": "ordered:train",
            "parameters": {"rate": {"grid": list(range(count))}},
            "objective": {"metric": "accuracy", "mode": "max", "target": 0.9},
            "scheduler": {"type": "cap"},
        }
    )


def test_what_is_noted_and_is_no_order_is_none() -> None:
    for places in ([0, 0], [1, 2], [5]):
        assert Order.of_facts({"order": {"places": places, "known": 1, "untried": 0, "of": ["run"]}}) is None
    assert Order.of_facts({}) is None
    assert Order.of_facts({"order": None}) is None


def test_a_cap_begins_in_its_order_with_all_seeds_and_keeps_it_where_tune_writes_it_down(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, CAP.replace("trials: 1", "trials: 6") + "repeats: 2\n"))
    wrapped = [wrap(point, is_command=False) for point in points(spec)]
    for racing in (
        scheduler(spec, [4, 0, 5, 1, 2, 3]),
        cloudpickle.loads(cloudpickle.dumps(cap(spec, [4, 0, 5, 1, 2, 3]))),
    ):
        searcher = racing.search(wrapped)
        assert searcher is not None
        begun = []
        for number in range(6):
            suggested = searcher.suggest(str(number))
            assert isinstance(suggested, dict)
            trial = _StandIn(str(number), suggested, ())
            racing.on_trial_add(None, cast("Trial", trial))
            trial.set_status(Trial.RUNNING)
            begun.append(suggested[KEY]["parameters"]["rate"])
        assert begun == [5, 1, 6, 2, 3, 4]


def test_a_rehearsal_begins_in_the_order_that_it_is_given() -> None:
    curves = Curves("", {(str(n), 0): [Report(10.0 * at, 0.9 * (at > n)) for at in range(1, 5)] for n in range(4)})
    objective = _spec(1).objective.rule
    # The first needs 10 J; each of the others is over that with its second report.
    assert rehearse(curves, objective, "cap", winners=1).energy_joules == pytest.approx(10 + 3 * 20)
    backwards = rehearse(curves, objective, "cap", winners=1, order=[3, 2, 1, 0])
    assert [each.configuration for each in backwards.tried] == ["3", "2", "1", "0"]
    assert backwards.energy_joules == pytest.approx(40 + 30 + 20 + 10)


def test_a_plan_plays_the_cap_in_the_order_of_the_run_that_it_is_from(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, CAP))
    run = write_run(tmp_path / "run", [told(1, 0), told(2, 0), told(3, 1), told(4, 0), told(5, 0), told(6, 0)])
    found = evidence(spec, run)
    # The one that needs 10 J begins; each of the others ends with its second report.
    assert planned(spec, found, Way("cap", stops_at_target=True)).joules.value == pytest.approx(110, rel=0.1)
    late = planned(spec, found, Way("cap", stops_at_target=True), order=Order([0, 1, 3, 4, 5, 2], 6, 0, ["run"]))
    assert late.joules.value == pytest.approx(310, rel=0.1)


def test_what_the_pilot_of_a_run_took_is_in_its_forecast(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, CAP))
    found = evidence(spec, write_run(tmp_path / "run", [told(rate, 3) for rate in range(1, 7)]))
    way = Way("cap", stops_at_target=True)
    alone = planned(spec, found, way)
    whole = planned(spec, found, way, pilot_joules=1000.0, pilot_seconds=50.0)
    assert whole.joules == alone.joules.plus(1000.0)
    assert alone.seconds is not None
    assert whole.seconds == alone.seconds.plus(50.0)


def test_of_a_rehearsed_run_the_configurations_that_ended_are_ordered(tmp_path: Path) -> None:
    spec = load_spec(write_sweep(tmp_path, RATES))
    found = evidence(spec, write_run(tmp_path / "run", [told(1, 5), told(2, 2), told(3, 3)]))
    some = of_those(spec, found, [{"rate": 3, "": ""}, {"rate": 5, "": ""}, {"rate": 2, "": ""}])
    assert [bool(own) for own in (*some.configurations, *some.others)] == [True, False, True, True]
    order = order_by(spec, some)
    assert order is not None
    assert list(order.places) == [2, 0, 1]


# What a person is told -----------------------------------------------------------------------------------------------


def test_plan_tells_the_order_of_a_cap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, RATES)
    run = write_run(tmp_path / "run", [told(rate, 7 - rate) for rate in range(1, 7)])
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--from", str(run)]) == 0
    assert f"A cap's order: by 6 configurations of {run}.\n" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--from", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == {
        "places": [5, 4, 3, 2, 1, 0],
        "known": 6,
        "untried": 0,
        "of": [str(run)],
    }


def rehearsed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    assert main(["rehearse", *options, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_rehearse_plays_a_cap_spread_or_in_the_order_of_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path, RATES)
    trials = [told(1, 1), *(told(rate, 0) for rate in range(2, 7))]
    runs = [write_run(tmp_path / name, trials, objective=OBJECTIVE) for name in ("run", "earlier")]
    shutil.copy(sweep, runs[0] / SWEEP_FILE)
    options = [str(runs[0]), "--scheduler", "cap", "--winners", "1"]
    # The third and the sixth begin, and run to their ends; then the first caps the others at their second report.
    assert rehearsed(capsys, *options)["energy_joules"] == pytest.approx(60 + 60 + 10 + 3 * 20)
    found = rehearsed(capsys, *options, "--from", str(runs[1]))
    assert found["energy_joules"] == pytest.approx(10 + 5 * 20)
    assert found["order"] == {"places": [0, *_rest(found)], "known": 6, "untried": 0, "of": [str(runs[1])]}
    assert main(["rehearse", *options, "--from", str(runs[1])]) == 0
    assert f"Order: by 6 configurations of {runs[1]}.\n" in capsys.readouterr().out


def _rest(found: dict[str, object]) -> list[int]:
    order = found["order"]
    assert isinstance(order, dict)
    return list(order["places"][1:])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["run", "--from", "earlier"], "--from: the order of configurations does not matter to race"),
        (["run", "--scheduler", "cap", "--order", "1", "--from", "earlier"], "--from: cannot be used with --order"),
        (
            ["--table", "t.csv", "--target", "1", "--scheduler", "cap", "--from", "earlier"],
            "cannot be used with --table",
        ),
        (["run", "--scheduler", "cap", "--from", "none"], "none: there is no such folder"),
        (["run", "--scheduler", "cap", "--from", "other"], "other: is a run of another workload"),
        (
            ["run", "--scheduler", "cap", "--from", "silent"],
            "--from: tells no order of these configurations by accuracy",
        ),
    ],
)
def test_an_order_that_nothing_tells_is_told_in_one_line(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path, RATES)
    trials = [told(rate, 2) for rate in range(1, 7)]
    for name in ("run", "earlier"):
        write_run(tmp_path / name, trials, objective=OBJECTIVE)
    write_run(tmp_path / "other", trials, spec={"workload": "other.py:train"})
    write_run(tmp_path / "silent", [Told({"rate": 1}, 10.0, [None])])
    shutil.copy(sweep, tmp_path / "run" / SWEEP_FILE)
    (tmp_path / "t.csv").write_text("configuration,seed,energy_joules,val_accuracy\na,0,1,1\n")
    assert main(["rehearse", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_promise_may_be_infinite() -> None:
    places = [{"rate": number, "": ""} for number in range(3)]
    never = {0: Known([1.0], [0.1], 1)}
    found = Evidence([never, {}, never], (), True, Power(), estimated=False, again=True, places=places)
    order = order_by(_spec(3), found)
    assert order is not None
    assert order.places[0] == 1
    assert math.isfinite(order.known)
