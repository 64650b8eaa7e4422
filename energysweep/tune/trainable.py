"""What a sweep trains, as something that Ray's workers can be sent."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import ray
from ray.tune import Trainable

from energysweep.core.errors import InputError
from energysweep.sweepfile import Imported, SweepSpec, check_workload, find_workload
from energysweep.tune.command import program


def trainable_of(spec: SweepSpec) -> Callable[[dict[str, Any]], Any] | type[Trainable]:
    """The sweep's workload or program. A worker that gets it imports the workload by its own name.

    Raises:
        InputError: it cannot be loaded, or it is nothing that Ray Tune can run.
    """
    if spec.command is not None:
        check_workload(spec)
        patterns = spec.results.pattern if spec.results else ()
        return program(spec.command, spec.working_dir or str(spec.folder), patterns=patterns)
    found, imported = find_workload(spec)
    sent = _Sent(**vars(imported))
    if inspect.isclass(found):
        if not issubclass(found, Trainable):
            raise InputError(f"{spec.workload} is no tune.Trainable; Ray Tune can run such a class, or a function")
        # Pickled by value, with a base that is imported where it arrives.
        said = {"__orig_bases__": (sent,), "__doc__": found.__doc__, "__module__": __name__}
        return types.new_class(found.__name__, (found,), exec_body=lambda body: body.update(said))
    if not takes_config(found):
        raise InputError(f"{spec.workload} must take one argument, config")

    def call(config: dict[str, Any]) -> Any:
        return sent.load()(config)

    return standing_in(found, call)


def folders_of(spec: SweepSpec) -> tuple[str, ...]:
    """Where the workload's modules are: Ray's tasks and actors that a trial starts import them by their names.

    Raises:
        InputError: it cannot be loaded.
    """
    return () if spec.workload is None else find_workload(spec)[1].folders


class _Sent(Imported):
    """A workload in a worker."""

    def load(self) -> Any:
        """Import it. If its file has gone, or is another one now, nobody else finds by its name what was imported.

        Ray's tasks and actors then get what they need of the module by value.
        """
        found = super().load()
        if self.file is not None and not self._is_still(Path(self.file)):
            ray.cloudpickle.register_pickle_by_value(sys.modules[self.module])
        return found

    def _is_still(self, file: Path) -> bool:
        try:
            return file.read_bytes() == self.source
        except OSError:
            return False


def takes_config(function: Callable[..., Any], alone: bool = True) -> bool:
    """Whether a function can be called with a config; not ``alone``: and with more that is given to it by its name."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # one of C says nothing
        return True
    try:
        signature.bind({}) if alone else signature.bind_partial({})
    except TypeError:
        return False
    return True


def standing_in(function: Callable[..., Any], call: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """What is like ``function`` to Tune (name, resources, mixins, a generator if it is one), and does ``call``."""

    def train(config: dict[str, Any]) -> Any:
        return call(config)

    def generate(config: dict[str, Any]) -> Iterator[Any]:
        yield from call(config)

    made: Any = generate if inspect.isgeneratorfunction(function) else train
    made.__name__ = made.__qualname__ = getattr(function, "__name__", made.__name__)
    for name in ("_resources", "__mixins__"):
        if hasattr(function, name):
            setattr(made, name, getattr(function, name))
    return cast("Callable[[dict[str, Any]], Any]", made)


def can_be_reused(trainable: type[Trainable]) -> bool:
    """Whether one actor can work for several trials: functions can; a class only if it says how to be reset."""
    workload: type[Trainable] = trainable.__bases__[-1]  # what the metered class was made of
    return workload.reset_config is not Trainable.reset_config
