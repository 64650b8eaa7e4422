"""Tasks, classes, few labels, pretrained encoders: the same for all built-in workloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from energysweep.core.errors import InputError
from energysweep.workloads import images, sensors, text
from energysweep.workloads.images import load, load_mnist, load_small_digits
from energysweep.workloads.sensors import load as load_sensors
from energysweep.workloads.training import Training

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {"learning_rate": 0.05, "batch_size": 32, "epochs": 9, "data": "digits"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def begin(**changes: Any) -> Training:
    settings = images.Settings.from_config(CONFIG | changes)
    data = load(settings.data, settings.image_size)
    return Training(settings, data, lambda used: images.encoder(settings, used), CPU)


def encoder_of(training: Training) -> list[torch.Tensor]:
    return [value.clone() for value in training._model.encoder.state_dict().values()]


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet18"])
def test_several_tasks_share_an_encoder_and_are_all_learned(model: str) -> None:
    training = begin(
        model=model, width=4 if model == "resnet18" else 16, tasks=["digit", "parity", "high"], learning_rate=0.03
    )
    reports = [training.run_epoch() for _ in range(4)]
    last = reports[-1]
    each = [last[f"accuracy_{task}"] for task in ("digit", "parity", "high")]
    assert last["accuracy"] == min(each) > 0.6
    assert last["loss"] < reports[0]["loss"]


def test_one_task_has_no_accuracy_of_its_own_name() -> None:
    assert set(begin(tasks=["parity"]).run_epoch()) == {"accuracy", "loss"}


def test_a_task_that_the_data_has_not_is_named() -> None:
    with pytest.raises(InputError, match="has no task odd; there are digit, parity, high"):
        begin(tasks=["odd"])
    with pytest.raises(InputError, match="names a task twice"):
        begin(tasks=["digit", "digit"])


def test_classes_are_chosen_and_numbered_anew() -> None:
    data = load_mnist().of_classes((7, 2))
    assert data.train_targets["digit"].bincount().tolist() == [400, 400]
    assert data.classes == {"digit": 2, "parity": 2, "high": 2}
    # 7 is 0 now, and still odd and high.
    assert torch.equal(data.test_targets["parity"], 1 - data.test_targets["digit"])
    with pytest.raises(InputError, match="digit has the classes 0 to 9"):
        load_mnist().of_classes((7, 10))


def test_few_labels_are_the_same_for_a_seed_and_leave_the_tests() -> None:
    few = load_small_digits().with_few(5, seed=1)
    assert few.train_targets["digit"].bincount().tolist() == [5] * 10
    assert len(few.test_inputs) == len(load_small_digits().test_inputs)
    assert torch.equal(few.train_inputs, load_small_digits().with_few(5, seed=1).train_inputs)
    assert not torch.equal(few.train_inputs, load_small_digits().with_few(5, seed=2).train_inputs)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """The checkpoint of a CNN that knows the digits 0 to 4."""
    training = begin(model="cnn", classes=[0, 1, 2, 3, 4])
    for _ in range(3):
        training.run_epoch()
    training.save(tmp_path)
    return tmp_path


def test_a_frozen_encoder_stays_and_its_head_learns(pretrained: Path) -> None:
    frozen = begin(
        model="cnn", classes=[5, 6, 7, 8, 9], pretrained={"from": str(pretrained), "freeze_encoder": True}, seed=4
    )
    before = encoder_of(frozen)
    saved = torch.load(pretrained / "training.pt", weights_only=True)["model"]
    assert torch.equal(before[0], saved["encoder.layers.1.weight"])
    reports = [frozen.run_epoch() for _ in range(4)]
    assert all(torch.equal(old, new) for old, new in zip(before, encoder_of(frozen), strict=True))
    assert reports[-1]["accuracy"] > max(0.75, reports[0]["accuracy"] - 0.05)


def test_an_encoder_that_is_not_frozen_learns_on(pretrained: Path) -> None:
    free = begin(model="cnn", classes=[5, 6, 7, 8, 9], pretrained={"from": str(pretrained), "freeze_encoder": False})
    before = encoder_of(free)
    free.run_epoch()
    assert not torch.equal(before[0], encoder_of(free)[0])


def test_a_frozen_encoder_s_batch_statistics_stay(tmp_path: Path) -> None:
    begin(model="resnet18", width=4).save(tmp_path)
    frozen = begin(model="resnet18", width=4, pretrained={"from": str(tmp_path), "freeze_encoder": True})
    before = encoder_of(frozen)
    frozen.run_epoch()
    assert all(torch.equal(old, new) for old, new in zip(before, encoder_of(frozen), strict=True))


def test_a_checkpoint_that_does_not_fit_is_named(pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds another encoder"):
        begin(model="cnn", width=8, pretrained={"from": str(pretrained)})
    with pytest.raises(InputError, match="is no checkpoint of a built-in workload"):
        begin(model="cnn", pretrained={"from": str(tmp_path / "nothing")})
    with pytest.raises(ValueError, match="freeze_encodr"):
        begin(pretrained={"from": str(pretrained), "freeze_encodr": True})


@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_activities_are_learned_from_windows(model: str) -> None:
    settings = sensors.Settings(learning_rate=0.01, batch_size=16, epochs=9, optimizer="adam", model=model)  # type: ignore[arg-type]
    data = load_sensors(settings.data, settings.window, settings.stride)
    training = Training(settings, data, lambda used: sensors.encoder(settings, used), CPU)
    assert max(training.run_epoch()["accuracy"] for _ in range(6)) > 0.7


def test_a_transformer_learns_a_text_and_never_looks_ahead(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 400)
    settings = text.Settings(
        learning_rate=3e-3,
        batch_size=16,
        epochs=9,
        optimizer="adam",
        data=str(tmp_path / "a.txt"),
        context=24,
        width=32,
    )
    training = Training(settings, text.load(settings.data, 24), lambda _: text.encoder(settings), CPU)
    assert max(training.run_epoch()["accuracy"] for _ in range(6)) > 0.9
    piece = torch.randint(0, 256, (1, 24), dtype=torch.uint8)
    other = piece.clone()
    other[0, 12:] = 7
    encoder = training._model.encoder.eval()
    with torch.inference_mode():
        assert torch.allclose(encoder(piece)[0, :12], encoder(other)[0, :12], atol=1e-6)
        assert not torch.allclose(encoder(piece)[0, 12:], encoder(other)[0, 12:], atol=1e-3)
