"""What every meter is: something that reads cumulative energy counters.

A meter never reports power. A sensor that only gives power integrates it inside its own adapter, so that
everybody else subtracts two readings of a counter and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Component = Literal["cpu", "dram", "gpu"]
COMPONENTS: tuple[Component, ...] = ("cpu", "dram", "gpu")


@dataclass(frozen=True, slots=True)
class Device:
    """One counter of one host.

    Attributes:
        name: unique on its host and stable over reboots: ``package-0``, ``dram-0``, ``GPU-<uuid>``.
        component: ``cpu``, ``dram`` or ``gpu``.
        source: the kind of meter that reads it (``rapl``, ``nvml_counter``, ...).
        wraps_at_joules: the counter starts again from 0 at this energy; None if it never does.
        resolution_joules: one step of the counter, None if unknown.
        maximum_watts: what the device can draw at most, None if unknown; a jump beyond it is no energy.
        idle_watts: what the source's own model says of an idle device, None unless it is a model.
        index: the number by which CUDA and nvidia-smi call a GPU, None for other devices.
    """

    name: str
    component: Component
    source: str
    wraps_at_joules: float | None = None
    resolution_joules: float | None = None
    maximum_watts: float | None = None
    idle_watts: float | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device's counter said.

    Attributes:
        device: the device.
        energy_joules: cumulative energy since some zero of the counter's own; None if this reading failed.
        problem: why it failed, None if it did not.
    """

    device: Device
    energy_joules: float | None
    problem: str | None = None


class Meter(Protocol):
    """One kind of hardware counter, with all its devices on this host."""

    @property
    def kind(self) -> str:
        """``rapl``, ``nvml_counter``, ``nvml_power``, ``estimate`` or ``replay``."""

    @property
    def devices(self) -> Sequence[Device]:
        """The devices that ``read`` reports, in a fixed order."""

    def read(self) -> list[Reading]:
        """One reading per device, in the order of ``devices``. Never raises: a failed one is None."""

    def close(self) -> None:
        """Let go of the hardware. Reading afterwards is an error of the caller."""


class GpuProcesses(Protocol):
    """A meter that can also say which processes use a GPU (only NVML's adapters do)."""

    def process_utilisation(self) -> dict[str, dict[int, float] | None]:
        """For each device: SM utilisation by pid since the last call, in percent.

        None: the driver does not say. An empty table: it says that nobody used the device.
        """


Event = Literal["wrap", "reset", "jump"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a counter moved by between two readings.

    Attributes:
        joules: the energy in between; None if the two readings cannot be subtracted (a reset, or an impossible jump).
        event: what happened to the counter, None if it simply went on.
    """

    joules: float | None
    event: Event | None = None


def energy_between(device: Device, earlier_joules: float, later_joules: float, seconds: float) -> Step:
    """The energy that a counter saw between two of its readings.

    A counter that went down has wrapped if its range is known and the energy that this implies is one that the device
    could have drawn in that time; otherwise it was reset, and what it saw is unknown.

    Args:
        device: whose counter it is.
        earlier_joules: the first reading.
        later_joules: the second reading, of the same boot.
        seconds: the time between them.
    """
    joules = later_joules - earlier_joules
    event: Event | None = None
    if joules < 0:
        if device.wraps_at_joules is None:
            return Step(None, "reset")
        joules += device.wraps_at_joules
        event = "wrap"
        # Without a known maximum a reset of a half-full counter cannot be told from a wrap.
        if joules < 0 or _impossible(device, joules, seconds):
            return Step(None, "reset")
    if _impossible(device, joules, seconds):
        return Step(None, "jump")
    return Step(joules, event)


def _impossible(device: Device, joules: float, seconds: float) -> bool:
    if device.maximum_watts is None:
        return False
    # A counter is updated in steps: allow one second of full power on top of the interval.
    return joules > device.maximum_watts * (seconds + 1.0)
