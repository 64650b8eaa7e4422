"""What the built-in workloads have in common in their ``config``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


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
