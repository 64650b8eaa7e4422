"""How far a meter's energy may be from what a wall meter or an instrumented rail would say.

The figures are half widths of an interval that we believe holds the true energy in about 95 of 100 cases. They are
judgements from published comparisons, rounded up, and no calibration of the machine at hand. docs/accuracy.md has the
references and what is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


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
