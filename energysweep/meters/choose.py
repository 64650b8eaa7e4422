"""Which meters a host gets: those that were asked for, or the best for each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from energysweep.core.errors import InputError, MeterUnavailable
from energysweep.core.host import Host, nvidia_boards, shows_a_part
from energysweep.meters.base import COMPONENTS, Component, Device, GpuMeter, GpuPart, Meter
from energysweep.meters.kinds import ALLOWED, AUTO, BY_NAME, KINDS, Kind, find_kind, is_model


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
    def gpu_details(self) -> Sequence[GpuMeter]:
        """The meters that know processes and instances of their GPUs."""
        return _gpu_meters(self.meters)

    @property
    def boards(self) -> int:
        """How many GPUs the host has, also those that no meter counts."""
        gpus = sum(1 for device in self.devices if device.component == "gpu")
        return max([gpus, self.boards_on_bus, *(meter.boards for meter in _gpu_meters(self.meters))])

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
            listed = [uuid for meter in _gpu_meters(self.meters) for uuid in meter.listed]
            alike = [uuid for uuid in dict.fromkeys([*measured, *listed]) if uuid.startswith(name)]
            return GpuPart(alike[0], 1.0) if len(alike) == 1 and alike[0] in measured else None
        if not name.startswith("MIG-"):
            return None
        instances = {key: part for meter in self.gpu_details for key, part in meter.instances().items()}
        parts = [part for key, part in instances.items() if key.startswith(name)]
        return instances.get(name) or (parts[0] if len(parts) == 1 else None)

    def start(self, now_seconds: float) -> None:
        """The agent's first window opens: traces begin. Later calls change nothing."""
        for meter in self.meters:
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
        kinds: as a sweep's file has them: ``auto``, and how ``kinds.KINDS`` are written.
        host: where to look; this machine if None.

    Raises:
        InputError: an unknown kind, a wrong trace, or two kinds that would measure the same.
        MeterUnavailable: a kind that was asked for does not exist here.
    """
    host = host or Host()
    if not kinds:
        raise InputError(f"at least one kind of meter is needed: {ALLOWED}", key="meters")
    meters: list[Meter] = []
    with ExitStack() as opened:
        for text in kinds:
            if text != AUTO:
                for meter in _open_kind(text, host):
                    opened.callback(meter.close)
                    meters.append(meter)
        _check_overlap(meters)
        notes = _notes(meters, shows_a_part(host.proc_root))
        if AUTO in kinds:
            notes = [note for note in notes if note.kinds]
            automatic, automatic_notes = _open_automatic(host, without={note.component for note in notes})
            meters += automatic
            notes += automatic_notes
        opened.pop_all()
    notes.sort(key=lambda note: COMPONENTS.index(note.component))
    return Opened(meters, notes, nvidia_boards(host.sys_root))


def _open_kind(text: str, host: Host) -> Sequence[Meter]:
    kind, argument = find_kind(text)
    try:
        return kind.open(host, kind.components, argument)
    except MeterUnavailable as error:
        raise MeterUnavailable(f"the meter {kind.name} is not available here: {error.reason}", error.hint) from error


def _check_overlap(meters: Sequence[Meter]) -> None:
    """No joule twice. Only GPUs have a name that two kinds share; the CPU and the DRAM of a host are one thing each."""
    owners: dict[str, str] = {}
    for meter in meters:
        things = (device.name if device.component == "gpu" else device.component for device in meter.devices)
        for thing in [*dict.fromkeys(things), *sorted(meter.contained)]:
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
        kinds = tuple(meter.kind for meter in meters if _measures(meter, component))
        lacking = [meter.lacking[component] for meter in meters if component in meter.lacking]
        if kinds:
            too_much = f"it counts the whole host, whose other users are not seen: {part_shown}"
            counts_all = any(kind in BY_NAME and BY_NAME[kind].counts_whole_host for kind in kinds)
            reason = too_much if counts_all and part_shown else None
            notes.append(Choice(component, kinds, _detail(meters, component), reason))
        elif lacking:
            notes.append(Choice(component, (), reason="; ".join(lacking)))
    return notes


def _measures(meter: Meter, component: Component) -> bool:
    return any(device.component == component for device in meter.devices)


def _detail(meters: Sequence[Meter], component: Component) -> str:
    devices = [device for meter in meters for device in meter.devices if device.component == component]
    remarks = [remark for meter in meters if _measures(meter, component) for remark in meter.remarks(component)]
    if component == "gpu":
        measured = {device.name for device in devices}
        remarks += [
            f"{text} is not measured: {BY_NAME[meter.kind].title} does not tell its energy"
            for meter in _gpu_meters(meters)
            for uuid, text in sorted(meter.listed.items(), key=lambda listed: listed[1])
            if uuid not in measured
        ]
    count = f"{len(devices)} device{'s' if len(devices) > 1 else ''}"
    # A model has no counters whose number could be told.
    counted = [] if all(is_model(device.source) for device in devices) else [count]
    return "; ".join(dict.fromkeys([*counted, *remarks]))


def _gpu_meters(meters: Sequence[Meter]) -> list[GpuMeter]:
    return [meter for meter in meters if isinstance(meter, GpuMeter)]


# What ``auto`` takes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a component is not measured by a better kind."""

    text: str
    hint: str | None = None


def _open_automatic(host: Host, without: set[Component]) -> tuple[list[Meter], list[Choice]]:
    """The best kind of each component: for the host's own the first in the table that has it, of GPUs all."""
    meters: list[Meter] = []
    reasons: dict[Component, list[_Reason]] = {component: [] for component in COMPONENTS if component not in without}
    missing = list(reasons)
    for kind in KINDS:
        wanted = tuple(component for component in kind.components if component in missing)
        if not kind.is_automatic or not wanted:
            continue
        found = _try(kind, host, wanted)
        if isinstance(found, _Reason):
            for component in wanted:
                reasons[component].append(found)
            continue
        meters += found
        for component in wanted:
            if any(_measures(meter, component) for meter in found):
                missing = [other for other in missing if other != component or other == "gpu"]
                continue
            reasons[component] += [_Reason(meter.lacking[component]) for meter in found if component in meter.lacking]
            if any(component in meter.contained for meter in found):
                missing.remove(component)
    return meters, _explained(_notes(meters), reasons)


def _try(kind: Kind, host: Host, wanted: tuple[Component, ...]) -> Sequence[Meter] | _Reason:
    # Where one kind alone could measure it, "no GPU" says already what there is none of.
    alone = sum(1 for other in KINDS if other.is_automatic and set(other.components) & set(wanted)) == 1
    none = "" if alone else f"no {kind.title}: "
    try:
        meters = kind.open(host, wanted, "")
    except MeterUnavailable as error:
        return _Reason(f"{none}{error.reason}", error.hint)
    part_shown = shows_a_part(host.proc_root) if kind.counts_whole_host else None
    if part_shown is None:
        return meters
    for meter in meters:
        meter.close()
    return _Reason(f"{none}it counts the whole host, and {part_shown}")


def _explained(notes: Sequence[Choice], reasons: Mapping[Component, Sequence[_Reason]]) -> list[Choice]:
    """The notes with the reasons for them. Each is said once, unless there would be nothing to say of a component."""
    by_component = {note.component: note for note in notes if note.kinds}
    said: set[str] = set()
    explained = []
    for component, whys in reasons.items():
        note = by_component.get(component, Choice(component, ()))
        if note.kinds and component == "gpu":  # that there are none of another kind is nothing to tell
            explained.append(note)
            continue
        new = [why for why in whys if why.text not in said]
        shown = new or ([] if note.kinds else list(whys))
        said.update(why.text for why in whys)
        parts = [why.text for why in shown] + ([note.reason] if note.reason else [])
        hint = next((why.hint for why in shown if why.hint), None)
        explained.append(replace(note, reason="; ".join(parts) or None, hint=hint))
    return explained
