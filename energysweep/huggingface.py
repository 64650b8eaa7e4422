"""Energy in Hugging Face's Trainer: ``Trainer(callbacks=[energysweep.huggingface.EnergyCallback()])``."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Unpack

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler, ExportableState

from energysweep.agent.tracking import BlockOptions
from energysweep.agent.training import TrainingEnergy

_CALLS_UP = 8  # to the handler that calls a callback; a subclass of ours may be in between


class EnergyCallback(TrainerCallback, ExportableState):
    """Adds what a training has cost to each of the Trainer's logs, and so to ``log_history`` and all of ``report_to``.

    ``energy_joules``, ``active_energy_joules``, ``power_watts`` (mean since the report before; outside of a trial since
    the log before) and ``emissions_grams`` (CO2e), as far as they are known.

    In a trial of a sweep, or of ``energysweep.metered``, these are the trial's own numbers. In a function trainable it
    also reports to Tune, with the newest value of all that was logged: at each evaluation, or, with
    ``eval_strategy="no"``, at each log of the loss (at the end of the training if nothing was reported until then); the
    log then has the numbers of that very result.

    Elsewhere they are those of a ``track`` block around the training, with the process's children. Where an error ends
    the training, the block ends within some seconds: the Trainer tells its callbacks of no error.
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
        self._arguments = {"report": report, **block}
        self._energy = TrainingEnergy(report, block)
        self._newest: dict[str, Any] = {}
        self._has_reported = False

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer has been made."""
        self._go_first()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Training begins, or goes on from a checkpoint, whose state this is."""
        self._go_first()  # it may have been added since
        self._newest, self._has_reported = {}, False
        if state.is_world_process_zero:
            self._energy.begin(_gpus(args), args.world_size, _before(state) if state.global_step else {})
            if (call := self._training()) is not None:
                self._energy.end_with(call)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Something is logged: ``logs`` goes on to the other callbacks, a copy of it is in ``log_history`` already."""
        if not state.is_world_process_zero or not logs:
            return
        self._newest |= logs
        is_report = self._is_report(args, logs)
        self._has_reported |= is_report
        numbers = self._energy.reported(self._newest) if is_report else self._energy.logged()
        logs.update(numbers)
        state.log_history[-1].update(numbers)

    def _is_report(self, args: Any, logs: dict[str, Any]) -> bool:
        """Whether these are an evaluation's, or the nearest to one that this training has."""
        if any(name.endswith("_runtime") and name != "train_runtime" for name in logs):  # every evaluation logs its own
            return True
        if "train_loss" in logs:  # the end of the training
            return not self._has_reported
        return args.eval_strategy == "no" and "loss" in logs

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An evaluation is over, and logged."""
        self._energy.stop_if_told()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Another step begins; what comes before it is logged."""
        self._energy.stop_if_told()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch has ended; the log of its last step is out."""
        self._energy.stop_if_told()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Training has ended."""
        self._energy.end()
        self._energy.stop_if_told()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the numbers of the last log."""
        return {"args": self._arguments, "attributes": {"resumed": dict(self._energy.latest)}}

    def _training(self) -> FrameType | None:
        """The Trainer's ``train``, which calls this: an error that leaves it is told to no callback."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
        while frame is not None:
            if frame.f_code.co_name == "train":
                handler = getattr(frame.f_locals.get("self"), "callback_handler", None)
                if isinstance(handler, CallbackHandler) and self in handler.callbacks:
                    return frame
            frame = frame.f_back
        return None

    def _go_first(self) -> None:
        """Be called before those who pass the logs on: Trainer puts the callbacks of ``report_to`` before the user's.

        No callback is told of the others, or of the Trainer: the list is that of whoever calls.
        """
        frame = sys._getframe(1)  # noqa: SLF001
        for _ in range(_CALLS_UP):
            handler = frame.f_locals.get("self")
            if isinstance(handler, CallbackHandler) and self in handler.callbacks:
                # Another list: this one is being gone through.
                handler.callbacks = [self, *(each for each in handler.callbacks if each is not self)]
                return
            if frame.f_back is None:
                return
            frame = frame.f_back


def _before(state: Any) -> dict[str, Any]:
    """The numbers in the checkpoint that a training resumes from."""
    saved = state.stateful_callbacks.get(EnergyCallback.__name__) or {}
    first = saved[0] if isinstance(saved, list) else saved  # a list where there were several
    return dict(first.get("attributes", {}).get("resumed", {}))


def _gpus(args: Any) -> list[int]:
    """The GPUs that this process trains on, as it sees them."""
    if args.device.type != "cuda":
        return []
    return list(range(args.n_gpu)) if args.n_gpu > 1 else [args.device.index or 0]
