"""Decodes the data sets of sweeps before their trials begin, so that no trial is charged for it.

    python -m energysweep.workloads.prepare SWEEP.yaml ... [--set key=value ...]

What has been decoded before stays as it is. The energy of this is in no sweep's: ``energysweep.track`` around ``main``
meters it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from energysweep.core.errors import InputError
from energysweep.core.terminal import note, say
from energysweep.sweepfile import SweepSpec, load_spec, points, stage_spec
from energysweep.workloads import images, sensors, text
from energysweep.workloads.data import Data
from energysweep.workloads.training import TrainingSettings

WORKLOADS: Final[dict[str, ModuleType]] = {f"{each.__name__}:train": each for each in (images, sensors, text)}
_WHAT_IS_READ: Final = {"data", "image_size", "window", "stride", "context"}


def main(arguments: Sequence[str]) -> int:
    """Read every data set of these sweeps once, and say on stdout what it holds and how long it took.

    Args:
        arguments: those of the command line.

    Raises:
        InputError: a sweep or a parameter is wrong, or a data set is not there, is damaged or lacks a task.
    """
    parser = argparse.ArgumentParser(
        prog="python -m energysweep.workloads.prepare",
        description="The data sets of sweeps are decoded and kept, so that no trial has to.",
    )
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP.yaml", help="These files say which data sets.")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="The key KEY of the files gets VALUE.",
    )
    given = parser.parse_args(arguments)
    done: list[tuple[dict[str, Any], Data]] = []
    for path in given.sweeps:
        spec = load_spec(Path(path), given.overrides)
        workload = WORKLOADS.get(spec.workload or "")
        if workload is None:
            raise InputError(f"trains none of {', '.join(WORKLOADS)}", file=path, key="workload")
        try:
            found = list(_settings(spec, workload))
        except ValueError as error:
            raise InputError(str(error), file=path, key="parameters") from error
        for settings in found:
            what = settings.model_dump(include=_WHAT_IS_READ)
            data = next((data for known, data in done if known == what), None)
            if data is None:
                data = _read(workload, settings)
                done.append((what, data))
            data.of_tasks(settings.tasks)
    return 0


def _settings(spec: SweepSpec, workload: ModuleType) -> Iterator[TrainingSettings]:
    """Those of all its trials and stages."""
    for part in (spec, *(stage_spec(spec, name) for name in spec.stages)):
        for point in points(part):
            yield workload.Settings.from_config(point.config)


def _read(workload: ModuleType, settings: Any) -> Data:
    begin = time.monotonic()
    data: Data = workload.read(settings)
    took = time.monotonic() - begin
    train, test, shape = len(data.train_inputs), len(data.test_inputs), tuple(data.train_inputs.shape[1:])
    say(f"{settings.data}: {train:,} + {test:,} examples of shape {shape}, {took:.1f} s")
    return data


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as problem:
        note(problem)
        sys.exit(2)  # as energysweep itself says that the input is wrong
