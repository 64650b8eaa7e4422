"""Meter any piece of code: ``with energysweep.track("preprocess") as measured: ...``"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from energysweep.accounting.accounts import Sweep
from energysweep.agent.client import AgentClient, Lease, Spent
from energysweep.agent.lifecycle import connect
from energysweep.agent.proof import new_key
from energysweep.agent.protocol import Hello, Open, first_problem, label
from energysweep.core import carbon
from energysweep.core.errors import AgentError, AgentUnreachable, EnergysweepError, InputError, one_line
from energysweep.meters.visible_gpus import name_gpus

_MOST_UNCOUNTED_SECONDS = 0.5  # at the end of a block a counter may still stand for its next step
_MOST_UNCOVERED_PART = 0.1

log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """What a piece of code has cost; filled in when its block ends, None before, and None if it was not measured.

    Attributes:
        name: as given.
        energy_joules: what its work drew, and its share of the idle floor for the CPUs that it reserved.
        active_energy_joules: of that, what its work drew.
        duration_seconds: how long it took.
        emissions_grams: CO2e of its energy.
        source: which meters measured it, and why not better ones. A sentence; says so where it is an estimate, and why
            where it was not measured.
    """

    name: str
    energy_joules: float | None = None
    active_energy_joules: float | None = None
    duration_seconds: float | None = None
    emissions_grams: float | None = None
    source: str = ""

    @property
    def power_watts(self) -> float | None:
        """Mean power, None before the end and where nothing was measured."""
        if self.energy_joules is None or not self.duration_seconds:
            return None
        return self.energy_joules / self.duration_seconds


@contextmanager
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
) -> Iterator[Measurement]:
    """Meter the block: this process and its children, and nobody else on the host.

    It uses the agent of this host; where none runs, it starts one, which ends some time after the last block.
    Blocks may be nested, and be open in several threads at once: each sees all that the process and its children draw
    while it is open, so an inner block's joules are part of the outer one's. A block inside a trial takes nothing from
    the trial.

    Once the block has begun, nothing that goes wrong with its metering stops it. What could not be measured is None,
    and a warning says why.

    Args:
        name: what it is called on dashboards.
        cpus: logical CPUs to pay the idle floor of; none by default.
        gpus: GPUs that it uses, as ``CUDA_VISIBLE_DEVICES`` takes them: UUIDs, or numbers as this process sees them.
        meters: ``auto`` or kinds of meters, if an agent has to be started.
        country, region, grams_per_kwh, pue: the grid; the world's average by default.

    Yields:
        Measurement: to be read after the block.

    Raises:
        AgentUnreachable, LeaseRefused: before the block begins.
        InputError: no such zone or meter; a name, CPUs or GPUs that cannot be.
    """
    grid = carbon.resolve(country, region, grams_per_kwh, pue)
    sweep = Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.source, pue=grid.pue)
    measured = Measurement(name)
    block = _Block(name, sweep, cpus, gpus, meters)
    block.begin()
    try:
        began = time.monotonic()
        try:
            yield measured
        finally:
            measured.duration_seconds = time.monotonic() - began
            measured.source = block.source
            try:
                spent = block.end(measured.duration_seconds)
            except EnergysweepError as error:
                measured.source = f"not measured: {error}"
                log.warning("the block %s is not measured: %s", one_line(name), error)
            else:
                measured.energy_joules = spent.energy_joules
                measured.active_energy_joules = spent.active_energy_joules
                measured.emissions_grams = grid.emissions_grams(spent.energy_joules)
                if problem := _missing(spent):
                    measured.source = f"{measured.source}; {problem}"
                    log.warning("of the block %s joules are missing: %s", one_line(name), problem)
    finally:
        block.close()


class _Block:
    """The lease of one block, as a run of its own: an inner block may have the same name, and both see what they drew.

    Attributes:
        source: which meters its agent has, and why not better ones.
    """

    def __init__(self, name: str, sweep: Sweep, cpus: float, gpus: Sequence[str | int], meters: Sequence[str]) -> None:
        self._meters = meters
        self._hello = Hello(run=f"track-{secrets.token_hex(8)}", key=new_key(), sweep=sweep)
        self._gpus = name_gpus([str(gpu) for gpu in gpus], os.environ)
        try:
            held = dict.fromkeys(self._gpus.names, 1.0)
            request = Open.model_validate({"lease": uuid.uuid4().hex, "trial": label(name), "cpus": cpus, "gpus": held})
        except ValidationError as error:
            place, message = first_problem(error)
            raise InputError(one_line(message), key=f"track: {one_line(place.replace('trial', 'name'))}") from error
        self._request = request
        self.source = ""

    def begin(self) -> None:
        """From now on it counts: it begins when the agent knows of it."""
        self._client = connect(self._hello, self._meters, port=0)
        try:
            self.source = "; ".join(said for said in (self._client.agent["notes"], self._gpus.problem) if said)
            if self._gpus.problem:
                log.warning("a GPU of %s is not measured: %s", one_line(self._request.trial), self._gpus.problem)
            self._lease = self._opened(self._client)
        except BaseException:
            self._client.close()
            raise

    def _opened(self, client: AgentClient) -> Lease:
        request = self._request
        lease = client.open(request.trial, request.cpus, request.gpus, lease_id=request.lease)
        client.wait(lease.opened)
        return lease

    def end(self, seconds: float) -> Spent:
        """What it has cost.

        Args:
            seconds: how long it has taken.

        Raises:
            AgentError: it has not been measured, or not for all the time.
        """
        try:
            spent = self._lease.close()
        except AgentUnreachable:
            spent = self._found_again().close()
        with contextlib.suppress(AgentError):  # it has all that matters
            self._client.close_window()
        if spent.held_seconds < seconds - _MOST_UNCOUNTED_SECONDS:
            raise AgentError(f"its agent has counted only {spent.held_seconds:.1f} of its {seconds:.1f} s")
        if spent.covered_seconds <= 0:
            raise AgentError(
                f"no meter has told anything in its {seconds:.3g} s: it is too short for them, or they have failed"
            )
        return spent

    def _found_again(self) -> Lease:
        """The lease at the agent that has taken the place of the one that has gone, which may know it."""
        window = self._client.agent["window"]
        self._client.close()
        self._client = connect(self._hello, self._meters, port=0)
        if self._client.agent["window"] != window:
            raise AgentError("its agent has gone, and what it knew with it")
        return self._opened(self._client)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _missing(spent: Spent) -> str | None:
    """What a number lacks, if it is much."""
    # Not by the mean: one of many devices may be the one that draws the most.
    least = spent.least_covered_seconds
    if 0 < least >= spent.held_seconds - max(_MOST_UNCOUNTED_SECONDS, _MOST_UNCOVERED_PART * spent.held_seconds):
        return None
    return f"of a device that it uses the meters have covered only {100 * least / spent.held_seconds:.0f} % of its time"
