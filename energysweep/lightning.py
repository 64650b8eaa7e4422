"""Energy in Lightning: ``Trainer(callbacks=[energysweep.lightning.EnergyCallback()])``.

It is a callback of each of ``lightning.pytorch`` and ``pytorch_lightning`` that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack

import torch

from energysweep.agent.tracking import BlockOptions
from energysweep.agent.training import TrainingEnergy

_NAMES = ("lightning.pytorch", "pytorch_lightning")


def _callbacks() -> Iterator[type]:
    """Those of both names: each refuses the other's, and nobody says which one a program will import."""
    for name in _NAMES:
        with suppress(ModuleNotFoundError):
            yield import_module(name).Callback


_BASES = tuple(_callbacks())
if not _BASES:
    raise ModuleNotFoundError("energysweep.lightning needs Lightning: pip install lightning (or pytorch-lightning)")

if TYPE_CHECKING:
    from pytorch_lightning import Callback as _Callback
else:
    _Callback = type("_Callback", _BASES, {"__module__": __name__})


class EnergyCallback(_Callback):
    """Logs what a training has cost, to all of the Trainer's loggers and its ``callback_metrics``.

    At the end of each validation (not of the sanity check), and of each training epoch without one: ``energy_joules``,
    ``active_energy_joules``, ``power_watts`` (mean since the report before; outside of a trial since the log before)
    and ``emissions_grams`` (CO2e), as far as they are known.

    In a trial of a sweep, or of ``energysweep.metered``, these are the trial's own numbers. In a function trainable it
    also reports ``callback_metrics`` to Tune, at the end of each validation, or of each training epoch where ``fit``
    has no validation; then the log has the numbers of that very result.

    Elsewhere they are those of a ``track`` block around the training, with the process's children.
    A training that resumes from a checkpoint goes on from the numbers in there; a trial's include all its attempts.
    Where several processes train, rank 0 logs, and reports, alone.

    Args:
        report: False where the program reports to Tune itself.
        block: of the block outside of a trial, as ``energysweep.track`` takes them: country, region, grams_per_kwh,
            pue, cpus, meters, gpus (the Trainer's own by default).

    Raises:
        InputError: an option that there is not; when training begins, one that cannot be.
    """

    def __init__(self, report: bool = True, **block: Unpack[BlockOptions]) -> None:
        super().__init__()
        self._energy = TrainingEnergy(report, block)
        self._before: dict[str, Any] = {}
        self._has_validated = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins."""
        if trainer.is_global_zero:
            is_cuda = trainer.strategy.root_device.type == "cuda"
            self._energy.begin(trainer.device_ids if is_cuda else (), trainer.world_size, self._before)
            self._before = {}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins, in which nothing was validated yet."""
        self._has_validated = False

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The metrics of a validation are known."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._has_validated = True
            _log(trainer, self._energy.reported(trainer.callback_metrics))
            self._energy.stop_if_told()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch has ended."""
        if trainer.is_global_zero and not self._has_validated:
            has_validation = trainer.enable_validation
            energy = self._energy
            _log(trainer, energy.logged() if has_validation else energy.reported(trainer.callback_metrics))
            energy.stop_if_told()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Training has ended."""
        self._energy.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Training was broken off."""
        self._energy.end()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the numbers of the last log."""
        return dict(self._energy.latest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a resumed training goes on from."""
        self._before = dict(state_dict)


def _log(trainer: Any, numbers: dict[str, float]) -> None:
    """As Lightning's own monitors do it; a callback cannot log once the metrics of a validation are known."""
    if numbers:
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.fit_loop.epoch_loop._batches_that_stepped)  # noqa: SLF001
        trainer.callback_metrics.update(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        )
