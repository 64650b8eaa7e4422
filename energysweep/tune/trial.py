"""The metered trainable: any Ray Tune trainable, whose results carry the energy that the trial has cost."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.tune import Trainable
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.registry import get_trainable_cls
from ray.tune.trainable import FunctionTrainable, wrap_function

from energysweep.accounting.accounts import Sweep
from energysweep.core import carbon
from energysweep.core.errors import InputError, SweepError
from energysweep.core.records import readable
from energysweep.meters import Component
from energysweep.tune.metering import Metering, TrialEnergy
from energysweep.tune.points import unwrap
from energysweep.tune.trainable import standing_in, takes_config

log = logging.getLogger(__name__)


def metered(
    trainable: Callable[..., Any] | type[Trainable] | str,
    *,
    meters: tuple[str, ...] = ("auto",),
    idle_power_watts: Mapping[Component, float] | None = None,
    country: str | None = None,
    region: str | None = None,
    grams_per_kwh: float | None = None,
    pue: float = 1.0,
) -> type[Trainable]:
    """A trainable for one's own ``tune.Tuner``, whose results carry the energy that the trial has cost.

    Each result gets ``energy_joules`` (active energy and idle share, over all attempts), ``active_energy_joules``,
    ``power_watts`` (mean since the last result) and ``emissions_grams``: metrics for schedulers and searchers, all
    without start-up (imports, a class's setup, blocks of ``energysweep.startup``), which ``startup_joules`` has.

    Args:
        trainable: what ``Tuner`` takes: a function, a class, a registered name, also with resources or parameters.
        meters: ``auto`` or kinds of meters, for the agent that is started where none runs.
        idle_power_watts: idle floors by component, if they are known.
        country, region, grams_per_kwh, pue: the grid, as in the sweep YAML; the world's average by default.

    Raises:
        InputError: an unknown zone, or nothing that Tune could run.
    """
    grid = carbon.resolve(country, region, grams_per_kwh, pue)
    sweep = Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.told, pue=grid.pue)
    return metered_class(trainable, Metering(meters=meters, idle_power_watts=idle_power_watts or {}, sweep=sweep))


def metered_class(
    trainable: Callable[..., Any] | type[Trainable] | str,
    metering: Metering,
    resources: Callable[[dict[str, Any]], PlacementGroupFactory] | None = None,
) -> type[Trainable]:
    """The subclass of the trainable that holds a lease while it works.

    Args:
        trainable: as in ``metered``.
        metering: how it is metered.
        resources: what a trial of a given config reserves; None: what the trainable says itself.
    """
    given: dict[str, Any] = {}  # to a function, by tune.with_parameters, in the worker
    base: type[Trainable] = _as_class(trainable, given)
    is_function = issubclass(base, FunctionTrainable)

    class Metered(_TellsRefusal, base):
        def __init__(self, config: dict[str, Any] | None = None, storage: Any = None) -> None:
            self._energy = TrialEnergy(metering, can_report=is_function)
            self._point = config or {}  # what unwrap hides from the trainable
            super().__init__(unwrap(config or {}), storage)

        def setup(self, config: dict[str, Any], **parameters: Any) -> None:
            self._begin(self._energy, self._point)
            with _errors_said():
                super().setup(config, **(_keep(parameters, given) if is_function else parameters))

        def step(self) -> dict[str, Any]:
            self._energy.begin_work()
            return self._energy.added_to(super().step(), is_function)

        def train(self) -> dict[str, Any]:
            with _errors_said():
                return dict(super().train())

        def reset(self, new_config: dict[str, Any], *args: Any, **kwargs: Any) -> bool:
            # What the old function does from here on, in its finally clauses, reaches no result.
            self._energy.end()
            self._point = new_config
            return bool(super().reset(unwrap(new_config), *args, **kwargs))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if is_function:  # waits for the end of the old function; the new one starts at the first step
                done = bool(super().reset_config(new_config))
                self._energy.begin(self, self._point)
                return done
            self._energy.begin(self, self._point)
            return bool(super().reset_config(new_config))

        def cleanup(self) -> None:
            self._energy.end()
            super().cleanup()

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
            return resources(config) if resources else super().default_resource_request(unwrap(dict(config)))

    return _named_like(base, Metered)


class _TellsRefusal(Trainable):
    """A trainable that cannot be metered, and tells why in its first task.

    A worker whose actor fails to be made is ended by Ray at once, which may crash (2.60): then nobody is told why.
    """

    _refusal: InputError | None = None

    def _begin(self, energy: TrialEnergy, point: dict[str, Any]) -> None:
        try:
            energy.begin(self, point)
        except InputError as error:
            self._refusal = error

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        if self._refusal is None:
            super().setup(config, **parameters)

    def train(self) -> dict[str, Any]:
        if self._refusal is not None:
            raise self._refusal
        return super().train()

    def restore(self, *args: Any, **kwargs: Any) -> Any:
        if self._refusal is not None:
            raise self._refusal
        return super().restore(*args, **kwargs)

    def cleanup(self) -> None:
        if self._refusal is None:  # else it was never set up
            super().cleanup()


def _named_like(base: type[Trainable], subclass: type[Trainable]) -> type[Trainable]:
    subclass.__name__ = subclass.__qualname__ = getattr(base, "_name", None) or base.__name__
    subclass.__doc__ = base.__doc__
    return subclass


@contextmanager
def _errors_said() -> Iterator[None]:
    """An error whose text Ray cannot pass on, and would end the worker over, is passed on as one that it can."""
    try:
        yield
    except Exception as error:
        whole = "".join(traceback.format_exception(error))
        if readable(whole) == whole:
            raise
        log.error("%s", readable(whole))  # noqa: TRY400 - its own text would end the worker here, too
        raise SweepError(readable("".join(traceback.format_exception_only(error)).strip())) from None


def _as_class(trainable: Callable[..., Any] | type[Trainable] | str, given: Mapping[str, Any]) -> type[Trainable]:
    if isinstance(trainable, str):
        trainable = get_trainable_cls(trainable)
    if inspect.isclass(trainable) and issubclass(trainable, Trainable):
        return trainable
    if inspect.isclass(trainable) or not callable(trainable):
        raise InputError(
            f"{trainable!r} is nothing that Ray Tune can run: give it a function or a tune.Trainable class"
        )
    if not takes_config(trainable, alone=False):
        raise InputError(f"{getattr(trainable, '__name__', trainable)!r} must take one argument, config")
    return wrap_function(standing_in(trainable, lambda config: trainable(config, **given)))


def _keep(parameters: Mapping[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Tune's function trainable takes no parameters at its setup: the function itself is called with them."""
    given.update(parameters)
    return {}
