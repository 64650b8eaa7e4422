"""Population based training, with Tune's classes and a controller that takes no time: who changes, and to what."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pb2 import PB2

from energysweep.core.errors import InputError
from energysweep.core.records import DecisionRow
from energysweep.ledger.decisions import told
from energysweep.searching.schedulers import Scheduler, scheduler
from energysweep.sweepfile import SweepSpec, check_search, points
from energysweep.tune.points import KEY, unwrap, wrap

USELESS = [None, "n/a", True, math.nan, 10**400, [0.9]]
DOUBLED = {"type": "pbt", "perturbation_interval": 2, "resample_probability": 0, "perturbation_factors": (2.0, 2.0)}

BOUNDED = {"type": "pb2", "perturbation_interval": 1, "hyperparam_bounds": {"lr": [0.05, 0.3]}}


def spec_of(parameters: dict[str, Any], **settings: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "population",
            "workload": "work:train",
            "parameters": parameters,
            "objective": {"metric": "accuracy", "mode": "max"},
            "scheduler": settings,
        }
    )


class OneTrial:
    """A trial, as far as Tune's classes look at one."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config, self.status = name, config, Trial.PENDING
        self.experiment_tag = name
        self.evaluated_params: dict[str, Any] = {}
        self.last_result: dict[str, Any] = {}
        self.checkpoint = None
        manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None), _latest_checkpoint_result=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_status(self, status: str) -> None:
        self.status = status

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag

    def get_trainable_cls(self) -> None:
        return None

    def __str__(self) -> str:
        return self.trial_id

    @property
    def goes_on_from(self) -> Any:
        found = self.run_metadata.checkpoint_manager._latest_checkpoint_result
        return None if found is None else found.checkpoint


class Population:
    """Tune's controller, and all its trials at work."""

    search_alg: Any = None

    def __init__(self, spec: SweepSpec) -> None:
        self.made: Scheduler = scheduler(spec)
        wrapped = [wrap(point, is_command=False) for point in points(spec)]
        self.trials = [OneTrial(name, {KEY: point}) for name, point in zip("abcdefgh", wrapped, strict=False)]
        for trial in self.trials:
            self.made.on_trial_add(self, trial)
            trial.status = Trial.RUNNING

    def get_trials(self) -> list[OneTrial]:
        return self.trials

    def pause_trial(self, trial: OneTrial, should_checkpoint: bool = True) -> None:
        assert not should_checkpoint
        trial.status = Trial.PAUSED

    def _schedule_trial_save(self, trial: OneTrial, result: dict[str, Any]) -> str:
        return f"{trial.trial_id} at {result['training_iteration']}"

    def named(self, name: str) -> OneTrial:
        return next(trial for trial in self.trials if trial.trial_id == name)

    def report(self, name: str, at: Any, value: Any, *, joules: float = 1.0, checkpoint: bool = True) -> str:
        trial = self.named(name)
        trial.status = Trial.RUNNING
        result = {"training_iteration": at, "accuracy": value, "energy_joules": joules}
        decision = str(self.made.on_trial_result(self, trial, result | {"should_checkpoint": checkpoint}))
        trial.last_result = result
        return decision

    def exploited(self) -> OneTrial:
        """Of four trials: d is the worst, and a the best, with a checkpoint at 4."""
        for name, value in zip("abcd", (0.9, 0.5, 0.4, 0.3), strict=True):
            assert self.report(name, 2, value) == "CONTINUE"  # nobody has a checkpoint to go on from yet
        assert self.report("a", 4, 0.95, joules=7.0) == "CONTINUE"
        assert self.report("d", 4, 0.35, joules=9.0) == "NOOP"
        return self.named("d")


LR = {"lr": {"grid": [0.1, 0.2, 0.3, 0.4]}, "epochs": 9}


def test_the_worst_goes_on_from_the_best_with_its_parameters_changed() -> None:
    field = Population(spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0.0, 1.0]}}))
    trial = field.exploited()
    assert trial.status == Trial.PAUSED  # and Tune starts it again with what it has now
    assert trial.goes_on_from == "a at 4"
    assert unwrap(trial.config) == {"lr": 0.2, "epochs": 9}  # twice what a has
    assert trial.config[KEY]["parameters"] == {"lr": 0.4, "epochs": 9}  # by which it is known
    assert [unwrap(field.named(name).config)["lr"] for name in "abc"] == [0.1, 0.2, 0.3]
    assert field.made.choose_trial_to_run(field) is trial
    assert field.made.pruned == ()


def test_a_change_is_a_decision_and_is_said() -> None:
    field = Population(spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0.0, 1.0]}}))
    field.exploited()
    (decided,) = field.made.decided
    row = DecisionRow(
        1, 0.0, decided.trial, decided.what, decided.why, decided.joules, None, 20.0, dict(decided.numbers)
    )
    (sentence,) = [each.sentence for each in told([row], estimated=False)]
    assert sentence == "exploited trial a at report 4 at 9.00 J, and changes: lr 0.4 → 0.2"
    (note,) = field.made.notes
    assert "each is shown with those that it began with" in note


def test_all_that_the_best_one_has_is_taken_over_also_what_never_changes_by_itself() -> None:
    spec = spec_of(
        {"net": {"width": {"grid": [8, 16, 32, 64]}, "lr": 0.1}},
        **DOUBLED,
        hyperparam_mutations={"net.lr": {"loguniform": [0.01, 0.15]}},
    )
    trial = Population(spec).exploited()
    # Its weights fit a's width only; and 0.2 lies beyond the range.
    assert unwrap(trial.config) == {"net": {"width": 8, "lr": 0.15}}
    assert trial.config[KEY]["parameters"] == {"net.width": 64, "net.lr": 0.1}


def test_whole_numbers_stay_whole_and_below_the_end_of_their_range() -> None:
    sizes = {"size": {"grid": [24, 8, 16, 40]}}
    spec = spec_of(sizes, **DOUBLED, hyperparam_mutations={"size": {"randint": [1, 48]}})
    found = unwrap(Population(spec).exploited().config)["size"]
    assert found == 47
    assert type(found) is int
    # One that was written as a whole number, and is none, is not rounded.
    spec = spec_of(
        sizes, **DOUBLED | {"perturbation_factors": (1.1, 1.1)}, hyperparam_mutations={"size": {"uniform": [0, 99]}}
    )
    assert unwrap(Population(spec).exploited().config)["size"] == pytest.approx(26.4)


def test_a_list_is_gone_along_by_one_place() -> None:
    words = {"word": {"grid": ["b", "a", "c", "d"]}}
    spec = spec_of(words, **DOUBLED, hyperparam_mutations={"word": ["a", "b", "c", "d"]})
    for _ in range(10):
        assert unwrap(Population(spec).exploited().config)["word"] in ("a", "c")
    drawn = spec_of(words, **DOUBLED | {"resample_probability": 1}, hyperparam_mutations={"word": ["x"]})
    assert unwrap(Population(drawn).exploited().config)["word"] == "x"


def test_joules_that_a_trial_has_spent_stay_its_own() -> None:
    settings = DOUBLED | {"resource": "energy_joules", "perturbation_interval": 10}
    field = Population(spec_of(LR, **settings, hyperparam_mutations={"lr": {"uniform": [0, 1]}}))
    field.report("a", 1, 0.9, joules=100.0)
    field.report("b", 1, 0.5, joules=10.0)
    field.report("a", 2, 0.9, joules=110.0)
    assert field.report("b", 2, 0.5, joules=20.0) == "NOOP"
    # b is compared again after 10 J of its own, and not beyond the 110 J of a.
    assert field.report("b", 3, 0.5, joules=29.0) == "CONTINUE"
    assert field.report("b", 3, 0.5, joules=30.0) == "NOOP"


@pytest.mark.parametrize("value", USELESS, ids=str)
def test_a_report_that_says_nothing_is_not_compared(value: Any) -> None:
    field = Population(spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0, 1]}}))
    assert field.report("a", 2, 0.9) == "CONTINUE"
    assert field.report("b", 2, value) == "CONTINUE"
    assert field.report("b", value, 0.5) == "CONTINUE"
    assert field.report("a", 4, 0.9) == "CONTINUE"
    assert field.report("c", 4, 0.5) == "CONTINUE"  # a had nobody beside it, so it made no checkpoint for others
    assert field.report("a", 6, 0.9) == "CONTINUE"
    assert field.report("c", 6, 0.5) == "NOOP"
    assert field.named("b").goes_on_from is None


def test_without_checkpoints_nobody_changes_and_that_is_said_once() -> None:
    field = Population(spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0, 1]}}))
    for at in (2, 4, 6):
        for name, value in zip("abcd", (0.9, 0.5, 0.4, 0.3), strict=True):
            assert field.report(name, at, value, checkpoint=False) == "CONTINUE"
    (note,) = field.made.notes
    assert "pbt goes by no such report" in note
    assert not field.made.decided


def test_a_resumed_population_has_what_was_changed_before_and_leaves_out_who_has_ended() -> None:
    spec = spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0, 1]}})
    field = Population(spec)
    changed = field.exploited().config
    again = Population(spec)
    made = scheduler(spec)
    made.ended = {"a": {"accuracy": 0.99}}
    again.search_alg = SimpleNamespace(on_trial_complete=lambda *_told, **_also: None)
    again.made, again.trials = made, [OneTrial(name, changed) for name in "ad"]
    for trial in again.trials:
        made.on_trial_add(again, trial)
    assert again.named("a").status == Trial.TERMINATED
    assert unwrap(again.named("d").config) == {"lr": 0.2, "epochs": 9}
    assert again.report("d", 2, 0.1) == "CONTINUE"  # there is nobody to go on from


def test_those_that_have_no_worker_take_turns() -> None:
    field = Population(spec_of(LR, **DOUBLED, hyperparam_mutations={"lr": {"uniform": [0, 1]}}))
    field.named("b").status = Trial.PENDING
    assert field.report("a", 2, 0.9) == "PAUSE"
    assert [(one.what, one.why) for one in field.made.decided] == [("paused", "yields")]


def test_pb2_asks_its_model_and_stays_within_the_bounds() -> None:
    field = Population(spec_of(LR, **BOUNDED))
    assert isinstance(field.made, PB2)
    assert isinstance(field.made, PopulationBasedTraining)
    for at in range(1, 4):
        for name, slope in zip("abcd", (0.9, 0.5, 0.4, 0.3), strict=True):
            field.report(name, at, slope * at)
    trial = field.named("d")
    changes = [one for one in field.made.decided if one.why == "exploited" and one.trial == "d"]
    assert len(changes) == 2
    assert trial.goes_on_from.startswith("a at ")
    assert 0.05 <= unwrap(trial.config)["lr"] <= 0.3
    assert trial.config[KEY]["parameters"] == {"lr": 0.4, "epochs": 9}


@pytest.mark.parametrize("value", [0.5, 1e308, -math.inf], ids=str)
def test_pb2_goes_on_whatever_is_reported(value: float) -> None:
    field = Population(spec_of(LR, **BOUNDED))
    for at in range(1, 4):
        for name in "abcd":
            field.report(name, at, value)
    changed = [trial for trial in field.trials if trial.goes_on_from]
    assert changed
    assert all(0.05 <= unwrap(trial.config)["lr"] <= 0.3 for trial in changed)


def test_pb2_draws_where_its_model_can_make_nothing_of_the_reports(caplog: pytest.LogCaptureFixture) -> None:
    field = Population(spec_of(LR, **BOUNDED))
    for at in range(1, 5):
        for place, name in enumerate("abcd"):  # what they differ by is beyond all floats
            field.report(name, at, (1e308 if at % 2 else -1e308) * (1 - place / 10))
    assert "pb2's model can make nothing of the reports so far" in caplog.text
    changed = [trial for trial in field.trials if trial.goes_on_from]
    assert changed
    assert all(0.05 <= unwrap(trial.config)["lr"] <= 0.3 for trial in changed)


def test_what_pb2_needs_and_is_not_installed_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(LR, **BOUNDED)
    check_search(spec)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as Python has it of a package that is not there
    with pytest.raises(InputError, match="pb2 needs what is not installed: pip install scikit-learn"):
        check_search(spec)
    check_search(spec_of(LR))
