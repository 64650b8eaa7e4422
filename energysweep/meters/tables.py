"""CodeCarbon's tables of processors and memory, the source of the estimate.

CodeCarbon is imported when a table is needed: an agent with real counters never imports it.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

# ruff: noqa: PLC0415 - CodeCarbon takes a while to import, and an agent with real counters needs none of it


@cache
def tdp_watts(cpu_model: str) -> float | None:
    """The thermal design power of one package of this model; None if CodeCarbon's table has no single match.

    Args:
        cpu_model: as in ``/proc/cpuinfo``.
    """
    from codecarbon.core.cpu import TDP

    # Read by csv because CodeCarbon's own reader needs pandas: 50 MB in a process that stays for days.
    table = resources.files("codecarbon").joinpath("data/hardware/cpu_power.csv")
    with table.open(encoding="utf-8") as file:
        # The first of two entries of a name counts, as it does in CodeCarbon.
        watts = {row["Name"]: row["TDP"] for row in reversed(list(csv.DictReader(file)))}
    # The constructor would ask the machine that it runs on. The matching rules themselves need no instance's state.
    matcher = TDP.__new__(TDP)
    name = matcher._get_matching_cpu(cpu_model, {"Name": list(watts)})  # noqa: SLF001 - nothing public takes a model
    try:
        return None if name is None else float(watts[name])
    except ValueError:
        return None  # a few entries are mistyped ("27.29.5")


def default_watts_per_cpu() -> float:
    """What CodeCarbon takes for each logical CPU of a processor that its table lacks."""
    from codecarbon.core.cpu import DEFAULT_POWER_PER_CORE

    return float(DEFAULT_POWER_PER_CORE)


def memory_watts(memory_gib: float) -> float:
    """CodeCarbon's guess at the power of this much memory: so many modules of a usual size, 5 W each (ARM: 1.5 W)."""
    from codecarbon.external.ram import RAM

    return float(RAM()._calculate_ram_power(memory_gib))  # noqa: SLF001 - total_power() only knows its own machine
