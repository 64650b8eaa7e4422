"""Meters: whatever counts the energy of a host's devices.

``open_meters`` finds those of a host; each is a ``Meter`` whose readings are cumulative joules. To add a kind, write a
class with the protocol's four members and add it to ``choose.py`` and to the list in ``tests/meters/test_contract.py``.
"""

from energysweep.core.host import Host, Processors, processors
from energysweep.meters.base import (
    COMPONENTS,
    EVENTS,
    Component,
    Device,
    Event,
    GpuDetails,
    GpuPart,
    Meter,
    Reading,
    Step,
    energy_between,
)
from energysweep.meters.kinds import KINDS, Choice, Opened, open_meters
from energysweep.meters.replay import ReplayMeter

__all__ = [
    "COMPONENTS",
    "EVENTS",
    "KINDS",
    "Choice",
    "Component",
    "Device",
    "Event",
    "GpuDetails",
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
