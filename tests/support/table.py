"""An invented table of trials whose analyses can be worked out by hand.

Energy to target = epochs * joules per epoch, with

    epochs(rate)            0.1: 4    0.01: 8    0.001: 32
    joules per epoch(batch)  64: 2      16: 6

so that in logarithms the parameters add up without interaction: learning rate acts on epochs alone, by a factor of
32 / 4 = 8, batch size on joules per epoch alone, by 6 / 2 = 3. The cheapest setting takes 4 * 2 = 8 J, the dearest
32 * 6 = 192 J, 24 times as much. ``noise`` multiplies the joules of seed 0 and divides those of seed 1, which leaves
all geometric means as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from energysweep.analysis import Observation


class Known(TypedDict, total=False):
    """What a test says of a trial beside its joules, epochs and seed; in the words and types of `Observation`."""

    parameters: Mapping[str, Any]
    hardware: str
    stage: str
    energy_joules: float | None
    energy_to_target_joules: float | None
    objective: float | None
    resolution_joules: float | None
    power_watts: float | None
    relative_uncertainty: float | None
    coverage: float | None
    source: str | None
    active_energy_joules: float | None
    duration_seconds: float | None
    startup_seconds: float | None


EPOCHS = {0.1: 4, 0.01: 8, 0.001: 32}
JOULES = {64: 2.0, 16: 6.0}


def arrived(joules: float, epochs: int, seed: int = 0, **rest: Unpack[Known]) -> Observation:
    """A trial that stopped when it reached the target."""
    trial = Observation(
        seed=seed,
        energy_joules=joules,
        iterations=epochs,
        reached_target=True,
        energy_to_target_joules=joules,
        iterations_to_target=epochs,
        objective=0.9,
        source="rapl",
        relative_uncertainty=0.1,
        coverage=1.0,
    )
    return replace(trial, **rest)


def censored(joules: float, epochs: int, seed: int = 0, **rest: Unpack[Known]) -> Observation:
    """A trial that spent all its epochs and never reached the target."""
    trial = arrived(joules, epochs, seed, **rest)
    return replace(trial, reached_target=False, energy_to_target_joules=None, iterations_to_target=None, objective=0.5)


def grid(noise: float = 1.0, repeats: int = 2) -> list[Observation]:
    """The table above, with one or two repeats."""
    factors = [noise, 1 / noise][:repeats]
    return [
        arrived(
            epochs * joules * factor,
            epochs,
            seed,
            parameters={"learning_rate": rate, "batch_size": batch, "epochs": 40},
        )
        for rate, epochs in EPOCHS.items()
        for batch, joules in JOULES.items()
        for seed, factor in enumerate(factors)
    ]
