"""Meter any piece of code: ``with energysweep.track("preprocess") as measured: ...``"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import secrets
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from pydantic import ValidationError

from energysweep.accounting.accounts import Sweep
from energysweep.agent.client import AgentClient, Lease, Spent
from energysweep.agent.lifecycle import connect
from energysweep.agent.proof import new_key
from energysweep.agent.protocol import Hello, Open, first_problem, label
from energysweep.core import carbon, spending
from energysweep.core.errors import AgentError, AgentUnreachable, EnergysweepError, InputError, one_line
from energysweep.core.spending import Measurement
from energysweep.meters.visible_gpus import name_gpus

_MOST_UNCOUNTED_SECONDS = 0.5  # at the end of a block a counter may still stand for its next step
_MOST_UNCOVERED_PART = 0.1

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


class BlockOptions(carbon.CarbonOptions, total=False):
    """The arguments of ``track`` that say how a block is metered."""

    cpus: float
    gpus: Sequence[str | int]
    meters: Sequence[str]


def track(
    name: str,
    *,
    cpus: float = 0.0,
    gpus: Sequence[str | int] = (),
    meters: Sequence[str] = ("auto",),
    country: str | None = None,
    region: str | None = None,
    grams_per_kwh: float | None = None,
    pue: float = 1.0,
    then: Callable[[Measurement], object] | None = None,
) -> Tracking:
    """Meter a block, or each call of a function: this process and its children, and nobody else on the host.

    ``with track("preprocess") as measured: ...`` gives the Measurement, which is filled in when the block ends; what it
    has cost so far, ``energysweep.spent()`` tells. ``@track("preprocess", then=print)`` makes each call of a function a
    block of its own, and gives its Measurement to ``then``. Of an ``async def``, a call lasts from its first step to
    its end, with all that other tasks do meanwhile; of a function that returns a coroutine, from the call to the
    coroutine's end. What a function leaves to be done by others (a task, a generator that is not its own) is not in its
    block. A generator is refused: between its steps its caller works, and
    would be metered with it. So it is by a block around a ``yield``, which is also what the caller's ``spent()`` tells.

    It uses the agent of this host; where none runs, it starts one, which ends some time after the last block.
    Blocks may be nested, and be open in several threads or tasks at once: CPU time of a process cannot be told apart by
    who asked for it, so each sees all that the process and its children draw while it is open. An inner block's joules
    are part of the outer one's; those of two at the same time are in both, and are no sum: only the host's own account,
    which has every joule once, adds up. A block inside a trial takes nothing from the trial.

    Once the block has begun, nothing that goes wrong with its metering stops it. What could not be measured is None,
    and a warning says why.

    Args:
        name: what it is called on dashboards.
        cpus: logical CPUs to pay the idle floor of; none by default.
        gpus: GPUs that it uses, as ``CUDA_VISIBLE_DEVICES`` takes them: UUIDs, or numbers as this process sees them.
        meters: ``auto`` or kinds of meters, if an agent has to be started.
        country, region, grams_per_kwh, pue: the grid; the world's average by default.
        then: called with the Measurement of each block when it has ended, also where an error has ended it.

    Raises:
        AgentUnreachable: no agent answers and none can be started, when a block begins, before it does.
        LeaseRefused: the agent says no, likewise.
        InputError: no such zone or meter; a name, CPUs or GPUs that cannot be (when a block begins); something to
            decorate that has no calls to meter.
    """
    if not isinstance(name, str):  # also where ``@track`` stands without a call
        raise InputError('the first argument is a name: track("preprocess")', key="track: name")

    def begin() -> _Block:
        grid = carbon.resolve(country, region, grams_per_kwh, pue)
        return _Block(name, grid, cpus, gpus, meters)

    return Tracking(begin, then)


class Tracking(contextlib.AbstractContextManager[Measurement]):
    """What ``track`` gives: enter it for one block after the other, or decorate a function with it.

    Args:
        make: makes a block that has not begun.
        then: called with what each has cost.
    """

    def __init__(self, make: Callable[[], _Block], then: Callable[[Measurement], object] | None) -> None:
        self._make, self._then = make, then
        self._block: _Block | None = None

    def __enter__(self) -> Measurement:
        if self._block is not None:
            raise InputError("this block is open; call energysweep.track again for another one")
        block = self._make()
        block.begin()
        self._block = block
        return block.measured

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._block is not None:
            block, self._block = self._block, None
            block.end()
            if self._then is not None:
                self._then(block.measured)

    @property
    def source(self) -> str:
        """Which meters measure the open block, and why not better ones; empty where none is open."""
        return "" if self._block is None else self._block.source

    def report(self) -> Mapping[str, float]:
        """What the open block has cost so far, as a trial's result names it, with its power since the last time.

        Only what is known: nothing where no block is open, or its agent does not answer.
        """
        return {} if self._block is None else self._block.report()

    def __call__(self, function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        """The function, each of whose calls is a block.

        Raises:
            InputError: it has no calls that could be metered; when it is called, that it gives a generator of its own,
                which a decorator in between has hidden.
        """
        key = f"track: {one_line(getattr(function, '__qualname__', function))}"
        if problem := _cannot_be_decorated(function):
            raise InputError(problem, key=key)

        if _is(inspect.iscoroutinefunction, function):

            @functools.wraps(function)
            async def call_async(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Any:
                with Tracking(self._make, self._then):
                    return await cast("Awaitable[Any]", function(*args, **kwargs))

            return cast("Callable[_Arguments, _Result]", call_async)

        @functools.wraps(function)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Any:
            with contextlib.ExitStack() as open_block:
                tracking = Tracking(self._make, self._then)
                open_block.enter_context(tracking)
                result = function(*args, **kwargs)
                if inspect.iscoroutine(result):  # another decorator hides that it is a coroutine function
                    tracking._hand_over()
                    open_block.pop_all()
                    return tracking._until_its_end(result)
                if inspect.isgenerator(result) and result.gi_code is _code(function):
                    raise InputError(_IS_GENERATOR, key=key)
                if inspect.isasyncgen(result) and result.ag_code is _code(function):
                    raise InputError(_IS_GENERATOR, key=key)
            return result

        return call

    def _hand_over(self) -> None:
        """The open block is no longer around who has opened it."""
        if self._block is not None:
            self._block.leave()

    async def _until_its_end(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine gives; the open block, which nobody is in, is around it, and ends with it."""
        if self._block is not None:
            self._block.enter()
        with contextlib.ExitStack() as open_block:
            open_block.push(self)
            return await coroutine


_IS_GENERATOR = (
    "a generator's caller works between its steps, and would be metered with it: write `with track(...)` inside of it,"
    " around what it does between two yields and with no yield in it, or around the loop that takes from it"
)


def _cannot_be_decorated(function: Any) -> str | None:
    if isinstance(function, staticmethod | classmethod):
        return "write track below the line with staticmethod or classmethod, so that it is given the function"
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        return _IS_GENERATOR
    if inspect.isclass(function) or not callable(function):
        return "track decorates a function, or a coroutine function"
    return None


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function, or what a call of an object calls, is of a kind."""
    return kind(function) or kind(type(_inner(function)).__call__)


def _inner(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _code(function: Any) -> Any:
    """The code of the function that others, which say so (``functools.wraps``), are around; None where it has none."""
    while (inner := inspect.unwrap(_inner(function))) is not function:
        function = inner
    return getattr(function, "__code__", None)


class _Block:
    """The lease of one block, as a run of its own: an inner block may have the same name, and both see what they drew.

    Attributes:
        measured: what it has cost; filled in when it ends.
        source: which meters measure it, and why not better ones.
    """

    def __init__(
        self, name: str, grid: carbon.Intensity, cpus: float, gpus: Sequence[str | int], meters: Sequence[str]
    ) -> None:
        self._meters = meters
        self._grid = grid
        sweep = Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.told, pue=grid.pue)
        self._hello = Hello(run=f"track-{secrets.token_hex(8)}", key=new_key(), sweep=sweep)
        self._gpus = name_gpus([str(gpu) for gpu in gpus], os.environ)
        try:
            held = dict.fromkeys(self._gpus.names, 1.0)
            request = Open.model_validate({"lease": uuid.uuid4().hex, "trial": label(name), "cpus": cpus, "gpus": held})
        except ValidationError as error:
            place, message = first_problem(error)
            raise InputError(one_line(message), key=f"track: {one_line(place.replace('trial', 'name'))}") from error
        self._request = request
        self._lock = threading.Lock()  # held by who looks for another agent
        self._is_over = False
        self.source = ""
        self.measured = Measurement(name)

    def begin(self) -> None:
        """From now on it counts: it begins when the agent knows of it.

        Raises:
            AgentUnreachable, LeaseRefused, InputError
        """
        self._client = connect(self._hello, self._meters, port=0)
        try:
            self._window = self._client.agent["window"]
            self.source = "; ".join(said for said in (self._client.agent["notes"], self._gpus.problem) if said)
            if self._gpus.problem:
                log.warning("a GPU of %s is not measured: %s", one_line(self._request.trial), self._gpus.problem)
            self._lease = self._opened(self._client)
        except BaseException:
            self._client.close()
            raise
        self._began = time.monotonic()
        self.enter()

    def enter(self) -> None:
        """It is around what this thread or task does from now on."""
        self._open = spending.begin_block(self)

    def leave(self) -> None:
        """It is around nobody, and goes on."""
        spending.end_block(self._open)

    def _opened(self, client: AgentClient) -> Lease:
        request = self._request
        lease = client.open(request.trial, request.cpus, request.gpus, lease_id=request.lease)
        client.wait(lease.opened)
        return lease

    def spent(self) -> Measurement | None:
        """What it has cost so far; None while its agent does not answer, and before a meter has told anything."""
        now = self._asked(Lease.ask)
        if now is None or not now.is_known:
            return None
        return Measurement(
            self.measured.name,
            now.energy_joules,
            now.active_energy_joules,
            time.monotonic() - self._began,
            self._grid.emissions_grams(now.energy_joules),
            self.source,
        )

    def report(self) -> dict[str, float]:
        """The same by the names of a trial's results, with the mean power since the report before."""
        now = self._asked(Lease.report)
        if now is None or not (now.is_known or now.power_watts):
            return {}
        told = {
            "energy_joules": now.energy_joules,
            "active_energy_joules": now.active_energy_joules,
            "power_watts": now.power_watts,
            "emissions_grams": self._grid.emissions_grams(now.energy_joules),
        }
        return {name: value for name, value in told.items() if value is not None}

    def _asked(self, ask: Callable[[Lease], Spent]) -> Spent | None:
        try:
            return self._from_agent(ask)
        except EnergysweepError:  # it is told at the end, if it is still so
            return None

    def _from_agent(self, ask: Callable[[Lease], Spent]) -> Spent:
        lease = self._lease
        try:
            return ask(lease)
        except AgentUnreachable:
            with self._lock:
                if self._lease is lease:
                    self._find_again()
            return ask(self._lease)

    def end(self) -> None:
        """It has ended: fill in what it has cost, or why that is not known, and disconnect. Raises nothing."""
        self.leave()
        measured = self.measured
        measured.duration_seconds = time.monotonic() - self._began
        measured.source = self.source
        name = one_line(measured.name)
        try:
            spent = self._closed(measured.duration_seconds)
        except EnergysweepError as error:
            measured.source = f"not measured: {error}"
            log.warning("the block %s is not measured: %s", name, error)
            return
        finally:
            self._is_over = True
            self._client.close()
        measured.energy_joules = spent.energy_joules
        measured.active_energy_joules = spent.active_energy_joules
        measured.emissions_grams = self._grid.emissions_grams(spent.energy_joules)
        if problem := _missing(spent):
            measured.source = f"{measured.source}; {problem}"
            log.warning("of the block %s joules are missing: %s", name, problem)

    def _closed(self, seconds: float) -> Spent:
        """What it has cost in the end.

        Args:
            seconds: how long it has taken.

        Raises:
            AgentError: it has not been measured, or not for all the time.
            InputError: the agent that is there now has other meters.
        """
        spent = self._from_agent(Lease.close)
        with contextlib.suppress(AgentError):  # it has all that matters
            self._client.close_window()
        if spent.held_seconds < seconds - _MOST_UNCOUNTED_SECONDS:
            raise AgentError(f"its agent has counted only {spent.held_seconds:.1f} of its {seconds:.1f} s")
        if spent.covered_seconds <= 0:
            raise AgentError(
                f"no meter has told anything in its {seconds:.3g} s: it is too short for them, or they have failed"
            )
        return spent

    def _find_again(self) -> None:
        """The lease at the agent that has taken the place of the one that has gone, which may know it."""
        if self._is_over:
            raise AgentError("it has ended")
        self._client.close()
        self._client = connect(self._hello, self._meters, port=0)
        if self._client.agent["window"] != self._window:
            raise AgentError("its agent has gone, and what it knew with it")
        self._lease = self._opened(self._client)


def _missing(spent: Spent) -> str | None:
    """What a number lacks, if it is much."""
    # Not by the mean: one of many devices may be the one that draws the most.
    least = spent.least_covered_seconds
    if 0 < least >= spent.held_seconds - max(_MOST_UNCOUNTED_SECONDS, _MOST_UNCOVERED_PART * spent.held_seconds):
        return None
    return f"of a device that it uses the meters have covered only {100 * least / spent.held_seconds:.0f} % of its time"
