"""The kinds of meters: one table. A kind is its own module and one row here.

Everything that treats kinds differently reads it off the row: the sweep's file (``meters``), ``auto``, the agent's idle
floors, the uncertainties of reports, what is called an estimate in reports and dashboards, and ``energysweep doctor``.
docs/accuracy.md, the agent chart's values.schema.json, README.md, docs/sweep-yaml.md and the contract test name every
row; tests/meters/test_kinds.py fails where one of them does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from energysweep.core.errors import InputError, MeterUnavailable, one_line
from energysweep.core.host import Host
from energysweep.meters import estimate, nvml, rapl, replay
from energysweep.meters.base import Component, Meter
from energysweep.meters.estimate import EstimateMeter
from energysweep.meters.nvml import NvmlCounter, NvmlPower
from energysweep.meters.nvml_library import NvmlLibrary
from energysweep.meters.rapl import RaplMeter
from energysweep.meters.replay import ReplayMeter

AUTO = "auto"  # the best for each component: no kind, but a choice of them

Opener = Callable[[Host, tuple[Component, ...], str], Sequence[Meter]]


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far a meter's energy may be from what a wall meter or an instrumented rail would say.

    Attributes:
        relative: half width of an interval that we believe holds the true energy in about 95 of 100 cases, as a part of
            the energy; None if nothing is known. A judgement from published comparisons, rounded up, and no calibration
            of the machine at hand: docs/accuracy.md has the references and what is not known.
        reason: why, in one sentence for people, with whom it is from.
    """

    relative: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of meter.

    Attributes:
        name: what a sweep's file calls it, and the ``source`` of its devices.
        title: what people call it, as in "no RAPL".
        components: what it can measure.
        open: opens its meters on a host, for these components, with what follows the colon. Raises ``MeterUnavailable``
            with a reason and a hint.
        basis: its numbers are measured, a model's, or a trace's. Only what was measured says how little this host can
            draw, so only its idle floors are remembered; a model's energy is called an estimate.
        uncertainty: of its energy, by component; empty if it only opens other kinds.
        doctor: what it would give, for ``energysweep doctor``, which tries it; None if it is not looked for.
        is_automatic: ``auto`` tries it. Of several kinds the first in the table that measures a CPU or DRAM has it;
            GPUs of all kinds are taken.
        counts_whole_host: it counts what others draw, also where a container shows nothing of them.
        usage: how it is written, if something follows its name.
        check: raises ``InputError`` if what follows the colon is wrong.
    """

    name: str
    title: str
    components: tuple[Component, ...]
    open: Opener
    basis: Literal["measured", "model", "trace"] = "measured"
    uncertainty: Mapping[Component, Uncertainty] = field(default_factory=dict)
    doctor: str | None = None
    is_automatic: bool = False
    counts_whole_host: bool = False
    usage: str = ""
    check: Callable[[str], object] | None = None

    @property
    def written(self) -> str:
        """How it is written in a sweep's file."""
        return self.usage or self.name

    @property
    def is_source(self) -> bool:
        """Devices have it as their source; otherwise it opens other kinds."""
        return bool(self.uncertainty)


def _open_gpus(host: Host) -> Sequence[Meter]:
    """Each NVIDIA GPU by its counter if it has one, the others by their power."""
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


def _open_trace(host: Host, argument: str) -> Sequence[Meter]:
    path, after = replay.parse_argument(argument)
    return [ReplayMeter(path, host.clock, host.node, after)]


_MODEL: Final = Uncertainty(
    1.0,
    "A model of rated power and load, not a measurement: it may be off by a factor of two and more"
    " (whole-machine estimates missed wall meters by up to 40 %: Fischer 2025).",
)
_TRACE: Final = Uncertainty(0.0, "A replayed trace is exact by definition; how its numbers came about is not known.")

KINDS: tuple[Kind, ...] = (
    Kind(
        rapl.KIND,
        "RAPL",
        ("cpu", "dram"),
        lambda host, components, _: [RaplMeter(host.powercap_roots, components)],
        doctor="measured: CPU packages, and DRAM on most servers",
        is_automatic=True,
        counts_whole_host=True,
        uncertainty={
            "cpu": Uncertainty(
                0.10,
                "RAPL measures on Intel since Haswell and follows the wall within some per cent after a constant"
                " offset; on AMD Zen 2 it is a model that misses part of the data's influence (Hackenberg 2015, Khan"
                " 2018, Schöne 2021).",
            ),
            "dram": Uncertainty(
                0.20,
                "DRAM RAPL is measured on servers and modelled on desktops, with an offset that weighs most when memory"
                " is idle (Desrochers 2016).",
            ),
        },
    ),
    Kind("nvml", "NVML", ("gpu",), lambda host, _components, _: _open_gpus(host), is_automatic=True),
    Kind(
        nvml.COUNTER_KIND,
        "NVML",
        ("gpu",),
        lambda host, _components, _: [NvmlCounter(host.nvml)],
        doctor="measured: NVIDIA GPUs by the driver's energy counter",
        uncertainty={
            "gpu": Uncertainty(
                0.10,
                "The board's sensor is off by about 5 %, and no published test shows how much of the time the counter"
                " sees on A100 and H100 (Yang 2024).",
            )
        },
    ),
    Kind(
        nvml.POWER_KIND,
        "NVML",
        ("gpu",),
        lambda host, _components, _: [NvmlPower(host.nvml, host.clock)],
        doctor="measured: NVIDIA GPUs by power readings, integrated at 10 Hz",
        uncertainty={
            "gpu": Uncertainty(
                0.35,
                "Power readings are averaged and delayed, and on A100 and H100 cover a quarter of the time: correcting"
                " for that moved test cases by 35 % on average; a steady load is off by about 5 % (Yang 2024).",
            )
        },
    ),
    Kind(
        estimate.KIND,
        "estimate",
        ("cpu", "dram"),
        lambda host, components, _: [EstimateMeter(host.proc_root, host.clock, components)],
        basis="model",
        doctor="a model, not a measurement: CPU by TDP and load, DRAM by its size",
        is_automatic=True,
        uncertainty={"cpu": _MODEL, "dram": _MODEL},
    ),
    Kind(
        replay.KIND,
        "trace",
        ("cpu", "dram", "gpu"),
        lambda host, _components, argument: _open_trace(host, argument),
        basis="trace",
        uncertainty={"cpu": _TRACE, "dram": _TRACE, "gpu": _TRACE},
        usage=replay.USAGE,
        check=replay.parse_argument,
    ),
)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}
MODELS = tuple(kind.name for kind in KINDS if kind.basis == "model")
TRACES = tuple(kind.name for kind in KINDS if kind.basis == "trace")
ALLOWED = ", ".join([AUTO, *(kind.written for kind in KINDS)])


def find_kind(text: str) -> tuple[Kind, str]:
    """The kind that a sweep's file names, and what follows its colon.

    Args:
        text: one of ``meters`` other than ``auto``.

    Raises:
        InputError: there is no such kind, or what follows is wrong.
    """
    name, colon, argument = text.partition(":")
    kind = BY_NAME.get(name)
    if kind is None or (colon and kind.check is None):
        raise InputError(f"must be one of {ALLOWED}, not {one_line(text)!r}", key="meters")
    if kind.check is not None:
        kind.check(argument)
    return kind, argument


def trace_path(text: str) -> str | None:
    """The path of a file that a meter reads, such as a replay's trace; None if it reads none.

    Args:
        text: one of ``meters``, whether or not it is right.
    """
    name, _, argument = text.partition(":")
    path = argument.partition("?")[0]
    return path if path and name in TRACES else None


def with_trace(text: str, path: str) -> str:
    """The same meter with its trace at another path."""
    name, _, argument = text.partition(":")
    _, mark, query = argument.partition("?")
    return f"{name}:{path}{mark}{query}"


def uncertainty(source: str, component: str) -> Uncertainty:
    """What is known of a meter's energy.

    Args:
        source: the kind of meter, as in ``meters.Device``.
        component: ``cpu``, ``dram`` or ``gpu``.
    """
    kind = BY_NAME.get(source)
    known = {} if kind is None else {str(name): figure for name, figure in kind.uncertainty.items()}
    unknown = Uncertainty(None, f"Nothing is known about the accuracy of {source} for {component}.")
    return known.get(component, unknown)


def is_model(source: str) -> bool:
    """Whether a device's energy is an estimate."""
    return source in MODELS


def is_measured(source: str) -> bool:
    """Whether a device's energy says anything about this host's hardware."""
    kind = BY_NAME.get(source)
    return kind is not None and kind.basis == "measured"
