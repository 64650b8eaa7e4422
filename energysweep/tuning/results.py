"""What a trial's result holds: the workload's own metrics, and what Tune and energysweep add."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# What Tune adds to every result; the rest is the workload's.
_TUNES = frozenset(
    (
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "experiment_tag",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "training_iteration",
        "trial_id",
    )
)
OURS = ("energy_joules", "active_energy_joules", "power_watts", "emissions_grams")


def own_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """The workload's own metrics, as far as JSON can hold them."""
    own = {name: plain(value) for name, value in result.items() if name not in _TUNES and name not in OURS}
    return {name: value for name, value in own.items() if isinstance(value, int | float | str | bool)}


def plain(value: Any) -> Any:
    """NumPy's and torch's scalars, and arrays and tensors of one element, as Python's own numbers."""
    return value.item() if hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1 else value
