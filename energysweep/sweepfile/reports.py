"""How many reports a trial makes that nobody stops, as far as the sweep says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from energysweep.sweepfile.distributions import Choice, Grid
from energysweep.sweepfile.model import SweepSpec
from energysweep.sweepfile.space import all_leaves, varying

_BUILT_IN: Final = "energysweep.workloads."
EPOCHS: Final = "epochs"
"""A parameter of the built-in workloads, which report once in each."""


def is_built_in(spec: SweepSpec) -> bool:
    """Whether its workload is one of energysweep's."""
    return (spec.workload or "").startswith(_BUILT_IN)


def full_reports(spec: SweepSpec, parameters: Mapping[str, Any] | None = None) -> int | None:
    """How many reports a trial makes at most, by ``stop`` and the built-in workloads' epochs; None if nobody says it.

    Args:
        spec: the sweep.
        parameters: of a configuration; None: of any.
    """
    said = [limit for metric, limit in spec.stop.items() if metric == "training_iteration" and limit >= 1]
    epochs = None
    if is_built_in(spec):
        epochs = (parameters or {}).get(EPOCHS) if EPOCHS in varying(spec) else only_values(spec).get(EPOCHS)
    if isinstance(epochs, int) and epochs >= 1:
        said.append(epochs)
    return int(min(said)) if said else None


def only_values(spec: SweepSpec) -> dict[str, Any]:
    """The sweep's constants and distributions by the names that configurations have them by; of a choice of one, it."""
    return {leaf.name: _only_value(leaf.value) for leaf in all_leaves(spec)}


def _only_value(value: Any) -> Any:
    return value.given[0] if isinstance(value, Grid | Choice) and len(value.given) == 1 else value
