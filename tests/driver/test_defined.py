"""What the searches, the schedulers and a resumed run make of a function that makes the configurations."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from energysweep.core import carbon
from energysweep.core.errors import InputError, SweepError
from energysweep.core.naming import exact_text
from energysweep.core.runfolder import LEDGER, SWEEP_FILE
from energysweep.driver.run import resume
from energysweep.driver.run_facts import beginning
from energysweep.ledger.store import Ledger
from energysweep.searching import search
from energysweep.searching.race import Racing
from energysweep.searching.schedulers import scheduler
from energysweep.sweepfile import SweepSpec, load_spec, points
from energysweep.tune.points import KEY, unwrap

SWEEP = """\
name: a
workload: work.py:train
space: space.py:space
parameters: {data: small}
objective: {metric: accuracy, mode: max, target: 0.9}
search: {algorithm: optuna, num_samples: 8, seed: 3}
"""
SPACE = """\
FAILS = []


def space(trial):
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam"])
    if name == "sgd":
        trial.suggest_float("optimizer.momentum", 0.0, 0.9, step=0.3)
    widths = trial.suggest_categorical("widths", [[16], [16, 32]])
    if FAILS and FAILS.pop():
        raise ValueError("no such model")
    return {"layers": len(widths)}
"""


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("space", "work"):
        sys.modules.pop(name, None)


def sweep(folder: Path, *options: str, space: str = SPACE) -> SweepSpec:
    (folder / "space.py").write_text(space)
    (folder / "work.py").write_text("def train(config):\n    pass\n")
    (folder / "sweep.yaml").write_text(SWEEP)
    return load_spec(folder / "sweep.yaml", options)


def searching(spec: SweepSpec) -> Searcher:
    searcher = search.searcher(spec, {})
    assert isinstance(searcher, Searcher)
    return searcher


def suggested(searcher: Searcher, numbers: range) -> list[dict[str, Any]]:
    found = []
    for number in numbers:
        suggestion = searcher.suggest(str(number))
        assert isinstance(suggestion, dict)
        found.append(suggestion[KEY]["parameters"])
        searcher.on_trial_complete(str(number), {"accuracy": number / 10, "training_iteration": 1})
    return found


def test_optuna_suggests_what_the_function_asks_for(tmp_path: Path) -> None:
    spec = sweep(tmp_path, "repeats=2")
    searcher = searching(spec)
    suggestion = searcher.suggest("0")
    again = searcher.suggest("1")
    assert isinstance(suggestion, dict)
    assert isinstance(again, dict)
    config = unwrap(suggestion)
    assert config.pop("seed") == 0
    assert unwrap(again) == {**config, "seed": 1}
    assert list(config) == ["data", "optimizer", "widths", "layers"]
    assert config["data"] == "small"
    assert config["widths"] in ([16], [16, 32])
    assert config["layers"] == len(config["widths"])
    for parameters in suggested(searching(spec), range(20)):
        if parameters["optimizer.name"] == "sgd":
            assert parameters["optimizer.momentum"] in (0.0, 0.3, 0.6, 0.9)  # not 0.30000000000000004
        else:
            assert "optimizer.momentum" not in parameters


def test_optuna_suggests_the_same_for_the_same_seed_also_after_it_was_restored_without_the_file(
    tmp_path: Path,
) -> None:
    spec = sweep(tmp_path)
    whole = suggested(searching(spec), range(12))
    first = searching(spec)
    before = suggested(first, range(5))
    first.save(str(tmp_path / "searcher"))
    second = searching(spec)
    (tmp_path / "space.py").unlink()
    second.restore(str(tmp_path / "searcher"))
    assert before + suggested(second, range(5, 12)) == whole
    assert suggested(searching(sweep(tmp_path, "search.seed=4")), range(12)) != whole


def test_a_suggestion_with_which_the_function_fails_is_no_configuration_and_the_next_one_is_tried(
    tmp_path: Path,
) -> None:
    searcher = searching(sweep(tmp_path))
    sys.modules["space"].__dict__["FAILS"] += [True, True, False]
    assert len(suggested(searcher, range(4))) == 4
    study = searcher._searcher._ot_study
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "FAIL",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
        "COMPLETE",
    ]


def test_a_function_that_fails_with_every_suggestion_ends_the_search(tmp_path: Path) -> None:
    searcher = searching(sweep(tmp_path))
    sys.modules["space"].__dict__["FAILS"] += [True] * 20
    with pytest.raises(
        SweepError, match="20 times in a row the function of the space failed in line 10: ValueError: no s"
    ):
        searcher.suggest("0")


@pytest.mark.parametrize("kind", ["race", "cap"])
@pytest.mark.parametrize(
    ("chosen", "arms"), [("{algorithm: grid}", 10), ("{algorithm: random, num_samples: 90, seed: 1}", 10)]
)
def test_race_and_cap_take_what_a_function_makes_for_a_grid_or_for_random_search(
    tmp_path: Path, kind: str, chosen: str, arms: int
) -> None:
    spec = sweep(tmp_path, f"scheduler.type={kind}", f"search={chosen}", "repeats=2")
    racing = scheduler(spec)
    assert isinstance(racing, Racing)
    of_arms = [exact_text(parameters) for parameters in racing._parameters.values()]
    assert len(of_arms) == arms  # 4 momenta of sgd, and adam, each with two widths
    assert set(of_arms) == {exact_text(each.parameters) for each in points(spec)}


def begun(folder: Path, *options: str) -> Path:
    """The folder of a run that has begun, with a sweep of ``sweep``."""
    spec = sweep(folder, *options)
    (folder / "run").mkdir()
    (folder / "run" / SWEEP_FILE).write_text(spec.to_yaml())
    facts = beginning("run", spec, carbon.resolve(), time.time())
    Ledger.create(folder / "run" / LEDGER, **facts).close()
    return folder / "run"


@pytest.mark.parametrize(
    "how", ["search.seed=3", "search={algorithm: grid}", "search={algorithm: random, num_samples: 3}"]
)
def test_a_run_is_not_resumed_with_a_function_that_makes_other_configurations(tmp_path: Path, how: str) -> None:
    folder = begun(tmp_path, how)
    sweep(tmp_path, how, space=SPACE.replace("32", "64"))
    with pytest.raises(InputError) as caught:
        resume(folder)
    assert str(caught.value).startswith(f"{folder}/sweep.yaml:")
    assert "space: space.py:space makes other configurations than when this run began; put" in str(caught.value)
    assert str(caught.value).endswith("put it back as it was (the run's report has its text), or begin a new run")


def test_a_run_whose_function_has_gone_says_so_when_it_is_to_go_on(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (tmp_path / "space.py").unlink()
    with pytest.raises(InputError, match=r"space: there is no file .*/space\.py"):
        resume(folder)
