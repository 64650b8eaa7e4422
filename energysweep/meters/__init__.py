"""Meters: whatever counts the energy of a host's devices.

``open_meters`` finds those of a host; each is a ``Meter`` whose readings are cumulative joules. A new kind is a module
with a subclass of ``Meter`` (of ``GpuMeter`` for GPUs) and one row of the table in ``kinds.py``.
"""

from energysweep.core.host import Host, Processors, processors
from energysweep.meters.base import (
    COMPONENTS,
    EVENTS,
    Component,
    Device,
    Event,
    GpuMeter,
    GpuPart,
    Meter,
    Reading,
    Step,
    energy_between,
)
from energysweep.meters.choose import Choice, Opened, open_meters
from energysweep.meters.kinds import KINDS
from energysweep.meters.replay import ReplayMeter

__all__ = [
    "COMPONENTS",
    "EVENTS",
    "KINDS",
    "Choice",
    "Component",
    "Device",
    "Event",
    "GpuMeter",
    "GpuPart",
    "Host",
    "Meter",
    "Opened",
    "Processors",
    "Reading",
    "ReplayMeter",
    "Step",
    "energy_between",
    "open_meters",
    "processors",
]
