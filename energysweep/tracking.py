"""Meter any piece of code: ``with energysweep.track("preprocess") as measured: ...``"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from energysweep import carbon
from energysweep.agent.accounts import Sweep
from energysweep.agent.connect import connect
from energysweep.agent.keys import new_key
from energysweep.agent.protocol import Hello
from energysweep.meters.visible_gpus import name_gpus

log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """What a piece of code has cost; filled in when its block ends, None before.

    Attributes:
        name: as given.
        energy_joules: what its work drew, and its share of the idle floor for the CPUs that it reserved.
        active_energy_joules: of that, what its work drew.
        duration_seconds: how long it took.
        emissions_grams: CO2e of its energy.
        source: which meters measured it, and why not better ones. A sentence; says so where it is an estimate.
    """

    name: str
    energy_joules: float | None = None
    active_energy_joules: float | None = None
    duration_seconds: float | None = None
    emissions_grams: float | None = None
    source: str = ""

    @property
    def power_watts(self) -> float | None:
        """Mean power, None before the end."""
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
    Blocks may be nested; a joule of an inner block is not booked to the outer one as well.

    Args:
        name: what it is called on dashboards.
        cpus: logical CPUs to pay the idle floor of; none by default.
        gpus: GPUs that it uses, as ``CUDA_VISIBLE_DEVICES`` takes them: UUIDs, or numbers as this process sees them.
        meters: ``auto`` or kinds of meters, if an agent has to be started.
        country, region, grams_per_kwh, pue: the grid; the world's average by default.

    Yields:
        Measurement: to be read after the block.

    Raises:
        AgentUnreachable, LeaseRefused
        InputError: no such zone or meter.
    """
    grid = carbon.resolve(country, region, grams_per_kwh, pue)
    sweep = Sweep(grams_per_kwh=grid.grams_per_kwh, zone=grid.zone, carbon_source=grid.source, pue=grid.pue)
    measured = Measurement(name)
    # A run of its own: an inner block may have the same name, and the agent can let go of what has ended.
    hello = Hello(run=f"track-{secrets.token_hex(8)}", key=new_key(), sweep=sweep)
    client = connect(hello, meters, port=0)
    try:
        named = name_gpus([str(gpu) for gpu in gpus], os.environ)
        if named.problem:
            log.warning("a GPU of %s is not measured: %s", name, named.problem)
        lease = client.open(name, cpus=cpus, gpus=dict.fromkeys(named.names, 1.0))
        before = lease.before  # the block begins when the agent knows of it
        began = time.monotonic()
        try:
            yield measured
        finally:
            spent = lease.close()
            measured.duration_seconds = time.monotonic() - began
            measured.energy_joules = spent.energy_joules - before.energy_joules
            measured.active_energy_joules = spent.active_energy_joules - before.active_energy_joules
            measured.emissions_grams = grid.emissions_grams(measured.energy_joules)
            measured.source = "; ".join(said for said in (client.agent["notes"], named.problem) if said)
            client.close_window()
    finally:
        client.close()
