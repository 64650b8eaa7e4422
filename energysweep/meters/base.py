"""What every meter is: something that reads cumulative energy counters.

A meter never reports power. A sensor that only gives power integrates it inside its own adapter, so that
everybody else subtracts two readings of a counter and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

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
        wraps_after_seconds: no sooner can the counter have gone through its whole range; None if it never does, or if
            nobody knows. After a longer interval the number of wraps is unknown.
        moves_within_seconds: a counter that works moves at least this often, because its device always draws something;
            None if it may stand still.
        maximum_watts: what the device can draw at most, None if unknown; a jump beyond it is no energy.
        idle_watts: what the source's own model says of an idle device, None unless it is a model.
        index: the number by which CUDA and nvidia-smi call a GPU, None for other devices.
        is_partitioned: the GPU is in MIG mode: it is held in parts, by instances, which have no counters of their own.
    """

    name: str
    component: Component
    source: str
    wraps_at_joules: float | None = None
    wraps_after_seconds: float | None = None
    moves_within_seconds: float | None = None
    resolution_joules: float | None = None
    maximum_watts: float | None = None
    idle_watts: float | None = None
    index: int | None = None
    is_partitioned: bool = False


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


class Meter(ABC):
    """One kind of hardware counter, with all its devices on this host.

    Attributes:
        kind: the name of its row in ``kinds.KINDS``.
        devices: what ``read`` reports, in a fixed order.
        lacking: why it does not measure a component that it was asked for, one sentence each, for people.
        contained: components that it counts inside another's device; whatever measured them would count them twice.
    """

    kind: str
    devices: Sequence[Device]
    lacking: Mapping[Component, str] = MappingProxyType({})
    contained: frozenset[Component] = frozenset()

    @abstractmethod
    def read(self) -> list[Reading]:
        """One reading per device, in the order of ``devices``. Never raises: a failed one is None."""

    def start(self, now_seconds: float) -> None:  # noqa: B027 - most have nothing to begin
        """The agent's first window opens, at this time of the host's clock. Only a trace begins then."""

    def remarks(self, component: Component) -> list[str]:
        """What its devices of a component are, or leave out, one clause each, for people. Settled at the opening."""
        del component
        return []

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of the hardware. Reading afterwards is an error of the caller."""


class GpuPart(NamedTuple):
    """What the name of a GPU or of a MIG instance stands for: a device, and the part of it (1 for all)."""

    device: str
    part: float


def gpu_text(name: str) -> str:
    """A GPU that no meter counts, by the name that a lease has for it, for people."""
    if name.isdigit():
        return f"GPU {name} (a number alone, which may be another board's elsewhere)"
    return f"GPU {name if name.isprintable() else ascii(name)}"


class GpuMeter(Meter):
    """A meter of GPUs. What it knows of them beside their energy is this; by default nothing."""

    @property
    def listed(self) -> Mapping[str, str]:
        """All GPUs that answered at the opening, whoever measures them: a text for people by UUID."""
        return {device.name: f"GPU {device.name}" for device in self.devices}

    @property
    def boards(self) -> int:
        """How many GPUs the driver counted at the opening."""
        return len(self.listed)

    def process_utilisation(self) -> dict[str, dict[int, float] | None]:
        """For each device: SM utilisation by pid since the last call, in percent.

        None: the driver does not say. An empty table: it says that nobody used the device. Of a partitioned GPU: the
        part of the board, in percent, whose instance the process is in, shared with the instance's other processes.
        """
        return dict.fromkeys(device.name for device in self.devices)

    def processes(self, devices: Collection[str]) -> dict[str, frozenset[int] | None]:
        """The pids that have work on each of its devices among these, partitioned ones left out.

        None: the driver does not say. A process counts from when it opens the device until it lets go of it, also while
        it does nothing; what only draws a screen does not count.
        """
        return dict.fromkeys(device.name for device in self.devices if device.name in devices)

    def instances(self) -> dict[str, GpuPart]:
        """The MIG instances of all devices that exist now, by each of their names."""
        return {}

    def problems(self) -> list[str]:
        """What is wrong with its devices now, one clause each."""
        return []


Event = Literal["wrap", "reset", "jump", "overrun", "frozen"]
EVENTS: tuple[Event, ...] = ("wrap", "reset", "jump", "overrun", "frozen")


@dataclass(frozen=True, slots=True)
class Step:
    """What a counter moved by between two readings.

    Attributes:
        joules: the energy in between; None if the two readings cannot be subtracted.
        event: what happened to the counter, None if it simply went on: a ``wrap`` is put right; a ``reset``, a ``jump``
            beyond what the device can draw and an ``overrun`` (so long an interval that it may have wrapped unseen)
            leave the energy unknown. ``frozen`` is for whoever sees more than two readings.
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
    if device.wraps_after_seconds is not None and seconds >= device.wraps_after_seconds:
        return Step(None, "overrun")
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
