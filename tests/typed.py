"""What the README promises, as a caller's program. Only a type checker reads it: `make lint` fails if one changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import energysweep
from energysweep import Measurement, Run, SweepSpec
from energysweep.report import Summary


def a_sweep() -> None:
    spec = energysweep.load_spec("sweeps/quickstart.yaml")
    assert_type(spec, SweepSpec)
    assert_type(energysweep.load_spec(Path("sweep.yaml"), ["repeats=2"]), SweepSpec)
    run = energysweep.run(spec, address="auto", output=Path("results"), run_id="it")
    assert_type(run, Run)
    assert_type(run.folder, Path)
    assert_type(run.problems, tuple[str, ...])
    assert_type(run.succeeded, bool)
    assert_type(run.summary, Summary)
    # What no meter has told is missing, and never 0.
    assert_type(run.summary.totals.energy_joules, float | None)


def a_block() -> None:
    with energysweep.track("preprocess") as measured:
        assert_type(measured, Measurement)
    assert_type(measured.energy_joules, float | None)
    assert_type(measured.emissions_grams, float | None)


def what_was_spent() -> None:
    so_far = energysweep.spent()
    assert_type(so_far, Measurement | None)


@energysweep.track("prepare", then=print)
def prepare(data: list[int], *, twice: bool = False) -> int:
    return sum(data) * (2 if twice else 1)


@energysweep.track("fetch")
async def fetch(name: str) -> bytes:
    return name.encode()


async def decorated() -> None:
    assert_type(prepare([1], twice=True), int)
    assert_type(await fetch("x"), bytes)


def a_start_up() -> None:
    with energysweep.startup():
        pass


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    yield {"score": config["rate"]}


def ones_own_tuner() -> None:
    metered: Callable[..., Any] = energysweep.metered(train, grams_per_kwh=380)
    assert_type(energysweep.__version__, str)
    metered({"rate": 0.1})
