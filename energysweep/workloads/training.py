"""How the built-in workloads train: their common settings, an encoder that the tasks share, epochs, checkpoints.

PyTorch and Ray are imported here, at the top, on purpose: a worker then loads them before its first trial begins, and
that trial is not charged for seconds of importing which the next ones are spared.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch._dynamo  # the first optimizer imports it, for two seconds: not at the first trial's expense
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from ray import tune
from torch import Tensor, nn

from energysweep.core.errors import InputError
from energysweep.workloads.data import Data

# Common settings -----------------------------------------------------------------------------------------------------


class Pretrained(BaseModel):
    """What a trial goes on from.

    Attributes:
        path: a checkpoint of the same workload with the same model; in ``config`` it is called ``from``.
        freeze_encoder: train the heads only; the encoder stays as the checkpoint has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(alias="from")
    freeze_encoder: bool = False


class TrainingSettings(BaseModel):
    """What every built-in workload takes; each adds its own.

    Attributes:
        epochs: passes over the training examples; each ends with one report.
        optimizer: ``sgd`` has a momentum of 0.9.
        seed: of the first weights and of the order of the examples.
        checkpoint_every: epochs between checkpoints, 0 for none.
        tasks: what is learned, each with a head of its own on the encoder that they share; None: the data's first.
        classes: only the examples of these classes of the first task, numbered anew from 0; None: all.
        train_per_class: only so many training examples of each class of the first task, chosen by the seed; None: all.
        pretrained: what the encoder goes on from; None: random weights. The heads always begin from random weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: PositiveFloat
    batch_size: PositiveInt
    epochs: PositiveInt
    optimizer: Literal["sgd", "adam"] = "sgd"
    seed: NonNegativeInt = 0
    checkpoint_every: NonNegativeInt = 0
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    classes: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=2)
    train_per_class: PositiveInt | None = None
    pretrained: Pretrained | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The settings in a trial's ``config``.

        Raises:
            ValueError: a parameter is unknown, missing or out of range.
        """
        if unknown := sorted(config.keys() - cls.model_fields.keys()):
            raise ValueError(f"unknown parameter {', '.join(unknown)}; allowed are {', '.join(cls.model_fields)}")
        return cls(**config)


# The loop ------------------------------------------------------------------------------------------------------------

CHECKPOINT_FILE = "training.pt"
_TESTED_AT_ONCE = 1000


class Encoder(nn.Module):
    """What turns inputs into features.

    Args:
        layers: one after the other.
        features: how many numbers come out for each example (for each position of it, in a text).
    """

    def __init__(self, features: int, *layers: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """The features."""
        features: Tensor = self.layers(inputs)
        return features


class Model(nn.Module):
    """An encoder with a linear head for each task."""

    def __init__(self, encoder: Encoder, classes: dict[str, int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task: nn.Linear(encoder.features, count) for task, count in classes.items()})
        self.is_frozen = False

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """The scores of the classes, by task."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            features = self.encoder(inputs)
        return {task: head(features) for task, head in self.heads.items()}

    def freeze_encoder(self) -> None:
        """From now on only the heads learn."""
        self.is_frozen = True
        self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> Model:
        """As PyTorch's; a frozen encoder's batch statistics stay as they are."""
        super().train(mode)
        if self.is_frozen:
            self.encoder.eval()
        return self


def learn(settings: TrainingSettings, data: Data, build: Callable[[Data], Encoder]) -> None:
    """Train to the last epoch under Ray Tune, and report the metrics after each.

    Uses as many threads as the trial reserved CPUs, and a GPU if it reserved one. The same settings on the same
    hardware with the same resources give the same figures. Goes on from the trial's checkpoint if there is one.

    Args:
        settings: how.
        data: all of it; the settings say what of it is used.
        build: makes the encoder for the data.

    Raises:
        InputError: a task or a class is not in the data, or the pretrained encoder does not fit.
        RuntimeError: the trial reserved a GPU that PyTorch cannot use.
    """
    training = Training(settings, data, build, _prepare_hardware())
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
    """A model on its way from its first weights to ``settings.epochs`` epochs.

    Attributes:
        epoch: how many epochs it has behind it.
    """

    def __init__(
        self, settings: TrainingSettings, data: Data, build: Callable[[Data], Encoder], device: torch.device
    ) -> None:
        self.epoch = 0
        self._settings = settings
        data = data.of_classes(settings.classes).with_few(settings.train_per_class, settings.seed)
        self._data = data.of_tasks(settings.tasks).to(device)
        torch.manual_seed(settings.seed)
        self._model = Model(build(self._data), dict(self._data.classes)).to(device)
        if settings.pretrained is not None:
            _take_over_encoder(self._model, settings.pretrained)
        self._optimizer = _optimizer(settings, self._model)
        # A generator of its own, so that nothing else can change the order of the examples.
        self._shuffle = torch.Generator().manual_seed(settings.seed)

    def run_epoch(self) -> dict[str, float]:
        """Train on every training example once, then test.

        Returns:
            ``accuracy`` on the test examples from 0 to 1; of several tasks the worst one's, so that a target is reached
            when all have reached it, with ``accuracy_<task>`` for each. ``loss`` is the mean over the training
            examples, summed over the tasks.
        """
        self._model.train()
        inputs, targets = self._data.train_inputs, self._data.train_targets
        order = torch.randperm(len(inputs), generator=self._shuffle).to(inputs.device)
        total_loss = torch.zeros((), device=inputs.device)
        for batch in torch.split(order, self._settings.batch_size):
            scores = self._model(inputs[batch])
            losses = [_cross_entropy(scores[task], values[batch]) for task, values in targets.items()]
            loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            total_loss += loss.detach() * len(batch)
        self.epoch += 1
        accuracies = self._test()
        each = {f"accuracy_{task}": value for task, value in accuracies.items()} if len(accuracies) > 1 else {}
        return {"accuracy": min(accuracies.values()), **each, "loss": total_loss.item() / len(inputs)}

    def _test(self) -> dict[str, float]:
        """By task, how many of the test examples it gets right, from 0 to 1."""
        self._model.eval()
        targets = self._data.test_targets
        right = dict.fromkeys(targets, 0)
        with torch.inference_mode():
            for batch in torch.split(torch.arange(len(self._data.test_inputs)), _TESTED_AT_ONCE):
                scores = self._model(self._data.test_inputs[batch])
                for task, values in targets.items():
                    right[task] += int((scores[task].argmax(dim=-1) == values[batch]).sum())
        return {task: count / targets[task].numel() for task, count in right.items()}

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


def _cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean over all examples and, in a text, their positions."""
    return nn.functional.cross_entropy(scores.flatten(0, -2), targets.flatten().long())


def _optimizer(settings: TrainingSettings, model: nn.Module) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer == "adam":
        return torch.optim.Adam(learning, lr=settings.learning_rate)
    return torch.optim.SGD(learning, lr=settings.learning_rate, momentum=0.9)


def _take_over_encoder(model: Model, pretrained: Pretrained) -> None:
    """Give a model the encoder of a checkpoint."""
    try:
        with tune.Checkpoint(pretrained.path).as_directory() as folder:
            state = torch.load(Path(folder) / CHECKPOINT_FILE, map_location="cpu", weights_only=True)["model"]
        own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
        model.encoder.load_state_dict(own)
    except (OSError, KeyError) as error:
        raise InputError(f"is no checkpoint of a built-in workload: {error}", file=pretrained.path) from error
    except RuntimeError as error:
        problem = f"holds another encoder than the one that is trained here: {str(error).splitlines()[-1].strip()}"
        raise InputError(problem, file=pretrained.path) from error
    if pretrained.freeze_encoder:
        model.freeze_encoder()
