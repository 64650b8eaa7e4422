"""Which meters a host gets: those that were asked for, or the best for each component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from energysweep.core.errors import InputError, MeterUnavailable
from energysweep.core.host import Host, nvidia_boards, shows_a_part
from energysweep.meters import estimate, nvml, rapl, replay
from energysweep.meters.base import COMPONENTS, Component, Device, GpuDetails, GpuPart, Meter
from energysweep.meters.estimate import EstimateMeter
from energysweep.meters.nvml import NvmlCounter, NvmlPower
from energysweep.meters.nvml_library import NvmlLibrary
from energysweep.meters.rapl import RaplMeter
from energysweep.meters.replay import ReplayMeter

KINDS = ("auto", rapl.KIND, "nvml", nvml.COUNTER_KIND, nvml.POWER_KIND, estimate.KIND, "replay:PATH")
_HOST_COMPONENTS: tuple[Component, ...] = ("cpu", "dram")


@dataclass(frozen=True, slots=True)
class Choice:
    """What one component is measured by, and why not by something better.

    Attributes:
        component: ``cpu``, ``dram`` or ``gpu``.
        kinds: the kinds of meter taken; empty if nothing measures the component.
        detail: what they are, for people ("85 W TDP", "2 devices").
        reason: why there is no better one ("no RAPL: ..."); None if this is the best there is.
        hint: what would make a better one available, if anything would.
    """

    component: Component
    kinds: tuple[str, ...]
    detail: str = ""
    reason: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """One clause of the summary."""
        said = "; ".join(part for part in (self.detail, self.reason) if part)
        what = f"{self.component} by {' and '.join(self.kinds)}" if self.kinds else f"no {self.component.upper()}"
        return f"{what} ({said})" if said else what


@dataclass(frozen=True, slots=True)
class Opened:
    """The open meters of one host.

    Attributes:
        meters: in the order of the components, none of their devices twice.
        notes: one choice per component.
        boards_on_bus: how many GPUs are on the host's buses; an agent's container may have some of them only.
    """

    meters: list[Meter]
    notes: list[Choice] = field(default_factory=list)
    boards_on_bus: int = 0

    @property
    def devices(self) -> list[Device]:
        """All devices, in the order in which the meters report them."""
        return [device for meter in self.meters for device in meter.devices]

    @property
    def gpu_details(self) -> Sequence[GpuDetails]:
        """The meters that know processes and instances of their GPUs."""
        return _nvml_meters(self.meters)

    @property
    def boards(self) -> int:
        """How many GPUs the host has, also those that no meter counts."""
        gpus = sum(1 for device in self.devices if device.component == "gpu")
        return max([gpus, self.boards_on_bus, *(meter.boards for meter in _nvml_meters(self.meters))])

    def held(self, gpus: Mapping[str, float]) -> dict[str, float]:
        """Fractions of GPUs by device: a MIG instance is a part of its board.

        What no meter counts keeps its name. So does an index, because it may be another board's: in a container GPUs
        count from 0, and CUDA's order need not be NVML's. Only if the indices are those of all boards of the host, with
        the same fraction of each, it does not matter whose is whose.

        Args:
            gpus: fractions by the names that ``gpu`` takes.
        """
        fractions = set(gpus.values())
        measured = [device.name for device in self.devices if device.component == "gpu"]
        if len(measured) == self.boards and len(fractions) == 1 and set(gpus) == set(map(str, range(self.boards))):
            return dict.fromkeys(measured, fractions.pop())
        held: dict[str, float] = {}
        for name, fraction in gpus.items():
            device, part = self.gpu(name) or GpuPart(name, 1.0)
            held[device] = held.get(device, 0.0) + fraction * part
        return held

    def gpu(self, name: str) -> GpuPart | None:
        """The GPU that a name stands for, None if there is no such one.

        Args:
            name: a UUID, the unique beginning of one (as CUDA takes it), or a MIG instance's name.
        """
        measured = [device.name for device in self.devices if device.component == "gpu"]
        if name in measured:
            return GpuPart(name, 1.0)
        if name.startswith("GPU-"):
            listed = [uuid for meter in _nvml_meters(self.meters) for uuid in meter.listed]
            alike = [uuid for uuid in dict.fromkeys([*measured, *listed]) if uuid.startswith(name)]
            return GpuPart(alike[0], 1.0) if len(alike) == 1 and alike[0] in measured else None
        if not name.startswith("MIG-"):
            return None
        instances = {key: part for meter in self.gpu_details for key, part in meter.instances().items()}
        parts = [part for key, part in instances.items() if key.startswith(name)]
        return instances.get(name) or (parts[0] if len(parts) == 1 else None)

    def start(self, now_seconds: float) -> None:
        """The agent's first window opens: replays begin. Later calls change nothing."""
        for meter in self.meters:
            if isinstance(meter, ReplayMeter):
                meter.start(now_seconds)

    def close(self) -> None:
        """Closes every meter."""
        for meter in self.meters:
            meter.close()

    def summary(self) -> str:
        """One line: ``meters: cpu by rapl (2 devices), dram by rapl (2 devices), no GPU (NVML library not found)``.

        What is wrong with a device at the moment stands at its end.
        """
        problems = [problem for meter in self.gpu_details for problem in meter.problems()]
        return "; ".join(["meters: " + ", ".join(str(note) for note in self.notes), *dict.fromkeys(problems)])


def open_meters(kinds: Sequence[str], host: Host | None = None) -> Opened:
    """Opens meters of the given kinds.

    ``auto`` takes the best for each component that no other kind in the list measures, and never fails.

    Args:
        kinds: some of ``KINDS``; the replay's may end in ``?after=hold`` (the default) or ``?after=loop``.
        host: where to look; this machine if None.

    Raises:
        InputError: an unknown kind, a wrong trace, or two kinds that would measure the same.
        MeterUnavailable: a kind that was asked for does not exist here.
    """
    host = host or Host()
    if not kinds:
        raise InputError(f"at least one kind of meter is needed: {', '.join(KINDS)}", key="meters")
    meters: list[Meter] = []
    notes: list[Choice] = []
    with ExitStack() as opened:
        for kind in kinds:
            if kind != "auto":
                for meter in _open_kind(kind, host):
                    opened.callback(meter.close)
                    meters.append(meter)
        _check_overlap(meters)
        notes += _notes(meters, shows_a_part(host.proc_root))
        if "auto" in kinds:
            notes = [note for note in notes if note.kinds]
            automatic, automatic_notes = _open_automatic(host, without={note.component for note in notes})
            meters += automatic
            notes += automatic_notes
        opened.pop_all()
    notes.sort(key=lambda note: COMPONENTS.index(note.component))
    return Opened(meters, notes, nvidia_boards(host.sys_root))


def _open_kind(kind: str, host: Host) -> Sequence[Meter]:
    name, _, argument = kind.partition(":")
    if name == replay.KIND:
        path, after = replay.parse_argument(argument)
        return [ReplayMeter(path, host.clock, host.node, after)]
    openers: dict[str, Callable[[], Sequence[Meter]]] = {
        rapl.KIND: lambda: [RaplMeter(host.powercap_roots)],
        "nvml": lambda: _open_gpus(host),
        nvml.COUNTER_KIND: lambda: [NvmlCounter(host.nvml)],
        nvml.POWER_KIND: lambda: [NvmlPower(host.nvml, host.clock)],
        estimate.KIND: lambda: [EstimateMeter(host.proc_root, host.clock)],
    }
    if kind not in openers:
        raise InputError(f"{kind!r} is no kind of meter; there are {', '.join(KINDS)}", key="meters")
    try:
        return openers[kind]()
    except MeterUnavailable as error:
        raise MeterUnavailable(f"the meter {kind} is not available here: {error.reason}", error.hint) from error


def _open_gpus(host: Host) -> Sequence[Meter]:
    """Each GPU by its counter if it has one, the others by their power."""
    library = NvmlLibrary(host.nvml, host.clock)
    meters: list[Meter] = []
    try:
        with suppress(MeterUnavailable):  # none counts its energy
            meters.append(NvmlCounter(library))
        counted = [device.name for meter in meters for device in meter.devices]
        try:
            meters.append(NvmlPower(library, host.clock, without=counted))
        except MeterUnavailable:  # none is left
            if not meters:
                raise
    finally:
        library.close()  # each meter holds it now
    return meters


def _check_overlap(meters: Sequence[Meter]) -> None:
    """No joule twice. Only GPUs have a name that two kinds share; the CPU and the DRAM of a host are one thing each."""
    owners: dict[str, str] = {}
    for meter in meters:
        things = (device.name if device.component == "gpu" else device.component for device in meter.devices)
        for thing in dict.fromkeys(things):
            if thing in owners:
                raise InputError(f"{owners[thing]} and {meter.kind} both measure {thing}; take one", key="meters")
            owners[thing] = meter.kind


def _notes(meters: Sequence[Meter], part_shown: str | None = None) -> list[Choice]:
    """What the components are measured by.

    Args:
        meters: open ones.
        part_shown: why procfs does not say what the whole host does, if it does not.
    """
    notes = []
    for component in COMPONENTS:
        kinds = tuple(meter.kind for meter in meters if any(device.component == component for device in meter.devices))
        lacking = [meter.lacking.get(component) for meter in meters if isinstance(meter, EstimateMeter)]
        if kinds:
            too_much = f"it counts the whole host, whose other users are not seen: {part_shown}"
            reason = too_much if rapl.KIND in kinds and part_shown else None
            notes.append(Choice(component, kinds, _detail(meters, component), reason))
        elif any(lacking):
            notes.append(Choice(component, (), reason="; ".join(why for why in lacking if why)))
    return notes


def _detail(meters: Sequence[Meter], component: Component) -> str:
    owner = next(meter for meter in meters if any(device.component == component for device in meter.devices))
    devices = [device for meter in meters for device in meter.devices if device.component == component]
    remarks = [remark for meter in meters for remark in meter.remarks(component)]
    if component == "gpu":
        listed = {uuid: text for meter in _nvml_meters(meters) for uuid, text in meter.listed.items()}
        silent = sorted(text for uuid, text in listed.items() if uuid not in {device.name for device in devices})
        remarks += [f"{text} is not measured: NVML does not tell its energy" for text in silent]
    count = [] if isinstance(owner, EstimateMeter) else [f"{len(devices)} device{'s' if len(devices) > 1 else ''}"]
    return "; ".join(dict.fromkeys([*count, *remarks]))


def _nvml_meters(meters: Sequence[Meter]) -> list[NvmlCounter | NvmlPower]:
    return [meter for meter in meters if isinstance(meter, NvmlCounter | NvmlPower)]


def _open_automatic(host: Host, without: set[Component]) -> tuple[list[Meter], list[Choice]]:
    meters: list[Meter] = []
    notes: list[Choice] = []
    wanted = tuple(component for component in _HOST_COMPONENTS if component not in without)
    if wanted:
        meters, notes = _automatic_cpu_and_dram(host, wanted)
    if "gpu" not in without:
        try:
            gpus = _open_gpus(host)
        except MeterUnavailable as error:
            notes.append(Choice("gpu", (), reason=error.reason, hint=error.hint))
        else:
            meters += gpus
            notes += _notes(gpus)
    return meters, notes


def _automatic_cpu_and_dram(host: Host, wanted: tuple[Component, ...]) -> tuple[list[Meter], list[Choice]]:
    """RAPL for what it has, the estimate for the rest; nothing for DRAM that RAPL counts inside psys."""
    try:
        counter = RaplMeter(host.powercap_roots, wanted)
    except MeterUnavailable as error:
        return _estimated(host, wanted, f"no RAPL: {error.reason}", error.hint)
    part_shown = shows_a_part(host.proc_root)
    if part_shown:
        return _estimated(host, wanted, f"no RAPL: it counts the whole host, and {part_shown}", None)
    meters: list[Meter] = [counter]
    notes = _notes(meters)
    if "dram" in wanted and not any(device.component == "dram" for device in counter.devices):
        if counter.includes_dram:
            notes.append(Choice("dram", (), reason="psys contains it"))
        else:
            none = "RAPL has no DRAM zone here; a processor that counts DRAM in its package has it twice"
            reason = "; ".join(counter.remarks("dram")) or none
            estimates, estimate_notes = _estimated(host, ("dram",), reason, None)
            meters += estimates
            notes += estimate_notes
    return meters, notes


def _estimated(
    host: Host, wanted: tuple[Component, ...], reason: str, hint: str | None
) -> tuple[list[Meter], list[Choice]]:
    """The estimate, with the reason for it said once."""
    try:
        meters: list[Meter] = [EstimateMeter(host.proc_root, host.clock, wanted)]
    except MeterUnavailable as error:
        return [], [Choice(component, (), reason=f"{reason}; no estimate: {error.reason}") for component in wanted]
    notes = [note if note.kinds else replace(note, reason=f"no estimate: {note.reason}") for note in _notes(meters)]
    first, *others = notes
    why = "; ".join(part for part in (reason, first.reason) if part)
    return meters, [replace(first, reason=why, hint=hint), *others]


# How far a meter's energy may be from what a wall meter or an instrumented rail would say ----------------------------
#
# The figures are half widths of an interval that we believe holds the true energy in about 95 of 100 cases. They are
# judgements from published comparisons, rounded up, and no calibration of the machine at hand. docs/accuracy.md has
# the references and what is not known.


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The uncertainty of a meter's energy.

    Attributes:
        relative: half width of the interval, as a part of the energy; None if nothing is known.
        reason: why, in one sentence for people, with whom it is from.
    """

    relative: float | None
    reason: str


_ESTIMATE: Final = (
    "A model of rated power and load, not a measurement: it may be off by a factor of two and more"
    " (whole-machine estimates missed wall meters by up to 40 %: Fischer 2025)."
)

_KNOWN: Final[Mapping[tuple[str, str], Uncertainty]] = {
    ("rapl", "cpu"): Uncertainty(
        0.10,
        "RAPL measures on Intel since Haswell and follows the wall within some per cent after a constant offset; on AMD"
        " Zen 2 it is a model that misses part of the data's influence (Hackenberg 2015, Khan 2018, Schöne 2021).",
    ),
    ("rapl", "dram"): Uncertainty(
        0.20,
        "DRAM RAPL is measured on servers and modelled on desktops, with an offset that weighs most when memory is idle"
        " (Desrochers 2016).",
    ),
    ("nvml_counter", "gpu"): Uncertainty(
        0.10,
        "The board's sensor is off by about 5 %, and no published test shows how much of the time the counter sees on"
        " A100 and H100 (Yang 2024).",
    ),
    ("nvml_power", "gpu"): Uncertainty(
        0.35,
        "Power readings are averaged and delayed, and on A100 and H100 cover a quarter of the time: correcting for"
        " that moved test cases by 35 % on average; a steady load is off by about 5 % (Yang 2024).",
    ),
    ("estimate", "cpu"): Uncertainty(1.0, _ESTIMATE),
    ("estimate", "dram"): Uncertainty(1.0, _ESTIMATE),
}
_REPLAY: Final = Uncertainty(0.0, "A replayed trace is exact by definition; how its numbers came about is not known.")


def uncertainty(source: str, component: str) -> Uncertainty:
    """What is known of a meter's energy.

    Args:
        source: the kind of meter, as in ``meters.Device``.
        component: ``cpu``, ``dram`` or ``gpu``.
    """
    if source == "replay":
        return _REPLAY
    unknown = Uncertainty(None, f"Nothing is known about the accuracy of {source} for {component}.")
    return _KNOWN.get((source, component), unknown)
